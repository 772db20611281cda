"""Reductions of the reference: 16 virtual lanes, then the tree (8, 4, 2, 1); 8 lanes for binary64."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from mlcc.core.graph import DTYPES, Node

Array = np.ndarray
LANES = {np.dtype("float32"): 16, np.dtype("float64"): 8}
START = {"add": 0, "mul": 1}


def lanes(rows: Array, operation: str) -> Array:
    """Reduce the last axis of a float array by lanes; sums start from +0, products from 1."""
    function = {"add": np.add, "mul": np.multiply}[operation]
    width = LANES[rows.dtype]
    acc = np.full((*rows.shape[:-1], width), START[operation], rows.dtype)
    for start in range(0, rows.shape[-1], width):
        block = rows[..., start : start + width]
        acc[..., : block.shape[-1]] = function(acc[..., : block.shape[-1]], block)
    while width > 1:
        width //= 2
        acc = function(acc[..., :width], acc[..., width:])
    return acc[..., 0]


def extreme(rows: Array, largest: bool) -> Array:
    """Maximum or minimum of the last axis: NaN wins, +0 is above −0."""
    if rows.shape[-1] == 0:
        limits = (-np.inf, np.inf) if rows.dtype.kind == "f" else (np.iinfo(rows.dtype).min, np.iinfo(rows.dtype).max)
        return np.full(rows.shape[:-1], limits[0 if largest else 1], rows.dtype)
    result = (np.max if largest else np.min)(rows, axis=-1)
    if rows.dtype.kind != "f":
        return result
    zero = result == 0
    negative = np.signbit(rows) & (rows == 0)
    positive = ~np.signbit(rows) & (rows == 0)
    sign = np.where(positive.any(-1), 0.0, -0.0) if largest else np.where(negative.any(-1), -0.0, 0.0)
    return np.where(zero, sign.astype(rows.dtype), result)


def reduce_rows(kind: str, rows: Array) -> Array:
    """`kind` of ReduceSum, ReduceProd, ReduceMax, ReduceMin over the last axis."""
    if kind in ("ReduceMax", "ReduceMin"):
        return extreme(rows, kind == "ReduceMax")
    if rows.dtype.itemsize == 2 and rows.dtype.kind not in "iu":
        return reduce_rows(kind, rows.astype(np.float32)).astype(rows.dtype)
    operation = "add" if kind == "ReduceSum" else "mul"
    if rows.dtype in LANES:
        return lanes(rows, operation)
    return (np.sum if operation == "add" else np.prod)(rows, axis=-1, dtype=rows.dtype)


def to_rows(a: Array, axes: tuple[int, ...]) -> Array:
    """The reduced axes flattened, row-major, as the last axis; kept axes before it."""
    kept = [i for i in range(a.ndim) if i not in axes]
    moved = np.transpose(a, [*kept, *axes])
    return moved.reshape([a.shape[i] for i in kept] + [int(np.prod([a.shape[i] for i in axes], dtype=np.int64))])


def reduction(kind: str) -> Callable[[Node, Array], Array]:
    def run(node: Node, a: Array) -> Array:
        shape = tuple(1 if i in node["axes"] else n for i, n in enumerate(a.shape))
        a = a.astype(DTYPES[node["to"]]) if node.get("to") else a
        return reduce_rows(kind, to_rows(a, node["axes"])).reshape(shape)

    return run


def arg_extreme(node: Node, a: Array, largest: bool) -> Array:
    """Index of the first (or last) extreme along the axis; a NaN counts as the extreme."""
    axis = node["axis"]
    view = np.flip(a, axis) if node["last"] else a
    found = (np.argmax if largest else np.argmin)(view, axis=axis)
    if node["last"]:
        found = a.shape[axis] - 1 - found
    return np.expand_dims(found.astype(np.int64), axis)


def cumulative(node: Node, a: Array) -> Array:
    """Sequential sums along the axis, starting from +0, or products, from 1."""
    function, start = (np.add, 0) if node.op == "CumSum" else (np.multiply, 1)
    axis = node["axis"]
    view = np.moveaxis(np.flip(a, axis) if node["reverse"] else a, axis, 0)
    out = np.empty_like(view)
    total = np.full(view.shape[1:], start, a.dtype)
    for i in range(view.shape[0]):
        if node["exclusive"]:
            out[i] = total
            total = function(total, view[i])
        else:
            total = function(total, view[i])
            out[i] = total
    out = np.moveaxis(out, 0, axis)
    return np.flip(out, axis) if node["reverse"] else out


def top_k(node: Node, a: Array) -> tuple[Array, Array]:
    """The k largest (smallest) along the axis in order; equal values by ascending index; NaN is the largest."""
    axis, k = node["axis"], node["k"]
    rows = np.moveaxis(a, axis, -1)
    key = (
        np.argsort(rows, axis=-1, kind="stable")
        if not node["largest"]
        else rows.shape[-1] - 1 - np.flip(np.argsort(np.flip(rows, -1), axis=-1, kind="stable"), -1)
    )
    chosen = key[..., :k].astype(np.int64)
    values = np.take_along_axis(rows, chosen, -1)
    return np.moveaxis(values, -1, axis), np.moveaxis(chosen, -1, axis)


TABLE: dict[str, Callable[..., Any]] = {
    **{k: reduction(k) for k in ("ReduceSum", "ReduceProd", "ReduceMax", "ReduceMin")},
    "ArgMax": lambda node, a: arg_extreme(node, a, True),
    "ArgMin": lambda node, a: arg_extreme(node, a, False),
    "CumSum": cumulative,
    "CumProd": cumulative,
    "TopK": top_k,
}
