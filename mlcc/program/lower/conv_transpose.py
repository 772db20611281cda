"""ConvTranspose → one product for each phase of its strides."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product
from math import gcd, prod

import numpy as np

from mlcc.core.graph import Node
from mlcc.core.terms import most
from mlcc.error import Error
from mlcc.program.fusion import Group
from mlcc.program.kernel import Access, Step
from mlcc.program.lower.conv import padded_input
from mlcc.program.lower.dot import Product, dot
from mlcc.program.lower.state import Lowering
from mlcc.program.lower.weights import known, pack_dynamic, packed_constant
from mlcc.program.view import View, channels_last


@dataclass(frozen=True)
class Phase:
    """Outputs that are equal modulo a stride, along one axis: which kernel positions they see, where these find their input."""

    first: int  # tap
    taps: int
    step: int  # from tap to tap
    start: int  # the first tap's input, relative to the output's index
    advance: int  # of the input, from tap to tap

    @property
    def sees(self) -> tuple[int, int, int]:
        return self.taps, self.start, self.advance

    @property
    def cut(self) -> slice:
        """Its taps of the kernel."""
        return slice(self.first, self.first + self.taps * self.step, self.step)


def conv_transpose(s: Lowering, group: Group, origin: str) -> None:
    """One convolution a phase: its outputs see the same kernel positions, whose inputs lie evenly spaced."""
    node, value = group.anchor, group.sink.outputs[0]
    assert node is not None
    shape = s.graph.types[value].shape
    rank, groups, strides = len(shape) - 2, node["group"], node["strides"]
    weights, w_shape = known(s, node.inputs[1]), s.graph.types[node.inputs[1]].shape
    if weights is not None and not np.isfinite(weights.astype(np.float64)).all():
        raise Error("unsupported", "weights that are not finite", f"ConvTranspose ({origin})")
    out = s.destination(value, channels_last(len(shape)), origin)
    s.views[value] = out
    x_shape = s.graph.types[node.inputs[0]].shape
    bias = s.view(node.inputs[2]) if len(node.inputs) > 2 else None
    phases = [
        [_phase(r, node["before"][i], strides[i], node["dilations"][i], w_shape[2 + i]) for r in range(min(strides[i], most(shape[2 + i])))]
        for i in range(rank)
    ]
    reach = [_reach(phases[i], shape[2 + i], x_shape[2 + i], strides[i]) for i in range(rank)]
    x = padded_input(s, node, tuple(low for low, _ in reach), tuple(high for _, high in reach), origin)
    per_in, per_out = x_shape[1] // groups, w_shape[1]
    joined = groups == 1 and (bias is None or known(s, node.inputs[2]) is not None) and _join(phases[-1], shape, strides, out, per_out)
    last = phases[-1][:1] if joined else phases[-1]
    for g, position in product(range(groups), np.ndindex(*(len(p) for p in phases[:-1]), len(last))):
        chosen = [phases[i][r] for i, r in enumerate(position)]
        counts = [-(-(shape[2 + i] - r) // strides[i]) for i, r in enumerate(position)]
        part = out.slice((0, g * per_out, *position), (1, 1, *strides), (shape[0], per_out, *counts))
        if joined:  # neighbours along the last axis are further columns
            part = replace(part, shape=(shape[0], strides[-1] * per_out, *counts))
        start = _start(s, node, bias, part, g * per_out, strides[-1] if joined else 1)
        if any(p.taps == 0 for p in chosen):
            _no_taps(s, part, start, value, origin)
            continue
        seen = [(*chosen[:-1], p) for p in (phases[-1] if joined else chosen[-1:])]
        packed = _packed_taps(s, node, weights, g * per_in, per_in, seen, origin)
        offset = sum((low + p.start) * st for (low, _), p, st in zip(reach, chosen, x.strides[2:]))
        operand = x.laid(part.shape, (x.strides[0], 0, *x.strides[2:]), x.offset + g * per_in * x.strides[1] + offset)
        k = (*((p.taps, p.advance * st) for p, st in zip(chosen, x.strides[2:])), (per_in, x.strides[1]))
        dot(s, group, origin, Product(part, (0, *range(2, 2 + rank)), 1, operand, k, packed, init=start))


def _reach(phases: Sequence[Phase], outputs: int, inputs: int, stride: int) -> tuple[int, int]:
    """How far taps go beyond the input, before and after, along an axis."""
    low = high = 0
    for r, p in enumerate(phases):
        count = -(-(outputs - r) // stride)
        if p.taps and count != 0:
            ends = (p.start, p.start + p.advance * (p.taps - 1))
            low, high = max(low, -min(ends)), max(high, most(max(ends) + count - inputs))
    return low, high


def _join(phases: Sequence[Phase], shape: tuple[int, ...], strides: tuple[int, ...], out: View, per_out: int) -> bool:
    """Whether all phases of the last axis read the same inputs and write side by side: then they are one product with more columns."""
    same = len({p.sees for p in phases}) == 1 and phases[0].taps > 0
    return same and strides[-1] > 1 and shape[-1] % strides[-1] == 0 and out.strides[1] == 1 and out.strides[-1] == per_out


def _start(s: Lowering, node: Node, bias: View | None, part: View, first: int, repeats: int) -> View | None:
    """What a part's sums start from: its channels' bias, once for each of the phases that are joined in it."""
    rest = (0,) * (len(part.shape) - 2)
    if bias is None:
        return None
    if repeats > 1:
        repeated = s.constant(np.tile(s.graph.constants[node.inputs[2]], repeats), bias.dtype)
        return View(repeated, bias.dtype, part.shape, (0, 1, *rest))
    return bias.laid(part.shape, (0, bias.strides[0], *rest), bias.offset + first * bias.strides[0])


def _packed_taps(
    s: Lowering,
    node: Node,
    weights: np.ndarray | None,
    first: int,
    per_in: int,
    phases: Sequence[Sequence[Phase]],
    origin: str,
) -> str:
    """The kernel positions that phases see (a Phase an axis), packed: [kernel…, in, phase, out]."""
    rank = len(phases[0])
    perm = (*range(2, 2 + rank), 0, 1)
    if weights is not None:
        cuts = [(slice(first, first + per_in), slice(None), *(p.cut for p in axes)) for axes in phases]
        taps = np.stack([np.transpose(weights[c], perm) for c in cuts], axis=-2)
        dtype = s.graph.types[node.inputs[1]].dtype
        return packed_constant(s, taps.reshape(1, -1, taps.shape[-1] * len(phases)), dtype)
    w = s.view(node.inputs[1])
    rows = per_in * prod(p.taps for p in phases[0])
    flat = s.new_view(f"{node.outputs[0]}.weights", w.dtype, (rows, len(phases) * w.shape[1]), (0, 1))
    for i, axes in enumerate(phases):
        counts = (per_in, w.shape[1], *(p.taps for p in axes))
        part = w.slice((first, 0, *(p.first for p in axes)), (1, 1, *(p.step for p in axes)), counts)
        place = flat.slice((0, i * w.shape[1]), (1, 1), (rows, w.shape[1])).reshape(tuple(part.shape[x] for x in perm))
        assert place is not None
        s.copy(part.transpose(perm), place, f"{node.outputs[0]}.weights", origin)
    return pack_dynamic(s, flat, f"{node.outputs[0]}.weights", origin)


def _phase(r: int, before: int, stride: int, dilation: int, kernel: int) -> Phase:
    """Outputs ≡ r modulo the stride."""
    step = stride // gcd(stride, dilation)
    for first in range(min(kernel, step)):
        if (r + before - first * dilation) % stride == 0:
            count = -(-(kernel - first) // step)
            return Phase(first, count, step, (r + before - first * dilation) // stride, -(step * dilation) // stride)
    return Phase(0, 0, step, 0, 0)


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
