"""Reductions, softmax and normalisation."""

from __future__ import annotations

from collections.abc import Callable
from math import prod

import numpy as np

from mlcc.graph.builder import Value
from mlcc.graph.source import Source, normal_axis


def axes_of(s: Source, x: Value) -> tuple[int, ...]:
    axes = s.ints("axes", 1)
    if axes is None or not axes:
        return () if s.attr("noop_with_empty_axes", 0) else tuple(range(x.rank))
    return tuple(sorted({normal_axis(a, x.rank, s.where) for a in axes}))


def drop(s: Source, x: Value, axes: tuple[int, ...]) -> Value:
    return s.b.reshape(x, [n for i, n in enumerate(x.shape) if i not in axes])


def reduction(
    before: Callable[[Source, Value], Value] | None, core: str, after: Callable[[Source, Value, int], Value] | None = None
) -> Callable[[Source], Value]:
    def run(s: Source) -> Value:
        x = s[0]
        axes = axes_of(s, x)
        y = before(s, x) if before else x
        boolean = y.dtype == "bool"
        if boolean:
            y = s.b.cast(y, "uint8")
        y = s.b(core, y, axes=axes) if axes else y
        if after:
            y = after(s, y, prod(x.shape[i] for i in axes))
        if boolean:
            y = s.b.cast(y, "bool")
        return y if s.attr("keepdims", 1) else drop(s, y, axes)

    return run


def square(s: Source, x: Value) -> Value:
    return s.b("Mul", x, x)


def divide_by(s: Source, x: Value, count: int) -> Value:
    return s.b("Div", x, s.b.like(count, x))


def unary_after(op: str) -> Callable[[Source, Value, int], Value]:
    return lambda s, x, _: s.b(op, x)


def root_after(s: Source, x: Value, _: int) -> Value:
    if x.dtype not in ("float32", "float64"):
        return s.b.cast(s.b("Sqrt", s.b.cast(x, "float64")), x.dtype)
    return s.b("Sqrt", x)


def log_sum_exp(s: Source) -> Value:
    """log Σ e^(x − max) + max, the maximum taken as 0 where it is infinite."""
    b, x = s.b, s[0]
    axes = axes_of(s, x)
    top = b("ReduceMax", x, axes=axes) if axes else x
    finite = b("Where", b("Less", b("Abs", top), b.like(np.inf, top)), top, b.like(0, top))
    total = b("Exp", b("Sub", x, finite))
    result = b("Add", b("Log", b("ReduceSum", total, axes=axes) if axes else total), finite)
    return result if s.attr("keepdims", 1) else drop(s, result, axes)


def arg(core: str) -> Callable[[Source], Value]:
    def run(s: Source) -> Value:
        axis = s.axis()
        y = s.b(core, s[0], axis=axis, last=int(s.attr("select_last_index", 0)))
        return y if s.attr("keepdims", 1) else drop(s, y, (axis,))

    return run


def softmax_parts(s: Source) -> tuple[Value, Value, tuple[int, ...], Callable[[Value], Value]]:
    """(x − max, its exponential, axes, finish); before opset 13 the axis flattens the rest."""
    b, x = s.b, s[0]
    shape = x.shape
    if s.opset < 13:
        axis = s.axis(1)
        x = b.reshape(x, (prod(shape[:axis]), prod(shape[axis:])))
        axes: tuple[int, ...] = (1,)
    else:
        axes = (s.axis(-1),)
    shifted = b("Sub", x, b("ReduceMax", x, axes=axes))

    return shifted, b("Exp", shifted), axes, lambda y: b.reshape(y, shape)


def softmax(s: Source) -> Value:
    _, e, axes, finish = softmax_parts(s)
    return finish(s.b("Div", e, s.b("ReduceSum", e, axes=axes)))


def log_softmax(s: Source) -> Value:
    shifted, e, axes, finish = softmax_parts(s)
    return finish(s.b("Sub", shifted, s.b("Log", s.b("ReduceSum", e, axes=axes))))


