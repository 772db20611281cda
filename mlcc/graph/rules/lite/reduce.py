"""Pools, reductions and softmax. Of bytes: exact sums, divided and scaled as LiteRT's reference kernels do."""

from __future__ import annotations

from collections.abc import Callable
from math import prod

import numpy as np

from mlcc.graph.builder import Value
from mlcc.graph.rules.lite.fixed import softmax as softmax_of_bytes
from mlcc.graph.rules.lite.grid import PADDINGS, centred, is_quantised, kind, multiplier, needed, placed
from mlcc.graph.rules.lite.layout import first, last
from mlcc.graph.rules.lite.pointwise import activated, fused, refuse_grids, same_grids
from mlcc.graph.rules.lite.shapes import ints
from mlcc.graph.rules.pool import pool_window
from mlcc.graph.rules.standard import run
from mlcc.graph.source import Source

Rule = Callable[[Source], Value | tuple[Value, ...]]


# pools


def _window(s: Source) -> dict[str, object]:
    return {
        "auto_pad": PADDINGS[int(s.attr("padding", 0))],
        "kernel_shape": [int(s.attr(f"filter_{d}")) for d in ("height", "width")],
        "strides": [int(s.attr(f"stride_{d}", 1)) for d in "hw"],
    }


def max_pool_2d(s: Source) -> Value:
    b, activation, how = s.b, fused(s), _window(s)
    same_grids(s)
    y = run(s, "MaxPool", first(b, s[0]), **how)
    if not is_quantised(s):
        return last(b, activated(s, y, activation))
    if activation:
        out = needed(s, 0, "out")
        y = placed(s, centred(b, y, out), out, activation)
    return last(b, y)


def l2_pool_2d(s: Source) -> Value:
    """The root of the mean of squares; what is padded counts for nothing."""
    refuse_grids(s)
    b, activation, how = s.b, fused(s), _window(s)
    x = first(b, s[0])
    return last(b, activated(s, b("Sqrt", run(s, "AveragePool", b("Mul", x, x), **how)), activation))


def average_pool_2d(s: Source) -> Value:
    """Of bytes: the sum over what the window holds of the image, divided half away from zero. reference/integer_ops/pooling.h"""
    b, activation, how = s.b, fused(s), _window(s)
    x = first(b, s[0])
    if not is_quantised(s):
        return last(b, activated(s, run(s, "AveragePool", x, **how), activation))
    same_grids(s)
    out = needed(s, 0, "out")
    ones = b.constant(np.ones((1, 1, *x.shape[2:]), np.int32))
    total, count = (_summed(s, v, how) for v in (x, ones))
    half = b("Div", count, b.constant(np.int32(2)))
    up = b("Where", b("Less", b.like(0, total), total), half, b("Neg", half))
    mean = b("Div", b("Add", total, up), count)
    low = b("Sub", mean, b.constant(np.int32(out.zero))) if out.zero else mean
    return last(b, placed(s, low, out, activation))


def _summed(s: Source, x: Value, how: dict[str, object]) -> Value:
    kernel, attributes = pool_window(Source("AveragePool", (x,), dict(how), 20, 1, s.b))
    return s.b("PoolSum", x, kernel=kernel, to="int32", **attributes)


# reductions


def reduced(op: str) -> Rule:
    def rule(s: Source) -> Value:
        b, x, keep = s.b, s[0], bool(s.attr("keep_dims", 0))
        axes = sorted({a % x.rank for a in ints(s, 1, "axes")}) if x.rank else []
        if op in ("ReduceMax", "ReduceMin"):
            same_grids(s)
        elif is_quantised(s):
            known = op == "ReduceMean" or op == "ReduceSum" and x.dtype == "uint8"  # LiteRT's sums of int8 wrap
            if not known or x.dtype == "int16" or not axes:
                raise s.unsupported(f"{x.dtype} with a scale", "keep this operator in float")
            return _of_bytes(s, axes, keep, op == "ReduceMean")
        if not axes:
            return x
        if x.rank == 4 and axes == [1, 2]:
            turned = first(b, x)
            y = run(s, op, turned, b.constant(np.array([2, 3], np.int64)), keepdims=1)
            y = last(b, y)
            return y if keep else b.reshape(y, (x.shape[0], x.shape[3]))
        return run(s, op, x, b.constant(np.array(axes, np.int64)), keepdims=int(keep))

    return rule


