"""Tables as bytes for small memories: the same bits, in fewer bytes, or not at all."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlcc.core.graph import CoreGraph
from mlcc.program.lower import lower
from mlcc.program.tables import coded
from mlcc.reference.execute import execute
from mlcc.translation.check import prove
from tests.support import assert_same_bits, graph_of

STRANGE = np.array([0.0, -0.0, np.inf, -np.inf, np.nan, 1e-45, -1e-45, 1.5], np.float32)


def stepped(features: np.ndarray, thresholds: list[np.ndarray], rows: int = 5) -> CoreGraph:
    """Two levels of lookups: each finds a feature and a threshold, compares, and goes on from there."""
    b_of = {"x": ("float32", (int(features.max()) + 1, rows)), "at": ("int32", (3, rows))}

    def make(b, x, at):  # type: ignore[no-untyped-def]
        found = []
        for table in thresholds:
            feature = b.cast(b("Gather", b.constant(features), at, axis=0), "int32")
            threshold = b("Gather", b.constant(table), at, axis=0)
            at = b("Add", at, b.cast(b("LessOrEqual", threshold, b("GatherElements", x, feature, axis=0)), "int32"))
            found += [threshold, at]
        return tuple(found)

    return graph_of(b_of, make)


def nbytes(graph: CoreGraph) -> int:
    return sum(a.nbytes for a in graph.constants.values())


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(2, 255), st.integers(2, 40), st.booleans(), st.booleans())
def test_the_same_bits_in_fewer_bytes(seed: int, most: int, features: int, strange: bool, again: bool) -> None:
    r = np.random.default_rng(seed)
    size = 6000 + features * most * 4
    near = r.integers(0, features, size).astype(np.uint8)
    drawn = r.standard_normal((features, most)).astype(np.float32)
    if strange:
        drawn[:, : len(STRANGE)] = STRANGE[:most]
        drawn.view(np.uint32)[:, -1] = 0x7FC00001  # a NaN of its own
    tables = [drawn[near, r.integers(0, most, size)] for _ in range(2)]
    graph = stepped(near, tables[:1] * 2 if again else tables)
    small = coded(graph)
    assert small is not graph and nbytes(small) < nbytes(graph) - 4096
    assert sum(a.size for a in small.constants.values() if a.dtype == np.float32) <= 41 * 256
    feed = {"x": r.standard_normal((features, 5)).astype(np.float32), "at": r.integers(0, size - 2, (3, 5)).astype(np.int32)}
    feed["x"] = np.resize(feed["x"], (int(near.max()) + 1, 5))
    wanted = execute(graph, feed)
    for name, y in execute(small, feed).items():
        assert y.tobytes() == wanted[name].tobytes()  # NaNs too
        assert_same_bits(y, wanted[name], name, small)
    prove(lower(small, compact=True), small)


@pytest.mark.parametrize("kind", ["many", "few", "wide", "read elsewhere", "other places"])
def test_tables_that_stay(kind: str) -> None:
    """More numbers beside a byte than bytes count, too little to save, features that are no bytes, a table that is an output too, and
    lookups at two places."""
    r = np.random.default_rng(1)
    size = 1000 if kind == "few" else 20_000
    near = r.integers(0, 8, size).astype(np.int32 if kind == "wide" else np.uint8)
    table = np.round(r.standard_normal(size), 6 if kind == "many" else 1).astype(np.float32)

    def make(b, x, at, z):  # type: ignore[no-untyped-def]
        feature = b.cast(b("Gather", b.constant(near), at, axis=0), "int32")
        place = b("Add", at, b.like(1, at)) if kind == "other places" else at
        threshold = b("Gather", b.constant(table), place, axis=0)
        y = b("LessOrEqual", threshold, b("GatherElements", x, feature, axis=0))
        return (y, b("Add", b.constant(table), z)) if kind == "read elsewhere" else y

    graph = graph_of({"x": ("float32", (8, 5)), "at": ("int32", (3, 5)), "z": ("float32", (1,))}, make)
    assert coded(graph) is graph
