"""Program → HLS C++ that runs one layer after the other, weights streamed from external memory: for models that no part holds, and for
floats.

The loop program is the one that microcontrollers run; its kernels are the C backend's, with binary32 in integers (mlcc_real.h) and with dot
products over tiles of weights on the chip.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import ExitStack
from math import prod
from typing import Any

import numpy as np

from mlcc.core.graph import DTYPES, to_bytes
from mlcc.error import Error
from mlcc.graph.freeze import Golden
from mlcc.names import comment, identifier
from mlcc.program.kernel import Dot, Kernel
from mlcc.program.memory import aligned
from mlcc.program.packing import PLAIN
from mlcc.program.program import Argument, Program
from mlcc_backends.c import helpers
from mlcc_backends.c.dot import gather
from mlcc_backends.c.kernels import arguments, defined, function, symbols
from mlcc_backends.c.loops import close, nest
from mlcc_backends.c.text import Lines, address, element, memory_type, typed, value_type
from mlcc_backends.hls.catapult import translated
from mlcc_backends.render import render

TILE = 1 << 15  # elements of weights on the chip
OURS = ("bits_of", "float_of", "FMA", "fma_by_integers")  # in mlcc_real.h
PORTS = {"float": "real", **{f"{u}int{n}_t": f"{u}int{n}_t" for u in ("", "u") for n in (8, 16, 32, 64)}}


def emit(program: Program, target: str, catapult: bool, vectors: Sequence[Golden]) -> dict[str, bytes]:
    """Files by path: the design, its memory, its test. Raises Error(unsupported) for binary64."""
    if any(b.dtype == "float64" for b in program.buffers.values()):
        raise Error("unsupported", "no hardware for binary64", program.name, "give a float32 or a quantised model")
    name = identifier(program.name)
    places, arena, total = _places(program)
    named = symbols(program)
    text = "\n\n".join(_function(named[k], program.kernels[k]) for k in named)
    if re.search(r"\bdouble\b", text):
        raise Error("unsupported", "no hardware for binary64", program.name, "give a float32 or a quantised model")
    used = helpers.used(text)
    for snippet in OURS:
        used = used.replace(helpers.SNIPPETS[snippet], "")
    kinds = sorted({memory_type(d) for k in named for d in program.kernels[k].arguments})
    ports = [{"name": f"as_{k.removesuffix('_t')}", "type": PORTS[k], "depth": total // _size(k)} for k in kinds]
    calls = [
        {
            "symbol": named[c.kernel],
            "arguments": ", ".join(_pointer(program, places, a, d) for a, d in zip(c.arguments, program.kernels[c.kernel].arguments)),
            "comment": comment(c.origin),
        }
        for c in program.calls
    ]

    def tensors(kind: str, group: Any) -> list[dict[str, Any]]:
        by_name = {b.name.split(".", 1)[1]: b for b in program.buffers.values() if b.place == kind}
        return [{"tensor": comment(n), "at": places[by_name[n].name], "bytes": t.nbytes, "floats": t.dtype == "float32"} for n, t in group]

    values = {
        "name": name, "model": comment(program.name), "target": target, "bytes": total, "arena": arena, "ports": ports, "calls": calls,
        "helpers": with_reals(used), "kernels": with_reals(text), "inputs": tensors("input", program.inputs), "outputs": tensors("output", program.outputs),
        "frames": len(vectors),
    }  # fmt: skip
    design = render("engine.cpp.j2", **values)
    files = {
        "mlcc_real.h": render("mlcc_real.h.j2"),
        f"{name}.h": render("engine.h.j2", **values),
        f"{name}.cpp": translated(design) if catapult else design,
        f"{name}_test.cpp": render("engine_test.cpp.j2", **values),
        f"{name}_weights.bin": _weights(program, places, arena),
    }
    for i, (n, _) in enumerate(program.inputs):
        files[f"vectors/in{i}.bin"] = b"".join(to_bytes(g.inputs[n], "<") for g in vectors)
    for i, (n, _) in enumerate(program.outputs):
        files[f"vectors/out{i}.bin"] = b"".join(to_bytes(g.outputs[n], "<") for g in vectors)
    return files


def with_reals(text: str) -> str:
    """C with binary32 as a class: its name, and literals by their bits."""
    text = re.sub(r"(?<![\w.])(\d+\.?\d*(?:e[+-]?\d+)?)f\b", lambda m: f"real_of(0x{int(np.float32(m[1]).view(np.uint32)):08x}u)", text)
    return re.sub(r"\bfloat\b", "real", text)


def _size(kind: str) -> int:
    return 4 if kind == "float" else int(re.sub(r"\D", "", kind)) // 8


def _places(program: Program) -> tuple[dict[str, int], int, int]:
    """(byte offset of each buffer, the working memory's, the memory's size)."""
    places: dict[str, int] = {}
    at = 0
    for b in program.buffers.values():
        if b.place == "constant":
            places[b.name] = at
            at += aligned(program.constants[b.name].nbytes)
    arena = at
    for b in program.buffers.values():
        if b.place == "arena":
            places[b.name] = arena + b.offset
    at = arena + aligned(program.arena_bytes)
    for b in program.buffers.values():
        if b.place in ("input", "output"):
            places[b.name] = at
            at += aligned(b.elements * DTYPES[b.dtype].itemsize)
    return places, arena, at


def _weights(program: Program, places: dict[str, int], size: int) -> bytes:
    memory = bytearray(size)
    for name, array in program.constants.items():
        raw = to_bytes(array, "<")
        memory[places[name] : places[name] + len(raw)] = raw
    return bytes(memory)


def _pointer(program: Program, places: dict[str, int], a: Argument, dtype: str) -> str:
    kind = memory_type(dtype)
    at = places[a.buffer] + a.offset * DTYPES[program.buffers[a.buffer].dtype].itemsize
    return f"as_{kind.removesuffix('_t')} + {at // _size(kind)}"


def _function(symbol: str, spec: Kernel) -> str:
    """A kernel; dot products by tiles of weights."""
    if not isinstance(spec, Dot) or spec.batch or spec.packing == PLAIN:
        return function(symbol, spec)
    lines = Lines()
    _dot(lines, arguments(spec), spec)
    return defined(symbol, spec, lines)


def _dot(lines: Lines, names: list[str], spec: Dot) -> None:
    """Columns in groups as they are packed: a group's weights come to the chip, then every row's operands pass by them. Where results take
    the place of operands, rows come first, and all weights stay on the chip if there is room."""
    depth, kind = prod(spec.k), value_type(spec.dtype)
    size, wide, group = spec.packing.depth, spec.packing.rows(depth), spec.packing.columns
    in_place = spec.output.arg == spec.a.arg
    held = wide * group * (-(-spec.columns // group) if in_place else 1)
    tiled = held <= TILE
    x_type, w_type = (memory_type(spec.arguments[a.arg]) for a in (spec.a, spec.b))
    lines.add(f"{x_type} line[{wide}];")
    lines.add(f"{kind} sum[{group}];")
    lines.add("#pragma HLS ARRAY_PARTITION variable=sum complete")
    if tiled:
        lines.add(f"{w_type} tile[{held}];")
        lines.add(f"#pragma HLS ARRAY_PARTITION variable=tile cyclic factor={group}")

    def fetch(base: str) -> None:
        if tiled:
            with lines.loop(held) as i:
                lines.add("#pragma HLS PIPELINE II=1")
                lines.add(f"tile[{i}] = {names[spec.b.arg]}[{base} + {i}];")

    def columns(stack: ExitStack) -> str:
        return stack.enter_context(lines.loop(spec.columns, step=group) if spec.columns > group else lines.loop(1))

    with ExitStack() as stack:
        if in_place:
            fetch(str(spec.b.offset))
            point = nest(lines, stack, spec.rows)
            gather(lines, names, spec, point, "line", wide)
            c = columns(stack)
            weights = ("tile", address([c], [wide])) if tiled else (names[spec.b.arg], address([c], [wide], spec.b.offset))
        else:
            c = columns(stack)
            weights = ("tile", "0") if tiled else (names[spec.b.arg], address([c], [wide], spec.b.offset))
            fetch(address([c], [wide], spec.b.offset))
            point = nest(lines, stack, spec.rows)
            gather(lines, names, spec, point, "line", wide)
        with lines.loop(group) as j:
            start = typed(0, spec.dtype)
            if spec.init is not None:
                start = element(names, spec.init, [*point, f"({c} + {j} < {spec.columns} ? {c} + {j} : 0)"])
            lines.add(f"sum[{j}] = {start};")
        with lines.loop(wide) as k:
            lines.add("#pragma HLS PIPELINE")
            with lines.loop(group) as j:
                lines.add("#pragma HLS UNROLL")
                at = f"{k} * 4 + {j}" if group == 4 else f"{k} / {size} * {2 * size} + {j} * {size} + {k} % {size}"
                w = f"{weights[0]}[{weights[1]} + {at}]"
                if spec.scale is not None:
                    w = f"(float){w} * {element(names, spec.scale, [f'({c} + {j})'])}"
                total = f"FMA(line[{k}], {w}, sum[{j}])" if spec.dtype == "float32" else f"sum[{j}] + (int32_t)line[{k}] * (int32_t){w}"
                lines.add(f"sum[{j}] = {total};")
        with lines.loop(group) as j, lines.block(f"if ({c} + {j} < {spec.columns})"):
            close(lines, names, spec, [*point, f"({c} + {j})"], f"sum[{j}]")
