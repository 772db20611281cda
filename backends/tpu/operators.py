"""The core graph's operators in JAX: integers and movement exactly, floats exactly (in integers, `soft`) or as the device computes them."""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax

from mlcc.arithmetic.elementary import SEQUENCES
from mlcc.arithmetic.scalar import OPERATORS, cast, scalar
from mlcc.core.graph import DTYPES, CoreGraph, Node
from mlcc_backends.tpu import soft
from mlcc_backends.tpu.floats import FLOAT32, Array, Floats, run_sequence


def is_float(a: Array) -> bool:
    return a.dtype == FLOAT32


def _half(a: Array) -> bool:
    return a.dtype.itemsize == 2 and a.dtype.kind not in "iu"


def _elementwise(op: str) -> Callable[..., Array]:
    """By its sequence; half-width floats are storage: computed in binary32, rounded once."""

    def run(f: Floats, node: Node, *a: Array) -> Array:
        if op == "Identity":
            return a[0]
        if not _half(a[-1]):
            return run_sequence(scalar(op, a[-1].dtype.name), f, a)
        made = run_sequence(scalar(op, "float32"), f, tuple(x.astype(FLOAT32) if _half(x) else x for x in a))
        return made.astype(a[-1].dtype) if is_float(made) else made

    return run


def _less(f: Floats, a: Array, b: Array) -> Array:
    return f.less(a, b) if is_float(a) else a < b


def _cast(f: Floats, node: Node, a: Array) -> Array:
    to = jnp.dtype(DTYPES[node["to"]])
    if _half(a):
        a = a.astype(FLOAT32)
    if to.itemsize == 2 and to.kind not in "iu":
        return (a if a.dtype.kind == "f" else run_sequence(cast(a.dtype.name, "float32"), f, (a,))).astype(to)
    if to.kind in "iu" and is_float(a):
        return f.to_integer(a, to)
    return run_sequence(cast(a.dtype.name, to.name), f, (a,))


def _bit_cast(f: Floats, node: Node, a: Array) -> Array:
    to = jnp.dtype(DTYPES[node["to"]])
    if is_float(a) or _half(a):
        a = jnp.where(jnp.isnan(a), jnp.asarray(np.nan, a.dtype), a)
    return lax.bitcast_convert_type(a, to)


def _requantize(f: Floats, node: Node, x: Array, scale: Array) -> Array:
    """Clamped before it is rounded: the bounds less the zero point are integers. A NaN gives the lower one."""
    zero, low, high = node["zero"], node["low"], node["high"]
    if f.exact:
        return soft.requantize(x, scale, zero, low, high).astype(DTYPES[node["to"]])
    y = f.mul(f.from_integer(x), scale)
    least, most = jnp.float32(low - zero), jnp.float32(high - zero)
    y = jnp.where(f.less(least, y), y, least)
    y = f.round(jnp.where(f.less(y, most), y, most))
    return (f.to_integer(y, jnp.int32) + zero).astype(DTYPES[node["to"]])


def _rows(a: Array, axes: tuple[int, ...]) -> Array:
    kept = [i for i in range(a.ndim) if i not in axes]
    return jnp.transpose(a, [*kept, *axes]).reshape([a.shape[i] for i in kept] + [prod(a.shape[i] for i in axes)])


def _reduce_rows(f: Floats, kind: str, rows: Array) -> Array:
    if kind in ("ReduceMax", "ReduceMin"):
        return _extreme_of_rows(f, rows, kind == "ReduceMax")
    if _half(rows):
        return _reduce_rows(f, kind, rows.astype(FLOAT32)).astype(rows.dtype)
    if not (f.exact and is_float(rows)):
        return (jnp.sum if kind == "ReduceSum" else jnp.prod)(rows, axis=-1, dtype=rows.dtype)
    width, combine = 16, f.add if kind == "ReduceSum" else f.mul
    acc = jnp.full((*rows.shape[:-1], width), 0.0 if kind == "ReduceSum" else 1.0, FLOAT32)
    for start in range(0, rows.shape[-1], width):
        block = rows[..., start : start + width]
        done = combine(acc[..., : block.shape[-1]], block)
        acc = jnp.concatenate([done, acc[..., block.shape[-1] :]], axis=-1)
    while width > 1:
        width //= 2
        acc = combine(acc[..., :width], acc[..., width:])
    return acc[..., 0]


