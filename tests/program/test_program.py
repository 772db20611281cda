"""Views, the memory plan, the program's validator."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlcc.core.graph import CoreGraph, Node
from mlcc.error import Error
from mlcc.program import program as loop
from mlcc.program.fusion import Group
from mlcc.program.lower import lower
from mlcc.program.memory import Span, aligned, lower_bound, plan
from mlcc.program.order import orders
from mlcc.program.view import View, collapse, row_major
from tests.support import graph_of, numbers


@given(st.lists(st.integers(1, 4), min_size=1, max_size=4), st.data())
def test_reshaped_views_name_the_same_elements(shape: list[int], data: st.DataObject) -> None:
    perm = data.draw(st.permutations(range(len(shape))))
    array = np.arange(np.prod(shape)).reshape(shape).transpose(perm)
    view = View("b", "int64", tuple(shape), row_major(shape)).transpose(perm)
    flat = list(array.shape)
    i = data.draw(st.integers(0, len(flat) - 1))
    for new in ((array.size,), (*flat[:i], 1, *flat[i:]), (*flat[:i], int(np.prod(flat[i:])))):
        found = view.reshape(new)
        assert found is not None or list(perm) != sorted(perm)  # what lies in order can be reshaped
        if found is not None:
            memory = np.arange(array.size)
            got = np.lib.stride_tricks.as_strided(memory[found.offset :], new, [s * 8 for s in found.strides])
            assert np.array_equal(got, array.reshape(new))


@given(st.lists(st.integers(1, 4), min_size=1, max_size=5), st.lists(st.integers(0, 9), min_size=5, max_size=5))
def test_collapsed_dims_walk_the_same_addresses(dims: list[int], other: list[int]) -> None:
    tables = [row_major(dims), tuple(other[: len(dims)])]
    merged, strides = collapse(dims, tables)
    for table, short in zip(tables, strides):
        full = [sum(i * s for i, s in zip(index, table)) for index in np.ndindex(*dims)]
        assert [sum(i * s for i, s in zip(index, short)) for index in np.ndindex(*merged)] == full


spans = st.lists(st.tuples(st.integers(1, 5000), st.integers(0, 20), st.integers(0, 8)), min_size=1, max_size=25)


@given(spans)
def test_plan_never_overlaps_live_buffers(raw: list[tuple[int, int, int]]) -> None:
    made = [Span(f"s{i}", n, first, first + length) for i, (n, first, length) in enumerate(raw)]
    total, offsets = plan(made)
    assert total >= lower_bound(made)
    for i, a in enumerate(made):
        assert offsets[a.name] % 64 == 0 and offsets[a.name] + aligned(a.nbytes) <= total
        for b in made[i + 1 :]:
            if a.first <= b.last and b.first <= a.last:
                assert offsets[a.name] + aligned(a.nbytes) <= offsets[b.name] or offsets[b.name] + aligned(b.nbytes) <= offsets[a.name]


def test_validator_finds_broken_programs() -> None:
    program = lower(graph_of({"x": ("float32", (2, 3))}, lambda b, x: b("MatMul", b("Exp", x), b.constant(numbers(1, (3, 4), "float32")))))
    loop.validate(program)
    arena = next(b for b in program.buffers.values() if b.place == "arena")
    broken = [
        replace(program, calls=program.calls[1:]),
        replace(program, kernels={}),
        replace(program, arena_bytes=0),
        replace(program, buffers={**program.buffers, arena.name: replace(arena, offset=1)}),
        replace(program, calls=(replace(program.calls[0], arguments=program.calls[0].arguments[:1]), *program.calls[1:])),
    ]
    for p in broken:
        with pytest.raises(Error):
            loop.validate(p)


def test_elementwise_results_take_the_place_of_dying_operands() -> None:
    def make(b, x):  # type: ignore[no-untyped-def]
        y = b("ReduceSum", x, axes=(0,))  # read twice below, so that nothing fuses across
        z = b("Add", b("Exp", b("Add", x, y)), y)
        return b("ReduceMax", z, axes=(1,)), b("ReduceMin", z, axes=(0,))

    program = lower(graph_of({"x": ("float32", (64, 64))}, make))
    assert program.arena_bytes <= 1.1 * program.arena_lower_bound


def branches(count: int, wide: int) -> CoreGraph:
    """Every branch makes a wide value and reduces it; written with all wide values first, as exporters may."""

    def make(b, x):  # type: ignore[no-untyped-def]
        raised = [b("MatMul", x, b.constant(numbers(i, (8, wide), "float32"))) for i in range(count)]
        return b("Concat", *(b("ReduceSum", r, axes=(1,)) for r in raised), axis=1)

    return graph_of({"x": ("float32", (8, 8))}, make)


def test_compact_programs_run_branches_one_after_the_other() -> None:
    graph = branches(6, 256)
    assert lower(graph, compact=True).arena_bytes < 2 * 8 * 256 * 4
    assert lower(graph).arena_bytes >= 6 * 8 * 256 * 4, "the order as written keeps all of them"


@given(st.integers(0, 10**6), st.integers(2, 14))
def test_orders_are_topological(seed: int, count: int) -> None:
    r = np.random.default_rng(seed)
    groups = []
    for i in range(count):
        reads = tuple(f"v{j}" for j in r.choice(i, min(i, int(r.integers(0, 4))), replace=False)) if i else ()
        groups.append(Group((Node("Concat", reads or ("x",), (f"v{i}",)),), None))
    for order in orders(groups, lambda v: 1 + int(v[1:]) * 37 % 101):
        assert sorted(map(id, order)) == sorted(map(id, groups))
        done = {"x"}
        for g in order:
            assert set(g.reads) <= done
            done |= set(g.sink.outputs)
