"""C that kernels call, by name; a model's file holds those that it uses.

Everything is ISO C99 over binary32, binary64 and integers; faster forms stand beside it where the compiler says what the core has.
"""

from __future__ import annotations

import re
from importlib.resources import files

from mlcc.arithmetic.bf16 import ROUNDS_TO_SMALLEST
from mlcc.arithmetic.elementary import SEQUENCES
from mlcc.arithmetic.sequence import Instruction, Sequence
from mlcc_backends.c.text import literal


def _texts(file: str) -> dict[str, str]:
    """Pieces of C by name, from a file of snippets."""
    text = files("mlcc_backends.c").joinpath("snippets", file).read_text("utf-8")
    pieces = re.split(r"^//! (\w+)\n", text, flags=re.MULTILINE)[1:]
    return {name: body.rstrip("\n") for name, body in zip(pieces[::2], pieces[1::2])}


PRELUDE = files("mlcc_backends.c").joinpath("snippets", "prelude.c").read_text("utf-8")
SNIPPETS = {**_texts("scalars.c"), **_texts("products.c")}
SNIPPETS["brain_of"] = SNIPPETS["brain_of"].replace("ROUNDS_TO_SMALLEST", literal(ROUNDS_TO_SMALLEST, "float32"))
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

SEQUENCE_TYPES = {"f32": "float", "i32": "int32_t", "i64": "int64_t", "b": "int"}


def sequence_text(s: Sequence) -> str:
    """An elementary function, one statement an instruction."""
    lines = [f"HELPER float {function_name(s.name)}({', '.join(f'float x{i}' for i in range(s.arity))})", "{"]
    lines += [f"    const {SEQUENCE_TYPES[i.dtype]} v{n} = {_instruction(i)};" for n, i in enumerate(s.instructions)]
    return "\n".join([*lines, f"    return v{len(s.instructions) - 1};", "}"])


def function_name(operator: str) -> str:
    return f"{operator.lower()}_of"


def _instruction(i: Instruction) -> str:
    from mlcc_backends.c.text import literal

    a, b, c = ([f"v{o}" for o in i.operands] + [""] * 3)[:3]
    integer = i.dtype in ("i32", "i64")
    unsigned, back = ("uint64_t", "signed_of_64") if i.dtype == "i64" else ("uint32_t", "signed_of")

    def wrapped(expression: str) -> str:
        return f"{back}({expression})"

    match i.op:
        case "arg":
            return f"x{i.value}"
        case "const":
            return literal(i.value or 0, {"f32": "float32", "i32": "int32", "i64": "int64", "b": "bool"}[i.dtype])
        case "add" | "sub" | "mul":
            symbol = {"add": "+", "sub": "-", "mul": "*"}[i.op]
            return wrapped(f"({unsigned}){a} {symbol} ({unsigned}){b}") if integer else f"{a} {symbol} {b}"
        case "div":
            return f"{a} / {b}"
        case "fma":
            return f"FMA({a}, {b}, {c})"
        case "sqrt":
            return f"square_root({a})"
        case "neg":
            return wrapped(f"0u - ({unsigned}){a}") if integer else f"-{a}"
        case "abs":
            return f"float_of(bits_of({a}) & 0x7FFFFFFFu)"
        case "and" | "or" | "xor":
            symbol = {"and": "&", "or": "|", "xor": "^"}[i.op]
            return wrapped(f"({unsigned}){a} {symbol} ({unsigned}){b}") if integer else f"{a} {symbol} {b}"
        case "not":
            return f"!{a}"
        case "shl":
            return wrapped(f"({unsigned}){a} << {b}")
        case "sar":
            return wrapped(f"{a} < 0 ? ~(~({unsigned}){a} >> {b}) : ({unsigned}){a} >> {b}")
        case "shr":
            width = 32 if i.dtype == "i32" else 64
            return wrapped(f"{b} < {width} ? ({unsigned}){a} >> {b} : 0u")
        case "lt" | "le" | "eq":
            return f"{a} {dict(lt='<', le='<=', eq='==')[i.op]} {b}"
        case "select":
            return f"{a} ? {b} : {c}"
        case "bits":
            return f"signed_of(bits_of({a}))"
        case "float_of_bits":
            return f"float_of((uint32_t){a})"
        case "to_float":
            return f"(float){a}"
        case "to_int64":
            return f"(int64_t){a}"
        case "zero_extend":
            return f"(int64_t)(uint32_t){a}"
        case "narrow":
            return f"signed_of((uint32_t)((uint64_t){a} & 0xFFFFFFFFu))"
    raise AssertionError(i.op)


def used(text: str, known: frozenset[str] = frozenset()) -> str:
    """The helpers that a text calls and those that they call, in order of definition; but none that is `known` already."""
    sequences = {function_name(name): s for name, s in SEQUENCES.items()}
    order = [*SNIPPETS, *sequences]
    bodies: dict[str, str] = {}
    todo = [text]
    while todo:
        words = set(re.findall(r"\w+", todo.pop()))
        for name in order:
            if name in words and name not in bodies and name not in known:
                bodies[name] = SNIPPETS[name] if name in SNIPPETS else sequence_text(sequences[name])
                todo.append(bodies[name])
    return "\n\n".join(bodies[n] for n in order if n in bodies)
