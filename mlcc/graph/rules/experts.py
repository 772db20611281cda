"""Mixtures of experts (domain com.microsoft): every expert is computed, and those that a row's router chose are weighed and added.

Shazeer et al., "Outrageously Large Neural Networks: The Sparsely-Gated Mixture-of-Experts Layer", 2017.
https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from mlcc.graph.builder import Value
from mlcc.graph.rules.fused import gelu, unpacked
from mlcc.graph.rules.standard import run
from mlcc.graph.source import Source

Layer = Callable[[Value], Value]  # [experts or 1, rows, features] → [experts, rows, results]


def mixture(s: Source, first: Layer, second: Layer, third: Layer | None, mixing: Value | None = None) -> Value:
    """`mixing`: scores by which the chosen are weighed, where they are others than those by which they are chosen."""
    b, x, scores, k = s.b, s[0], s[1], int(s.attr("k", 1))
    for name in ("swiglu_limit_after_activation", "use_sparse_mixer"):
        if s.attr(name, 0):
            raise s.unsupported(f"{name}=1", f"export with {name}=0")
    rows, count = scores.shape
    best, chosen = b.many("TopK", [scores], axis=1, k=k, largest=1)
    normal = bool(s.attr("normalize_routing_weights", 0))
    if mixing is not None:
        weights = b("GatherElements", mixing, chosen, axis=1)
        weights = b("Div", weights, b("ReduceSum", weights, axes=(1,))) if normal else weights
    elif normal:
        weights = run(s, "Softmax", best, axis=1)
    else:
        weights = b("GatherElements", run(s, "Softmax", scores, axis=1), chosen, axis=1)

    def spread(v: Value) -> Value:
        """[rows, chosen] → [experts, rows, 1], 0 for all others."""
        wide = b.expand(b.like(0, v), (rows, count))
        wide = b("ScatterElements", wide, chosen, v, axis=1, reduction="none")
        return b.reshape(b.transpose(wide, (1, 0)), (count, rows, 1))

    flat = b.reshape(x, (1, rows, x.shape[-1]))
    y = second(_activated(s, first(flat), None if third is None else third(flat)))
    taken = spread(b.expand(b.like(1, weights), weights.shape))
    part = b("Where", b("Less", b.like(0, taken), taken), b("Mul", y, spread(weights)), b.like(0, y))
    return b.reshape(b("ReduceSum", part, axes=(0,)), x.shape)


def _activated(s: Source, h: Value, gate: Value | None) -> Value:
    """What lies between the layers. SwiGLU: Shazeer, "GLU Variants Improve Transformer", 2020."""
    b, kind, fusion = s.b, s.attr("activation_type", "relu"), int(s.attr("swiglu_fusion", 0))
    alpha, beta, limit = float(s.attr("activation_alpha", 1.0)), float(s.attr("activation_beta", 0.0)), s.attr("swiglu_limit")
    if kind != "swiglu":
        if gate is not None:
            raise s.unsupported(f"fc3 with the activation {kind}", "activation_type=swiglu has a gate")
        plain: dict[str, Layer] = {
            "gelu": lambda v: gelu(s, v, tanh=True),
            "identity": lambda v: v,
            "relu": lambda v: run(s, "Relu", v),
            "silu": lambda v: b("Mul", v, b("Sigmoid", v)),
        }
        if kind not in plain:
            raise s.unsupported(f"activation {kind}", f"one of {', '.join(plain)}, swiglu")
        return plain[kind](h)
    half = h.shape[-1] // 2
    if fusion == 0:
        if gate is None:
            raise s.bad("swiglu_fusion=0 without fc3_experts_weights")
        g, l = h, gate
    elif fusion == 1:  # one beside the other
        pairs = b.reshape(h, (*h.shape[:-1], half, 2))
        g, l = (b.reshape(b.slice(pairs, 3, i, 1), (*h.shape[:-1], half)) for i in (0, 1))
    else:
        g, l = (b.slice(h, 2, i * half, half) for i in (0, 1))
    if limit is not None:
        most, least = b.like(float(limit), g), b.like(-float(limit), g)
        g, l = b("Min", g, most), b("Max", b("Min", l, most), least)
    return b("Mul", b("Mul", g, b("Sigmoid", b("Mul", b.like(alpha, g), g))), b("Add", l, b.like(beta, l)))


def _layer(s: Source, weights: Value, bias: Value | None) -> Layer:
    """Of weights [experts, results, features]."""
    b = s.b

    def of(x: Value) -> Value:
        y = b("MatMul", x, b.transpose(weights, (0, 2, 1)))
        return y if bias is None else b("Add", y, b.reshape(bias, (bias.shape[0], 1, bias.shape[1])))

    return of


def mixture_of_experts(s: Source) -> Value:
    given = s.optional(6)
    third = None if given is None else _layer(s, given, s.optional(7))
    return mixture(s, _layer(s, s[2], s.optional(3)), _layer(s, s[4], s.optional(5)), third)


def quantised_mixture(s: Source) -> Value:
    """With weights of few bits, in blocks along the features with a scale each, or a scale a row."""
    if (kind := s.attr("quant_type", "int")) != "int":
        raise s.unsupported(f"quant_type={kind}", "quant_type=int")
    if s.attr("weights_prepacked", -1) == 1:
        raise s.unsupported("weights_prepacked=1: a layout of one execution provider", "export with weights_prepacked=0")
    bits, block = int(s.attr("expert_weight_bits", 4)), int(s.attr("block_size", 0))
    widths = [int(s.attr(f"fc{i}_expert_weight_bits", bits)) for i in (1, 2, 3)]

    def layer(first: int, zeros: int, width: int) -> Layer | None:
        if s.optional(first) is None:
            return None
        packed, scales, zero = (s.b.known(s[i], "weights") if s.optional(i) is not None else None for i in (first, first + 1, zeros))
        if packed is None or scales is None:
            raise s.bad("weights without scales")
        s.b.room(packed.size * 8 // width, 4, "the experts' weights")
        q = unpacked(s, packed.view(np.uint8), width).astype(np.float32)
        scales = scales.astype(np.float32).reshape(*q.shape[:2], -1)
        if zero is None:
            shift = np.full(scales.shape, 1 << (width - 1), np.float32)
        else:
            shift = unpacked(s, zero.view(np.uint8), width).astype(np.float32)
            shift = shift[..., : scales.shape[-1]] if block else shift[..., : q.shape[1], None]
        along = block or q.shape[-1]
        q = (q - np.repeat(shift, along, axis=-1)) * np.repeat(scales, along, axis=-1)
        return _layer(s, s.b.constant(q), s.optional(first + 2))

    first, second, third = (layer(i, z, w) for i, z, w in zip((2, 5, 8), (11, 12, 13), widths))
    if first is None or second is None:
        raise s.bad("an expert without two layers")
    return mixture(s, first, second, third, s.optional(14))


TABLE: dict[str, Callable[[Source], Value | tuple[Value, ...]]] = {"MoE": mixture_of_experts, "QMoE": quantised_mixture}
