"""One Dot kernel: a product over rows whose addresses are affine."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np

from mlcc.core.graph import Node
from mlcc.program.fusion import Group
from mlcc.program.kernel import Access, BlockDot, Bound, Dot, block
from mlcc.program.lower.state import Arguments, Lowering, finish_body
from mlcc.program.view import View, collapse

NARROW = 8  # columns below which a product is worth turning around


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
    """One Dot call. `rows`, `batch`, `column` are axes of `out`; `a`'s strides lie over out's axes (0 for the column); k: (extent, stride
    of a); layout: how `packed` lies; bounds: taps to skip, by position in `rows` and `k`; shift: from `a`'s first element to the first tap;
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
