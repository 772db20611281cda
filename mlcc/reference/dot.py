"""Dot-like operators of the reference (matmul, conv, pool windows): gather the operands into rows, then one chain per output."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from mlcc.arithmetic.bf16 import SMALLEST
from mlcc.core.graph import DTYPES, Node
from mlcc.reference import native
from mlcc.reference.reduce import reduce_rows

Array = np.ndarray


def chain(a: Array, b: Array, init: Array | None) -> Array:
    """[m,k]·[k,n] (+ init): the contract's chain for floats, wrapping sums for integers."""
    start = np.zeros((), a.dtype) if init is None else init
    if a.dtype == np.float32:
        return native.chain(a, b, start)
    if a.dtype.itemsize == 2 and a.dtype.kind not in "iu":
        return native.chain(a.astype(np.float32), b.astype(np.float32), start.astype(np.float32)).astype(a.dtype)
    if a.dtype == np.float64:
        return native.chain64(a, b, start)
    if a.dtype == np.int32 and a.size and b.size and float(np.abs(a).max()) * float(np.abs(b).max()) * a.shape[-1] < 2.0**53:
        return np.matmul(a.astype(np.float64), b.astype(np.float64)).astype(np.int64).astype(np.int32) + start  # exact, and much faster
    return np.matmul(a, b) + start


def as_bfloat16(x: Array) -> Array:
    """The bfloat16 number nearest to each binary32 one (ties to even), as binary32; +0 below 2^-55."""
    bits = np.ascontiguousarray(x, np.float32).view(np.uint32).astype(np.uint64)
    low, high = bits & 0xFFFF, bits >> 16
    up = (low > 0x8000) | ((low == 0x8000) & (high % 2 == 1))
    rounded = ((high + up).astype(np.uint32) << 16).view(np.float32)
    rounded = np.where(np.isnan(x), np.float32(np.nan), rounded)
    return np.where(np.abs(rounded) < np.float32(SMALLEST), np.float32(0), rounded)


def block_dot(a: Array, b: Array) -> Array:
    """[m,k]·[k,n] of the bf16 profile."""
    return native.block_dot(as_bfloat16(a), as_bfloat16(b))


def centred(node: Node, x: Array, w: Array) -> tuple[Array, Array]:
    """The int32 operands of a product of bytes: x less its zero point."""
    if node.get("zero") is None:
        return x, w
    return x.astype(np.int32) - np.int32(node["zero"]), w.astype(np.int32)


def matmul(node: Node, a: Array, b: Array, init: Array | None = None) -> Array:
    a, b = centred(node, a, b)
    if node.get("bf16"):
        rows = int(np.prod(a.shape[:-1]))
        return block_dot(a.reshape(rows, a.shape[-1]), b.reshape(b.shape[-2:])).reshape(
            *np.broadcast_shapes(a.shape[:-2], b.shape[:-2]), a.shape[-2], b.shape[-1]
        )
    batch = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    shape = (*batch, a.shape[-2], b.shape[-1])
    count = int(np.prod(batch))
    left = np.broadcast_to(a, (*batch, *a.shape[-2:])).reshape(count, *a.shape[-2:])
    right = np.broadcast_to(b, (*batch, *b.shape[-2:])).reshape(count, *b.shape[-2:])
    start = None if init is None else np.broadcast_to(init, shape).reshape(count, *shape[-2:])
    if b.ndim == 2 and count > 1:
        every = chain(left.reshape(count * a.shape[-2], a.shape[-1]), b, None if start is None else start.reshape(-1, shape[-1]))
        return every.reshape(shape)
    out = np.empty((left.shape[0], *shape[-2:]), a.dtype)
    for i in range(left.shape[0]):
        out[i] = chain(left[i], right[i], None if start is None else start[i])
    return out.reshape(shape)


