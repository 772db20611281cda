"""Program → C sources around the kernels, and the kernels to compile."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from mlcc.core.dim import Dim, symbols
from mlcc.core.graph import DTYPES, to_bytes
from mlcc.core.terms import most
from mlcc.graph.freeze import Golden
from mlcc.names import comment, identifier
from mlcc.plugin import KernelJob, Sources
from mlcc.program.memory import aligned
from mlcc.program.program import Argument, Program
from mlcc.schedule.sweep import Sweep, sweeps
from mlcc.schedule.tasks import tasks, work
from mlcc.target import Target
from mlcc.translation.check import prove_turns
from mlcc_backends.render import render
from mlcc_backends.values import interface_values

SERIAL_WORK = 150_000  # operations below which waking threads costs more than it saves


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
    width = DTYPES[b.dtype].itemsize
    at, moved = a.offset * width, f" + c->turn * {a.advance * width}" if a.advance != 0 else ""
    if b.place == "constant":
        return f"c->weights + {b.offset + at}{moved}"
    if b.place == "arena":
        return f"c->arena + {b.offset + at}{moved}"
    index = [n for n, _ in (program.inputs if b.place == "input" else program.outputs)].index(b.name.split(".", 1)[1])
    base = f"(const char *)c->inputs[{index}]" if b.place == "input" else f"(char *)c->outputs[{index}]"
    return f"{base} + {at}{moved}"


def emit(program: Program, target: Target, vectors: Sequence[Golden]) -> Sources:
    """Pure: the same program and target give the same bytes."""
    shared = interface_values(program, target, vectors)
    name = shared["name"]
    variants, jobs = [], []
    for v in target.variants:
        suffix = identifier(v.name)
        names = {k: f"{name}_{k}_{suffix}" for k in program.kernels}
        jobs += [KernelJob(names[k], spec, replace(v, machine=v.machine_of(k))) for k, spec in program.kernels.items()]
        runs = {s.first: s for s in sweeps(program, v.machine)}
        prove_turns(program, [(s.first, s.calls) for s in runs.values()])
        turns = [runs.get(i, Sweep(i, 1, 1)) for i in range(len(program.calls))]
        calls = [
            {
                "symbol": names[c.kernel],
                "arguments": [pointer(program, a) for a in c.arguments],
                "tasks": (count := tasks(program.kernels[c.kernel], v.machine_of(c.kernel))),
                "counted": isinstance(count, Dim),
                "sized": [s.variable for s in sorted(symbols(program.kernels[c.kernel]))],
                "open": bool(symbols((program.kernels[c.kernel], c.arguments))),
                "parallel": int(most(sum(work(program.kernels[o.kernel]) for o in program.calls[i : i + turn.calls])) >= SERIAL_WORK),
                "together": turn.calls,
                "rows": turn.rows,
                "origin": comment(c.origin),
            }
            for i, (c, turn) in enumerate(zip(program.calls, turns))
        ]
        variants.append(
            {
                "name": v.name,
                "tiles": v.machine.amx,
                "suffix": suffix,
                "calls": calls,
                "kernels": [
                    (names[k], len(spec.arguments), [s.variable for s in sorted(symbols(spec))]) for k, spec in program.kernels.items()
                ],
            }
        )
    values = {**shared, "variants": variants, "threads": target.threads}
    rendered = {
        f"include/{name}.h": render("model.h.j2", **values),
        "src/model.c": render("model.c.j2", **values),
        "src/selftest.c": render("selftest.c.j2", **values),
        "src/pool.c": render("pool.c.j2", **values),
        "src/weights.c": render("weights.c.j2", **values),
        "src/internal.h": render("internal.h.j2", **values),
        "src/main.c": render("main.c.j2", **values),
        "src/weights.bin": weights_blob(program, target.endianness),
    }
    for variant in variants:
        rendered[f"src/steps_{variant['suffix']}.c"] = render("steps.c.j2", **values, variant=variant)
    return Sources(name, rendered, tuple(jobs))
