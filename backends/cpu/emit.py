"""Program → C sources around the kernels, and the kernels to compile."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from mlcc.graph.core import DTYPES, TensorType, to_bytes
from mlcc.graph.freeze import EDGES_F32, EDGES_INT, Golden
from mlcc.names import identifier, unique
from mlcc.program.memory import aligned
from mlcc.program.program import Argument, Program
from mlcc.schedule.sweep import Sweep, sweeps
from mlcc.schedule.tiles import tasks, work
from mlcc.target import Target
from mlcc_backends.interface import KernelJob, Sources
from mlcc_backends.render import render

C_TYPES = {
    "float32": "float",
    "float64": "double",
    "float16": "uint16_t",
    "bfloat16": "uint16_t",
    "bool": "uint8_t",
    **{f"{u}int{n}": f"{u}int{n}_t" for u in ("", "u") for n in (8, 16, 32, 64)},
}
KINDS = {"float32": 0, "float64": 1, "float16": 2, "bfloat16": 3, "bool": 4}  # how the self-test makes and digests elements; 5: integers
SERIAL_WORK = 150_000  # operations below which waking threads costs more than it saves


def tensor(t: TensorType, public: str, name: str) -> dict[str, Any]:
    return {
        "public": public,
        "name": name,
        "type": C_TYPES[t.dtype],
        "dtype": t.dtype,
        "shape": list(t.shape),
        "elements": t.size,
        "bytes": t.nbytes,
        "size": DTYPES[t.dtype].itemsize,
        "kind": KINDS.get(t.dtype, 5),
        "signed": int(not t.dtype.startswith("u")),
    }


def weights_blob(program: Program, endianness: str) -> bytes:
    """All constants at their offsets, in the target's byte order."""
    constants = {n: b for n, b in program.buffers.items() if b.place == "constant"}
    blob = bytearray(max((b.offset + aligned(b.nbytes) for b in constants.values()), default=64))
    for n, b in constants.items():
        blob[b.offset : b.offset + b.nbytes] = to_bytes(program.constants[n], ">" if endianness == "big" else "<")
    return bytes(blob)


def pointer(program: Program, a: Argument) -> str:
    """A kernel argument as a C expression."""
    b = program.buffers[a.buffer]
    at = a.offset * DTYPES[b.dtype].itemsize
    if b.place == "constant":
        return f"c->weights + {b.offset + at}"
    if b.place == "arena":
        return f"c->arena + {b.offset + at}"
    index = [n for n, _ in (program.inputs if b.place == "input" else program.outputs)].index(b.name.split(".", 1)[1])
    return f"(const char *)c->inputs[{index}] + {at}" if b.place == "input" else f"(char *)c->outputs[{index}] + {at}"


def emit(program: Program, target: Target, vectors: Sequence[Golden]) -> Sources:
    """Pure: the same program and target give the same bytes."""
    name = identifier(program.name)
    inputs = [tensor(t, n, i) for (n, t), i in zip(program.inputs, unique([n for n, _ in program.inputs]))]
    outputs = [tensor(t, n, i) for (n, t), i in zip(program.outputs, unique([n for n, _ in program.outputs]))]
    variants, jobs = [], []
    for v in target.variants:
        suffix = identifier(v.name)
        symbols = {k: f"{name}_{k}_{suffix}" for k in program.kernels}
        jobs += [KernelJob(symbols[k], spec, replace(v, machine=v.machine_of(k))) for k, spec in program.kernels.items()]
        runs = {s.first: s for s in sweeps(program, v.machine)}
        turns = [runs.get(i, Sweep(i, 1, 1)) for i in range(len(program.calls))]
        calls = [
            {
                "symbol": symbols[c.kernel],
                "arguments": [pointer(program, a) for a in c.arguments],
                "tasks": tasks(program.kernels[c.kernel], v.machine_of(c.kernel)),
                "parallel": int(sum(work(program.kernels[o.kernel]) for o in program.calls[i : i + turn.calls]) >= SERIAL_WORK),
                "together": turn.calls,
                "rows": turn.rows,
                "origin": c.origin.replace("*/", "").replace("\\", "/"),
            }
            for i, (c, turn) in enumerate(zip(program.calls, turns))
        ]
        variants.append(
            {
                "name": v.name,
                "tiles": v.machine.amx,
                "suffix": suffix,
                "calls": calls,
                "kernels": [(symbols[k], len(spec.arguments)) for k, spec in program.kernels.items()],
            }
        )
    values = {
        "name": name,
        "NAME": name.upper(),
        "model": program.name,
        "target": target.name,
        "inputs": inputs,
        "outputs": outputs,
        "arena_bytes": program.arena_bytes,
        "variants": variants,
        "vectors": [
            {"seed": g.seed, "edge": int(g.kind == "edge"), "digest": ", ".join(f"0x{b:02x}" for b in bytes.fromhex(g.digest))}
            for g in vectors
        ],
        "edges_f32": ", ".join(f"0x{e:08x}u" for e in EDGES_F32),
        "edges_int": ", ".join(f"{e}LL" for e in EDGES_INT),
        "threads": target.threads,
        "selftest_bytes": sum(aligned(t["bytes"]) for t in (*inputs, *outputs)) + program.arena_bytes + 128,
    }
    rendered = {
        f"include/{name}.h": render("model.h.j2", **values),
        "src/model.c": render("model.c.j2", **values),
        "src/selftest.c": render("selftest.c.j2", **values),
        "src/pool.c": render("pool.c.j2", **values),
        "src/weights.c": render("weights.c.j2", **values),
        "src/internal.h": render("internal.h.j2", **values),
        "src/main.c": render("main.c.j2", **values),
        f"lib/pkgconfig/{name}.pc": render("model.pc.j2", **values),
        f"lib/cmake/{name}/{name}Config.cmake": render("Config.cmake.j2", **values),
        "src/weights.bin": weights_blob(program, target.endianness),
    }
    for variant in variants:
        rendered[f"src/steps_{variant['suffix']}.c"] = render("steps.c.j2", **values, variant=variant)
    return Sources(name, rendered, tuple(jobs))
