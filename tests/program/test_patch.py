"""Layers in strips of rows: the bits of the whole layers, in less memory."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from mlcc.core.graph import CoreGraph, canonical_bytes, validate
from mlcc.graph.builder import Builder, Value
from mlcc.program.lower import lower
from mlcc.program.patch import patched, patches, within
from mlcc.reference.execute import execute
from tests.backends.support import assert_exact_in_c
from tests.support import graph_of, numbers


def layered(kinds: list[str], height: int, seed: int, back: bool = False) -> CoreGraph:
    """A float32 network over (1, 4, height, 7); `back`: each layer's input is added to its result where the shapes allow."""

    def layer(b: Builder, x: Value, kind: str, s: int) -> Value:
        stride, dilation, pad = {"plain": (1, 1, 1), "strided": (2, 1, 1), "dilated": (1, 2, 2), "bare": (1, 1, 0)}.get(kind, (1, 1, 1))
        window = {"strides": (stride, 1), "dilations": (dilation, 1), "before": (pad, 1), "after": (pad, 1)}
        if kind == "max":
            return b("PoolMax", x, kernel=(3, 3), strides=(2, 1), dilations=(1, 1), before=(1, 1), after=(0, 1))
        if kind == "mean":
            y = b("PoolSum", x, kernel=(3, 3), **window)
            return b("Mul", y, b.constant(numbers(s, y.shape[2:], "float32")))  # a factor for every row
        group = 4 if kind == "plain" else 1
        w = b.constant(numbers(s, (4, 4 // group, 3, 3), "float32"))
        y = b.many("Conv", [x, w, b.constant(numbers(s + 1, (4,), "float32"))], group=group, **window)[0]
        return b("Relu", b("Mul", y, b.constant(numbers(s + 2, (1, 4, 1, 1), "float32"))))

    def make(b: Builder, x: Value) -> Value:
        y = x
        for i, kind in enumerate(kinds):
            if y.shape[2] < 6:  # too few rows for a window without a border
                break
            z = layer(b, y, kind, seed + 3 * i)
            y = b("Add", z, y) if back and z.shape == y.shape else z
        return b("ReduceMax", y, axes=(3,))

    return graph_of({"x": ("float32", (1, 4, height, 7))}, make)


KINDS = st.lists(st.sampled_from(["plain", "strided", "dilated", "bare", "max", "mean"]), min_size=1, max_size=4)


@settings(max_examples=60, deadline=None)
@given(KINDS, st.integers(12, 24), st.integers(0, 99), st.booleans(), st.data())
def test_reference_agrees(kinds: list[str], height: int, seed: int, back: bool, data: st.DataObject) -> None:
    graph = layered(["plain", *kinds], height, seed, back)
    feed = {"x": numbers(seed, (1, 4, height, 7), "float32", True)}
    want = execute(graph, feed)
    found = patches(graph)
    for patch in data.draw(st.lists(st.sampled_from(found), max_size=4)) if found else []:
        cut = patched(graph, patch)
        validate(cut)
        assert canonical_bytes(execute(cut, feed)["y0"]) == canonical_bytes(want["y0"]), patch


@settings(max_examples=8, deadline=None)
@given(KINDS, st.integers(12, 24), st.integers(0, 99), st.booleans())
def test_c_agrees(kinds: list[str], height: int, seed: int, back: bool) -> None:
    graph = layered(["plain", *kinds], height, seed, back)
    for patch in patches(graph)[-1:]:  # the one with most strips' edges
        assert_exact_in_c(patched(graph, patch), {"x": numbers(seed, (1, 4, height, 7), "float32", True)})


def test_needs_less_memory_and_repeats_least() -> None:
    graph = layered(["dilated", "strided", "strided", "max"], 64, 1)
    whole = lower(graph, compact=True)
    outside = 4 * 64 * 7 * 4 + 1024
    smaller = within(graph, outside + whole.arena_bytes * 3 // 4, vectors=False)
    assert smaller is not None and smaller[0].arena_bytes <= whole.arena_bytes * 3 // 4
    smallest = within(graph, 0, vectors=False)
    assert smallest is not None and smallest[0].arena_bytes < smaller[0].arena_bytes and smallest[1].work > smaller[1].work


def test_nothing_to_cut() -> None:
    graph = graph_of({"x": ("float32", (4, 50))}, lambda b, x: b("Relu", x))
    assert not patches(graph) and within(graph, 0, vectors=False) is None
