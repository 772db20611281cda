"""Weights and tables that lie as float16, or as bytes times a scale: fewer bytes, the same bits."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlcc.graph.builder import Builder, Value
from mlcc.graph.passes import narrow_tables
from mlcc.program import program as loop
from mlcc.program.lower import lower
from mlcc.reference.execute import execute
from mlcc.target import load, runs_here
from tests.support import assert_exact, graph_of, numbers

MACHINES = [t for t in ("native", "x86_64-v2", "x86_64-v3") if runs_here(load(t))]


def weights(kind: str, shape: tuple[int, ...], seed: int) -> np.ndarray:
    """Numbers that are float16 (zeros of both signs, subnormals and the largest among them), or bytes times a scale a column."""
    r = np.random.default_rng(seed)
    if kind == "bytes":
        return r.integers(-128, 128, shape).astype(np.float32) * r.uniform(1e-3, 1, shape[-1]).astype(np.float32)
    bits = r.integers(0, 1 << 16, shape).astype(np.uint16)
    bits = np.where(bits & 0x7C00 == 0x7C00, bits & 0x83FF, bits)  # no infinity, no NaN: these become subnormals
    return bits.view(np.float16).astype(np.float32)


@settings(max_examples=12, deadline=None)
@given(
    st.sampled_from(MACHINES),
    st.sampled_from(["half", "bytes"]),
    st.integers(1, 4),
    st.integers(1, 70),
    st.integers(1, 40),
    st.booleans(),
    st.integers(0, 2**16),
)
def test_products_of_few_rows(machine: str, kind: str, rows: int, depth: int, columns: int, transposed: bool, seed: int) -> None:
    w = weights(kind, (depth, columns), seed)
    bias = np.linspace(-1, 1, columns, dtype=np.float32)

    def make(b: Builder, x: Value) -> Value:
        right = b("Transpose", b.constant(np.ascontiguousarray(w.T)), perm=(1, 0)) if transposed else b.constant(w)
        return b("Relu", b("Add", b("MatMul", x, right), b.constant(bias)))

    graph = graph_of({"x": ("float32", (rows, depth))}, make)
    assert_exact(graph, {"x": numbers(seed, (rows, depth), "float32", special=True)}, load(machine).variants[0])


@pytest.mark.parametrize("kind", ["half", "bytes"])
def test_what_lies_narrow(kind: str) -> None:
    w = weights(kind, (64, 40), 1)

    def program(rows: int, **options: bool) -> loop.Program:
        return lower(graph_of({"x": ("float32", (rows, 64))}, lambda b, x: b("MatMul", x, b.constant(w))), **options)

    wide, few, many = program(2), program(2, narrow=True), program(64, narrow=True)
    assert loop.narrow(few) and not loop.narrow(wide) and not loop.narrow(many)
    size = {k: sum(a.nbytes for a in p.constants.values()) for k, p in (("wide", wide), ("few", few))}
    assert size["few"] <= size["wide"] * 0.55


@pytest.mark.parametrize(
    "table, narrow",
    [
        (weights("half", (200, 30), 2), "float16"),
        (np.random.default_rng(0).integers(-128, 128, (200, 30)).astype(np.float32) * np.float32(0.017), "int8"),
        (np.random.default_rng(0).integers(0, 256, (200, 30)).astype(np.float32) * np.float32(0.017), "int8"),  # zero point −128
        (np.random.default_rng(0).integers(-200, 40, (200, 30)).astype(np.float32) * np.float32(3e-5), "int8"),
        (np.random.default_rng(0).integers(-200, 200, (200, 30)).astype(np.float32) * np.float32(0.017), None),  # too many steps
        (np.where(np.arange(6000).reshape(200, 30) == 77, np.float32(-0.0), np.float32(0.017) * np.float32(3)), None),  # a zero's sign
        (np.random.default_rng(0).standard_normal((200, 30)).astype(np.float32), None),
        (np.where(np.arange(6000).reshape(200, 30) == 5999, np.nan, weights("half", (200, 30), 2)).astype(np.float32), None),
    ],
)
def test_tables(table: np.ndarray, narrow: str | None) -> None:
    graph = graph_of({"i": ("int64", (7,))}, lambda b, i: b("Relu", b("Gather", b.constant(table), i, axis=0)))
    after = narrow_tables.run(graph)
    kinds = {str(a.dtype) for v, a in after.constants.items() if a.size >= narrow_tables.WORTH and any(v in n.inputs for n in after.nodes)}
    assert kinds == {narrow or "float32"}
    feed = {"i": np.array([0, 3, 199, 199, 2, 77, 100])}
    assert execute(after, feed)["y0"].tobytes() == execute(graph, feed)["y0"].tobytes()
    assert_exact(after, feed)


def test_a_table_that_is_also_a_product_stays() -> None:
    """Tied embeddings: narrow beside wide would only be more."""
    table = weights("half", (200, 30), 2)

    def make(b: Builder, i: Value) -> Value:
        t = b.constant(table)
        return b("MatMul", b("Gather", t, i, axis=0), b("Transpose", t, perm=(1, 0)))

    graph = graph_of({"i": ("int64", (7,))}, make)
    narrow = narrow_tables.run(graph)
    assert_exact(narrow, {"i": np.arange(7)})
