"""MatMul → Dot kernels, or Chains where one side is a vector."""

from __future__ import annotations

from math import prod

import numpy as np

from mlcc.core.terms import most
from mlcc.program.fusion import Group
from mlcc.program.iteration import iterate
from mlcc.program.kernel import Access, Chain
from mlcc.program.lower.arguments import finish_body
from mlcc.program.lower.dot import NARROW, Product, accumulator, block_dot, dot, start_of_bytes
from mlcc.program.lower.reuse import in_place
from mlcc.program.lower.state import Lowering
from mlcc.program.lower.weights import FEW, known, pack_dynamic, packed_constant, packed_pairs
from mlcc.program.view import View, row_major


def matmul(s: Lowering, group: Group, origin: str) -> None:
    node, value = group.anchor, group.sink.outputs[0]
    assert node is not None
    shape = s.graph.types[node.outputs[0]].shape
    left, right = node.inputs[:2]
    init = node.inputs[2] if len(node.inputs) > 2 else None
    out = in_place(s, group, value) or s.destination(value, range(len(shape)), origin)
    s.views[value] = out
    if out.size == 0:
        return
    if node.get("bf16"):
        weights = s.graph.constants[right].reshape(s.graph.types[right].shape[-2:])
        wide = s.view(left).expand((*shape[:-1], weights.shape[0]))
        operand = wide.laid(shape, (*wide.strides[:-1], 0))
        packed = packed_pairs(s, ("matmul", right), weights)
        k = ((weights.shape[0], wide.strides[-1]),)
        block_dot(s, group, origin, Product(out, tuple(range(len(shape) - 1)), len(shape) - 1, operand, k, packed))
        return
    m, n = shape[-2:]
    if s.compact and (known(s, right) is None or len(s.graph.types[right].shape) != 2):
        chain_product(s, group, origin, out)
        return
    turned = (
        not s.compact
        and (most(n) < NARROW and most(m) > most(n) and known(s, right) is None or n == 1 and most(m) > 1)
        and node.get("zero") is None
    )
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
        few = s.narrow and most(prod(shape[i] for i in (*rows, axis_m))) <= FEW
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
    operand = a.laid(shape, strides)
    start = s.view(init).expand(shape) if init is not None else None
    if node.get("zero") is not None:
        start = start_of_bytes(s, node).expand(shape)
    k = ((depth, wide.strides[-1]),)
    dot(s, group, origin, Product(out, (*rows, axis_m), axis_n, operand, k, packed, tuple(batch), advance, start))


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
    o = s.operands(group, a, b, init, out)
    it = iterate(shape, [a_rows, b_rows, out.strides, *([init.strides] if init is not None else []), *o.loads])
    spec = Chain(
        tuple(o.arguments.types),
        accumulator(node, a.dtype),
        it.dims,
        (a.shape[-1],),
        Access(o.a, (*it.over(a_rows), wide_a.strides[-1])),
        Access(o.b, (*it.over(b_rows), wide_b.strides[-2])),
        Access(o.init, it.over(init.strides)) if init is not None else None,
        finish_body(o.steps, it.over),
        Access(o.out, it.over(out.strides)),
    )
    s.call(spec, o.arguments, group.sink.outputs[0], origin, [o.out])