def hardmax(s: Source) -> Value:
    b, x = s.b, s[0]
    shape, axis = x.shape, s.axis(-1 if s.opset >= 13 else 1)
    if s.opset < 13:
        x, axis = b.reshape(x, (prod(shape[:axis]), prod(shape[axis:]))), 1
    first = b("ArgMax", x, axis=axis, last=0)
    classes = b.constant(np.arange(x.shape[axis], dtype=np.int64).reshape([-1 if i == axis else 1 for i in range(x.rank)]))
    return b.reshape(b("Where", b("Equal", classes, first), b.like(1, x), b.like(0, x)), shape)


def moments(s: Source, x: Value, axes: tuple[int, ...]) -> tuple[Value, Value]:
    """(x − mean, variance), two passes."""
    b = s.b
    count = b.like(prod(x.shape[i] for i in axes), x)
    centred = b("Sub", x, b("Div", b("ReduceSum", x, axes=axes), count))
    return centred, b("Div", b("ReduceSum", b("Mul", centred, centred), axes=axes), count)


def normalise(s: Source, x: Value, axes: tuple[int, ...], epsilon: float) -> tuple[Value, Value]:
    """((x − mean) · 1/√(variance + ε), 1/√(…))."""
    b = s.b
    centred, variance = moments(s, x, axes)
    inverse = b("Div", b.like(1, x), b("Sqrt", b("Add", variance, b.like(epsilon, x))))
    return b("Mul", centred, inverse), inverse


def layer_normalization(s: Source) -> Value | tuple[Value, ...]:
    b, axis = s.b, s.axis(-1)
    x = s[0]
    axes = tuple(range(axis, x.rank))
    y, inverse = normalise(s, x, axes, s.attr("epsilon", 1e-5))
    y = b("Mul", y, s[1])
    bias = s.optional(2)
    y = b("Add", y, bias) if bias is not None else y
    if s.output_count == 1:
        return y
    mean = b("Div", b("ReduceSum", x, axes=axes), b.like(prod(x.shape[axis:]), x))
    return (y, mean, inverse)[: s.output_count]


def per_channel(s: Source, v: Value, rank: int) -> Value:
    return s.b.reshape(v, (1, v.type.size, *(1,) * (rank - 2)))


def instance_normalization(s: Source) -> Value:
    x = s[0]
    y, _ = normalise(s, x, tuple(range(2, x.rank)), s.attr("epsilon", 1e-5))
    return s.b("Add", s.b("Mul", y, per_channel(s, s[1], x.rank)), per_channel(s, s[2], x.rank))


