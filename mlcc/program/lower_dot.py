"""Matrix products and convolutions → Dot and Chain kernels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from math import gcd, prod

import numpy as np

from mlcc.arithmetic.bf16 import BLOCK, SMALLEST
from mlcc.arithmetic.narrow import half, scales
from mlcc.error import Error
from mlcc.graph.core import DTYPES, Node
from mlcc.program.fusion import Group
from mlcc.program.kernel import PANEL, Access, BlockDot, Bound, Chain, Dot, Plane, Step, block, packed_columns, panels
from mlcc.program.lower import Arguments, Lowering, finish_body
from mlcc.program.view import View, channels_last, collapse, row_major

NARROW = 8  # columns below which a product is worth turning around


def packing(s: Lowering, dtype: str) -> str:
    """How a known matrix lies (see Dot)."""
    if not s.compact:
        return "panels"
    return ("vectors" if s.vectors else "words") if dtype == "int8" else "fours"


SQUEEZE = 256  # elements from which weights that are bytes times a scale, or float16, are kept as such
FEW = 4  # rows up to which widening weights on the way costs less than reading them wide (AVX2: bytes 1.02 times as fast at four rows, 0.83 at eight)


def squeezed(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    """(bytes [k, n], scales [n]) whose products, rounded to binary32, are a float32 matrix bit for bit; None where there are none.

    Exporters store such weights dequantised; a scale is found from each column's largest weight, which is one of 127 multiples of it.
    """
    if matrix.dtype != np.float32 or matrix.size < SQUEEZE or not np.isfinite(matrix).all() or (np.signbit(matrix) & (matrix == 0)).any():
        return None
    first = matrix[:, int(np.argmax(np.abs(matrix).max(0)))]
    if len(np.unique(first)) > 256 or _scale_of(first) is None:  # most matrices end here
        return None
    whole = _scale_of(matrix.reshape(-1))
    scales = [whole] * matrix.shape[1] if whole is not None else [_scale_of(c) for c in matrix.T]
    if any(x is None for x in scales):
        return None
    row = np.array(scales, np.float32)
    return np.rint(matrix / row).astype(np.int8), row


def _scale_of(column: np.ndarray) -> np.float32 | None:
    """A scale of which all elements are multiples, −128 to 127 times, each rounded once."""
    largest = np.float32(np.abs(column).max(initial=0))
    if largest == 0:
        return np.float32(1)
    for scale in scales(largest, 128):
        q = np.rint(column / scale)
        if q.min() >= -128 and q.max() <= 127 and (q.astype(np.float32) * scale == column).all():
            return scale
    return None


def packed_constant(s: Lowering, matrices: np.ndarray, dtype: str, few: bool = False) -> str:
    """A known [batch, k, n] in the program's packing. Compact programs keep weights that are bytes times scales as bytes; so do narrow ones, and
    float16 as such, where they are read for so `few` rows that memory binds the product."""
    layout = packing(s, dtype)
    found = squeezed(matrices[0]) if (s.compact or few) and len(matrices) == 1 else None
    if found is not None:
        weights, row = found
        name = s.constant(pack(weights[None], layout), "int8")
        wide = np.ones(-(-len(row) // 4) * 4 if s.compact else packed_columns(len(row)), np.float32)
        wide[: len(row)] = row
        s.scales[name] = s.constant(wide, "float32")
        return name
    halves = half(matrices) if few and matrices.size >= SQUEEZE else None
    return s.constant(pack(matrices, layout), dtype) if halves is None else s.constant(pack(halves, layout), "float16")


def pack(matrices: np.ndarray, packing: str = "panels") -> np.ndarray:
    """[batch, k, n] as `packing` says, zero-filled; panels: 16 columns ([k][16] each, the last narrower)."""
    batch, k, n = matrices.shape
    if packing == "fours":
        wide = np.zeros((batch, k, -(-n // 4) * 4), matrices.dtype)
        wide[:, :, :n] = matrices
        return wide.reshape(batch, k, -1, 4).transpose(0, 2, 1, 3).reshape(-1)
    if packing in ("words", "vectors"):
        size = block(packing)
        wide = np.zeros((batch, -(-k // size) * size, -(-n // 2) * 2), matrices.dtype)
        wide[:, :k, :n] = matrices
        return wide.reshape(batch, wide.shape[1] // size, size, -1, 2).transpose(0, 3, 1, 4, 2).reshape(-1)
    pieces = []
    for i, width in enumerate(panels(n)):
        piece = np.zeros((batch, k, width), matrices.dtype)
        part = matrices[:, :, i * PANEL : i * PANEL + width]
        piece[:, :, : part.shape[2]] = part
        pieces.append(piece.reshape(batch, k * width))
    return np.concatenate(pieces, axis=1).reshape(-1) if pieces else np.zeros(0, matrices.dtype)


def known(s: Lowering, value: str) -> np.ndarray | None:
    return s.graph.constants.get(value)


def dot(
    s: Lowering,
    group: Group,
    origin: str,
    out: View,
    rows: Sequence[int],
    batch: Sequence[int],
    column: int,
    k: Sequence[tuple[int, int]],
    a: View,
    packed: str,
    batch_advance: Sequence[int],
    init: View | None,
    layout: str = "panels",
    bounds: tuple[Bound, ...] = (),
    shift: int = 0,
    gathered: bool = False,
) -> None:
    """One Dot call. `rows`, `batch`, `column` are axes of `out`; `a`'s strides lie over out's axes (0 for the column); k: (extent, stride of a);
    layout: how `packed` lies; bounds: taps to skip, by position in `rows` and `k`; shift: from `a`'s first element to the first tap;
    gathered: whether rows must be copied before their results are written."""
    assert group.anchor is not None
    value = group.sink.outputs[0]
    if s.buffers[packed].place == "arena" and s.compact:
        layout = "plain"
    arguments = Arguments()
    a_arg = arguments.view(a)
    b_arg = arguments.add(packed, 0, s.buffers[packed].dtype)
    init_arg = arguments.view(init) if init is not None else -1
    steps = s.body(group, arguments, group.anchor.outputs[0])
    target = arguments.view(out)
    loads = [st for _, st in steps if st is not None]
    tables = [a.strides, out.strides, *([init.strides] if init is not None else []), *loads]
    row_dims, row_strides = tuple(out.shape[i] for i in rows), [tuple(t[i] for i in rows) for t in tables]
    k_dims, k_strides = tuple(n for n, _ in k), tuple(st for _, st in k)
    if not bounds:
        row_dims, row_strides = collapse(row_dims, row_strides)
        k_dims, (k_strides,) = collapse(k_dims, [k_strides])
    scale = None
    if packed in s.scales:
        scale = Access(arguments.add(s.scales[packed], 0, "float32"), (1,))
    scratch = None
    tiled = layout in ("words", "vectors") or layout == "fours" and a.dtype == "float32"
    if tiled and not batch and (gathered or bounds or k_strides != (1,) or prod(k_dims) % block(layout)):
        patch = s.buffer(
            f"{value}.patch", a.dtype, -(-prod(k_dims) // block(layout)) * block(layout) * min(4 if scale else 2, prod(row_dims))
        )
        scratch = arguments.add(patch, 0, a.dtype)

    def place(i: int, last: int) -> tuple[int, ...]:
        return (*(tables[i][x] for x in batch), *row_strides[i], last)

    index = iter(range(2 if init is None else 3, len(tables)))
    body = finish_body(steps, lambda st: place(next(index), st[column]))
    spec = Dot(
        tuple(arguments.types),
        accumulator(group.anchor, a.dtype),
        tuple(out.shape[i] for i in batch),
        row_dims,
        k_dims,
        out.shape[column],
        Access(a_arg, (*(a.strides[x] for x in batch), *row_strides[0], *k_strides), shift),
        Access(b_arg, tuple(batch_advance)),
        Access(init_arg, place(2, init.strides[column])) if init is not None else None,
        body,
        Access(target, place(1, out.strides[column])),
        layout,
        scratch,
        scale,
        bounds,
        group.anchor.get("zero", 0),
    )
    s.call(spec, arguments, value, origin, [target, *([scratch] if scratch is not None else [])])


def accumulator(node: Node, dtype: str) -> str:
    """The type that a product's sums have: bytes are summed in int32."""
    return dtype if node.get("zero") is None else "int32"


