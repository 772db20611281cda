"""What ONNX Runtime's optimiser and exporters for it write (domain com.microsoft): fused products, activations, norms.

https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from mlcc.graph.builder import Value
from mlcc.graph.rules import elementwise, reduce
from mlcc.graph.rules.standard import run
from mlcc.graph.source import Source

# products


def fused_matmul(s: Source) -> Value:
    b, (x, w) = s.b, (s[0], s[1])
    if s.attr("transBatchA", 0) or s.attr("transBatchB", 0):
        raise s.unsupported("a product whose batch axes are transposed", "export without transBatchA and transBatchB")

    def turned(v: Value, on: bool) -> Value:
        return b.transpose(v, [*range(v.rank - 2), v.rank - 1, v.rank - 2]) if on and v.rank > 1 else v

    y = run(s, "MatMul", turned(x, bool(s.attr("transA", 0))), turned(w, bool(s.attr("transB", 0))))
    alpha = float(s.attr("alpha", 1.0))
    return y if alpha == 1.0 else b("Mul", y, b.like(alpha, y))


def activated(s: Source, y: Value, name: str, parameters: list[float]) -> Value:
    """An activation by its name, with its parameters in the order that ONNX lists them."""
    if name in ("", "None"):
        return y
    names = {"LeakyRelu": ("alpha",), "HardSigmoid": ("alpha", "beta"), "Elu": ("alpha",), "Selu": ("alpha", "gamma")}
    if name == "Clip":
        low, high = (s.b.like(v, y) for v in parameters[:2])
        return run(s, "Clip", y, low, high)
    if name not in ("Relu", "Tanh", "Sigmoid", "Softplus", "Softsign", "Swish", "Gelu", *names):
        raise s.unsupported(f"activation {name}")
    return run(s, name, y, **dict(zip(names.get(name, ()), parameters)))


def fused_conv(s: Source) -> Value:
    """Conv, plus a sum, then an activation."""
    y = run(s, "Conv", s[0], s[1], s.optional(2), **s.some("auto_pad", "dilations", "group", "kernel_shape", "pads", "strides"))
    other = s.optional(3)
    y = y if other is None else s.b("Add", y, other)
    return activated(s, y, s.attr("activation", ""), [float(v) for v in s.attr("activation_params", [])])


def fused_gemm(s: Source) -> Value:
    y = run(s, "Gemm", s[0], s[1], s.optional(2), **s.some("alpha", "beta", "transA", "transB"))
    parameters = [float(s.attr(f"activation_{k}")) for k in ("alpha", "beta", "gamma") if s.has(f"activation_{k}")]
    return activated(s, y, s.attr("activation", ""), parameters)


def unpacked(s: Source, packed: np.ndarray, bits: int) -> np.ndarray:
    """The unsigned numbers of `bits` bits in bytes along the last axis, the lowest bits first."""
    if bits not in (2, 4, 8):
        raise s.unsupported(f"weights of {bits} bits", "2, 4 or 8 bits are supported")
    shifts = np.arange(0, 8, bits, dtype=np.uint8)
    return ((packed[..., None] >> shifts) & ((1 << bits) - 1)).reshape(*packed.shape[:-1], -1)


def matmul_nbits(s: Source) -> Value:
    """A times the transpose of weights of few bits, in blocks with a scale each. They are known, and so are their numbers."""
    b, n, k = s.b, int(s.attr("N")), int(s.attr("K"))
    bits, block = int(s.attr("bits", 4)), int(s.attr("block_size"))
    blocks = -(-k // block)
    b.room(n * blocks * block)
    q = unpacked(s, b.known(s[1], "B").reshape(n, blocks, -1).view(np.uint8), bits)[..., :block].astype(np.float32)
    scales = b.known(s[2], "scales").astype(np.float32).reshape(n, blocks, 1)
    zeros, group = b.array(s.optional(3)), s.optional(4)
    if group is not None:
        raise s.unsupported("g_idx: columns that share a scale out of order", "quantise without reordering")
    if s.optional(3) is not None and zeros is None:
        raise s.unsupported("zero points that depend on the inputs")
    if zeros is None:
        zero = np.array(1 << (bits - 1), np.float32)
    elif zeros.dtype == np.uint8:
        zero = unpacked(s, zeros.reshape(n, -1), bits)[:, :blocks].astype(np.float32).reshape(n, blocks, 1)
    else:
        zero = zeros.astype(np.float32).reshape(n, blocks, 1)
    weights = ((q - zero) * scales).reshape(n, blocks * block)[:, :k]
    y = run(s, "MatMul", s[0], b.constant(np.ascontiguousarray(weights.T)))
    bias = s.optional(5)
    return y if bias is None else b("Add", y, bias)


def gather_block_quantized(s: Source) -> Value:
    """Rows of a table of few bits, in blocks with a scale each."""
    b = s.b
    bits, block = int(s.attr("bits", 4)), int(s.attr("block_size", 128))
    data, scales, zeros = b.known(s[0], "data"), b.known(s[2], "scales").astype(np.float32), b.array(s.optional(3))
    rank = data.ndim
    axis, along = int(s.attr("gather_axis", 0)) % rank, int(s.attr("quantize_axis", 1)) % rank
    if along != rank - 1:
        raise s.unsupported("blocks along another axis than the last", "quantize_axis=-1")
    if s[0].element:
        q = data.astype(np.float32)
        zero = np.float32(0) if zeros is None else zeros.astype(np.float32)
    else:
        q = unpacked(s, data, bits).astype(np.float32)
        zero = np.float32(1 << (bits - 1)) if zeros is None else unpacked(s, zeros, bits)[..., : scales.shape[-1]].astype(np.float32)
    b.room(q.size)
    shift = np.repeat(np.broadcast_to(zero, scales.shape), block, axis=-1)[..., : q.shape[-1]]
    table = (q - shift) * np.repeat(scales, block, axis=-1)[..., : q.shape[-1]]
    return b("Gather", b.constant(table), s[1], axis=axis)


# activations and norms


def gelu(s: Source, x: Value, tanh: bool = False) -> Value:
    return elementwise.gelu(Source("Gelu", (x,), {"approximate": "tanh" if tanh else "none"}, 20, 1, s.b), x)


def plus(s: Source, x: Value, *others: Value | None) -> Value:
    for v in others:
        x = x if v is None else s.b("Add", x, v)
    return x


def quick_gelu(s: Source) -> Value:
    x = s[0]
    return s.b("Mul", x, s.b("Sigmoid", s.b("Mul", x, s.b.like(s.attr("alpha", 1.702), x))))


def bias_split_gelu(s: Source) -> Value:
    x = plus(s, s[0], s[1])
    half = x.shape[-1] // 2
    left, right = (s.b.slice(x, x.rank - 1, i * half, half) for i in (0, 1))
    return s.b("Mul", left, gelu(s, right))


def bias_softmax(s: Source) -> Value:
    """Softmax of scores and a mask that broadcasts over them, over all axes from `axis` on."""
    b, x, axis = s.b, s[0], int(s.attr("axis", 1)) % s[0].rank
    y = plus(s, x, s[1])
    flat = b.reshape(y, (int(np.prod(y.shape[:axis], dtype=np.int64)), int(np.prod(y.shape[axis:], dtype=np.int64))))
    return b.reshape(run(s, "Softmax", flat, axis=1), y.shape)


def simplified_layer_normalization(s: Source) -> tuple[Value, ...]:
    return reduce.root_mean_square(s, s[0], s[1], s.axis(-1), s.attr("epsilon", 1e-5))[: max(1, s.output_count)]


def layer_norm(s: Source, x: Value, gamma: Value, beta: Value | None, epsilon: float) -> tuple[Value, Value, Value]:
    """(y, mean, 1/σ) over the last axis."""
    b, axes = s.b, (x.rank - 1,)
    y, inverse = reduce.normalise(s, x, axes, epsilon)
    y = b("Mul", y, gamma)
    mean = b("Div", b("ReduceSum", x, axes=axes), b.like(x.shape[-1], x))
    return (y if beta is None else b("Add", y, beta)), mean, inverse


def skip_layer_normalization(s: Source) -> tuple[Value, ...]:
    total = plus(s, s[0], s[1], s.optional(4))
    return (*layer_norm(s, total, s[2], s.optional(3), s.attr("epsilon", 1e-12)), total)[: max(1, s.output_count)]


def skip_simplified_layer_normalization(s: Source) -> tuple[Value, ...]:
    total = plus(s, s[0], s[1], s.optional(3))
    y, inverse = reduce.root_mean_square(s, total, s[2], total.rank - 1, s.attr("epsilon", 1e-12))
    return (y, inverse, inverse, total)[: max(1, s.output_count)]


def embed_layer_normalization(s: Source) -> tuple[Value, ...]:
    """The sum of word, position and segment embeddings, normalised; how many positions each row's mask leaves; the sum."""
    b, ids, segments = s.b, s[0], s.optional(1)
    words, positions, types, gamma, beta, mask, given = s[2], s[3], s.optional(4), s[5], s[6], s.optional(7), s.optional(8)
    at = b.slice(positions, 0, 0, ids.shape[1]) if given is None else b("Gather", positions, given, axis=0)
    total = plus(s, b("Gather", words, ids, axis=0), at)
    if segments is not None and types is not None:
        total = b("Add", total, b("Gather", types, segments, axis=0))
    count = b.constant(np.zeros(ids.shape[0], np.int32))
    if mask is not None:
        count = b.reshape(b("ReduceSum", b.cast(mask, "int32"), axes=(1,)), (ids.shape[0],))
    return (layer_norm(s, total, gamma, beta, s.attr("epsilon", 1e-12))[0], count, total)[: max(1, s.output_count)]


TABLE: dict[str, Callable[[Source], Value | tuple[Value, ...]]] = {
    "BiasAdd": lambda s: plus(s, s[0], s[1], s[2]),
    "BiasGelu": lambda s: gelu(s, plus(s, s[0], s.optional(1))),
    "BiasSoftmax": bias_softmax,
    "BiasSplitGelu": bias_split_gelu,
    "EmbedLayerNormalization": embed_layer_normalization,
    "FastGelu": lambda s: gelu(s, plus(s, s[0], s.optional(1)), tanh=True),
    "FusedConv": fused_conv,
    "FusedGemm": fused_gemm,
    "FusedMatMul": fused_matmul,
    "GatherBlockQuantized": gather_block_quantized,
    "Gelu": lambda s: gelu(s, s[0]),
    "LayerNormalization": reduce.layer_normalization,
    "MatMulNBits": matmul_nbits,
    "QuickGelu": quick_gelu,
    "SimplifiedLayerNormalization": simplified_layer_normalization,
    "SkipLayerNormalization": skip_layer_normalization,
    "SkipSimplifiedLayerNormalization": skip_simplified_layer_normalization,
    "TransposeMatMul": fused_matmul,
}
