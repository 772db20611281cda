"""Runs of calls that take turns row by row: found where they may, refused where a row needs another one."""

from __future__ import annotations

import ctypes

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from mlcc.core.graph import DTYPES, canonical_bytes
from mlcc.graph.builder import Builder, Value
from mlcc.program.lower import lower
from mlcc.reference.execute import execute
from mlcc.schedule.sweep import Sweep, sweeps
from mlcc.target import load
from tests.support import Compiled, graph_of, numbers


def softmax(b: Builder, x: Value) -> Value:
    e = b("Exp", b("Sub", x, b("ReduceMax", x, axes=(1,))))
    return b("Div", e, b("ReduceSum", e, axes=(1,)))


class InTurns(Compiled):
    """Runs as the library does: each run's calls on a few rows, then on the next ones."""

    def __call__(self, inputs, split: int = 1):  # type: ignore[no-untyped-def]
        p, found = self.program, sweeps(self.program, self.target.machine)
        arena = np.full(p.arena_bytes + 64, 0xA5, np.uint8)
        base = (arena.ctypes.data + 63) & ~63
        outputs = {n: np.zeros(t.shape, DTYPES[t.dtype]) for n, t in p.outputs}
        constants = {n: np.ascontiguousarray(a) for n, a in p.constants.items()}

        def address(a):  # type: ignore[no-untyped-def]
            b = p.buffers[a.buffer]
            named = b.name.split(".", 1)[-1]
            start = {
                "arena": lambda: base + b.offset,
                "constant": lambda: constants[b.name].ctypes.data,
                "input": lambda: inputs[named].ctypes.data,
                "output": lambda: outputs[named].ctypes.data,
            }[b.place]()
            return ctypes.c_void_p(start + a.offset * DTYPES[b.dtype].itemsize)

        from mlcc.schedule.tasks import tasks

        for s in found:
            calls = p.calls[s.first : s.first + s.calls]
            total = tasks(p.kernels[calls[0].kernel], self.target.machine)
            rows = s.rows if s.calls > 1 else total
            for at in range(0, total, rows):
                for c in calls:
                    function = getattr(self.library, c.kernel)
                    function(ctypes.c_int32(at), ctypes.c_int32(min(total, at + rows)), *(address(a) for a in c.arguments))
        return outputs


@settings(max_examples=10, deadline=None)
@given(rows=st.integers(32, 90), columns=st.integers(17, 5000), seed=st.integers(0, 5), special=st.booleans())
def test_softmax(rows: int, columns: int, seed: int, special: bool) -> None:
    graph = graph_of({"x": ("float32", (rows, columns))}, softmax)
    x = numbers(seed, (rows, columns), "float32", special)
    program = lower(graph)
    target = load("native").variants[0]
    if columns >= 200:  # the row sums are then small enough to keep their memory
        assert max(s.calls for s in sweeps(program, target.machine)) >= 3
    assert canonical_bytes(InTurns(program, target)({"x": x})["y0"]) == canonical_bytes(np.asarray(execute(graph, {"x": x})["y0"]))


def test_rows_that_need_others_stay_apart() -> None:
    """A sum over rows reads what all rows wrote."""

    def make(b: Builder, x: Value) -> Value:
        return b("ReduceSum", b("Exp", x), axes=(0,))

    program = lower(graph_of({"x": ("float32", (64, 40))}, make))
    assert sweeps(program, load("native").variants[0].machine) == [Sweep(i, 1, 1) for i in range(len(program.calls))]