def _extreme_of_rows(f: Floats, rows: Array, largest: bool) -> Array:
    if rows.shape[-1] == 0:
        info = jnp.finfo(rows.dtype) if rows.dtype.kind == "f" else jnp.iinfo(rows.dtype)
        limit = (-jnp.inf if largest else jnp.inf) if rows.dtype.kind == "f" else (info.min if largest else info.max)
        return jnp.full(rows.shape[:-1], limit, rows.dtype)
    if not is_float(rows):
        return (jnp.max if largest else jnp.min)(rows, axis=-1)
    # in the order of bits, where +0 is above -0; a NaN wins
    b = soft.bits(rows)
    size = b & 0x7FFFFFFF
    key = jnp.where(b & soft.SIGN != 0, -size - 1, size)
    nan = soft.is_nan(b)
    away = -(1 << 40) if largest else 1 << 40
    best = (jnp.max if largest else jnp.min)(jnp.where(nan, away, key), axis=-1)
    found = jnp.where(best < 0, (-best - 1) | soft.SIGN, best)
    return soft.number(jnp.where(nan.any(axis=-1), soft.QUIET, found))


def _reduction(kind: str) -> Callable[..., Array]:
    def run(f: Floats, node: Node, a: Array) -> Array:
        shape = tuple(1 if i in node["axes"] else n for i, n in enumerate(a.shape))
        a = a.astype(DTYPES[node["to"]]) if node.get("to") else a
        return _reduce_rows(f, kind, _rows(a, node["axes"])).reshape(shape)

    return run