def _of_bytes(s: Source, axes: list[int], keep: bool, mean: bool) -> Value:
    """The sum of steps from zero, scaled in fixed point; a mean's multiplier is divided by the count. reference/reduce.h,
    QuantizedMeanOrSum"""
    b, x, given, out = s.b, s[0], needed(s, 0), needed(s, 0, "out")
    last_axes = x.rank == 4 and axes == [1, 2]
    image, over = (first(b, x), (2, 3)) if last_axes else (x, tuple(axes))
    count = prod(image.shape[a] for a in over)
    total = b("ReduceSum", image, axes=over, to="int32")
    steps = b("Sub", total, b.constant(np.int32(given.zero * count))) if given.zero else total
    m, shift = (int(v) for v in multiplier(float(given.scale) / float(out.scale)))
    if mean:
        up = min(count.bit_length() - 1, 32, 31 + shift)
        m, shift = (m << up) // count, shift - up
    y = placed(s, b("Rescale", steps, b.constant(np.int32(m)), b.constant(np.int32(shift))), out)
    y = last(b, y) if last_axes else y
    return y if keep else b.reshape(y, [n for i, n in enumerate(x.shape) if i not in axes])


def softmax(s: Source) -> Value:
    b, x, beta = s.b, s[0], float(s.attr("beta", 1.0))
    if is_quantised(s):
        if x.dtype == "int16":
            raise s.unsupported("int16", "quantise activations to int8")
        return softmax_of_bytes(b, x, float(needed(s, 0).scale), beta, kind(s))
    return run(s, "Softmax", x if beta == 1.0 else b("Mul", x, b.like(beta, x)), axis=-1)


def log_softmax(s: Source) -> Value:
    refuse_grids(s)
    return run(s, "LogSoftmax", s[0], axis=-1)


def l2_normalization(s: Source) -> Value:
    b, x, activation = s.b, s[0], fused(s)
    refuse_grids(s)
    size = b("Sqrt", b("Max", b("ReduceSum", b("Mul", x, x), axes=(x.rank - 1,)), b.like(1e-6, x)))
    return activated(s, b("Div", x, size), activation)


def arg(op: str) -> Rule:
    def rule(s: Source) -> Value:
        s.attr("output_type")
        axis = ints(s, 1, "axis")[0] % s[0].rank
        return s.b.cast(run(s, op, s[0], axis=axis, keepdims=0), kind(s))

    return rule


def top_k(s: Source) -> tuple[Value, ...]:
    same_grids(s)
    values, places = s.b.many("TopK", [s[0]], axis=s[0].rank - 1, k=ints(s, 1, "k")[0], largest=1)
    return values, s.b.cast(places, kind(s, 1))


def cumsum(s: Source) -> Value:
    refuse_grids(s)
    axis = ints(s, 1, "axis")[0] % s[0].rank
    return s.b("CumSum", s[0], axis=axis, exclusive=int(s.attr("exclusive", 0)), reverse=int(s.attr("reverse", 0)))


TABLE: dict[str, Rule] = {
    "ARG_MAX": arg("ArgMax"),
    "ARG_MIN": arg("ArgMin"),
    "AVERAGE_POOL_2D": average_pool_2d,
    "CUMSUM": cumsum,
    "L2_NORMALIZATION": l2_normalization,
    "L2_POOL_2D": l2_pool_2d,
    "LOG_SOFTMAX": log_softmax,
    "MAX_POOL_2D": max_pool_2d,
    "MEAN": reduced("ReduceMean"),
    "REDUCE_MAX": reduced("ReduceMax"),
    "REDUCE_MIN": reduced("ReduceMin"),
    "REDUCE_PROD": reduced("ReduceProd"),
    "SOFTMAX": softmax,
    "SUM": reduced("ReduceSum"),
    "TOPK_V2": top_k,
}
