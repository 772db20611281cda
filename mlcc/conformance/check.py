"""Golden vectors on a built artifact, and the search for the first operator that differs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from itertools import takewhile
from typing import Any

import numpy as np

from mlcc.conformance.compare import ulps
from mlcc.core.graph import DTYPES, ByteOrder, CoreGraph, Node, canonical_bytes, from_bytes, to_bytes
from mlcc.core.ranges import bind, numbers_of
from mlcc.core.terms import most
from mlcc.error import Error
from mlcc.graph.freeze import Golden, outputs_digest
from mlcc.program.program import Program, turns
from mlcc.reference.execute import execute
from mlcc.schedule.tasks import work
from mlcc.target import Target

WIDEST = 0.02  # of an output's largest magnitude: what a bounded artifact may be away
SLOW_WORK = 150_000_000  # operations above which an emulator, or a CPU that emulates fma, gets one vector: minutes otherwise


@dataclass(frozen=True)
class Result:
    """status: passed, not-run; environment: what ran it; ran: (variant, vector) pairs that were compared; instructions: of one inference,
    where the environment counts them; bound: how far from the reference a bounded artifact's outputs are."""

    status: str
    environment: str
    ran: tuple[tuple[str, int], ...]
    instructions: int | None = None
    bound: Mapping[str, float] | None = None
    figures: Mapping[str, int] = field(default_factory=dict)  # what the runs measured besides

    def report(self, vectors: Sequence[Golden]) -> dict[str, Any]:
        return {
            "status": self.status,
            "environment": self.environment,
            **({"instructions": self.instructions} if self.instructions else {}),
            **({"bound": dict(self.bound)} if self.bound else {}),
            "vectors": [
                {"seed": g.seed, "kind": g.kind, "outputs_sha256": g.digest, "ran": [v for v, i in self.ran if i == n]}
                for n, g in enumerate(vectors)
            ],
        }


def check(runner: Any, target: Target, program: Program, graph: CoreGraph, vectors: Sequence[Golden], jobs: int = 1) -> Result:
    """Compare digests on every instruction set of the target that runs here, `jobs` vectors at once where each is a process of its own
    (runner.apart). Raises Error(conformance) naming the first differing operator."""
    if runner is None:
        return Result("not-run", "not run here: no such CPU, and no emulator for it is installed", ())
    total = sum(most(work(program.kernels[c.kernel])) * n for c, n in zip(program.calls, turns(program)))
    ran: list[tuple[str, int]] = []
    for v, variant in enumerate(target.variants):
        quick = total <= SLOW_WORK or (runner.environment == "native" and variant.machine.fma)
        runner.passes = 2 if quick else 1
        chosen = range(len(vectors) if quick else 1)
        with ThreadPoolExecutor(jobs if getattr(runner, "apart", False) else 1) as pool:
            digests = pool.map(partial(_outputs_of, runner, program, vectors, variant=v), chosen)
            outputs = list(takewhile(lambda digest: digest is not None, digests))
        for i, found in enumerate(outputs):
            if found != vectors[i].digest:
                where = first_difference(runner, program, graph, vectors[i])
                raise Error(
                    "conformance",
                    f"outputs differ from the reference on vector {i} ({vectors[i].kind}): {where}",
                    f"{program.name} for {variant.name} under {runner.environment}",
                    "this is a bug in mlcc; please report it with the model",
                )
            ran.append((variant.name, i))
    return Result("passed", runner.environment, tuple(ran), runner.instructions, figures=getattr(runner, "figures", {}))


def _outputs_of(runner: Any, program: Program, vectors: Sequence[Golden], i: int, variant: int) -> str | None:
    """The outputs' digest on vector `i`: by the artifact's own self-test, or by handing over inputs that no device can draw."""
    vector = vectors[i]
    if vector.drawn:
        found: str | None = runner.golden(sum(g.drawn for g in vectors[:i]), variant)
        return found
    if variant > 0:  # the artifact's own choice of instruction set runs these
        return None
    order: ByteOrder = ">" if runner.big_endian else "<"
    raw, _ = runner.run([to_bytes(vector.inputs[n], order) for n, _ in program.inputs], sizes=vector.sizes)
    arrays = [from_bytes(body, t.dtype, order) for body, (_, t) in zip(raw, program.outputs)]
    return outputs_digest({str(n): a for n, a in enumerate(arrays)})


