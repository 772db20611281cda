"""Resize and Upsample as gathers and weighted sums along one axis after another, GridSample left out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from functools import reduce
from math import ceil, floor

import numpy as np

from mlcc.core.dim import Dim, whole
from mlcc.core.terms import Size, least, most
from mlcc.error import Error
from mlcc.graph import symbolic
from mlcc.graph.builder import Value
from mlcc.graph.source import Source, normal_axis

Scale = Fraction | tuple[Size, Size]  # output by input


def _ratio(n_out: Size, n_in: Size) -> Scale:
    """A scale; a fraction where that is the same at every size."""
    if isinstance(n_out, int) and isinstance(n_in, int):
        return Fraction(n_out, max(1, n_in))
    for a, b in ((n_out, n_in), (n_in, n_out)):
        times = a // b if least(b) > 0 else None
        if isinstance(times, int) and times * b == a:
            return Fraction(times) if a is n_out else Fraction(1, times)
    return n_out, n_in


def coordinates(s: Source, mode: str, n_in: int, n_out: int, scale: Fraction, roi: tuple[Fraction, Fraction]) -> list[Fraction]:
    """Source coordinate of each output index (ONNX Resize, coordinate_transformation_mode), as exact fractions: a coordinate that lies on
    an element or half-way between two must not be moved by a rounding."""
    s.b.room(n_out, 1000, "a resized axis")  # fractions take a hundred bytes, and are several
    half, every = Fraction(1, 2), [Fraction(i) for i in range(n_out)]
    if mode == "half_pixel":
        return [(x + half) / scale - half for x in every]
    if mode == "half_pixel_symmetric":
        centre = Fraction(n_in, 2) * (1 - n_out / (scale * n_in))
        return [centre + (x + half) / scale - half for x in every]
    if mode == "pytorch_half_pixel":
        return [(x + half) / scale - half for x in every] if n_out > 1 else [Fraction(0)] * n_out
    if mode == "align_corners":
        return [x * (n_in - 1) / (scale * n_in - 1) for x in every] if n_out > 1 else [Fraction(0)] * n_out
    if mode == "asymmetric":
        return [x / scale for x in every]
    if mode == "tf_half_pixel_for_nn":
        return [(x + half) / scale for x in every]
    if mode == "tf_crop_and_resize":
        start, end = roi
        if n_out == 1:
            return [(start + end) * (n_in - 1) / 2]
        return [start * (n_in - 1) + x * (end - start) * (n_in - 1) / (n_out - 1) for x in every]
    raise s.unsupported(f"coordinate_transformation_mode {mode}")


def nearest(s: Source, at: list[Fraction], n_in: int) -> np.ndarray:
    kind = s.attr("nearest_mode", "round_prefer_floor") if s.op == "Resize" else "floor"
    if s.op == "Resize" and s.opset < 11:
        kind = "floor"
    table: dict[str, Callable[[Fraction], int]] = {
        "round_prefer_floor": lambda v: ceil(v - Fraction(1, 2)),
        "round_prefer_ceil": lambda v: floor(v + Fraction(1, 2)),
        "floor": floor,
        "ceil": ceil,
    }
    if kind not in table:
        raise s.bad(f"nearest_mode {kind}")
    return np.array([min(max(table[kind](v), 0), n_in - 1) for v in at], np.int64)


def weights(s: Source, mode: str, at: np.ndarray, n_in: int, scale: float) -> tuple[np.ndarray, np.ndarray]:
    """(indices [taps, out], weights [taps, out]) of linear and cubic interpolation."""
    antialias = bool(s.attr("antialias", 0)) and scale < 1
    stretch = 1 / scale if antialias else 1.0
    a = float(s.attr("cubic_coeff_a", -0.75))
    support = (1 if mode == "linear" else 2) * stretch
    base = np.floor(at).astype(np.int64)
    reach = int(np.ceil(support))
    taps = np.arange(-reach + 1, reach + 1) if not antialias else np.arange(-reach, reach + 2)
    index = base[None, :] + taps[:, None]
    d = np.abs(at[None, :] - index) / stretch
    if mode == "linear":
        w = np.maximum(0, 1 - d)
    else:
        w = np.where(d <= 1, ((a + 2) * d - (a + 3)) * d * d + 1, np.where(d < 2, ((a * d - 5 * a) * d + 8 * a) * d - 4 * a, 0))
    if s.attr("exclude_outside", 0):
        w = np.where((index >= 0) & (index < n_in), w, 0)
    if s.attr("exclude_outside", 0) or antialias:
        w = w / w.sum(0)
    return np.clip(index, 0, n_in - 1), w


def interpolate(
    s: Source, x: Value, axis: int, mode: str, n_out: int, scale: Scale, transform: str, roi: tuple[Fraction, Fraction]
) -> Value:
    b, n_in = s.b, x.shape[axis]
    if isinstance(n_in, Dim) or isinstance(n_out, Dim):
        return _open(s, x, axis, mode, n_out, scale, transform)
    assert isinstance(scale, Fraction)
    exact = coordinates(s, transform, n_in, n_out, scale, roi)
    at = np.array([float(v) for v in exact])
    shape = [-1 if i == axis else 1 for i in range(x.rank)]
    if mode == "nearest":
        y = b("Gather", x, b.constant(nearest(s, exact, n_in)), axis=axis)
    else:
        index, w = weights(s, mode, at, n_in, float(scale))
        terms: list[Value] = []
        for i in range(len(index)):
            if not np.any(w[i]):
                continue
            term = b("Mul", b("Gather", x, b.constant(index[i]), axis=axis), b.constant(w[i].astype(np.float32).reshape(shape)))
            terms.append(term)
        y = reduce(lambda total, term: b("Add", total, term), terms)
    if transform == "tf_crop_and_resize":
        outside = ((at < 0) | (at > n_in - 1)).reshape(shape)
        y = b("Where", b.constant(outside), b.like(s.attr("extrapolation_value", 0.0), y), y)
    return y


def _open(s: Source, x: Value, axis: int, mode: str, n_out: Size, scale: Scale, transform: str) -> Value:
    """The same for sizes that a run decides: coordinates as quotients of whole numbers, then as above, number for number."""
    b, n_in, shape = s.b, x.shape[axis], [-1 if i == axis else 1 for i in range(x.rank)]
    shape[axis] = n_out
    up, down = scale if isinstance(scale, tuple) else (scale.numerator, scale.denominator)
    every = symbolic.counting(b, n_out)

    def times(v: Value, n: Size) -> Value:
        return b("Mul", v, b.sizes(n))

    def plus(v: Value, n: Size) -> Value:
        return b("Add", v, b.sizes(n))

    if transform == "half_pixel" or transform == "pytorch_half_pixel" and least(n_out) > 1:
        above, below = plus(times(plus(times(every, 2), 1), down), -up), 2 * up
    elif transform == "asymmetric":
        above, below = times(every, down), up
    elif transform == "align_corners" and isinstance(scale, tuple) and least(n_out) > 1:
        above, below = times(every, n_in - 1), n_out - 1
    else:
        raise s.unsupported(f"coordinate_transformation_mode {transform} of sizes that a run decides")
    last = b.sizes(n_in - 1)

    def inside(index: Value) -> Value:
        return b("Min", b("Max", index, b.constant(np.int64(0))), last)

    if mode == "nearest":
        kind = "floor" if s.op != "Resize" or s.opset < 11 else s.attr("nearest_mode", "round_prefer_floor")
        floors = {
            "floor": lambda: (above, below),
            "ceil": lambda: (plus(above, below - 1), below),
            "round_prefer_ceil": lambda: (plus(times(above, 2), below), 2 * below),
            "round_prefer_floor": lambda: (plus(times(above, 2), below - 1), 2 * below),
        }
        if kind not in floors:
            raise s.bad(f"nearest_mode {kind}")
        upper, under = floors[kind]()
        return b("Gather", x, inside(b("Div", upper, b.sizes(under))), axis=axis)  # what truncates towards 0 is clamped to 0 anyway
    if s.attr("exclude_outside", 0) or s.attr("antialias", 0):
        raise s.unsupported("antialias or exclude_outside of sizes that a run decides")
    at = b("Div", b.cast(above, "float64"), b.cast(b.sizes(below), "float64"))
    base = b("Floor", at)
    whole = b.cast(base, "int64")

    def f64(v: float) -> Value:
        return b.constant(np.float64(v))

    terms: list[Value] = []
    a = float(s.attr("cubic_coeff_a", -0.75))
    for tap in (0, 1) if mode == "linear" else (-1, 0, 1, 2):
        d: Value = b("Abs", b("Sub", at, b("Add", base, f64(tap))))
        if mode == "linear":
            w = b("Max", f64(0), b("Sub", f64(1), d))
        else:
            near = b("Add", b("Mul", b("Mul", b("Sub", b("Mul", f64(a + 2), d), f64(a + 3)), d), d), f64(1))
            far = b("Sub", b("Mul", b("Add", b("Mul", b("Sub", b("Mul", f64(a), d), f64(5 * a)), d), f64(8 * a)), d), f64(4 * a))
            w = b("Where", b("LessOrEqual", d, f64(1)), near, b("Where", b("Less", d, f64(2)), far, f64(0)))
        index = inside(b("Add", whole, b.constant(np.int64(tap))))
        terms.append(b("Mul", b("Gather", x, index, axis=axis), b.reshape(b.cast(w, "float32"), shape)))
    return reduce(lambda total, term: b("Add", total, term), terms)


@dataclass(frozen=True)
class Target:
    """An axis's new size, by which scale, out of which part of the input."""

    axis: int
    size: Size
    scale: Scale
    roi: tuple[Fraction, Fraction]


