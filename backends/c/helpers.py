"""C that kernels call, by name; a model's file holds those that it uses.

Everything is ISO C99 over binary32, binary64 and integers; faster forms stand beside it where the compiler says what the core has.
"""

from __future__ import annotations

import re
from importlib.resources import files

from mlcc_backends.c.sequences import definition, definitions


def _texts(file: str) -> dict[str, str]:
    """Pieces of C by name, from a file of snippets."""
    text = files("mlcc_backends.c").joinpath("snippets", file).read_text("utf-8")
    pieces = re.split(r"^//! (\w+)\n", text, flags=re.MULTILINE)[1:]
    return {name: body.rstrip("\n") for name, body in zip(pieces[::2], pieces[1::2])}


PRELUDE = files("mlcc_backends.c").joinpath("snippets", "prelude.c").read_text("utf-8")
SNIPPETS = {**_texts("scalars.c"), **_texts("products.c")}
# Bytes of either sign: as a C type, as halfwords of the DSP extension, as Helium's lanes (unsigned ones by way of halfwords), as RISC-V's
# vectors.
KINDS = {
    "s8": {
        "T": "int8_t",
        "EXTEND": r"__sxtb16((int8x4_t)(\1))",
        "VECTOR": "int8x16_t",
        "PER": "16",
        "LOAD": "vldrbq_s8",
        "WEIGHTS": "vldrbq_s8",
        "DOT": "vmladavaq_s8",
        "LANES": "vldrbq_s32",
        "SIXTEEN": "vint8m1_t",
        "FETCH": "__riscv_vle8_v_i8m1",
        "FETCH_4": "__riscv_vle8_v_i8mf4",
        "PRODUCT": "__riscv_vwmul_vv_i16m2",
        "PRODUCT_4": "__riscv_vwmul_vv_i16mf2",
    },
    "u8": {
        "T": "uint8_t",
        "EXTEND": r"(int16x2_t)(\1 & 0x00FF00FFu)",
        "VECTOR": "int16x8_t",
        "PER": "8",
        "LOAD": "(int16x8_t)vldrbq_u16",
        "WEIGHTS": "vldrbq_s16",
        "DOT": "vmladavaq_s16",
        "LANES": "(int32x4_t)vldrbq_u32",
        "SIXTEEN": "vuint8m1_t",
        "FETCH": "__riscv_vle8_v_u8m1",
        "FETCH_4": "__riscv_vle8_v_u8mf4",
        "PRODUCT": "__riscv_vwmulsu_vv_i16m2",
        "PRODUCT_4": "__riscv_vwmulsu_vv_i16mf2",
    },
}
for _suffix, _words in KINDS.items():
    for _name, _text in _texts("bytes.c").items():
        _text = re.sub(r"EXTEND\((turned\(\w+, 8\)|\w+)\)", _words["EXTEND"], _text)
        _text = re.sub(rf"\b({'|'.join(w for w in _words if w != 'EXTEND')})\b", lambda m, w=_words: w[m.group(1)], _text)  # type: ignore[misc]
        SNIPPETS[_name.replace("_X", f"_{_suffix}")] = _text.replace("_X(", f"_{_suffix}(")


def used(text: str, known: frozenset[str] = frozenset()) -> str:
    """The helpers that a text calls and those that they call, in order of definition; but none that is `known` already."""
    sequences = definitions()
    bodies: dict[str, str] = {}

    def add(text: str) -> None:
        for name in dict.fromkeys(re.findall(r"\w+", text)):
            if name not in bodies and name not in known and (name in SNIPPETS or name in sequences):
                body = SNIPPETS[name] if name in SNIPPETS else definition(sequences[name]())
                bodies[name] = ""  # a name within its own text
                add(body)
                del bodies[name]
                bodies[name] = body  # after what it calls

    add(text)
    order = [*SNIPPETS, *(n for n in bodies if n not in SNIPPETS)]
    return "\n\n".join(bodies[n] for n in order if n in bodies)
