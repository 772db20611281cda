"""Program → one C99 file that computes the model, its header, and the self-test beside it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mlcc.core.dim import symbols as symbols_of
from mlcc.core.graph import DTYPES
from mlcc.graph.freeze import Golden
from mlcc.names import comment
from mlcc.plugin import Sources
from mlcc.program.kernel import storage
from mlcc.program.program import Argument, Program
from mlcc.target import Target
from mlcc_backends.c import helpers
from mlcc_backends.c.kernels import function, symbols, writes
from mlcc_backends.c.text import literal, memory_type
from mlcc_backends.render import render
from mlcc_backends.values import interface_values

WIDTH = 150  # characters of a line of numbers


def numbers(array: np.ndarray, dtype: str) -> str:
    """An array's elements as initialisers."""
    if dtype in ("float16", "bfloat16"):
        array, dtype = array.view(np.uint16), "uint16"
    kept, line = [], "   "
    for x in array.reshape(-1).tolist():
        text = f" {literal(x, dtype)},"
        if len(line) + len(text) > WIDTH:
            kept.append(line)
            line = "   "
        line += text
    return "\n".join([*kept, line])


def constant_arrays(program: Program) -> list[dict[str, str]]:
    """The weights as C arrays. Infinities and NaNs, which C has no literals for, make an array of bits that is read as floats."""
    found = []
    for name, b in program.buffers.items():
        if b.place != "constant":
            continue
        array, dtype = program.constants[name], storage(b.dtype)
        if dtype == "uint16":  # half-width floats are their bits
            array = array.view(np.uint16)
        odd = dtype in ("float32", "float64") and not np.isfinite(array).all()
        if odd:
            dtype = "uint32" if dtype == "float32" else "uint64"
            array = array.view(dtype)
        found.append(
            {
                "name": constant_name(name),
                "type": memory_type(dtype),
                "elements": str(max(1, b.elements)),
                "numbers": numbers(array, dtype) if b.elements else "0",
            }
        )
    return found


def constant_name(buffer: str) -> str:
    return f"weights_{buffer.split('.')[-1]}"


def pointer(program: Program, a: Argument, dtype: str, written: bool) -> str:
    """A kernel argument as a C expression."""
    b = program.buffers[a.buffer]
    const, kind = "" if written else "const ", memory_type(dtype)
    if b.place == "constant":
        plain = storage(b.dtype) == dtype and (dtype not in ("float32", "float64") or np.isfinite(program.constants[a.buffer]).all())
        name = constant_name(a.buffer) if plain else f"(const {kind} *)(const void *){constant_name(a.buffer)}"
        moved = f" + turn * {a.advance}" if a.advance != 0 else ""
        return f"{name} + {a.offset}{moved}" if a.offset != 0 else f"{name}{moved}"
    if b.place == "arena":
        at = b.offset + a.offset * DTYPES[b.dtype].itemsize
        if a.advance != 0:
            return f"({const}{kind} *)(void *)(arena + ({at} + turn * {a.advance * DTYPES[b.dtype].itemsize}))"
        return f"({const}{kind} *)(void *){f'(arena + {at})' if at != 0 else 'arena'}"
    index = [n for n, _ in (program.inputs if b.place == "input" else program.outputs)].index(b.name.split(".", 1)[1])
    base = f"({const}{kind} *){'inputs' if b.place == 'input' else 'outputs'}[{index}]"
    moved = f" + turn * {a.advance}" if a.advance != 0 else ""
    return f"{base} + {a.offset}{moved}" if a.offset != 0 else f"{base}{moved}"


def emit(program: Program, target: Target, vectors: Sequence[Golden]) -> Sources:
    """Pure: the same program gives the same bytes."""
    named = symbols(program)
    kernels = [function(named[key], program.kernels[key]) for key in named]
    order = {s: i for i, s in enumerate(program.sizes)}
    calls = []
    for c in program.calls:
        spec = program.kernels[c.kernel]
        written = writes(spec)
        layout = program.layouts.get(c.value)
        shape = f": {layout.type.dtype}{list(layout.type.shape)}" if layout else ""
        calls.append(
            {
                "symbol": named[c.kernel],
                "arguments": ", ".join(
                    [
                        *(pointer(program, a, d, i in written) for i, (a, d) in enumerate(zip(c.arguments, spec.arguments))),
                        *(s.variable for s in sorted(symbols_of(spec), key=lambda s: order[s])),
                    ]
                ),
                "comment": comment(f"{c.origin}{shape}"),
            }
        )
    text = "\n\n".join(kernels)
    probes = " && ".join(["probe()"] * ("float" in text) + ["probe_fused()"] * ("FMA(" in text)) or "1"
    shared = interface_values(program, target, vectors)
    name = shared["name"]
    filled = shared | {
        "prelude": helpers.PRELUDE,
        "helpers": helpers.used(f"{text} {probes}"),
        "probes": probes,
        "probed": True,
        "kernels": text,
        "constants": constant_arrays(program),
        "calls": calls,
    }
    rendered = {
        f"include/{name}.h": render("model.h.j2", **filled),
        f"src/{name}.c": render("model_c99.c.j2", **filled),
        "src/internal.h": render("internal_c99.h.j2", **filled),
        "src/selftest.c": render("selftest.c.j2", **filled),
        "src/main.c": render("main.c.j2", **filled),
    }
    return Sources(name, rendered, ())