def resize(s: Source) -> Value:
    b, x = s.b, s[0]
    mode = {"linear": "linear", "bilinear": "linear", "nearest": "nearest", "cubic": "cubic"}.get(s.attr("mode", "nearest"))
    if mode is None:
        raise s.unsupported(f"mode {s.attr('mode')}")
    old = s.op == "Upsample" or s.opset < 11
    transform = "asymmetric" if old else s.attr("coordinate_transformation_mode", "half_pixel")
    half = x.dtype if x.dtype != "float32" and mode != "nearest" else None
    y = b.cast(x, "float32") if half else x
    for t in _targets(s, x, old, transform):
        if t.size != x.shape[t.axis] or t.scale != 1 or transform == "tf_crop_and_resize":
            y = interpolate(s, y, t.axis, mode, t.size, t.scale, transform, t.roi)
    return b.cast(y, half) if half else y


def _targets(s: Source, x: Value, old: bool, transform: str) -> list[Target]:
    """What the operator's scales or sizes ask for, axis by axis."""
    axes = [normal_axis(a, x.rank, s.where) for a in (s.ints("axes") or range(x.rank))]
    rois = _rois(s, None if old else s.optional(1), len(axes))
    scales = np.asarray(s.attr("scales")) if s.has("scales") else _given(s, s.optional(1 if old else 2), "scales")
    if scales is not None:
        if len(scales) != len(axes) or not np.all(scales > 0):
            raise s.bad(f"scales {scales.tolist()}")
        return [_by_scale(x.shape[a], a, float(v), roi, transform) for a, v, roi in zip(axes, scales, rois)]
    sizes = None if old else s.optional(3)
    if sizes is None:
        raise s.bad("neither scales nor sizes")
    return _by_sizes(s, x, axes, [whole(n) for n in s.b.known(sizes, "sizes")], rois)