def start_of_bytes(s: Lowering, node: Node) -> View:
    """What a product of bytes starts from: Σ (x − zero)·w + bias = Σ x·w + (bias − zero·Σ w)."""
    w = s.graph.constants[node.inputs[1]].astype(np.int64)
    start = -node["zero"] * (w.sum(-2) if node.op == "MatMul" else w.reshape(w.shape[0], -1).sum(1))
    if len(node.inputs) > 2:
        start = start + s.graph.constants[node.inputs[2]]
    wrapped = start.astype(np.int32).reshape(-1)
    return View(s.constant(wrapped, "int32"), "int32", wrapped.shape, (1,))


def pack_pairs(matrix: np.ndarray) -> np.ndarray:
    """[k, n] → the bf16 profile's panels: uint32 pairs of bfloat16 (even k in the low half), [n / 16][k / 32][16][16], zero-filled."""
    k, n = matrix.shape
    wide = np.zeros((-(-k // BLOCK) * BLOCK, -(-n // PANEL) * PANEL), np.float32)
    wide[:k, :n] = matrix
    half = wide.astype(DTYPES["bfloat16"]).view(np.uint16)
    half[np.abs(half.view(DTYPES["bfloat16"]).astype(np.float32)) < SMALLEST] = 0
    pairs = half[0::2].astype(np.uint32) | half[1::2].astype(np.uint32) << 16
    return pairs.reshape(-1, BLOCK // 2, wide.shape[1] // PANEL, PANEL).transpose(2, 0, 1, 3).reshape(-1)


def block_dot(
    s: Lowering, group: Group, origin: str, out: View, rows: Sequence[int], column: int, k: Sequence[tuple[int, int]], a: View, packed: str
) -> None:
    """One BlockDot call; arguments as for `dot`."""
    assert group.anchor is not None
    arguments = Arguments()
    a_arg, b_arg = arguments.view(a), arguments.add(packed, 0, "uint32")
    steps = s.body(group, arguments, group.anchor.outputs[0])
    target = arguments.view(out)
    tables = [a.strides, out.strides, *(st for _, st in steps if st is not None)]
    row_dims, row_strides = collapse([out.shape[i] for i in rows], [[t[i] for i in rows] for t in tables])
    k_dims, (k_strides,) = collapse([n for n, _ in k], [[st for _, st in k]])
    index = iter(range(2, len(tables)))

    def place(i: int) -> tuple[int, ...]:
        return (*row_strides[i], tables[i][column])

    body = finish_body(steps, lambda _: place(next(index)))
    spec = BlockDot(
        tuple(arguments.types),
        row_dims,
        k_dims,
        out.shape[column],
        Access(a_arg, (*row_strides[0], *k_strides)),
        b_arg,
        body,
        Access(target, place(1)),
    )
    s.call(spec, arguments, group.sink.outputs[0], origin, [target])


def pack_dynamic(s: Lowering, b: View, value: str, origin: str) -> str:
    """Pack a [batch…, k, n] view at run time; returns the buffer of panels."""
    *lead, k, n = b.shape
    if s.compact:
        return s.materialise(b, range(len(b.shape)), value, origin).buffer
    count, width = prod(lead), packed_columns(n)
    name = s.buffer(f"{value}.panels", b.dtype, count * k * width)
    lead_strides = b.strides[:-2]
    per = k * width
    lead_out = tuple(per * st for st in row_major(lead))
    full, rest = divmod(n, PANEL)
    pieces = [(full, PANEL, PANEL, 0)] if full else []
    if rest:
        pieces.append((1, rest, panels(n)[-1], full))
    for number, valid, panel_width, first in pieces:
        source = View(
            b.buffer,
            b.dtype,
            (*lead, number, k, valid),
            (*lead_strides, PANEL * b.strides[-1], b.strides[-2], b.strides[-1]),
            b.offset + first * PANEL * b.strides[-1],
        )
        target = View(name, b.dtype, source.shape, (*lead_out, k * panel_width, panel_width, 1), first * PANEL * k)
        s.copy(source, target, value, origin)
    return name


def matmul(s: Lowering, group: Group, origin: str) -> None:
    node, value = group.anchor, group.sink.outputs[0]
    assert node is not None
    shape = s.graph.types[node.outputs[0]].shape
    left, right = node.inputs[:2]
    init = node.inputs[2] if len(node.inputs) > 2 else None
    out = s.in_place(group, value) or s.destination(value, range(len(shape)), origin)
    s.views[value] = out
    if out.size == 0:
        return
    if node.get("bf16"):
        weights = s.graph.constants[right].reshape(s.graph.types[right].shape[-2:])
        wide = s.view(left).expand((*shape[:-1], weights.shape[0]))
        operand = View(wide.buffer, wide.dtype, shape, (*wide.strides[:-1], 0), wide.offset)
        packed = _packed_pairs(s, ("matmul", right), weights)
        block_dot(s, group, origin, out, range(len(shape) - 1), len(shape) - 1, [(weights.shape[0], wide.strides[-1])], operand, packed)
        return
    m, n = shape[-2:]
    if s.compact and (known(s, right) is None or len(s.graph.types[right].shape) != 2):
        chain_product(s, group, origin, out)
        return
    turned = not s.compact and (n < NARROW and m > n and known(s, right) is None or n == 1 and m > 1) and node.get("zero") is None
    if turned:  # outᵀ = bᵀ·aᵀ: the same chains, vectors along the long side
        left, right = right, left
    axis_m, axis_n = (len(shape) - 1, len(shape) - 2) if turned else (len(shape) - 2, len(shape) - 1)

    def matrix(v: View, transposed: bool) -> View:
        return v.transpose((*range(len(v.shape) - 2), len(v.shape) - 1, len(v.shape) - 2)) if transposed else v

    a = matrix(s.view(left), turned)
    depth = a.shape[-1]
    lead = len(shape) - 2
    constant = known(s, right)
    b_lead = s.graph.types[right].shape[:-2]
    b_lead = (1,) * (lead - len(b_lead)) + tuple(b_lead)
    batch = [i for i in range(lead) if b_lead[i] != 1]
    rows = [i for i in range(lead) if b_lead[i] == 1]
    if constant is not None:
        c = np.swapaxes(constant, -1, -2) if turned else constant
        few = s.narrow and prod(shape[i] for i in (*rows, axis_m)) <= FEW
        key = ("matmul", right, turned, few)
        if key not in s._packed:
            dtype = s.graph.types[right].dtype
            s._packed[key] = packed_constant(s, c.reshape(-1, *c.shape[-2:]), dtype, few)
        packed = s._packed[key]
    else:
        b = matrix(s.view(right), turned)
        packed = pack_dynamic(s, b, f"{value}.{right}", origin)
    advance = row_major([b_lead[i] for i in batch])
    wide = a.expand((*shape[:-2], *a.shape[-2:]))
    strides = [0] * len(shape)
    strides[:lead] = wide.strides[:lead]
    strides[axis_m] = wide.strides[-2]
    operand = View(a.buffer, a.dtype, shape, tuple(strides), a.offset)
    start = s.view(init).expand(shape) if init is not None else None
    if node.get("zero") is not None:
        start = start_of_bytes(s, node).expand(shape)
    layout = packing(s, "float32" if packed in s.scales else s.buffers[packed].dtype)
    dot(s, group, origin, out, [*rows, axis_m], batch, axis_n, [(depth, wide.strides[-1])], operand, packed, advance, start, layout)


def chain_product(s: Lowering, group: Group, origin: str, out: View) -> None:
    """A product of two matrices as they lie: nothing is packed at run time."""
    node, shape = group.anchor, out.shape
    assert node is not None
    a, b = s.view(node.inputs[0]), s.view(node.inputs[1])
    init = s.view(node.inputs[2]).expand(shape) if len(node.inputs) > 2 else None
    if node.get("zero") is not None:
        init = start_of_bytes(s, node).expand(shape)
    wide_a, wide_b = (v.expand((*shape[:-2], *v.shape[-2:])) for v in (a, b))
    a_rows, b_rows = (*wide_a.strides[:-1], 0), (*wide_b.strides[:-2], 0, wide_b.strides[-1])
    arguments = Arguments()
    a_arg, b_arg = arguments.view(a), arguments.view(b)
    init_arg = arguments.view(init) if init is not None else -1
    steps = s.body(group, arguments, node.outputs[0])
    target = arguments.view(out)
    tables = [a_rows, b_rows, out.strides, *([init.strides] if init is not None else []), *(st for _, st in steps if st is not None)]
    dims, strides = collapse(shape, tables)
    rest = iter(strides[3 + (init is not None) :])
    spec = Chain(
        tuple(arguments.types),
        accumulator(node, a.dtype),
        dims,
        (a.shape[-1],),
        Access(a_arg, (*strides[0], wide_a.strides[-1])),
        Access(b_arg, (*strides[1], wide_b.strides[-2])),
        Access(init_arg, strides[3]) if init is not None else None,
        finish_body(steps, lambda _: next(rest)),
        Access(target, strides[2]),
    )
    s.call(spec, arguments, group.sink.outputs[0], origin, [target])


def _input(s: Lowering, node: Node, low: tuple[int, ...], high: tuple[int, ...], origin: str) -> View:
    """The convolution's input with its border, channels side by side unless there are few."""
    x = s.padded_view(node.inputs[0], low, high, node.get("zero", 0), origin)
    if x.shape[1] > 4 and x.strides[1] != 1:
        return s.materialise(x, channels_last(len(x.shape)), node.inputs[0], origin)
    return x


def conv(s: Lowering, group: Group, origin: str) -> None:
    node, value = group.anchor, group.sink.outputs[0]
    assert node is not None
    shape = s.graph.types[value].shape
    rank, groups = len(shape) - 2, node["group"]
    over = _overwritten(s, group)
    out = over or s.in_place(group, value) or s.destination(value, channels_last(len(shape)), origin)
    if out.size == 0:
        s.views[value] = out
        return
    bounds: tuple[Bound, ...] = ()
    shift = 0
    if s.compact and not node.get("bf16"):
        x = _input(s, node, (0,) * rank, (0,) * rank, origin)
        bounds = _bounds(node, x.shape)
        shift = -sum(b * st for b, st in zip(node["before"], x.strides[2:]))
    else:
        x = _input(s, node, node["before"], node["after"], origin)
    s.views[value] = out
    w_shape = s.graph.types[node.inputs[1]].shape
    spatial = tuple(st * step for st, step in zip(x.strides[2:], node["strides"]))
    taps = [(n, st * d) for n, st, d in zip(w_shape[2:], x.strides[2:], node["dilations"])]
    bias = s.view(node.inputs[2]) if len(node.inputs) > 2 else None
    if node.get("zero") is not None:
        bias = start_of_bytes(s, node)
    per_in, per_out = w_shape[1], w_shape[0] // groups
    if groups > 1 and per_in == 1:
        _depthwise(s, group, origin, out, x, spatial, taps, bias, per_out, bounds, shift, over is not None)
        return
    order = (0, *range(2, 2 + rank), 1)
    for g in range(groups):
        part = out.slice((0, g * per_out, *(0,) * rank), (1,) * len(shape), (shape[0], per_out, *shape[2:]))
        operand = View(x.buffer, x.dtype, part.shape, (x.strides[0], 0, *spatial), x.offset + g * per_in * x.strides[1])
        if node.get("bf16"):
            weights = s.graph.constants[node.inputs[1]][g * per_out : (g + 1) * per_out]
            pairs = _packed_pairs(s, ("conv", node.inputs[1], g), np.transpose(weights, (*order[1:-1], 1, 0)).reshape(-1, per_out))
            block_dot(s, group, origin, part, [0, *range(2, 2 + rank)], 1, [*taps, (per_in, x.strides[1])], operand, pairs)
            continue
        packed = _packed_kernel(s, node, g, per_out, s.narrow and prod((shape[0], *shape[2:])) <= FEW, order, origin)
        start = (
            View(bias.buffer, bias.dtype, part.shape, (0, bias.strides[0], *(0,) * rank), bias.offset + g * per_out * bias.strides[0])
            if bias is not None
            else None
        )
        layout = packing(s, "float32" if packed in s.scales else s.buffers[packed].dtype)
        k = [*taps, (per_in, x.strides[1])]
        dot(s, group, origin, part, [0, *range(2, 2 + rank)], [], 1, k, operand, packed, (), start, layout, bounds, shift, over is not None)


def _overwritten(s: Lowering, group: Group) -> View | None:
    """The input's place for the result of a pointwise convolution, or of a depthwise one that keeps the size."""
    node, value = group.anchor, group.sink.outputs[0]
    assert node is not None
    w = s.graph.types[node.inputs[1]].shape
    known_weights = known(s, node.inputs[1]) is not None and not node.get("bf16")
    pointwise = node["group"] == 1 and prod(w[2:]) == 1 and set(node["strides"]) == {1} and not any((*node["before"], *node["after"]))
    depthwise = node["group"] == w[0] and w[1] == 1 and w[0] % 4 == 0 and set(node["strides"]) == {1}
    if not known_weights or not (pointwise or depthwise) or pointwise and s.graph.types[value].dtype not in ("float32", "int8", "uint8"):
        return None
    return s.over_input(group, node.inputs[0], value)


def _bounds(node: Node, shape: tuple[int, ...]) -> tuple[Bound, ...]:
    """The taps of a padded convolution that lie inside, over rows (n, spatial…) and taps (spatial…, channel)."""
    return tuple(
        Bound(1 + i, i, node["strides"][i], node["dilations"][i], before, shape[2 + i])
        for i, (before, after) in enumerate(zip(node["before"], node["after"]))
        if before or after
    )


def _packed_pairs(s: Lowering, key: tuple[object, ...], matrix: np.ndarray) -> str:
    if ("pairs", *key) not in s._packed:
        s._packed["pairs", *key] = s.constant(pack_pairs(matrix), "uint32")
    return s._packed["pairs", *key]


def _packed_kernel(s: Lowering, node: Node, g: int, per_out: int, few: bool, order: tuple[int, ...], origin: str) -> str:
    """Weights [kernel…, in, out] of one group as panels."""
    weights = known(s, node.inputs[1])
    dtype = s.graph.types[node.inputs[1]].dtype
    perm = (*order[1:-1], 1, 0)
    if weights is not None:
        key = ("conv", node.inputs[1], g, few)
        if key not in s._packed:
            matrix = np.transpose(weights[g * per_out : (g + 1) * per_out], perm).reshape(1, -1, per_out)
            s._packed[key] = packed_constant(s, matrix, dtype, few)
        return s._packed[key]
    w = s.view(node.inputs[1])
    part = w.slice((g * per_out, *(0,) * (len(w.shape) - 1)), (1,) * len(w.shape), (per_out, *w.shape[1:])).transpose(perm)
    flat = part.reshape((prod(part.shape[:-1]), per_out))
    if flat is None:
        flat = s.materialise(part, range(len(part.shape)), f"{node.outputs[0]}.weights", origin).reshape((prod(part.shape[:-1]), per_out))
    assert flat is not None
    return pack_dynamic(s, flat, f"{node.outputs[0]}.weights", origin)


def _depthwise(
    s: Lowering,
    group: Group,
    origin: str,
    out: View,
    x: View,
    spatial: tuple[int, ...],
    taps: list[tuple[int, int]],
    bias: View | None,
    per_out: int,
    bounds: tuple[Bound, ...],
    shift: int,
    in_place: bool,
) -> None:
    """One input channel a group: Chain over (n, spatial…, group, output within the group); weights as [kernel…, channel]."""
    node, value = group.anchor, group.sink.outputs[0]
    assert node is not None
    rank = len(out.shape) - 2
    weights = known(s, node.inputs[1])
    channels = out.shape[1]
    groups = channels // per_out
    if weights is not None:
        laid = np.transpose(weights, (*range(2, 2 + rank), 1, 0)).reshape(-1, channels)
        dtype = s.graph.types[node.inputs[1]].dtype
        w = View(s.constant(laid, dtype), dtype, (laid.shape[0], channels), (channels, 1))
    else:
        source = s.view(node.inputs[1]).transpose((*range(2, 2 + rank), 1, 0))
        copy = s.materialise(source, range(len(source.shape)), f"{value}.weights", origin)
        w = View(copy.buffer, copy.dtype, (prod(copy.shape[:-1]), channels), (channels, 1), copy.offset)
    a = Arguments()
    x_arg, w_arg = a.view(x), a.view(w)
    bias_arg = a.view(bias) if bias is not None else -1
    steps = s.body(group, a, node.outputs[0])
    target = a.view(out)
    dims = (out.shape[0], *out.shape[2:], groups, per_out)

    def over(strides: tuple[int, ...]) -> tuple[int, ...]:
        return (strides[0], *strides[2:], strides[1] * per_out, strides[1])

    loads = [over(st) for _, st in steps if st is not None]
    tables = [
        (x.strides[0], *spatial, x.strides[1], 0),
        (0,) * (1 + rank) + (per_out, 1),
        over(out.strides),
        *([(0,) * (1 + rank) + (bias.strides[0] * per_out, bias.strides[0])] if bias is not None else []),
        *loads,
    ]
    counts = [n for n, _ in taps]
    w_steps = [channels * st for st in row_major(counts)]
    if in_place:  # four channels at a time, their plane copied before it is overwritten
        x_spatial = x.shape[2:]
        pitch = tuple(4 * st for st in row_major(x_spatial))
        own = a.add(s.buffer(f"{value}.plane", x.dtype, 4 * prod(x_spatial)), 0, x.dtype)
        plane = Plane(Access(x_arg, (4, *x.strides[2:], 1)), (*x_spatial, 4), own)

        def blocked(st: tuple[int, ...]) -> tuple[int, ...]:
            return (4 * st[-2], *st[:-2], st[-2])

        x_table = (0, 0, *(p * step for p, step in zip(pitch, node["strides"])), 1)
        blocks = [x_table, *(blocked(t) for t in tables[1:])]
        x_at = tuple(p * d for p, d in zip(pitch, node["dilations"]))
        back = -sum(b * p for b, p in zip(node["before"], pitch))
        rest = iter(blocks[3 + (bias is not None) :])
        spec = Chain(
            tuple(a.types),
            accumulator(node, x.dtype),
            (channels // 4, *dims[:-2], 4),
            tuple(counts),
            Access(own, (*x_table, *x_at), back),
            Access(w_arg, (*blocks[1], *w_steps)),
            Access(bias_arg, blocks[3]) if bias is not None else None,
            finish_body(steps, lambda _: next(rest)),
            Access(target, blocks[2]),
            tuple(replace(b, dim=b.dim + 1) for b in bounds),
            node.get("zero", 0),
            plane,
        )
        s.call(spec, a, value, origin, [target, own])
        return
    merged, strides = dims, tables
    reduced, (x_taps, w_taps) = tuple(counts), (tuple(st for _, st in taps), tuple(w_steps))
    if not bounds:
        merged, strides = collapse(dims, tables)
        reduced, (x_taps, w_taps) = collapse(counts, [x_taps, w_taps])
    rest = iter(strides[3 + (bias is not None) :])
    body = finish_body(steps, lambda _: next(rest))
    spec = Chain(
        tuple(a.types),
        accumulator(node, x.dtype),
        merged,
        reduced,
        Access(x_arg, (*strides[0], *x_taps), shift),
        Access(w_arg, (*strides[1], *w_taps)),
        Access(bias_arg, strides[3]) if bias is not None else None,
        body,
        Access(target, strides[2]),
        bounds,
        node.get("zero", 0),
    )
    s.call(spec, a, value, origin, [target])


def conv_transpose(s: Lowering, group: Group, origin: str) -> None:
    """One convolution a phase: outputs that are equal modulo the strides see the same kernel positions, whose inputs lie evenly spaced."""
    node, value = group.anchor, group.sink.outputs[0]
    assert node is not None
    shape = s.graph.types[value].shape
    rank, groups, strides, dilations = len(shape) - 2, node["group"], node["strides"], node["dilations"]
    weights, w_shape = known(s, node.inputs[1]), s.graph.types[node.inputs[1]].shape
    if weights is not None and not np.isfinite(weights.astype(np.float64)).all():
        raise Error("unsupported", "weights that are not finite", f"ConvTranspose ({origin})")
    out = s.destination(value, channels_last(len(shape)), origin)
    s.views[value] = out
    x_shape = s.graph.types[node.inputs[0]].shape
    bias = s.view(node.inputs[2]) if len(node.inputs) > 2 else None
    phases = [
        [_phase(r, node["before"][i], strides[i], dilations[i], w_shape[2 + i]) for r in range(min(strides[i], shape[2 + i]))]
        for i in range(rank)
    ]
    reach_low, reach_high = [0] * rank, [0] * rank
    for i in range(rank):
        for r, (_, count, _, start, step) in enumerate(phases[i]):
            outputs = -(-(shape[2 + i] - r) // strides[i])
            if count and outputs:
                ends = [start, start + step * (count - 1)]
                reach_low[i] = max(reach_low[i], -min(ends))
                reach_high[i] = max(reach_high[i], max(ends) + outputs - 1 - (x_shape[2 + i] - 1))
    x = _input(s, node, tuple(reach_low), tuple(max(0, h) for h in reach_high), origin)
    per_in, per_out = x_shape[1] // groups, w_shape[1]
    joined = _phases_join(phases[-1], shape, strides, out, per_out, groups, bias is None or known(s, node.inputs[2]) is not None)
    width = strides[-1] if joined else 1
    last = [phases[-1][0]] if joined else phases[-1]
    for g in range(groups):
        for position in np.ndindex(*(len(p) for p in phases[:-1]), len(last)):
            chosen = [phases[i][r] for i, r in enumerate(position)]
            counts = [-(-(shape[2 + i] - r) // strides[i]) for i, r in enumerate(position)]
            part = out.slice((0, g * per_out, *position), (1, 1, *strides), (shape[0], per_out, *counts))
            if joined:  # neighbours along the last axis are further columns
                part = View(part.buffer, part.dtype, (shape[0], width * per_out, *counts), part.strides, part.offset)
            first: View | None = None
            if bias is not None and joined:
                repeated = s.constant(np.tile(s.graph.constants[node.inputs[2]], width), bias.dtype)
                first = View(repeated, bias.dtype, part.shape, (0, 1, *(0,) * rank))
            elif bias is not None:
                at = bias.offset + g * per_out * bias.strides[0]
                first = View(bias.buffer, bias.dtype, part.shape, (0, bias.strides[0], *(0,) * rank), at)
            if any(c[1] == 0 for c in chosen):
                _no_taps(s, part, first, value, origin)
                continue
            taps = [[(c[0], c[1], c[2]) for c in chosen[:-1]] + [(p[0], p[1], p[2])] for p in (phases[-1] if joined else [chosen[-1]])]
            packed = _packed_taps(s, node, weights, g * per_in, per_in, taps, origin)
            offset = x.offset + g * per_in * x.strides[1] + sum((reach_low[i] + c[3]) * x.strides[2 + i] for i, c in enumerate(chosen))
            operand = View(x.buffer, x.dtype, part.shape, (x.strides[0], 0, *x.strides[2:]), offset)
            k = [*((c[1], c[4] * x.strides[2 + i]) for i, c in enumerate(chosen)), (per_in, x.strides[1])]
            layout = packing(s, "float32" if packed in s.scales else s.buffers[packed].dtype)
            dot(s, group, origin, part, [0, *range(2, 2 + rank)], [], 1, k, operand, packed, (), first, layout)


def _phases_join(
    phases: Sequence[tuple[int, int, int, int, int]],
    shape: tuple[int, ...],
    strides: tuple[int, ...],
    out: View,
    per_out: int,
    groups: int,
    known_bias: bool,
) -> bool:
    """Whether all phases of the last axis read the same inputs and write side by side: then they are one product with more columns."""
    same = len({(p[1], p[3], p[4]) for p in phases}) == 1 and phases[0][1] > 0
    fits = strides[-1] > 1 and shape[-1] % strides[-1] == 0 and groups == 1 and known_bias
    return same and fits and out.strides[1] == 1 and out.strides[-1] == per_out


def _packed_taps(
    s: Lowering,
    node: Node,
    weights: np.ndarray | None,
    first: int,
    per_in: int,
    phases: Sequence[Sequence[tuple[int, int, int]]],
    origin: str,
) -> str:
    """Panels of the kernel positions (start, count, step along each axis) that the phases see: [kernel…, in, phase, out]."""
    rank = len(phases[0])
    perm = (*range(2, 2 + rank), 0, 1)
    if weights is not None:
        cuts = [(slice(first, first + per_in), slice(None), *(slice(a, a + n * step, step) for a, n, step in p)) for p in phases]
        taps = np.stack([np.transpose(weights[c], perm) for c in cuts], axis=-2)
        dtype = s.graph.types[node.inputs[1]].dtype
        return packed_constant(s, taps.reshape(1, -1, taps.shape[-1] * len(phases)), dtype)
    w = s.view(node.inputs[1])
    rows = per_in * prod(n for _, n, _ in phases[0])
    flat = s.new_view(f"{node.outputs[0]}.weights", w.dtype, (rows, len(phases) * w.shape[1]), (0, 1))
    for i, p in enumerate(phases):
        part = w.slice((first, 0, *(a for a, _, _ in p)), (1, 1, *(step for _, _, step in p)), (per_in, w.shape[1], *(n for _, n, _ in p)))
        place = flat.slice((0, i * w.shape[1]), (1, 1), (rows, w.shape[1])).reshape(tuple(part.shape[x] for x in perm))
        assert place is not None
        s.copy(part.transpose(perm), place, f"{node.outputs[0]}.weights", origin)
    return pack_dynamic(s, flat, f"{node.outputs[0]}.weights", origin)


def _phase(r: int, before: int, stride: int, dilation: int, kernel: int) -> tuple[int, int, int, int, int]:
    """(first tap, taps, tap step, input of the first tap relative to the output's index, input step) of outputs ≡ r."""
    step = stride // gcd(stride, dilation)
    for first in range(min(kernel, step)):
        if (r + before - first * dilation) % stride == 0:
            count = -(-(kernel - first) // step)
            return first, count, step, (r + before - first * dilation) // stride, -(step * dilation) // stride
    return 0, 0, step, 0, 0


def _no_taps(s: Lowering, part: View, bias: View | None, value: str, origin: str) -> None:
    """Outputs that no kernel position reaches: the bias, + 0."""
    if bias is None:
        s.fill(part, 0 if not part.dtype.startswith("float") else 0.0, value, origin)
        return
    zero = Step("const", part.dtype, value=0.0 if part.dtype.startswith("float") else 0)
    s.map(
        part,
        lambda a: [
            (Step("load", part.dtype, access=Access(a.view(bias), ())), bias.strides),
            (zero, None),
            (Step("Add", part.dtype, (0, 1)), None),
        ],
        value,
        origin,
    )


TABLE: dict[str, Callable[[Lowering, Group, str], None]] = {"MatMul": matmul, "Conv": conv, "ConvTranspose": conv_transpose}