def check_outputs(runner: Any, target: Target, graph: CoreGraph, vectors: Sequence[Golden]) -> Result:
    """For what computes whole models at once: equal digests where it is exact, else a measured bound over the ordinary vectors.

    Raises Error(conformance) where digests differ, or where a bounded artifact is farther than WIDEST from the reference.
    """
    vectors = vectors[: getattr(runner, "most", len(vectors))]
    found = runner.outputs([[g.inputs[n] for n in graph.inputs] for g in vectors])
    results = [dict(zip(graph.outputs, outputs)) for outputs in found]
    where = f"{graph.name} for {target.name} under {runner.environment}"
    if runner.exact:
        for i, (g, r) in enumerate(zip(vectors, results)):
            if outputs_digest(r) != g.digest:
                raise Error(
                    "conformance",
                    f"outputs differ from the reference on vector {i} ({g.kind})",
                    where,
                    "this is a bug in mlcc; please report it with the model",
                )
        return Result("passed", runner.environment, tuple((target.name, i) for i in range(len(vectors))))
    relative, distances = 0.0, [np.zeros(1, np.int64)]
    measured = [i for i, g in enumerate(vectors) if g.kind != "edge"]
    for i in measured:
        for name, want in vectors[i].outputs.items():
            a, b = (np.asarray(x).astype(np.float64) for x in (results[i][name], want))
            if a.shape != b.shape or not (np.isfinite(a) == np.isfinite(b)).all():
                raise Error("conformance", f"{name} is not finite where the reference is, or has another shape", where)
            size = max(float(np.abs(b[np.isfinite(b)]).max(initial=0)), 1e-30)
            relative = max(relative, float(np.abs(a - b)[np.isfinite(b)].max(initial=0)) / size)
            if np.asarray(want).dtype == np.float32:
                distances.append(ulps(np.asarray(results[i][name]), np.asarray(want)).reshape(-1))
    if relative > WIDEST:
        raise Error(
            "conformance", f"outputs are {relative:.2g} of their largest away from the reference; {WIDEST} is the most that passes", where
        )
    every = np.concatenate(distances)
    bound = {"relative": relative, "median_ulps": float(np.median(every)), "most_ulps": float(every.max())}
    return Result("passed", runner.environment, tuple((target.name, i) for i in measured), bound=bound)


def first_difference(runner: Any, program: Program, graph: CoreGraph, vector: Golden) -> str:
    """Name the first operator whose value differs, running ever more of the program and reading its arena."""
    if vector.sizes:
        numbers = numbers_of(vector.sizes, graph.sizes)
        program, graph = bind(program, numbers), bind(graph, numbers)
    expected: dict[str, np.ndarray] = {}

    def watch(node: Node, results: tuple[np.ndarray, ...]) -> None:
        expected.update({v: r for v, r in zip(node.outputs, results) if v in program.layouts})

    execute(graph, vector.inputs, watch)
    order: ByteOrder = ">" if runner.big_endian else "<"
    raw = [to_bytes(vector.inputs[n], order) for n, _ in program.inputs]
    last = {c.value: i for i, c in enumerate(program.calls)}
    for value, i in sorted(last.items(), key=lambda p: p[1]):
        layout = program.layouts.get(value)
        if layout is None or value not in expected or layout.type.size == 0:
            continue
        outputs, arena = runner.run(raw, i + 1, vector.sizes)
        buffer = program.buffers[layout.buffer]
        if buffer.place == "arena":
            memory = arena[buffer.offset : buffer.offset + buffer.nbytes]
        elif buffer.place == "output":
            memory = outputs[[n for n, _ in program.outputs].index(value)]
        else:
            continue
        dtype = DTYPES[buffer.dtype]
        flat = from_bytes(memory, buffer.dtype, order)
        got = np.lib.stride_tricks.as_strided(flat[layout.offset :], layout.type.shape, [s * dtype.itemsize for s in layout.strides])
        if canonical_bytes(got) != canonical_bytes(expected[value]):
            call = program.calls[i]
            wrong = np.argwhere(got != expected[value])
            at = wrong[0].tolist() if len(wrong) else []
            return (
                f"the first operator that differs is {call.origin} ({call.kernel.split('_')[0]} kernel), at {at}: {got[tuple(at)]!r} "
                f"instead of {expected[value][tuple(at)]!r}"
            )
    return "every operator by itself agrees, only the outputs differ"
