"""Views, the memory plan, the program's validator."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlcc.core.graph import CoreGraph, Node
from mlcc.error import Error
from mlcc.program import program as loop
from mlcc.program.fusion import Group
from mlcc.program.iteration import iterate
from mlcc.program.lower import lower
from mlcc.program.memory import Span, _place, aligned, linger, lower_bound, plan
from mlcc.program.order import orders
from mlcc.program.view import View, row_major
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
    it = iterate(dims, tables)
    for table in tables:
        full = [sum(i * s for i, s in zip(index, table)) for index in np.ndindex(*dims)]
        assert [sum(i * s for i, s in zip(index, it.over(table))) for index in np.ndindex(*it.dims)] == full


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


def test_lower_bound_and_lingering() -> None:
    made = [Span("a", 100, 0, 1), Span("b", 64, 1, 2), Span("c", 1, 2, 2), Span("d", 6400, 4, 5)]
    assert [aligned(n) for n in (0, 1, 64, 65)] == [0, 64, 64, 128]
    assert lower_bound(made) == 6400 and lower_bound(made[:3]) == 192 and lower_bound([]) == 0
    assert lower_bound([Span("a", 64, 0, 0), Span("b", 64, 1, 1)]) == 64  # one after the other
    kept = linger(made, 6)
    assert [(s.name, s.last) for s in kept] == [("a", 5), ("b", 5), ("c", 5), ("d", 5)]
    assert [s.last for s in linger([*made[:3], replace(made[3], nbytes=6336)], 100)] == [1, 8, 8, 5]  # a hundredth and more stays
    assert plan([]) == (0, {})


def test_the_plan_is_the_best_where_that_is_easy() -> None:
    total, offsets = plan([Span("a", 64, 0, 1), Span("b", 128, 1, 2), Span("c", 64, 2, 3), Span("d", 128, 3, 4)])
    assert total == 192 and offsets["a"] != offsets["b"]
    assert plan([Span("a", 64, 0, 9), Span("b", 64, 0, 9)])[0] == 128
    assert plan([Span("a", 0, 0, 1)]) == (0, {"a": 0})
    gap = [Span("a", 128, 0, 9), Span("b", 64, 0, 3), Span("c", 64, 2, 9), Span("d", 64, 4, 9)]
    assert _place(gap) == (256, {"a": 0, "b": 128, "c": 192, "d": 128})  # what fits exactly
    hard = [Span(f"s{i}", 64 * (1 + i * 2 % 23), i * 5 % 13, i * 5 % 13 + i * 3 % 6) for i in range(30)]
    assert plan(hard) == plan(hard) and plan(hard)[0] == 5888  # first fit alone takes 6656


def test_narrow_weights_are_seen() -> None:
    w = numbers(1, (64, 48), "float32").astype(np.float16).astype(np.float32)

    def program(weights: np.ndarray, **options: bool) -> loop.Program:
        return lower(graph_of({"x": ("float32", (2, 64))}, lambda b, x: b("MatMul", x, b.constant(weights))), **options)

    q = np.random.default_rng(0).integers(-127, 128, (64, 48)).astype(np.float32) * np.float32(0.25)
    assert loop.narrow(program(w, narrow=True)) and loop.narrow(program(q, narrow=True))
    assert not loop.narrow(program(w)) and not loop.narrow(program(numbers(3, (64, 48), "float32"), narrow=True))
    assert not loop.narrow(program(q, compact=True))


def broken(program: loop.Program, what: str) -> None:
    with pytest.raises(Error) as e:
        loop.validate(program)
    assert (
        e.value.code == "model" and e.value.what.startswith("invalid program: ") and what in e.value.what and e.value.where == program.name
    ), e.value.what


def test_each_rule_of_programs() -> None:
    w = numbers(1, (3, 40), "float32")
    p = lower(graph_of({"x": ("float32", (2, 3))}, lambda b, x: b("Sqrt", b("MatMul", b("Exp", x), b.constant(w)))))
    loop.validate(p)
    arena = [b for b in p.buffers.values() if b.place == "arena"]
    (constant,) = (b.name for b in p.buffers.values() if b.place == "constant")
    first, last = p.calls[0], p.calls[-1]

    def calls(call: loop.KernelCall) -> loop.Program:
        return replace(p, calls=(call, *p.calls[1:]))

    def resized(name: str, **change: Any) -> loop.Program:
        return replace(p, buffers={**p.buffers, name: replace(p.buffers[name], **change)})

    broken(replace(p, kernels={}), f"no kernel {first.kernel}")
    broken(calls(replace(first, arguments=first.arguments[:1])), f"takes 2 arguments, {first.origin} gives 1")
    broken(calls(replace(first, arguments=(loop.Argument("nowhere"), first.arguments[1]))), "no buffer nowhere")
    size = p.buffers[first.arguments[0].buffer].elements
    for offset in (-1, size + 1):
        broken(calls(replace(first, arguments=(replace(first.arguments[0], offset=offset), first.arguments[1]))), "points outside")
    loop.validate(calls(replace(first, arguments=(replace(first.arguments[0], offset=size), first.arguments[1]))))  # one behind the last
    for name, place in ((constant, "constant"), ("in.x", "input")):
        wrong = [loop.Argument(name) if i in first.writes else a for i, a in enumerate(first.arguments)]
        broken(calls(replace(first, arguments=tuple(wrong))), f"writes to {place} {name}")
    broken(replace(p, calls=p.calls[1:]), "before anything wrote it")
    broken(replace(p, calls=(last, *p.calls[:-1])), "before anything wrote it")
    made = p.calls[0].arguments[p.calls[0].writes[0]].buffer
    broken(replace(resized(made, elements=1), calls=p.calls[1:]), "before anything wrote it")
    loop.validate(replace(resized(made, elements=0), calls=p.calls[1:]))  # nothing is read
    for x in arena:
        broken(resized(x.name, offset=x.offset + 1), f"{x.name} lies outside the arena")
        broken(replace(p, arena_bytes=x.offset + x.nbytes - 1), "lies outside the arena")
        broken(resized(x.name, offset=p.arena_bytes), f"{x.name} lies outside the arena")


def test_a_buffer_may_end_where_the_arena_does() -> None:
    p = lower(graph_of({"x": ("float32", (2, 3))}, lambda b, x: b("MatMul", b("Exp", x), b.constant(numbers(1, (3, 4), "float32")))))
    last = max((b for b in p.buffers.values() if b.place == "arena"), key=lambda b: b.offset)
    loop.validate(replace(p, arena_bytes=last.offset + last.nbytes))
    broken(replace(p, arena_bytes=last.offset + last.nbytes - 1), "lies outside the arena")


def test_live_buffers_may_not_overlap() -> None:
    u, v = numbers(1, (3, 40), "float32"), numbers(2, (40, 5), "float32")
    p = lower(graph_of({"x": ("float32", (2, 3))}, lambda b, x: b("MatMul", b("MatMul", b("Exp", x), b.constant(u)), b.constant(v))))
    loop.validate(p)
    one, other = (b for b in p.buffers.values() if b.place == "arena")
    broken(replace(p, buffers={**p.buffers, one.name: replace(one, offset=other.offset)}), "overlap while both live")
    loop.validate(replace(p, buffers={**p.buffers, one.name: replace(one, offset=other.offset, nbytes=0)}))
    u3 = numbers(3, (5, 5), "float32")

    def chain(b: Any, x: Any) -> Any:  # the first value is dead when the third is made
        return b("MatMul", b("MatMul", b("MatMul", b("Exp", x), b.constant(u)), b.constant(v)), b.constant(u3))

    q = lower(graph_of({"x": ("float32", (2, 3))}, chain))
    first, second, third = sorted((b for b in q.buffers.values() if b.place == "arena"), key=lambda b: loop.lifetimes(q.calls)[b.name])
    loop.validate(replace(q, buffers={**q.buffers, third.name: replace(third, offset=first.offset)}))
    for x, y in ((first, second), (second, third)):
        broken(replace(q, buffers={**q.buffers, x.name: replace(x, offset=y.offset)}), "overlap while both live")
    meeting = {second.name: replace(second, offset=0), first.name: replace(first, offset=64)}  # the later one lies first
    broken(replace(q, buffers={**q.buffers, **meeting}, arena_bytes=1 << 16), "overlap while both live")
    apart = {first.name: replace(first, offset=0), second.name: replace(second, offset=4096), third.name: replace(third, offset=4096)}
    broken(replace(q, buffers={**q.buffers, **apart}, arena_bytes=1 << 16), "overlap while both live")  # though the first is far from them
    assert [loop.lifetimes(p.calls)[b.name] for b in (one, other)] == [(0, 1), (1, 2)]


def test_lifetimes_reach_through_loops() -> None:
    def touched(spans: dict[str, tuple[int, ...]], loops: tuple[loop.Loop, ...]) -> dict[str, tuple[int, int]]:
        calls = [
            loop.KernelCall("k", tuple(loop.Argument(b) for b, at in spans.items() if i in at), (0,), "v", "n")
            for i in range(1 + max(map(max, spans.values())))
        ]
        return loop.lifetimes(tuple(calls), loops)

    spans = {
        "before": (0, 1), "into": (0, 2), "into its end": (0, 4), "within": (2, 3), "within to its end": (3, 4), "out of": (3, 5),
        "out of its start": (2, 6), "out of its end": (4, 5), "after": (5, 6), "around": (0, 6), "once": (3,),
    }  # fmt: skip
    kept = touched(spans, ())
    assert kept == {b: (at[0], at[-1]) for b, at in spans.items()}
    assert touched(spans, (loop.Loop(2, 5, 9),)) == {
        **kept, "into": (0, 4), "out of": (2, 5), "out of its start": (2, 6), "out of its end": (2, 5),
    }  # fmt: skip
    two = (loop.Loop(1, 3, 2), loop.Loop(4, 6, 2))
    assert touched({"x": (0, 5), "y": (2, 4), "z": (2, 3)}, two) == {"x": (0, 5), "y": (1, 5), "z": (1, 3)}


def test_buffers_of_loops_may_not_overlap() -> None:
    ws = [numbers(i, (3, 3), "float32") for i in range(3)]

    def chain(b: Any, x: Any) -> Any:
        y = b("Exp", x)
        for w in ws:
            y = b("MatMul", y, b.constant(w))
        return y

    p = lower(graph_of({"x": ("float32", (2, 3))}, chain))
    first, _, third = sorted((b for b in p.buffers.values() if b.place == "arena"), key=lambda b: loop.lifetimes(p.calls)[b.name])
    shared = replace(p, buffers={**p.buffers, third.name: replace(third, offset=first.offset)})
    loop.validate(shared)
    broken(replace(shared, loops=(loop.Loop(1, 4, 2),)), "overlap while both live")  # the second turn reads the first's again


def test_loops_as_calls() -> None:
    p = lower(graph_of({"x": ("float32", (2, 3))}, lambda b, x: b("MatMul", b("Exp", x), b.constant(numbers(1, (3, 4), "float32")))))
    one, two = p.calls
    step = replace(one, arguments=tuple(replace(a, offset=5, advance=i + 1) for i, a in enumerate(one.arguments)))
    looped = replace(p, calls=(two, step, one, two, step), loops=(loop.Loop(1, 3, 3), loop.Loop(4, 5, 2)))
    assert loop.turns(looped) == [1, 3, 3, 1, 2] and loop.turns(p) == [1, 1]
    assert loop.written_out(p) is p
    flat = loop.written_out(looped)
    assert flat.loops == () and loop.turns(flat) == [1] * 10
    assert [c.arguments[1].offset for c in flat.calls[1:7]] == [
        5,
        one.arguments[1].offset,
        7,
        one.arguments[1].offset,
        9,
        one.arguments[1].offset,
    ]
    assert [[a.offset for a in c.arguments] for c in flat.calls[8:]] == [[5, 5], [6, 7]]
    assert flat.calls[0] == flat.calls[7] == two and {a.buffer for c in flat.calls for a in c.arguments} == {
        a.buffer for c in p.calls for a in c.arguments
    }


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
