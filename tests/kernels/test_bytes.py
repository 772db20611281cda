"""Products of bytes and their requantisation: the vector kernels and the portable C, with a float unit and without, against the
reference."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from mlcc.core.graph import CoreGraph
from mlcc.graph.builder import Builder, Value
from tests.backends.support import assert_exact_in_c
from tests.support import assert_exact, graph_of, numbers

few = settings(max_examples=9, deadline=None)
kinds = st.sampled_from(["int8", "uint8"])


def everywhere(graph: CoreGraph, feed: dict[str, np.ndarray]) -> None:
    assert_exact(graph, feed)
    assert_exact_in_c(graph, feed)
    assert_exact_in_c(graph, feed, flags=("-DHAS_FLOAT=0",), vectors=True)


def requantised(b: Builder, acc: Value, seed: int, axis: int, to: str, clip: bool) -> Value:
    """Scales from far too small to far too large, one a channel or one for all."""
    r = np.random.default_rng(seed)
    shape = [acc.shape[i] if i == axis else 1 for i in range(acc.rank)] if seed % 2 else [1] * acc.rank
    scale = b.constant((2.0 ** r.uniform(-22, 2, shape)).astype(np.float32))
    low, high = (-128, 127) if to == "int8" else (0, 255)
    zero = int(r.integers(low, high + 1))
    return b("Requantize", acc, scale, to=to, zero=zero, low=zero if clip else low, high=high)


@few
@given(
    st.integers(1, 2),
    st.integers(1, 9),
    st.integers(1, 9),
    st.integers(1, 9),
    st.integers(1, 9),
    st.integers(1, 3),
    st.integers(1, 3),
    st.integers(1, 2),
    st.integers(1, 2),
    st.integers(0, 99),
    kinds,
    st.booleans(),
    st.tuples(*[st.integers(0, 2)] * 4),
)
def test_convolution(
    n: int,
    channels: int,
    out: int,
    height: int,
    width: int,
    kh: int,
    kw: int,
    stride: int,
    dilation: int,
    seed: int,
    kind: str,
    depthwise: bool,
    pads: tuple[int, ...],
) -> None:
    if height + pads[0] + pads[2] < dilation * (kh - 1) + 1 or width + pads[1] + pads[3] < dilation * (kw - 1) + 1:
        return
    group, out = (channels, channels * (1 + out % 2)) if depthwise else (1, out)
    w, bias = numbers(seed + 1, (out, channels // group, kh, kw), "int8", True), numbers(seed + 2, (out,), "int32")
    zero = seed - 128 if kind == "int8" else seed

    def make(b: Builder, x: Value) -> Value:
        operands = [b("Max", x, b.like(3, x)), b.constant(w), b.constant(bias * 100)]
        window = {"strides": (stride, stride), "dilations": (dilation, dilation), "before": pads[:2], "after": pads[2:]}
        acc = b.many("Conv", operands, group=group, zero=zero, **window)[0]
        return requantised(b, acc, seed, 1, kind, seed % 3 == 0)

    x = numbers(seed, (n, channels, height, width), kind, True)
    everywhere(graph_of({"x": (kind, x.shape)}, make), {"x": x})


@few
@given(st.integers(1, 9), st.integers(1, 40), st.integers(1, 20), st.integers(0, 99), kinds)
def test_product(m: int, k: int, n: int, seed: int, kind: str) -> None:
    w = numbers(seed + 1, (k, n), "int8", True)
    zero = seed - 128 if kind == "int8" else seed

    def make(b: Builder, x: Value) -> Value:
        return requantised(b, b.many("MatMul", [x, b.constant(w)], zero=zero)[0], seed, 1, kind, False)

    x = numbers(seed, (m, k), kind, True)
    everywhere(graph_of({"x": (kind, x.shape)}, make), {"x": x})


@few
@given(st.integers(0, 10**6), st.floats(2.0**-140, 2.0**20, width=32), st.integers(-128, 127))
def test_requantisation_of_any_sum(seed: int, scale: float, zero: int) -> None:
    """Sums of every size, ties among them."""
    r = np.random.default_rng(seed)
    x = (r.integers(-(2**31), 2**31, 4000) >> r.integers(0, 32, 4000)).astype(np.int32)
    x[:4] = (0, 1, 2**31 - 1, -(2**31))

    def make(b: Builder, v: Value) -> tuple[Value, ...]:
        scales = (np.float32(scale), np.float32(0.5), np.float32(2.0**-9), np.float32(1.5))
        return tuple(b("Requantize", v, b.constant(s), to="int8", zero=zero, low=-128, high=127) for s in scales)

    everywhere(graph_of({"x": ("int32", x.shape)}, make), {"x": x})


@few
@given(st.integers(1, 40), st.integers(1, 30), st.integers(0, 99), kinds)
def test_sums_of_bytes(rows: int, columns: int, seed: int, kind: str) -> None:
    x = numbers(seed, (rows, columns), kind, True)
    for axes in ((0,), (1,)):
        everywhere(graph_of({"x": (kind, x.shape)}, lambda b, v, axes=axes: b("ReduceSum", v, axes=axes, to="int32")), {"x": x})
