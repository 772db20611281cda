"""Small graphs that between them need every kernel, layout and trick of the lowering."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from mlcc.core.graph import CoreGraph
from mlcc.graph.builder import Builder, Value
from mlcc.graph.passes import optimise
from tests.support import graph_of


def weights(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def softmax(b: Builder, x: Value) -> Value:
    axes = (x.rank - 1,)
    e = b("Exp", b("Sub", x, b("ReduceMax", x, axes=axes)))
    return b("Div", e, b("ReduceSum", e, axes=axes))


def norm(b: Builder, x: Value) -> Value:
    axes, n = (x.rank - 1,), b.like(x.shape[-1], x)
    centred = b("Sub", x, b("Div", b("ReduceSum", x, axes=axes), n))
    variance = b("Div", b("ReduceSum", b("Mul", centred, centred), axes=axes), n)
    return b("Div", centred, b("Sqrt", b("Add", variance, b.like(1e-5, x))))


def conv(b: Builder, x: Value, w: np.ndarray, pad: int = 0, stride: int = 1, group: int = 1, bias: np.ndarray | None = None) -> Value:
    n = w.ndim - 2
    operands = [x, b.constant(w), *([b.constant(bias)] if bias is not None else [])]
    return b.many("Conv", operands, group=group, strides=(stride,) * n, dilations=(1,) * n, before=(pad,) * n, after=(pad,) * n)[0]


def attention() -> CoreGraph:
    """Two attentions that read one computed mask, residuals, a norm, a feed-forward block."""

    def make(b: Builder, x: Value, m: Value) -> tuple[Value, ...]:
        mask = b("Mul", b("Sub", b.like(1, m), m), b.like(-1e4, m))
        for layer in range(2):
            q, k, v = (b("MatMul", x, b.constant(weights(3 * layer + i, 24, 24) / 5)) for i in range(3))
            heads = [b.transpose(b.reshape(t, (12, 3, 8)), (1, 0, 2)) for t in (q, k, v)]
            scores = b("Add", b("MatMul", heads[0], b.transpose(heads[1], (0, 2, 1))), mask)
            mixed = b.reshape(b.transpose(b("MatMul", softmax(b, scores), heads[2]), (1, 0, 2)), (12, 24))
            x = norm(b, b("Add", x, b("MatMul", mixed, b.constant(weights(90 + layer, 24, 24) / 5))))
            inner = b("Relu", b("MatMul", x, b.constant(weights(70 + layer, 24, 40) / 5), b.constant(weights(60, 40))))
            x = norm(b, b("Add", b("MatMul", inner, b.constant(weights(80 + layer, 40, 24) / 5)), x))
        return (x,)

    return graph_of({"x": ("float32", (12, 24)), "m": ("float32", (1, 1, 12))}, make)


def convolutions() -> CoreGraph:
    """Borders, depthwise, grouped and transposed convolutions, pools, a Concat, a residual."""

    def make(b: Builder, x: Value) -> tuple[Value, ...]:
        a = b("Relu", conv(b, x, weights(1, 8, 3, 3, 3), pad=1, bias=weights(2, 8)))
        d = conv(b, a, weights(3, 8, 1, 3, 3), pad=1, group=8)
        p = b("Add", conv(b, d, weights(4, 8, 8, 1, 1), bias=weights(5, 8)), a)
        g = conv(b, p, weights(6, 12, 4, 3, 3), pad=1, stride=2, group=2)
        window = {"kernel": (3, 3), "strides": (2, 2), "dilations": (1, 1), "before": (1, 1), "after": (1, 1)}
        pooled = b("PoolMax", p, **window)
        joined = b.many("Concat", [g, pooled, b("PoolSum", p, **window)], axis=1)[0]
        up = b.many(
            "ConvTranspose", [joined, b.constant(weights(7, 28, 5, 3, 3)), b.constant(weights(8, 5))],
            group=1, strides=(2, 2), dilations=(1, 1), before=(1, 1), shape=(11, 9),
        )[0]  # fmt: skip
        return (
            up,
            b("ReduceSum", joined, axes=(2, 3)),
        )

    return graph_of({"x": ("float32", (1, 3, 11, 9))}, make)


def movement() -> CoreGraph:
    """Gathers with known and unknown indices, scatters, slices, pads, scans, products of computed values."""

    def make(b: Builder, x: Value, i: Value) -> tuple[Value, ...]:
        table = b.constant(weights(1, 20, 7))
        rows = b("Gather", table, i, axis=0)
        known = b("Gather", b("Gather", x, b.constant(np.array([5, 0, 2, 2])), axis=0), b.constant(np.array([1, 0, 3, 6, 6, 2])), axis=1)
        cut = b("Slice", x, starts=(5, 1), steps=(-2, 1), shape=(3, 5))
        padded = b("Pad", cut, before=(1, 0), after=(0, 2), value=0.5)
        scattered = b("ScatterElements", x, b.expand(b.reshape(i, (4, 1)), (4, 7)), rows, axis=0, reduction="add")
        product = b("MatMul", known, b("MatMul", b.transpose(known, (1, 0)), rows))
        best, where = b.many("TopK", [x], axis=1, k=3, largest=1)
        summed = b("CumSum", b.transpose(scattered, (1, 0)), axis=0, exclusive=0, reverse=1)
        return (
            padded,
            product,
            best,
            where,
            summed,
            b("ArgMax", b("Add", x, scattered), axis=0, last=0),
        )

    return graph_of({"x": ("float32", (6, 7)), "i": ("int64", (4,))}, make)


def quantised() -> CoreGraph:
    """Products of bytes with zero points, padded, depthwise, pooled."""

    def make(b: Builder, x: Value) -> tuple[Value, ...]:
        def bytes_(seed: int, *shape: int) -> Value:
            return b.constant(np.random.default_rng(seed).integers(-127, 128, shape).astype(np.int8))

        def back(acc: Value, scale: float) -> Value:
            return b("Requantize", acc, b.constant(np.float32(scale)), to="int8", zero=3, low=-128, high=127)

        window = {"strides": (1, 1), "dilations": (1, 1), "before": (1, 1), "after": (1, 1)}
        bias = b.constant(np.arange(8, dtype=np.int32) * 50)
        y = back(b.many("Conv", [x, bytes_(1, 8, 4, 3, 3), bias], group=1, zero=-5, **window)[0], 0.002)
        z = back(b.many("Conv", [y, bytes_(2, 8, 1, 3, 3)], group=8, zero=3, **window)[0], 0.01)
        pooled = b("PoolMax", z, kernel=(2, 2), strides=(2, 2), dilations=(1, 1), before=(0, 0), after=(0, 0))
        flat = b.reshape(pooled, (1, pooled.type.size))
        return (back(b.many("MatMul", [flat, bytes_(3, flat.shape[1], 10)], zero=3)[0], 0.001),)

    return graph_of({"x": ("int8", (1, 4, 8, 6))}, make)


def half_width() -> CoreGraph:
    """The bf16 profile: block dots, values that lie as bfloat16, a maximum of rounded numbers."""

    def make(b: Builder, x: Value) -> tuple[Value, ...]:
        a = b("Relu", conv(b, x, weights(1, 16, 8, 3, 3), pad=1, bias=weights(2, 16)))
        p = b("PoolMax", a, kernel=(2, 2), strides=(2, 2), dilations=(1, 1), before=(0, 0), after=(0, 0))
        c = conv(b, p, weights(3, 20, 16, 3, 3), pad=1)
        return (b("MatMul", b.reshape(c, (20, 12)), b.constant(weights(4, 12, 5))),)

    return optimise(graph_of({"x": ("float32", (1, 8, 8, 6))}, make), "bf16")


GRAPHS: dict[str, Callable[[], CoreGraph]] = {f.__name__: f for f in (attention, convolutions, movement, quantised, half_width)}