def windows(x: Array, kernel: tuple[int, ...], strides: tuple[int, ...], dilations: tuple[int, ...]) -> Array:
    """[n, c, *spatial] → [n, c, *out, *kernel], a view."""
    spatial = x.shape[2:]
    out = [(s - d * (k - 1) - 1) // st + 1 for s, k, st, d in zip(spatial, kernel, strides, dilations)]
    step = x.strides[2:]
    return np.lib.stride_tricks.as_strided(
        x,
        (*x.shape[:2], *out, *kernel),
        (*x.strides[:2], *(b * s for b, s in zip(step, strides)), *(b * d for b, d in zip(step, dilations))),
        writeable=False,
    )


def padded(x: Array, before: tuple[int, ...], after: tuple[int, ...], value: float = 0) -> Array:
    return np.pad(x, [(0, 0), (0, 0), *zip(before, after)], constant_values=value)


def conv(node: Node, x: Array, w: Array, bias: Array | None = None) -> Array:
    """Cross-correlation; chain order: kernel positions row-major, then input channel."""
    x, w = centred(node, x, w)
    group, kernel = node["group"], w.shape[2:]
    n, spatial_rank = x.shape[0], x.ndim - 2
    view = windows(padded(x, node["before"], node["after"]), kernel, node["strides"], node["dilations"])
    out_spatial = view.shape[2 : 2 + spatial_rank]
    per_in, per_out = x.shape[1] // group, w.shape[0] // group
    out = np.empty((n, w.shape[0], *out_spatial), x.dtype)
    if per_in == 1 and x.dtype == np.float32 and group > 1:
        return _depthwise(view, w, bias, out, per_out, spatial_rank)
    for g in range(group):
        part = view[:, g * per_in : (g + 1) * per_in]
        order = (0, *range(2, 2 + 2 * spatial_rank), 1)
        depth = per_in * int(np.prod(kernel))
        rows = np.transpose(part, order).reshape(n * int(np.prod(out_spatial)), depth)
        weights = w[g * per_out : (g + 1) * per_out]
        matrix = np.transpose(weights, (*range(2, 2 + spatial_rank), 1, 0)).reshape(depth, per_out)
        start = None if bias is None else bias[g * per_out : (g + 1) * per_out]
        result = (block_dot(rows, matrix) if node.get("bf16") else chain(rows, matrix, start)).reshape(n, *out_spatial, per_out)
        out[:, g * per_out : (g + 1) * per_out] = np.moveaxis(result, -1, 1)
    return out


def _depthwise(view: Array, w: Array, bias: Array | None, out: Array, per_out: int, rank: int) -> Array:
    """One input channel a group: the chain runs over kernel positions only."""
    channels = np.arange(w.shape[0])
    ones = (1,) * rank
    acc = np.zeros(out.shape, np.float32) if bias is None else np.broadcast_to(bias.reshape(1, -1, *ones), out.shape)
    for position in np.ndindex(*w.shape[2:]):
        taps = view[(slice(None), slice(None), *(slice(None),) * rank, *position)][:, channels // per_out]
        acc = native.fma(taps, w[(slice(None), 0, *position)].reshape(1, -1, *ones), acc)
    return acc + np.float32(0)


def conv_transpose(node: Node, x: Array, w: Array, bias: Array | None = None) -> Array:
    """Each output sums over the kernel positions that reach it, row-major, then input channel; others are skipped."""
    group, strides, dilations = node["group"], node["strides"], node["dilations"]
    kernel = w.shape[2:]
    per_in, per_out = x.shape[1] // group, w.shape[1]
    full = [(s - 1) * st + (k - 1) * d + 1 for s, st, k, d in zip(x.shape[2:], strides, kernel, dilations)]
    extended = [max(f, b + o) for f, b, o in zip(full, node["before"], node["shape"])]
    pieces = []
    for g in range(group):
        acc = np.zeros((x.shape[0], *extended, per_out), x.dtype)
        if bias is not None:
            acc[...] = bias[g * per_out : (g + 1) * per_out]
        rows = np.moveaxis(x[:, g * per_in : (g + 1) * per_in], 1, -1)
        flat = rows.reshape(-1, per_in)
        for position in np.ndindex(*kernel):
            place = (
                slice(None),
                *(slice(p * d, p * d + (s - 1) * st + 1, st) for p, d, s, st in zip(position, dilations, x.shape[2:], strides)),
                slice(None),
            )
            matrix = w[(slice(g * per_in, (g + 1) * per_in), slice(None), *position)]
            acc[place] = chain(flat, matrix, acc[place].reshape(-1, per_out)).reshape(*rows.shape[:-1], per_out)
        pieces.append(acc + np.zeros((), x.dtype))
    out = np.moveaxis(np.concatenate(pieces, axis=-1), -1, 1)
    return out[(slice(None), slice(None), *(slice(b, b + o) for b, o in zip(node["before"], node["shape"])))]


def pool(kind: str):  # type: ignore[no-untyped-def]
    def run(node: Node, x: Array) -> Array:
        x = x.astype(DTYPES[node["to"]]) if node.get("to") else x
        value = 0 if kind == "ReduceSum" else lowest(x.dtype)
        view = windows(padded(x, node["before"], node["after"], value), node["kernel"], node["strides"], node["dilations"])
        rank = x.ndim - 2
        return reduce_rows(kind, view.reshape(*view.shape[: 2 + rank], -1))

    return run


def lowest(dtype: np.dtype) -> float | int:
    return int(np.iinfo(dtype).min) if dtype.kind in "iu" else float("-inf")


TABLE: dict[str, Callable[..., Any]] = {
    "MatMul": matmul,
    "Conv": conv,
    "ConvTranspose": conv_transpose,
    "PoolMax": pool("ReduceMax"),
    "PoolSum": pool("ReduceSum"),
}
