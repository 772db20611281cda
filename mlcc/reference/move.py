"""Data movement in the reference."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from mlcc.core.graph import Node

Array = np.ndarray


def in_range(indices: Array, extent: int) -> Array:
    """Negative indices count from the end; what is still outside is clamped, so that no input reads elsewhere."""
    i = indices.astype(np.int64)
    return np.clip(np.where(i < 0, i + extent, i), 0, max(extent - 1, 0))


def slice_(node: Node, a: Array) -> Array:
    index = tuple(start + step * np.arange(n) for start, step, n in zip(node["starts"], node["steps"], node["shape"]))
    return a[np.ix_(*index)] if index else a


def pad(node: Node, a: Array) -> Array:
    return np.pad(a, list(zip(node["before"], node["after"])), constant_values=np.array(node["value"]).astype(a.dtype))


def gather(node: Node, a: Array, indices: Array) -> Array:
    return np.take(a, in_range(indices, a.shape[node["axis"]]), axis=node["axis"])


def gather_elements(node: Node, a: Array, indices: Array) -> Array:
    axis = node["axis"]
    grid = list(np.ogrid[tuple(slice(n) for n in indices.shape)])
    grid[axis] = in_range(indices, a.shape[axis])
    return a[tuple(grid)]


def gather_nd(node: Node, a: Array, indices: Array) -> Array:
    b = node["batch_dims"]
    batch = np.ogrid[tuple(slice(n) for n in indices.shape[:b])] if b else []
    extra = indices.ndim - 1 - b
    lead = [g.reshape(g.shape + (1,) * extra) for g in batch]
    parts = [in_range(indices[..., j], a.shape[b + j]) for j in range(indices.shape[-1])]
    return a[tuple([*lead, *parts])] if lead or parts else a


def scatter(out: Array, where: tuple[Array, ...], updates: Array, reduction: str) -> Array:
    """Apply updates one after the other in row-major order."""
    flat = [np.broadcast_to(w, updates.shape[: w.ndim] if w.ndim else ()).reshape(-1) for w in where]
    count = flat[0].size if flat else 1
    rows = (
        updates.reshape((count, *updates.shape[len(updates.shape) - (out.ndim - len(where)) :]))
        if out.ndim > len(where)
        else updates.reshape(count)
    )
    for i in range(count):
        at = tuple(f[i] for f in flat)
        old, new = out[at], rows[i]
        if reduction == "add":
            new = old + new
        elif reduction == "mul":
            new = old * new
        elif reduction == "max":
            new = np.where((new < old) | (old != old), old, new)
        elif reduction == "min":
            new = np.where((old < new) | (old != old), old, new)
        out[at] = new
    return out


def scatter_elements(node: Node, a: Array, indices: Array, updates: Array) -> Array:
    axis = node["axis"]
    grid = [np.broadcast_to(g, indices.shape) for g in np.ogrid[tuple(slice(n) for n in indices.shape)]]
    grid[axis] = in_range(indices, a.shape[axis])
    return scatter(a.copy(), tuple(grid), updates, node["reduction"])


def scatter_nd(node: Node, a: Array, indices: Array, updates: Array) -> Array:
    parts = tuple(in_range(indices[..., j], a.shape[j]) for j in range(indices.shape[-1]))
    return scatter(a.copy(), parts, updates, node["reduction"])


TABLE: dict[str, Callable[..., Any]] = {
    "Reshape": lambda node, a: a.reshape(node["shape"]),
    "Transpose": lambda node, a: np.transpose(a, node["perm"]),
    "Expand": lambda node, a: np.broadcast_to(a, node["shape"]),
    "Concat": lambda node, *parts: np.concatenate(parts, axis=node["axis"]),
    "Slice": slice_,
    "Pad": pad,
    "Gather": gather,
    "GatherElements": gather_elements,
    "GatherND": gather_nd,
    "ScatterElements": scatter_elements,
    "ScatterND": scatter_nd,
}
