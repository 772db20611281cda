"""Convolutions of compact programs that write over their input: half the memory, the same bits."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlcc.core.graph import CoreGraph
from mlcc.graph.builder import Builder, Value
from mlcc.program.lower import lower
from tests.backends.support import assert_exact_in_c
from tests.support import graph_of, numbers


def separable(
    kind: str, channels: int, height: int, width: int, layers: int, seed: int, dilation: int = 1, keep: bool = False
) -> CoreGraph:
    """`layers` times a depthwise 3×3 and a pointwise convolution, sizes kept; `keep`: the first layer's input is added at the end."""
    window = {"strides": (1, 1), "dilations": (dilation,) * 2, "before": (dilation,) * 2, "after": (dilation,) * 2}
    point = {"strides": (1, 1), "dilations": (1, 1), "before": (0, 0), "after": (0, 0)}
    dtype = "int8" if kind == "bytes" else "float32"

    def conv(b: Builder, x: Value, shape: tuple[int, ...], s: int, **attributes: object) -> Value:
        w = b.constant(numbers(s, shape, dtype))
        if kind == "floats":
            return b("Relu", b.many("Conv", [x, w, b.constant(numbers(s + 1, shape[:1], "float32"))], **attributes)[0])
        acc = b.many("Conv", [x, w], **attributes, zero=7)[0]
        return b("Requantize", acc, b.constant(np.float32(0.003)), to="int8", zero=7, low=-100, high=127)

    def make(b: Builder, x: Value) -> Value:
        first = y = b("Max", b.transpose(x, (0, 3, 1, 2)), b.like(-5, x))  # channels lie side by side
        for i in range(layers):
            y = conv(b, y, (channels, 1, 3, 3), seed + 4 * i, group=channels, **window)
            y = conv(b, y, (channels, channels, 1, 1), seed + 4 * i + 2, group=1, **point)
        return b("Sub", y, first) if keep else b("ReduceMax", y, axes=(2, 3))

    return graph_of({"x": (dtype, (1, height, width, channels))}, make)


@settings(max_examples=16, deadline=None)
@given(
    st.sampled_from(["bytes", "floats"]),
    st.sampled_from([4, 8, 12]),
    st.integers(1, 9),
    st.integers(1, 9),
    st.integers(1, 2),
    st.integers(0, 99),
    st.integers(1, 2),
    st.booleans(),
    st.booleans(),
)
def test_same_bits(
    kind: str, channels: int, height: int, width: int, layers: int, seed: int, dilation: int, keep: bool, vectors: bool
) -> None:
    graph = separable(kind, channels, height, width, layers, seed, dilation, keep)
    x = numbers(seed, (1, height, width, channels), "int8" if kind == "bytes" else "float32", True)
    assert_exact_in_c(graph, {"x": x}, vectors=vectors)


@pytest.mark.parametrize(("kind", "size"), [("bytes", 1), ("floats", 4)])
def test_memory_is_one_tensor_and_a_little(kind: str, size: int) -> None:
    tensor = 32 * 20 * 20 * size
    program = lower(separable(kind, 32, 20, 20, 3, 0), compact=True)
    assert program.arena_bytes < 1.2 * tensor
    kept = lower(separable(kind, 32, 20, 20, 1, 0, keep=True), compact=True)
    assert kept.arena_bytes >= 2 * tensor, "an input that is needed again stays"