def group_normalization(s: Source) -> Value:
    b, x, groups = s.b, s[0], int(s.attr("num_groups"))
    n, c = x.shape[:2]
    if c % groups:
        raise s.bad(f"{c} channels in {groups} groups")
    grouped = b.reshape(x, (n, groups, c // groups, *x.shape[2:]))
    y, _ = normalise(s, grouped, tuple(range(2, grouped.rank)), s.attr("epsilon", 1e-5))
    scale, bias = s[1], s[2]
    if scale.type.size == groups != c:  # opset 18 scaled by group
        scale, bias = (b.reshape(b.expand(b.reshape(v, (groups, 1)), (groups, c // groups)), (c,)) for v in (scale, bias))
    return b("Add", b("Mul", b.reshape(y, x.shape), per_channel(s, scale, x.rank)), per_channel(s, bias, x.rank))


def root_mean_square(s: Source, x: Value, scale: Value, axis: int, epsilon: float) -> tuple[Value, Value]:
    """(x · 1/√(mean of squares + ε) · scale, 1/√(…)), over the axes from `axis` on."""
    b, axes = s.b, tuple(range(axis, x.rank))
    mean = b("Div", b("ReduceSum", b("Mul", x, x), axes=axes), b.like(prod(x.shape[axis:]), x))
    inverse = b("Div", b.like(1, x), b("Sqrt", b("Add", mean, b.like(epsilon, x))))
    return b("Mul", b("Mul", x, inverse), scale), inverse


def rms_normalization(s: Source) -> Value:
    return root_mean_square(s, s[0], s[1], s.axis(-1), s.attr("epsilon", 1e-5))[0]


def batch_normalization(s: Source) -> Value:
    """Inference form as one multiply and one add with folded constants (recorded)."""
    b, x = s.b, s[0]
    if s.attr("training_mode", 0) or s.output_count > 1:
        raise s.unsupported("training mode", "export the model for inference")
    scale, bias, mean, variance = (s[i] for i in range(1, 5))
    factor = b("Div", scale, b("Sqrt", b("Add", variance, b.like(s.attr("epsilon", 1e-5), variance))))
    offset = b("Sub", bias, b("Mul", mean, factor))
    b.record("batch-normalization-as-multiply-add")
    if s.opset < 9 and not s.attr("spatial", 1):  # statistics of each activation, not of each channel
        return b("Add", b("Mul", x, b.reshape(factor, (1, *x.shape[1:]))), b.reshape(offset, (1, *x.shape[1:])))
    return b("Add", b("Mul", x, per_channel(s, factor, max(x.rank, 2))), per_channel(s, offset, max(x.rank, 2)))


def lp_normalization(s: Source) -> Value:
    b, x, axis = s.b, s[0], (s.axis(-1),)
    if s.attr("p", 2) == 1:
        norm = b("ReduceSum", b("Abs", x), axes=axis)
    else:
        norm = b("Sqrt", b("ReduceSum", b("Mul", x, x), axes=axis))
    return b("Where", b("Equal", norm, b.like(0, x)), b.like(0, x), b("Div", x, norm))


def mean_variance(s: Source) -> Value:
    axes = tuple(sorted({normal_axis(a, s[0].rank, s.where) for a in s.ints("axes") or (0, 2, 3)}))
    centred, variance = moments(s, s[0], axes)
    return s.b("Div", centred, s.b("Add", s.b("Sqrt", variance), s.b.like(1e-9, s[0])))


def lrn(s: Source) -> Value:
    b, x, size = s.b, s[0], int(s.attr("size"))
    n, c = x.shape[:2]
    low, high = min((size - 1) // 2, c - 1), min(size - 1 - (size - 1) // 2, c - 1)  # what lies beyond all channels is nothing
    flat = b.reshape(b("Mul", x, x), (n, 1, c, prod(x.shape[2:])))
    total = b("PoolSum", flat, kernel=(low + high + 1, 1), strides=(1, 1), dilations=(1, 1), before=(low, 0), after=(high, 0))
    base = b("Add", b("Mul", b.reshape(total, x.shape), b.like(s.attr("alpha", 1e-4) / size, x)), b.like(s.attr("bias", 1.0), x))
    return b("Div", x, b("Pow", base, b.like(s.attr("beta", 0.75), x)))


def cumulative(core: str) -> Callable[[Source], Value]:
    def run(s: Source) -> Value:
        axis = normal_axis(int(s.b.known(s[1], "axis").reshape(-1)[0]), s[0].rank, s.where)
        return s.b(core, s[0], axis=axis, exclusive=int(s.attr("exclusive", 0)), reverse=int(s.attr("reverse", 0)))

    return run


TABLE: dict[str, Callable[[Source], Value | tuple[Value, ...]]] = {
    "ReduceSum": reduction(None, "ReduceSum"),
    "ReduceProd": reduction(None, "ReduceProd"),
    "ReduceMax": reduction(None, "ReduceMax"),
    "ReduceMin": reduction(None, "ReduceMin"),
    "ReduceMean": reduction(None, "ReduceSum", divide_by),
    "ReduceL1": reduction(lambda s, x: x if x.dtype.startswith("u") else s.b("Abs", x), "ReduceSum"),
    "ReduceL2": reduction(square, "ReduceSum", root_after),
    "ReduceSumSquare": reduction(square, "ReduceSum"),
    "ReduceLogSum": reduction(None, "ReduceSum", unary_after("Log")),
    "ReduceLogSumExp": log_sum_exp,
    "ArgMax": arg("ArgMax"),
    "ArgMin": arg("ArgMin"),
    "Softmax": softmax,
    "LogSoftmax": log_softmax,
    "Hardmax": hardmax,
    "LayerNormalization": layer_normalization,
    "InstanceNormalization": instance_normalization,
    "GroupNormalization": group_normalization,
    "RMSNormalization": rms_normalization,
    "BatchNormalization": batch_normalization,
    "LpNormalization": lp_normalization,
    "MeanVarianceNormalization": mean_variance,
    "LRN": lrn,
    "CumSum": cumulative("CumSum"),
    "CumProd": cumulative("CumProd"),
}
