"""Proves a loop program against its core graph.

    >>> prove(program, graph)

Raises Error(conformance) naming the first call that is wrong. Which values a schedule may hand over in memory is not looked at: only what
the outputs are, and that nothing is read that is not there.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mlcc.core.graph import CoreGraph
from mlcc.error import Error
from mlcc.program.kernel import Map, Reduce
from mlcc.program.program import Program, written_out
from mlcc.program.statistics import accesses
from mlcc.translation import terms
from mlcc.translation.graph import GraphTerms, Value
from mlcc.translation.memory import Touch, addresses
from mlcc.translation.program import ProgramTerms

HINT = "this is a bug in mlcc; please report it with the model"


def prove(program: Program, graph: CoreGraph, meaning: dict[str, np.ndarray] | None = None) -> None:
    """Every output element is computed as the graph says; every access lies within its buffer and reads what was written and is still
    there; no two points of a kernel depend on each other. `meaning`: the outputs' terms, where they are known already (`means`)."""
    wanted = meaning if meaning is not None else means(graph)
    run = ProgramTerms(written_out(program))
    for _ in run.run():
        pass
    for name, t in program.outputs:
        if f"out.{name}" not in program.buffers:
            raise Error("conformance", f"wrong translation: output {name} is never written", program.name, HINT)
        if t.size and not np.array_equal(run.output(name), wanted[name].reshape(-1)):
            raise Error("conformance", f"wrong translation: {first_wrong(program, graph, name)}", program.name, HINT)


def means(graph: CoreGraph) -> dict[str, np.ndarray]:
    """The outputs' terms."""
    return {v: found.terms for v, found in GraphTerms(graph).run().items()}


def first_wrong(program: Program, graph: CoreGraph, output: str) -> str:
    """The first call whose value differs from the graph's, in words."""
    wanted = GraphTerms(graph).run(keep=True)
    program = written_out(program)
    run = ProgramTerms(program)
    last = {c.value: i for i, c in enumerate(program.calls)}
    for i in run.run():
        call = program.calls[i]
        layout = program.layouts.get(call.value)
        if last[call.value] != i or layout is None or call.value not in wanted or layout.buffer not in run.memory:
            continue
        got = terms.view(run.memory[layout.buffer], layout.offset, layout.type.shape, layout.strides)
        if not np.array_equal(got & ~terms.ROUNDED, _plain(wanted[call.value])):
            wrong = np.argwhere(got & ~terms.ROUNDED != _plain(wanted[call.value]))[0].tolist()
            return f"call {i} ({call.kernel.split('_')[0]} kernel, {call.origin}) gives another value at {wrong}"
    return f"output {output} is another value"


def _plain(value: Value) -> np.ndarray:
    return value.terms & ~terms.ROUNDED


def prove_turns(program: Program, turns: Sequence[tuple[int, int]]) -> None:
    """Runs of calls (first, count) that take turns row by row, on any threads: no row may touch what another row of the run writes."""
    for first, count in turns:
        if count < 2:
            continue
        written: dict[str, np.ndarray] = {}
        touches: list[tuple[Touch, bool]] = []
        for call in program.calls[first : first + count]:
            spec = program.kernels[call.kernel]
            if not isinstance(spec, Map | Reduce):
                raise Error("conformance", "wrong translation: calls take turns that have no rows", call.origin, HINT)
            for access, dims in accesses(spec):
                a = call.arguments[access.arg]
                touches.append((Touch(a.buffer, a.offset + access.offset, tuple(dims), access.strides, 1), access.arg in call.writes))
        for touch, writes in touches:
            if writes:
                owner = written.setdefault(touch.place, np.full(program.buffers[touch.place].elements, -1, np.int64))
                where, who = addresses(touch)
                if ((owner[where] >= 0) & (owner[where] != who)).any():
                    raise _turn(program, first)
                owner[where] = who
        for touch, _ in touches:
            if touch.place in written:
                where, who = addresses(touch)
                before = written[touch.place][where]
                if ((before >= 0) & (before != who)).any():
                    raise _turn(program, first)


def _turn(program: Program, first: int) -> Error:
    origin = program.calls[first].origin
    return Error("conformance", "wrong translation: rows that take turns depend on each other", origin, HINT)