def _windows(x: Array, kernel: tuple[int, ...], node: Node, fill: Any) -> Array:
    """[n, c, spatial…] → [n, c, out…, taps]."""
    x = jnp.pad(x, [(0, 0), (0, 0), *zip(node["before"], node["after"])], constant_values=fill)
    counts = [(n - d * (k - 1) - 1) // s + 1 for n, k, s, d in zip(x.shape[2:], kernel, node["strides"], node["dilations"])]
    taps = []
    for at in np.ndindex(*kernel):
        starts = [p * d for p, d in zip(at, node["dilations"])]
        ends = [a + (c - 1) * s + 1 for a, c, s in zip(starts, counts, node["strides"])]
        taps.append(lax.slice(x, (0, 0, *starts), (*x.shape[:2], *ends), (1, 1, *node["strides"])))
    return jnp.stack(taps, axis=-1)


def _pool(kind: str) -> Callable[..., Array]:
    def run(f: Floats, node: Node, x: Array) -> Array:
        x = x.astype(DTYPES[node["to"]]) if node.get("to") else x
        fill = 0 if kind == "ReduceSum" else (-jnp.inf if x.dtype.kind == "f" else jnp.iinfo(x.dtype).min)
        return _reduce_rows(f, kind, _windows(x, node["kernel"], node, fill))

    return run


def _chain(f: Floats, a: Array, b: Array, init: Array | None) -> Array:
    """[…, m, k] · […, k, n] + init, one chain of fused multiply-adds an output, in the order of k."""
    batch = jnp.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    shape = (*batch, a.shape[-2], b.shape[-1])
    start = jnp.zeros(shape, FLOAT32) if init is None else jnp.broadcast_to(init, shape)

    def step(k: Array, acc: Array) -> Array:
        x = lax.dynamic_slice_in_dim(a, k, 1, a.ndim - 1)
        w = lax.dynamic_slice_in_dim(b, k, 1, b.ndim - 2)
        return f.fma(x, w, acc)

    return f.add(lax.fori_loop(0, a.shape[-1], step, start), jnp.float32(0))


def _product(f: Floats, a: Array, b: Array, init: Array | None) -> Array:
    if f.exact and is_float(a):
        return _chain(f, a, b, init)
    wanted = jnp.int32 if a.dtype.itemsize == 1 else a.dtype
    y = jnp.matmul(a, b, precision=f.precision, preferred_element_type=wanted)
    return y if init is None else y + init


def _centred(node: Node, w: Array, axes: tuple[int, ...]) -> Array:
    """What a product of bytes as they lie is too large by: the zero point times the weights' sum."""
    return jnp.sum(w.astype(jnp.int32), axis=axes) * jnp.int32(node["zero"])


def _matmul(f: Floats, node: Node, a: Array, b: Array, init: Array | None = None) -> Array:
    if node.get("zero") is not None:
        if a.dtype == jnp.uint8:  # both operands of the matrix units have one type
            a, b = a.astype(jnp.int32), b.astype(jnp.int32)
        y = jnp.matmul(a, b, preferred_element_type=jnp.int32)
        y = y - jnp.expand_dims(_centred(node, b, (b.ndim - 2,)), -2)
        return y if init is None else y + init
    if _half(a):
        start = None if init is None else init.astype(FLOAT32)
        return _product(f, a.astype(FLOAT32), b.astype(FLOAT32), start).astype(a.dtype)
    if node.get("bf16"):
        y = jnp.matmul(a.astype(jnp.bfloat16), b.astype(jnp.bfloat16), preferred_element_type=FLOAT32)
        return y if init is None else y + init
    return _product(f, a, b, init)


def _conv(f: Floats, node: Node, x: Array, w: Array, bias: Array | None = None) -> Array:
    rank, group = x.ndim - 2, node["group"]
    integer = node.get("zero") is not None
    if f.exact and is_float(x):
        return _exact_conv(f, node, x, w, bias)
    if integer:
        edge = jnp.array(node["zero"], x.dtype)
        x = jnp.pad(x, [(0, 0), (0, 0), *zip(node["before"], node["after"])], constant_values=edge)
        if x.dtype == jnp.uint8:
            x, w = x.astype(jnp.int32), w.astype(jnp.int32)
        pads = [(0, 0)] * rank
    else:
        pads = list(zip(node["before"], node["after"]))
    if node.get("bf16"):
        x, w = x.astype(jnp.bfloat16), w.astype(jnp.bfloat16)
    spatial = "DHW"[3 - rank :] if rank <= 3 else "".join(chr(65 + i) for i in range(rank))
    y = lax.conv_general_dilated(
        x,
        w,
        node["strides"],
        pads,
        rhs_dilation=node["dilations"],
        dimension_numbers=(f"NC{spatial}", f"OI{spatial}", f"NC{spatial}"),
        feature_group_count=group,
        precision=f.precision,
        preferred_element_type=jnp.int32 if integer else FLOAT32 if node.get("bf16") else x.dtype,
    )
    lay = (1, -1, *(1,) * rank)
    if integer:
        y = y - _centred(node, w, tuple(range(1, w.ndim))).reshape(lay)
    return y if bias is None else y + bias.reshape(lay)


def _exact_conv(f: Floats, node: Node, x: Array, w: Array, bias: Array | None) -> Array:
    rank, group = x.ndim - 2, node["group"]
    kernel = w.shape[2:]
    taps = _windows(x, kernel, node, 0)  # n, c, out…, taps
    counts = taps.shape[2:-1]
    per_in, per_out = x.shape[1] // group, w.shape[0] // group
    pieces = []
    for g in range(group):
        part = jnp.moveaxis(taps[:, g * per_in : (g + 1) * per_in], 1, -1)  # n, out…, taps, c
        rows = part.reshape(x.shape[0] * prod(counts), -1)
        matrix = jnp.transpose(w[g * per_out : (g + 1) * per_out], (*range(2, 2 + rank), 1, 0)).reshape(-1, per_out)
        start = None if bias is None else bias[g * per_out : (g + 1) * per_out]
        pieces.append(_chain(f, rows, matrix, start).reshape(x.shape[0], *counts, per_out))
    return jnp.moveaxis(jnp.concatenate(pieces, axis=-1), -1, 1)


def _conv_transpose(f: Floats, node: Node, x: Array, w: Array, bias: Array | None = None) -> Array:
    """Each kernel position adds a product at its place, row-major."""
    group, strides, dilations = node["group"], node["strides"], node["dilations"]
    per_in, per_out = x.shape[1] // node["group"], w.shape[1]
    full = [(s - 1) * st + (k - 1) * d + 1 for s, st, k, d in zip(x.shape[2:], strides, w.shape[2:], dilations)]
    extended = [max(a, b + o) for a, b, o in zip(full, node["before"], node["shape"])]
    pieces = []
    for g in range(group):
        acc = jnp.zeros((x.shape[0], *extended, per_out), x.dtype)
        if bias is not None:
            acc = acc + bias[g * per_out : (g + 1) * per_out]
        rows = jnp.moveaxis(x[:, g * per_in : (g + 1) * per_in], 1, -1)
        for at in np.ndindex(*w.shape[2:]):
            place = (slice(None), *(slice(p * d, p * d + (s - 1) * st + 1, st) for p, d, s, st in zip(at, dilations, x.shape[2:], strides)))
            matrix = w[(slice(g * per_in, (g + 1) * per_in), slice(None), *at)]
            flat, old = rows.reshape(-1, per_in), acc[place].reshape(-1, per_out)
            acc = acc.at[place].set(_product(f, flat, matrix, old).reshape(*rows.shape[:-1], per_out))
        pieces.append(acc)
    out = jnp.moveaxis(jnp.concatenate(pieces, axis=-1), -1, 1)
    return out[(slice(None), slice(None), *(slice(b, b + o) for b, o in zip(node["before"], node["shape"])))]


def _in_range(indices: Array, extent: int) -> Array:
    i = indices.astype(jnp.int64)
    return jnp.clip(jnp.where(i < 0, i + extent, i), 0, max(extent - 1, 0))


def _slice(f: Floats, node: Node, a: Array) -> Array:
    for axis, (start, step, n) in enumerate(zip(node["starts"], node["steps"], node["shape"])):
        if step > 0:
            a = lax.slice_in_dim(a, start, start + step * (n - 1) + 1 if n else start, step, axis)
        else:
            a = jnp.take(a, np.array([start + step * i for i in range(n)], np.int32), axis=axis)
    return a


def _gather_elements(f: Floats, node: Node, a: Array, indices: Array) -> Array:
    grid = list(jnp.ogrid[tuple(slice(n) for n in indices.shape)])
    grid[node["axis"]] = _in_range(indices, a.shape[node["axis"]])
    return a[tuple(grid)]


def _gather_nd(f: Floats, node: Node, a: Array, indices: Array) -> Array:
    b = node["batch_dims"]
    extra = indices.ndim - 1 - b
    lead = [g.reshape(g.shape + (1,) * extra) for g in (jnp.ogrid[tuple(slice(n) for n in indices.shape[:b])] if b else [])]
    at = [_in_range(indices[..., j], a.shape[b + j]) for j in range(indices.shape[-1])]
    return a[tuple([*lead, *at])] if lead or at else a


def _scatter(f: Floats, node: Node, a: Array, where: tuple[Array, ...], updates: Array) -> Array:
    """One update after the other where order matters."""
    combine = {"add": "Add", "mul": "Mul", "max": "Max", "min": "Min"}.get(node["reduction"])
    count = prod(where[0].shape) if where else 1
    flat = [jnp.broadcast_to(w, where[0].shape).reshape(-1) for w in where]
    rows = updates.reshape((count, *updates.shape[updates.ndim - (a.ndim - len(where)) :]) if a.ndim > len(where) else (count,))

    def step(i: Array, out: Array) -> Array:
        at = tuple(x[i] for x in flat)
        new = rows[i] if combine is None else _elementwise(combine)(f, node, out[at], rows[i])
        return out.at[at].set(new)

    return lax.fori_loop(0, count, step, a)


def _scatter_elements(f: Floats, node: Node, a: Array, indices: Array, updates: Array) -> Array:
    grid = [jnp.broadcast_to(g, indices.shape) for g in jnp.ogrid[tuple(slice(n) for n in indices.shape)]]
    grid[node["axis"]] = _in_range(indices, a.shape[node["axis"]])
    return _scatter(f, node, a, tuple(grid), updates)


def _scatter_nd(f: Floats, node: Node, a: Array, indices: Array, updates: Array) -> Array:
    return _scatter(f, node, a, tuple(_in_range(indices[..., j], a.shape[j]) for j in range(indices.shape[-1])), updates)


def _arg(largest: bool) -> Callable[..., Array]:
    def run(f: Floats, node: Node, a: Array) -> Array:
        axis = node["axis"]
        view = jnp.flip(a, axis) if node["last"] else a
        found = (jnp.argmax if largest else jnp.argmin)(view, axis=axis)
        return jnp.expand_dims((a.shape[axis] - 1 - found if node["last"] else found).astype(jnp.int64), axis)

    return run


def _cumulative(f: Floats, node: Node, a: Array) -> Array:
    axis = node["axis"]
    view = jnp.moveaxis(jnp.flip(a, axis) if node["reverse"] else a, axis, 0)

    start = 0 if node.op == "CumSum" else 1

    def step(total: Array, x: Array) -> tuple[Array, Array]:
        floats, integers = (f.add, jnp.add) if node.op == "CumSum" else (f.mul, jnp.multiply)
        after = (floats if is_float(a) else integers)(total, x)
        return after, total if node["exclusive"] else after

    out = jnp.moveaxis(lax.scan(step, jnp.full(view.shape[1:], start, a.dtype), view)[1], 0, axis)
    return jnp.flip(out, axis) if node["reverse"] else out


def _top_k(f: Floats, node: Node, a: Array) -> tuple[Array, Array]:
    axis, k = node["axis"], node["k"]
    rows = jnp.moveaxis(a, axis, -1)
    n = rows.shape[-1]
    if node["largest"]:
        key = n - 1 - jnp.flip(jnp.argsort(jnp.flip(rows, -1), axis=-1, stable=True), -1)
    else:
        key = jnp.argsort(rows, axis=-1, stable=True)
    chosen = key[..., :k].astype(jnp.int64)
    return jnp.moveaxis(jnp.take_along_axis(rows, chosen, -1), -1, axis), jnp.moveaxis(chosen, -1, axis)


TABLE: dict[str, Callable[..., Any]] = {
    **{op: _elementwise(op) for op in OPERATORS},
    "Cast": _cast,
    "BitCast": _bit_cast,
    "Requantize": _requantize,
    **{name: (lambda name: lambda f, node, *a: f.elementary(name, *a))(name) for name in SEQUENCES},
    "Reshape": lambda f, node, a: a.reshape(node["shape"]),
    "Transpose": lambda f, node, a: jnp.transpose(a, node["perm"]),
    "Expand": lambda f, node, a: jnp.broadcast_to(a, node["shape"]),
    "Concat": lambda f, node, *parts: jnp.concatenate(parts, axis=node["axis"]),
    "Slice": _slice,
    "Pad": lambda f, node, a: jnp.pad(a, list(zip(node["before"], node["after"])), constant_values=np.array(node["value"]).astype(a.dtype)),
    "Gather": lambda f, node, a, i: jnp.take(a, _in_range(i, a.shape[node["axis"]]), axis=node["axis"]),
    "GatherElements": _gather_elements,
    "GatherND": _gather_nd,
    "ScatterElements": _scatter_elements,
    "ScatterND": _scatter_nd,
    **{kind: _reduction(kind) for kind in ("ReduceSum", "ReduceProd", "ReduceMax", "ReduceMin")},
    "ArgMax": _arg(True),
    "ArgMin": _arg(False),
    "CumSum": _cumulative,
    "CumProd": _cumulative,
    "TopK": _top_k,
    "PoolMax": _pool("ReduceMax"),
    "PoolSum": _pool("ReduceSum"),
    "MatMul": _matmul,
    "Conv": _conv,
    "ConvTranspose": _conv_transpose,
}


def function(graph: CoreGraph, floats: Floats) -> Callable[..., tuple[Array, ...]]:
    """The graph as a function of its inputs, in order; weights are constants of it."""

    def run(*inputs: Array) -> tuple[Array, ...]:
        values: dict[str, Array] = dict(zip(graph.inputs, inputs))

        def value(name: str) -> Array:
            return values[name] if name in values else jnp.asarray(graph.constants[name])

        for node in graph.nodes:
            made = TABLE[node.op](floats, node, *(value(v) for v in node.inputs))
            values.update(zip(node.outputs, made if isinstance(made, tuple) else (made,)))
        return tuple(value(v) for v in graph.outputs)

    run.__code__ = run.__code__.replace(co_filename="mlcc", co_firstlineno=1)  # JAX writes where a function stands into executables
    return run
