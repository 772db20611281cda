"""Attention: one kernel whose scores never lie in memory, its bits those of the three operators."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlcc.core.graph import CoreGraph
from mlcc.graph.builder import Builder, Value
from mlcc.program.kernel import Nest
from mlcc.program.lower import lower
from mlcc.target import load, runs_here
from tests.support import assert_exact, graph_of, numbers


def attention(heads: tuple[int, ...], rows: int, keys: int, depth: int, width: int, mask: tuple[int, ...] | None = None) -> CoreGraph:
    """softmax(q·kᵀ·s + mask)·v with q, k, v as a model's linear layers leave them: [rows, heads, depth]."""

    def make(b: Builder, q: Value, k: Value, v: Value, *m: Value) -> Value:
        n = len(heads)
        q, k, v = (b("Transpose", x, perm=(*range(n - 1), n, n - 1, n + 1)) if n else x for x in (q, k, v))
        scores = b("Mul", b("MatMul", q, b("Transpose", k, perm=(*range(n), n + 1, n))), b.constant(np.float32(depth**-0.5)))
        scores = b("Add", scores, m[0]) if m else scores
        e = b("Exp", b("Sub", scores, b("ReduceMax", scores, axes=(n + 1,))))
        return b("MatMul", b("Div", e, b("ReduceSum", e, axes=(n + 1,))), v)

    def lay(length: int, size: int) -> tuple[int, ...]:
        return (*heads[:-1], length, *heads[-1:], size)

    inputs = {"q": lay(rows, depth), "k": lay(keys, depth), "v": lay(keys, width), **({"m": mask} if mask else {})}
    return graph_of({n: ("float32", shape) for n, shape in inputs.items()}, make)


@settings(max_examples=12, deadline=None)
@given(
    heads=st.sampled_from([(), (2,), (3,), (1, 2), (2, 3)]),
    rows=st.integers(4, 60),
    keys=st.integers(1, 70),
    depth=st.integers(1, 20),
    width=st.integers(1, 40),
    masked=st.booleans(),
    special=st.booleans(),
    seed=st.integers(0, 99),
)
def test_bits_are_those_of_its_operators(
    heads: tuple[int, ...], rows: int, keys: int, depth: int, width: int, masked: bool, special: bool, seed: int
) -> None:
    mask = (rows, keys) if masked else None
    graph = attention(heads, rows, keys, depth, width, mask)
    feed = {n: numbers(seed + i, graph.types[n].shape, "float32", special) for i, n in enumerate(graph.inputs)}
    if mask and seed % 2:
        feed["m"] = np.where(np.arange(keys) > np.arange(rows)[:, None], np.float32(-np.inf), np.float32(0))
    assert_exact(graph, feed)


@pytest.mark.parametrize("target", ["x86_64-v2", "x86_64-v3", "x86_64-v4"])
def test_on_each_instruction_set(target: str) -> None:
    if not runs_here(load(target)):
        pytest.skip(f"no {target} here")
    graph = attention((2,), 37, 50, 16, 24, (37, 50))
    feed = {n: numbers(i, graph.types[n].shape, "float32", True) for i, n in enumerate(graph.inputs)}
    assert_exact(graph, feed, load(target).variants[0])


@pytest.mark.parametrize(("rows", "calls"), [(48, 1), (50, 1), (53, 2)])
def test_scores_take_no_arena(rows: int, calls: int) -> None:
    """The whole scores would be 4 × rows × 512 × 4 bytes; the packed keys and values are 4 × 512 × 48 × 4."""
    program = lower(attention((4,), rows, 512, 32, 16))
    assert sum(isinstance(program.kernels[c.kernel], Nest) for c in program.calls) == calls
    assert program.arena_bytes <= 4 * 512 * 48 * 4 + 1024


def test_scores_that_are_an_output_are_kept() -> None:
    def make(b: Builder, q: Value, k: Value) -> tuple[Value, Value]:
        scores = b("MatMul", q, k)
        e = b("Exp", b("Sub", scores, b("ReduceMax", scores, axes=(1,))))
        return scores, b("MatMul", b("Div", e, b("ReduceSum", e, axes=(1,))), k)

    graph = graph_of({"q": ("float32", (24, 24)), "k": ("float32", (24, 24))}, make)
    assert not any(isinstance(k, Nest) for k in lower(graph).kernels.values())
    assert_exact(graph, {"q": numbers(0, (24, 24), "float32"), "k": numbers(1, (24, 24), "float32")})
