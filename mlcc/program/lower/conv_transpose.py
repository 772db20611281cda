"""ConvTranspose → one product for each phase of its strides."""

from __future__ import annotations

from collections.abc import Sequence
from math import gcd, prod

import numpy as np

from mlcc.core.graph import Node
from mlcc.error import Error
from mlcc.program.fusion import Group
from mlcc.program.kernel import Access, Step
from mlcc.program.lower.conv import padded_input
from mlcc.program.lower.dot import dot
from mlcc.program.lower.state import Lowering
from mlcc.program.lower.weights import known, pack_dynamic, packed_constant, packing
from mlcc.program.view import View, channels_last


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
    x = padded_input(s, node, tuple(reach_low), tuple(max(0, h) for h in reach_high), origin)
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
