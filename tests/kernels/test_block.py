"""Block dots of the bf16 profile: kernels with and without AMX against the reference, the reference against plain NumPy."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlcc.arithmetic.bf16 import SMALLEST
from mlcc.core.graph import canonical_bytes
from mlcc.graph.passes import optimise
from mlcc.program.lower import lower
from mlcc.reference.dot import as_bfloat16, block_dot
from mlcc.reference.execute import execute
from mlcc.target import cpu_flags, load, runs_here
from tests.support import Compiled, graph_of, numbers

AMX = {"amx_tile", "amx_bf16"} <= cpu_flags()
TARGETS = ["x86_64-v2", "x86_64-v3", "x86_64-v4", *(["x86_64-amx"] if AMX else [])]


@pytest.fixture(scope="module", autouse=True)
def tiles() -> None:
    """Linux gives a process the tile registers on request (arch_prctl ARCH_REQ_XCOMP_PERM, 18)."""
    if AMX:
        import ctypes

        assert ctypes.CDLL(None).syscall(158, 0x1023, 18) == 0


def check(graph, feed) -> None:  # type: ignore[no-untyped-def]
    graph = optimise(graph, "bf16")
    assert any(n.get("bf16") for n in graph.nodes)
    want = execute(graph, feed)
    program = lower(graph)
    for name in (n for n in TARGETS if runs_here(load(n))):
        compiled = Compiled(program, load(name).variants[0])
        for split in (1, 3):
            got = compiled(feed, split)
            for v in graph.outputs:
                assert canonical_bytes(got[v]) == canonical_bytes(np.asarray(want[v])), (name, split, v)


@pytest.mark.slow
@settings(max_examples=5, deadline=None)
@given(m=st.integers(1, 70), k=st.integers(1, 200), n=st.integers(1, 90), seed=st.integers(0, 9), edge=st.booleans())
def test_products(m: int, k: int, n: int, seed: int, edge: bool) -> None:
    w, b = numbers(seed + 1, (k, n), "float32", edge), numbers(seed + 2, (n,), "float32", edge)
    graph = graph_of({"x": ("float32", (m, k))}, lambda g, x: g("Relu", g("Add", g("MatMul", x, g.constant(w)), g.constant(b))))
    check(graph, {"x": numbers(seed, (m, k), "float32", edge)})


@settings(max_examples=5, deadline=None)
@given(
    c=st.integers(1, 40),
    o=st.integers(1, 40),
    h=st.integers(3, 12),
    w=st.integers(3, 20),
    kernel=st.integers(1, 3),
    stride=st.integers(1, 2),
)
def test_convolutions(c: int, o: int, h: int, w: int, kernel: int, stride: int) -> None:
    weights, bias = numbers(1, (o, c, kernel, kernel), "float32", False), numbers(2, (o,), "float32", False)
    pad = (kernel // 2,) * 2

    def model(g, x):  # type: ignore[no-untyped-def]
        return g("Conv", x, g.constant(weights), g.constant(bias), group=1, strides=(stride,) * 2, dilations=(1, 1), before=pad, after=pad)

    check(graph_of({"x": ("float32", (1, c, h, w))}, model), {"x": numbers(3, (1, c, h, w), "float32", False)})


@pytest.mark.parametrize("k", [3073, *(pytest.param(k, marks=pytest.mark.full) for k in (3072, 7000))])
def test_deep(k: int) -> None:
    """More k than a task packs at a time."""
    w = numbers(1, (k, 40), "float32", False)
    check(graph_of({"x": ("float32", (35, k))}, lambda g, x: g("MatMul", x, g.constant(w))), {"x": numbers(2, (35, k), "float32", False)})


def test_many_columns() -> None:
    """More columns than one task takes."""
    w = numbers(1, (33, 1100), "float32", False)
    check(graph_of({"x": ("float32", (40, 33))}, lambda g, x: g("MatMul", x, g.constant(w))), {"x": numbers(2, (40, 33), "float32", False)})


def test_rounding() -> None:
    """as_bfloat16 is ml_dtypes' rounding, with small numbers as zero."""
    x = np.arange(0, 1 << 32, 65_537 // 3, dtype=np.uint64).astype(np.uint32).view(np.float32)
    want = x.astype(ml_dtypes.bfloat16).astype(np.float32)
    want = np.where(np.abs(want) < SMALLEST, np.float32(0), want)
    assert canonical_bytes(as_bfloat16(x)) == canonical_bytes(want)


def test_reference() -> None:
    """The definition, one operation at a time: products are exact in binary64, and so is each sum before its one rounding."""
    rng = np.random.default_rng(5)
    a, b = (as_bfloat16(rng.standard_normal(s).astype(np.float32)) for s in ((7, 75), (75, 5)))
    want = np.zeros((7, 5), np.float32)
    for first in range(0, 75, 32):
        sums = np.zeros((2, 7, 5), np.float32)
        for k in range(first, min(first + 32, 75)):
            product = a[:, k, None].astype(np.float64) * b[k].astype(np.float64)
            sums[k % 2] = (product + sums[k % 2]).astype(np.float32)  # 16-bit products: double rounding would need 53 bits apart
        want = want + (sums[0] + sums[1])
    assert (block_dot(a, b) == want).all()


def test_rounded_sums_never_flush() -> None:
    """The smallest numbers that stay: no partial sum is subnormal, so that units which flush agree."""
    tiny = np.float32(SMALLEST)
    a = np.array([[tiny, tiny, -tiny, tiny * np.float32(1.0078125)] * 8], np.float32)
    w = np.repeat(np.array([[tiny], [-tiny], [tiny], [tiny]], np.float32), 8, axis=0)
    graph = graph_of({"x": ("float32", (1, 32))}, lambda g, x: g("MatMul", x, g.constant(w)))
    check(graph, {"x": a})
