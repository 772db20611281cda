"""Pooling."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from math import prod

import numpy as np

from mlcc.core.graph import DTYPES
from mlcc.graph.builder import Value
from mlcc.graph.integers import summed
from mlcc.graph.rules.conv import window
from mlcc.graph.source import Source


def pool_window(s: Source) -> tuple[tuple[int, ...], dict[str, tuple[int, ...]]]:
    kernel = tuple(int(v) for v in s.attr("kernel_shape", []))
    if not kernel or len(kernel) != s[0].rank - 2:
        raise s.bad(f"kernel_shape {list(kernel)} for {list(s[0].shape)}")
    return kernel, window(s, s[0].shape[2:], kernel, bool(s.attr("ceil_mode", 0)))


def max_pool(s: Source) -> Value | tuple[Value, ...]:
    kernel, attributes = pool_window(s)
    y = s.b("PoolMax", s[0], kernel=kernel, **attributes)
    if s.output_count == 1:
        return y
    return y, _indices(s, y, kernel, attributes)


def _indices(s: Source, y: Value, kernel: tuple[int, ...], attributes: dict[str, tuple[int, ...]]) -> Value:
    """Flat index of each window's first maximum: the positions gathered, then the first that equals the maximum."""
    b, x = s.b, s[0]
    rank, spatial = x.rank - 2, x.shape[2:]
    b.room(prod(y.shape[2:]) * prod(kernel), what="the windows' indices")
    axes = [np.arange(n) * st for n, st in zip(y.shape[2:], attributes["strides"])]
    where = []
    for i in range(rank):
        taps = np.arange(kernel[i]) * attributes["dilations"][i] - attributes["before"][i]
        where.append(axes[i][:, None] + taps[None, :])  # [out, kernel]
    order = s.attr("storage_order", 0)
    flat = np.zeros([*y.shape[2:], *kernel], np.int64)
    inside = np.ones(flat.shape, bool)
    weights = [prod(spatial[i + 1 :]) for i in range(rank)] if not order else [prod(spatial[:i]) for i in range(rank)]
    row_major = np.zeros(flat.shape, np.int64)
    for i in range(rank):
        shape = [1] * (2 * rank)
        shape[i], shape[rank + i] = where[i].shape
        w = where[i].reshape(shape)
        flat = flat + w * weights[i]
        row_major = row_major + np.clip(w, 0, spatial[i] - 1) * prod(spatial[i + 1 :])
        inside &= (w >= 0) & (w < spatial[i])
    count, window_size = prod(y.shape[2:]), prod(kernel)
    values = b("Gather", b.reshape(x, (*x.shape[:2], prod(spatial))), b.constant(row_major.reshape(count, window_size)), axis=2)
    top = b.reshape(y, (*y.shape[:2], count, 1))
    hit = b("And", b("Equal", values, top), b.constant(inside.reshape(count, window_size)))
    first = b("ArgMax", b.cast(hit, "uint8"), axis=3, last=0)
    index = b("GatherElements", b.expand(b.constant(flat.reshape(1, 1, count, window_size)), values.shape), first, axis=3)
    planes = np.arange(x.shape[0] * x.shape[1], dtype=np.int64).reshape(*x.shape[:2], 1, 1) * prod(spatial)
    return b.reshape(b("Add", index, b.constant(planes)), y.shape)


def average_pool(s: Source) -> Value:
    """Window sums divided by the number of elements that count."""
    b, x = s.b, s[0]
    kernel, attributes = pool_window(s)
    total = summed(b, "PoolSum", x, kernel=kernel, **attributes)
    explicit = [int(v) for v in s.attr("pads", [0] * 2 * len(kernel))]
    if not total.type.static:
        return b("Div", total, _counted(s, total, kernel, attributes, explicit))
    counts = np.ones((), np.int64)
    for i, k in enumerate(kernel):
        b.room(total.shape[2 + i] * k, what="the windows' indices")
        starts = np.arange(total.shape[2 + i]) * attributes["strides"][i] - attributes["before"][i]
        taps = starts[:, None] + np.arange(k) * attributes["dilations"][i]
        low, high = 0, x.shape[2 + i]
        if s.attr("count_include_pad", 0):
            low, high = (
                -attributes["before"][i],
                high + (explicit[len(kernel) + i] if s.attr("auto_pad", "NOTSET") == "NOTSET" else attributes["after"][i]),
            )
        counts = counts[..., None] * ((taps >= low) & (taps < high)).sum(1)
    return b("Div", total, b.constant(_shrink(counts.astype(DTYPES[x.dtype]))))


def _counted(s: Source, total: Value, kernel: tuple[int, ...], attributes: dict[str, tuple[int, ...]], explicit: list[int]) -> Value:
    """How many elements of each window count, where a run decides sizes: windows over ones."""
    b, x, rank = s.b, s[0], len(kernel)
    before, after = attributes["before"], attributes["after"]
    whole = bool(s.attr("count_include_pad", 0))
    if not any((*before, *after)) or whole and s.attr("auto_pad", "NOTSET") != "NOTSET":
        return b.like(prod(kernel), total)
    ones = b.expand(b.reshape(b.like(1, total), (1,) * x.rank), (1, 1, *x.shape[2:]))
    if whole:
        ends = tuple(explicit[rank:])
        ones = b("Pad", ones, before=(0, 0, *before), after=(0, 0, *ends), value=1)
        attributes = {**attributes, "before": (0,) * rank, "after": tuple(a - e for a, e in zip(after, ends))}
    return b("PoolSum", ones, kernel=kernel, **attributes)


def _shrink(a: np.ndarray) -> np.ndarray:
    """One number where all are equal."""
    return a.flat[0].reshape(()) if np.all(a == a.flat[0]) else a


def global_pool(core: str, mean: bool) -> Callable[[Source], Value]:
    def run(s: Source) -> Value:
        axes = tuple(range(2, s[0].rank))
        total = partial(summed, s.b) if mean else s.b
        y = total(core, s[0], axes=axes) if axes else s[0]
        return s.b("Div", y, s.b.like(prod(s[0].shape[2:]), y)) if mean else y

    return run


def lp_pool(s: Source) -> Value:
    b, p = s.b, int(s.attr("p", 2))
    kernel, attributes = pool_window(s)
    return _lp(s, p, lambda x: b("PoolSum", x, kernel=kernel, **attributes))


def global_lp_pool(s: Source) -> Value:
    return _lp(s, int(s.attr("p", 2)), lambda x: s.b("ReduceSum", x, axes=tuple(range(2, x.rank))))


def _lp(s: Source, p: int, total: Callable[[Value], Value]) -> Value:
    b, x = s.b, s.b("Abs", s[0])
    if p == 1:
        return total(x)
    if p == 2:
        return b("Sqrt", total(b("Mul", x, x)))
    y = total(b("Pow", x, b.like(p, x)))
    return b("Pow", y, b.like(1 / p, y))


TABLE: dict[str, Callable[[Source], Value | tuple[Value, ...]]] = {
    "MaxPool": max_pool,
    "AveragePool": average_pool,
    "LpPool": lp_pool,
    "GlobalLpPool": global_lp_pool,
    "GlobalMaxPool": global_pool("ReduceMax", False),
    "GlobalAveragePool": global_pool("ReduceSum", True),
}