def _given(s: Source, value: Value | None, what: str) -> np.ndarray | None:
    """A known input, unless it is left out or empty."""
    return s.b.known(value, what) if value is not None and value.type.size else None


def _rois(s: Source, value: Value | None, axes: int) -> list[tuple[Fraction, Fraction]]:
    """(start, end) of the part that is resized, for each axis, as fractions of it."""
    known = _given(s, value, "roi")
    roi = known.astype(np.float64) if known is not None else np.array([0.0] * axes + [1.0] * axes)
    return [(Fraction(roi[i]), Fraction(roi[axes + i])) for i in range(axes)]


def _by_scale(extent: int, axis: int, scale: float, roi: tuple[Fraction, Fraction], transform: str) -> Target:
    if isinstance(extent, Dim):
        exact = Fraction(scale)
        if exact.numerator & (exact.numerator - 1) and exact.denominator != 1 or most(extent) * exact.numerator >= 1 << 24:
            raise Error("unsupported", f"a scale of {scale} for an axis of {extent}", "Resize", "give sizes")  # rounded in binary32
        return Target(axis, extent * exact.numerator // exact.denominator, exact, roi)
    span = roi[1] - roi[0] if transform == "tf_crop_and_resize" else 1
    size = np.float32(extent) * np.float32(scale)  # in binary32, as ONNX's shape inference has it
    return Target(axis, floor(span * Fraction(scale) * extent) if span != 1 else floor(size), Fraction(scale), roi)


def _by_sizes(s: Source, x: Value, axes: list[int], wanted: list[int], rois: list[tuple[Fraction, Fraction]]) -> list[Target]:
    if len(wanted) != len(axes) or any(least(n) < 1 for n in wanted):
        raise s.bad(f"sizes {wanted}")
    policy = s.attr("keep_aspect_ratio_policy", "stretch")
    if any(isinstance(n, Dim) for n in (*wanted, *(x.shape[a] for a in axes))):
        if policy != "stretch":
            raise s.unsupported(f"keep_aspect_ratio_policy {policy} of sizes that a run decides")
        return [Target(a, n, _ratio(n, x.shape[a]), roi) for a, n, roi in zip(axes, wanted, rois)]
    ratios = [Fraction(n, max(1, x.shape[a])) for n, a in zip(wanted, axes)]
    if policy != "stretch":
        ratio = min(ratios) if policy == "not_larger" else max(ratios)
        wanted, ratios = [floor(ratio * x.shape[a] + Fraction(1, 2)) for a in axes], [ratio] * len(axes)
    return [Target(*t) for t in zip(axes, wanted, ratios, rois)]


TABLE: dict[str, Callable[[Source], Value | tuple[Value, ...]]] = {"Resize": resize, "Upsample": resize}
