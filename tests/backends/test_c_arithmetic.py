"""The C that stands in for instructions that a core lacks, against the reference on random bits and edges."""

from __future__ import annotations

import numpy as np
import pytest

from mlcc.graph.builder import Builder, Value
from mlcc.program.lower import lower
from tests.backends.support import assert_exact_in_c
from tests.support import graph_of

NO_FLOAT = ("-DHAS_FLOAT=0",)
CORNERS = np.array(
    [0, 1, 0x7FFFFF, 0x800000, 0x3F800000, 0x3F7FFFFF, 0x7F7FFFFF, 0x7F800000, 0x7FC00000, 0x4B000000, 0x33800000], np.uint32
)


def some_bits(seed: int, n: int) -> np.ndarray:
    """Any binary32 numbers, corners and their negatives among them, and many of like size."""
    r = np.random.default_rng(seed)
    u = r.integers(0, 2**32, n, dtype=np.uint32)
    u[::3] = r.choice(np.concatenate([CORNERS, CORNERS | 0x80000000]), len(u[::3]))
    u[1::3] = (u[1::3] & 0x807FFFFF) | (r.integers(100, 150, len(u[1::3])).astype(np.uint32) << 23)
    return u.view(np.float32)


@pytest.mark.parametrize("seed", range(4))
def test_fused_multiply_add(seed: int) -> None:
    """As one-step products: row · column + start."""
    a, b, c = (some_bits(seed * 3 + i, 20000) for i in range(3))
    c[::5] = -(a[::5] * b[::5])  # cancellation

    def make(g: Builder, x: Value, y: Value, z: Value) -> Value:
        return g.many("MatMul", [x, y, z])[0]

    shape = (20000, 1, 1)
    graph = graph_of({n: ("float32", shape) for n in "abc"}, make)
    with np.errstate(all="ignore"):
        assert_exact_in_c(graph, {"a": a.reshape(shape), "b": b.reshape(shape), "c": c.reshape(shape)}, flags=("-DHAS_FMA=0",))


def test_square_root_without_a_float_unit() -> None:
    x = some_bits(7, 60000)
    assert_exact_in_c(graph_of({"x": ("float32", x.shape)}, lambda b, v: b("Sqrt", v)), {"x": x}, flags=NO_FLOAT)


@pytest.mark.parametrize("op", ["Floor", "Ceil", "Round"])
def test_rounding(op: str) -> None:
    x = some_bits(8, 60000)
    x[::2] = np.random.default_rng(1).uniform(-4, 4, len(x[::2])).round(1)
    assert_exact_in_c(graph_of({"x": ("float32", x.shape)}, lambda b, v: b(op, v)), {"x": x})


@pytest.mark.parametrize("per_column", [False, True])
@pytest.mark.parametrize("rows", [1, 4, 9])
def test_weights_that_are_bytes_times_scales_stay_bytes(rows: int, per_column: bool) -> None:
    r = np.random.default_rng(rows)
    scales = r.uniform(0.001, 0.1, 37 if per_column else 1).astype(np.float32)
    w = r.integers(-128, 128, (50, 37)).astype(np.float32) * scales
    w[w == 0] = 0.0  # no negative zeros
    graph = graph_of({"x": ("float32", (rows, 50))}, lambda b, x: b("Relu", b("MatMul", x, b.constant(w))))
    program = lower(graph, compact=True)
    assert {b.dtype for b in program.buffers.values() if b.place == "constant"} == {"int8", "float32"}
    assert sum(b.nbytes for b in program.buffers.values() if b.place == "constant") < w.size * 1.3 + 200
    assert_exact_in_c(graph, {"x": r.standard_normal((rows, 50)).astype(np.float32)})


@pytest.mark.parametrize("change", ["negative zero", "one more value", "noise"])
def test_other_weights_are_left_alone(change: str) -> None:
    r = np.random.default_rng(0)
    w = r.integers(-127, 128, (50, 37)).astype(np.float32) * np.float32(0.01)
    if change == "noise":
        w = r.standard_normal(w.shape).astype(np.float32)
    else:
        w[3, 4] = -0.0 if change == "negative zero" else np.nextafter(w[3, 4], np.float32(1))
    program = lower(graph_of({"x": ("float32", (4, 50))}, lambda b, x: b("MatMul", x, b.constant(w))), compact=True)
    assert {b.dtype for b in program.buffers.values() if b.place == "constant"} == {"float32"}
