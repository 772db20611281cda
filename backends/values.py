"""What every backend's templates say of a program: its interface and its test vectors."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from mlcc.core.describe import Description
from mlcc.core.graph import DTYPES, TensorType
from mlcc.core.terms import most
from mlcc.core.terms import public as public_size
from mlcc.graph.draws import Draw
from mlcc.graph.freeze import EDGES_F32, EDGES_INT, Golden
from mlcc.names import C_TYPES, comment, identifier, unique
from mlcc.program.memory import aligned
from mlcc.program.program import Argument, Program
from mlcc.target import Target
from mlcc_backends import facts

KINDS = {"float32": 0, "float64": 1, "float16": 2, "bfloat16": 3, "bool": 4}  # how the self-test makes and digests elements; 5: integers


def tensor(t: TensorType, public: str, name: str) -> dict[str, Any]:
    return {
        "public": comment(public),
        "name": name,
        "type": C_TYPES[t.dtype],
        "dtype": t.dtype,
        "shape": [public_size(n) for n in t.shape],
        "rank": len(t.shape),
        "extents": [str(n) for n in t.shape],  # in C, over the sizes' numbers
        "open": not t.static,
        "count": str(t.size),
        "elements": most(t.size),
        "bytes": t.nbytes,
        "size": DTYPES[t.dtype].itemsize,
        "kind": KINDS.get(t.dtype, 5),
        "signed": int(not t.dtype.startswith("u")),
    }


def _byte(program: Program, a: Argument | None) -> str:
    """Where a byte of the arena lies."""
    return "" if a is None else str(program.buffers[a.buffer].offset + a.offset)


def drawing(t: TensorType, draw: Draw) -> dict[str, Any]:
    """How the self-test draws an input: mode 0 free, 1 a range, 2 a ramp, 3 a float between 0 and 1."""
    mode = {"free": 0, "range": 1, "ramp": 2, "unit": 3}[draw.kind]
    return {"mode": mode, "low": draw.low, "span": draw.span}


def interface_values(program: Program, target: Target, vectors: Sequence[Golden]) -> dict[str, Any]:
    """Names, tensors, sizes and vectors, as the header's and the self-test's templates take them."""
    name = identifier(program.name)
    inputs, outputs = (
        [tensor(t, n, i) for (n, t), i in zip(group, unique([n for n, _ in group]))] for group in (program.inputs, program.outputs)
    )
    drawn = [g for g in vectors if g.drawn]
    how = drawn[0].draws if drawn else {}
    for kind, entries, found in (("INPUT", inputs, program.inputs), ("OUTPUT", outputs, program.outputs)):
        facts.about(kind, entries, [t for _, t in found], [program.described.get(n, Description()) for n, _ in found])
    for group, (public, t) in zip(inputs, program.inputs):
        group |= drawing(t, how.get(public, Draw()))
    for group in outputs:
        group |= drawing(program.outputs[0][1], Draw())
    members = unique([*(t["name"] for t in inputs), *(s.name for s in program.sizes)])[len(inputs) :]
    tensors = [n for n, _ in (*program.inputs, *program.outputs)]
    return {
        "name": name,
        "NAME": name.upper(),
        "model": comment(program.name),
        "target": target.name,
        "inputs": inputs,
        "outputs": outputs,
        "arena_bytes": program.arena_bytes,
        "sizes": [
            {
                "name": s.name,
                "member": m,
                "variable": s.variable,
                "step": s.step,
                "rest": s.rest,
                "least": s.sizes[0],
                "most": s.sizes[-1],
            }
            for s, m in zip(program.sizes, members)
        ],
        "loops": [
            {"first": loop.first, "last": loop.last, "count": str(loop.count), "going": _byte(program, loop.going)}
            for loop in program.loops
        ],
        "vectors": [
            {
                "seed": g.seed,
                "edge": int(g.kind == "edge"),
                "scale": f"0x{int(np.float32(2.0**g.exponent).view(np.uint32)):08x}",
                "digest": ", ".join(f"0x{b:02x}" for b in bytes.fromhex(g.digest)),
                "sizes": [g.sizes[s.name] for s in program.sizes],
                "counts": [{**g.inputs, **g.outputs}[n].size for n in tensors],
            }
            for g in drawn
        ],
        "edges_f32": ", ".join(f"0x{e:08x}u" for e in EDGES_F32),
        "edges_int": ", ".join(f"{e}LL" for e in EDGES_INT),
        "threads": False,
        "probed": False,
        "build": hashlib.sha256("".join(g.digest for g in vectors).encode()).hexdigest()[:16],
        "selftest_bytes": sum(aligned(t["bytes"]) for t in (*inputs, *outputs)) + program.arena_bytes + 128,
    }
