"""One Dot kernel: a product over rows whose addresses are affine."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import numpy as np

from mlcc.core.dim import Dim
from mlcc.core.graph import Node
from mlcc.core.terms import most
from mlcc.program.fusion import Group
from mlcc.program.iteration import as_given, iterate
from mlcc.program.kernel import Access, BlockDot, Bound, Dot
from mlcc.program.lower.arguments import finish_body
from mlcc.program.lower.state import Lowering
from mlcc.program.lower.weights import packing
from mlcc.program.packing import EVEN, FOURS, PANELS, PLAIN, Packing
from mlcc.program.view import View

NARROW = 8  # columns below which a product is worth turning around


@dataclass(frozen=True)
class Product:
    """out[batch…, row…, column] = chain over k of a·b from init. `rows`, `batch` and `column` are axes of `out`."""

    out: View
    rows: tuple[int, ...]
    column: int
    a: View  # its strides lie over out's axes (0 for the column)
    k: tuple[tuple[int, int], ...]  # (extent, stride of a)
    packed: str  # the buffer of b
    batch: tuple[int, ...] = ()
    batch_advance: tuple[int, ...] = ()  # matrices of b from one to the next along `batch`
    init: View | None = None
    bounds: tuple[Bound, ...] = ()  # taps to skip, by position in `rows` and `k`
    shift: int = 0  # from a's first element to the first tap
    gathered: bool = False  # whether rows must be copied before their results are written


def dot(s: Lowering, group: Group, origin: str, p: Product) -> None:
    """One Dot call."""
    assert group.anchor is not None
    value, layout = group.sink.outputs[0], _layout(s, p.packed, p.out.shape[p.column])
    o = s.operands(group, p.a, View(p.packed, s.buffers[p.packed].dtype, (), ()), p.init, p.out)
    operands = [p.a.strides, p.out.strides, *([p.init.strides] if p.init is not None else []), *o.loads]
    extents, taps = [n for n, _ in p.k], [st for _, st in p.k]
    rows = as_given(p.out.shape, p.rows) if p.bounds else iterate(p.out.shape, operands, p.rows)
    k = as_given(extents) if p.bounds else iterate(extents, [taps])
    scale = Access(o.arguments.add(s.scales[p.packed], 0, "float32"), (1,)) if p.packed in s.scales else None
    scratch = None
    if patch := _patch(p, layout, k.dims, k.over(taps), rows.dims, scale is not None):
        scratch = o.arguments.add(s.buffer(f"{value}.patch", p.a.dtype, patch), 0, p.a.dtype)

    def over(strides: tuple[int, ...]) -> tuple[int, ...]:
        return (*(strides[x] for x in p.batch), *rows.over(strides), strides[p.column])

    spec = Dot(
        tuple(o.arguments.types),
        accumulator(group.anchor, p.a.dtype),
        tuple(p.out.shape[i] for i in p.batch),
        rows.dims,
        k.dims,
        p.out.shape[p.column],
        Access(o.a, (*over(p.a.strides)[:-1], *k.over(taps)), p.shift),
        Access(o.b, p.batch_advance),
        Access(o.init, over(p.init.strides)) if p.init is not None else None,
        finish_body(o.steps, over),
        Access(o.out, over(p.out.strides)),
        layout,
        scratch,
        scale,
        p.bounds,
        group.anchor.get("zero", 0),
    )
    s.call(spec, o.arguments, value, origin, [o.out, *([scratch] if scratch is not None else [])])


def _layout(s: Lowering, packed: str, columns: int) -> Packing:
    """How a buffer of weights lies."""
    if s.buffers[packed].place == "arena":
        return PLAIN if s.compact else EVEN if isinstance(columns, Dim) else PANELS
    return packing(s, "float32" if packed in s.scales else s.buffers[packed].dtype)


def _patch(p: Product, layout: Packing, k: tuple[int, ...], strides: tuple[int, ...], rows: tuple[int, ...], scaled: bool) -> int:
    """Elements that a small core's kernel gathers its rows' operands in; 0 where they lie as it reads them."""
    tiled = layout.depth > 1 or layout == FOURS and p.a.dtype == "float32"
    if not tiled or p.batch or not (p.gathered or p.bounds or strides != (1,) or prod(k) % layout.depth):
        return 0
    return layout.rows(prod(k)) * min(4 if scaled else 2, most(prod(rows)))


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


def block_dot(s: Lowering, group: Group, origin: str, p: Product) -> None:
    """One BlockDot call."""
    o = s.operands(group, p.a, View(p.packed, "uint32", (), ()), None, p.out)
    taps = [st for _, st in p.k]
    rows = iterate(p.out.shape, [p.a.strides, p.out.strides, *o.loads], p.rows)
    k = iterate([n for n, _ in p.k], [taps])

    def over(strides: tuple[int, ...]) -> tuple[int, ...]:
        return (*rows.over(strides), strides[p.column])

    spec = BlockDot(
        tuple(o.arguments.types),
        rows.dims,
        k.dims,
        p.out.shape[p.column],
        Access(o.a, (*rows.over(p.a.strides), *k.over(taps))),
        o.b,
        finish_body(o.steps, over),
        Access(o.out, over(p.out.strides)),
    )
    s.call(spec, o.arguments, group.sink.outputs[0], origin, [o.out])
