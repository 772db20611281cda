"""ONNX Runtime's own quantised operators (domain com.microsoft), which its quantisation tool writes: dequantise, compute, quantise.

Each is written as that chain, and so becomes an integer program wherever the same chain in a QDQ model would.
https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from mlcc.graph.builder import Builder, Value
from mlcc.graph.rules import quant, reduce
from mlcc.graph.rules.attention import TABLE as ATTENTION
from mlcc.graph.rules.attention import attention_of
from mlcc.graph.rules.experts import TABLE as EXPERTS
from mlcc.graph.rules.fused import TABLE as FUSED
from mlcc.graph.rules.fused import fused_conv
from mlcc.graph.rules.recurrent import LSTM_ACTIVATIONS, Cell, long_short_term_memory
from mlcc.graph.rules.standard import run
from mlcc.graph.source import Source

WINDOW = ("auto_pad", "dilations", "kernel_shape", "pads", "strides")
Parts = tuple[Value | None, Value | None, Value | None]  # a quantised tensor, its scale, its zero point


def between(s: Source, op: str, operands: Sequence[Parts], scale: Value | None, zero: Value | None, **attributes: Any) -> Value:
    """QuantizeLinear(op(DequantizeLinear(…)…))."""
    floats = [run(s, "DequantizeLinear", *parts) for parts in operands]
    return run(s, "QuantizeLinear", run(s, op, *floats, **attributes), scale, zero)


def parts(s: Source, first: int) -> Parts:
    return s.optional(first), s.optional(first + 1), s.optional(first + 2)


def binary(op: str) -> Callable[[Source], Value]:
    return lambda s: between(s, op, [parts(s, 0), parts(s, 3)], s[6], s.optional(7))


def unary(op: str, *names: str) -> Callable[[Source], Value]:
    """Of an operator with attributes of these names."""
    return lambda s: between(s, op, [parts(s, 0)], s[3], s.optional(4), **s.some(*names))


def channels_first(b: Builder, x: Value) -> Value:
    return b.transpose(x, (0, x.rank - 1, *range(1, x.rank - 1)))


def channels_last(b: Builder, y: Value) -> Value:
    return b.transpose(y, (0, *range(2, y.rank), 1))


def with_last(rule: Callable[[Source], Value], always: bool = False, images: tuple[int, ...] = (0,)) -> Callable[[Source], Value]:
    """An operator whose images may lie with their channels last, as the attribute says or always."""

    def of(s: Source) -> Value:
        if not (always or s.attr("channels_last", 0)):
            return rule(s)
        turned = tuple(channels_first(s.b, v) if i in images and v is not None else v for i, v in enumerate(s.inputs))
        return channels_last(s.b, rule(replace(s, inputs=turned)))

    return of


def where(s: Source) -> Value:
    x, y = (run(s, "DequantizeLinear", *parts(s, i)) for i in (1, 4))
    return run(s, "QuantizeLinear", run(s, "Where", s[0], x, y), s[7], s.optional(8))


def softmax(s: Source) -> Value:
    """Softmax as the opset that the node names has it: before 13 over all axes from `axis` on. Without one it is the last."""
    x = run(s, "DequantizeLinear", *parts(s, 0))
    y = reduce.softmax(Source("Softmax", (x,), {"axis": s.attr("axis", -1)}, int(s.attr("opset")), 1, s.b))
    return run(s, "QuantizeLinear", y, s[3], s.optional(4))


def concat(s: Source) -> Value:
    operands = [parts(s, i) for i in range(2, len(s.inputs), 3)]
    return between(s, "Concat", operands, s[0], s.optional(1), axis=int(s.attr("axis", 0)))


def gemm(s: Source) -> Value:
    """alpha · A·B + C, C in units of A's scale times B's."""
    b = s.b
    a, (w, w_scale, w_zero) = parts(s, 0), parts(s, 3)
    bias, y_scale = s.optional(6), s.optional(7)
    floats = [run(s, "DequantizeLinear", *a), run(s, "DequantizeLinear", w, w_scale, w_zero, axis=0 if s.attr("transB", 0) else 1)]
    if bias is not None:
        floats.append(run(s, "DequantizeLinear", bias, b("Mul", s[1], s[4]), None, axis=0))
    y = run(s, "Gemm", *floats, **s.some("alpha", "transA", "transB"))
    return y if y_scale is None else run(s, "QuantizeLinear", y, y_scale, s.optional(8))


def integer_product(s: Source, a: Parts, w: Parts, bias: Value | None) -> Value:
    """The int32 product times both scales, plus a bias."""
    b = s.b
    acc = run(s, "MatMulInteger", a[0], w[0], a[2], w[2])
    assert a[1] is not None and w[1] is not None
    y = b("Mul", b.cast(acc, "float32"), b("Mul", a[1], w[1]))
    return b("Add", y, bias) if bias is not None else y


def matmul_integer_to_float(s: Source) -> Value:
    return integer_product(s, (s[0], s[2], s.optional(4)), (s[1], s[3], s.optional(5)), s.optional(6))


def dynamic_quantize_matmul(s: Source) -> Value:
    q, scale, zero = quant.dynamic_quantize_linear(Source("DynamicQuantizeLinear", (s[0],), {}, s.opset, 3, s.b))
    return integer_product(s, (q, scale, zero), (s[1], s[2], s.optional(3)), s.optional(4))


class QuantisedCell(Cell):
    """Weights as bytes, [directions, inputs, gates · hidden], a scale each or one a column; what they multiply is quantised as it comes:
    all steps' inputs as one tensor, the state as one at each step."""

    def hidden_size(self) -> int:
        return self.s[2].shape[-1] // self.gates

    def shapes(self, features: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
        n = self.gates * self.hidden
        return (self.count, features, n), (self.count, self.hidden, n)

    def weights(self, which: int, direction: int) -> Parts:
        """W (1) or R (2) of a direction, with scale and zero point."""
        q, scale, zero = (self.part(self.s.optional(i), direction) for i in (which, 6 + 2 * which, 7 + 2 * which))
        return q, scale, zero

    def projected(self, direction: int, bias: Value) -> Value:
        flat = self.b.reshape(self.x, (self.steps * self.batch, self.x.shape[2]))
        y = dynamic_product(self.s, flat, self.weights(1, direction), bias)
        return self.b.reshape(y, (self.steps, self.batch, self.gates * self.hidden))

    def recurrent(self, direction: int) -> Value:
        found = self.part(self.s[2], direction)
        assert found is not None
        return found

    def stepped(self, direction: int, h: Value, r: Value, start: Value) -> Value:
        return dynamic_product(self.s, h, (r, *self.weights(2, direction)[1:]), start)


def dynamic_product(s: Source, x: Value, w: Parts, start: Value) -> Value:
    """start + x · w, x quantised to bytes by its own range."""
    q, scale, zero = quant.dynamic_quantize_linear(Source("DynamicQuantizeLinear", (x,), {}, s.opset, 3, s.b))
    return integer_product(s, (q, scale, zero), w, start)


def dynamic_quantize_lstm(s: Source) -> tuple[Value, ...]:
    return long_short_term_memory(QuantisedCell(s, 4, LSTM_ACTIVATIONS))


def attention(s: Source) -> tuple[Value, ...]:
    """Attention whose product with the weights is one of bytes."""
    qkv = integer_product(s, (s[0], s[3], s.optional(6)), (s[1], s[4], s.optional(7)), s.optional(2))
    n = s[1].shape[1] // 3
    return attention_of(s, qkv, [n] * 3, int(s.attr("num_heads")), s.optional(5), s.optional(8), None)


TABLE: dict[str, Callable[[Source], Value | tuple[Value, ...]]] = {
    "QLinearAdd": binary("Add"),
    "QLinearMul": binary("Mul"),
    "QLinearSigmoid": unary("Sigmoid"),
    "QLinearLeakyRelu": unary("LeakyRelu", "alpha"),
    "QLinearSoftmax": softmax,
    "QLinearReduceMean": unary("ReduceMean", "axes", "keepdims"),
    "QLinearWhere": where,
    "QLinearConv": with_last(quant.qlinear_conv),
    "NhwcConv": with_last(lambda s: run(s, "Conv", s[0], s[1], s.optional(2), **s.some(*WINDOW, "group")), always=True),
    "NhwcFusedConv": with_last(fused_conv, always=True, images=(0, 3)),
    "NhwcMaxPool": with_last(lambda s: run(s, "MaxPool", s[0], **s.some(*WINDOW, "ceil_mode")), always=True),
    "QLinearAveragePool": with_last(unary("AveragePool", *WINDOW, "ceil_mode", "count_include_pad")),
    "QLinearGlobalAveragePool": with_last(unary("GlobalAveragePool")),
    "QLinearConcat": concat,
    "QGemm": gemm,
    "MatMulIntegerToFloat": matmul_integer_to_float,
    "DynamicQuantizeLSTM": dynamic_quantize_lstm,
    "DynamicQuantizeMatMul": dynamic_quantize_matmul,
    "QAttention": attention,
    "QuantizeLinear": quant.quantize_linear,
    "DequantizeLinear": quant.dequantize_linear,
    **FUSED,
    **ATTENTION,
    **EXPERTS,
}
