"""Elementwise and activation operators."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import reduce as fold
from math import sqrt

import numpy as np
import onnx

from mlcc.arithmetic.elementary import UNARY
from mlcc.core.graph import DTYPES
from mlcc.core.narrow import NARROW, ONNX_NARROW, TEXT
from mlcc.graph import text
from mlcc.graph.builder import Value
from mlcc.graph.narrow import decoded, encoded
from mlcc.graph.source import Source

FLOATS = ("float32", "float64", "float16", "bfloat16")
ONNX_DTYPES = {
    1: "float32",
    2: "uint8",
    3: "int8",
    4: "uint16",
    5: "int16",
    6: "int32",
    7: "int64",
    9: "bool",
    10: "float16",
    11: "float64",
    12: "uint32",
    13: "uint64",
    16: "bfloat16",
}
ONE_OVER_SQRT2 = float(np.float32(1 / sqrt(2)))


def unary(core: str) -> Callable[[Source], Value]:
    return lambda s: s.b(core, s[0])


def binary(core: str, swap: bool = False) -> Callable[[Source], Value]:
    def run(s: Source) -> Value:
        x, y = s[0], s[1]
        if s.opset < 7 and s.has("axis"):  # the older broadcast: y's axes lie at x's from `axis` on
            y = s.b.reshape(y, (*y.shape, *(1,) * (x.rank - y.rank - s.axis())))
        return s.b(core, y, x) if swap else s.b(core, x, y)

    return run


def equal(s: Source) -> Value:
    if (s[0].element == TEXT) != (s[1].element == TEXT):
        raise s.bad("text beside numbers")
    if s[0].element == TEXT:
        return text.equal(s.b, s[0], s[1])
    operands = [decoded(s.b, v) if v.element else v for v in (s[0], s[1])]
    return binary("Equal")(replace(s, inputs=tuple(operands)))


def variadic(core: str) -> Callable[[Source], Value]:
    return lambda s: fold(lambda a, x: s.b(core, a, x), [s[i] for i in range(1, len(s.inputs))], s[0])


def activation(function: Callable[[Source, Value], Value]) -> Callable[[Source], Value]:
    """The rule of a function of the first operand, which others call on values of theirs."""
    return lambda s: function(s, s[0])


def mean(s: Source) -> Value:
    total = variadic("Add")(s)
    return s.b("Div", total, s.b.like(len(s.inputs), total))


def reciprocal(s: Source) -> Value:
    return s.b("Div", s.b.like(1, s[0]), s[0])


def sign(s: Source) -> Value:
    b, x = s.b, s[0]
    zero, one = b.like(0, x), b.like(1, x)
    rest = zero if x.dtype not in FLOATS else b("Where", b("IsNaN", x), x, zero)
    if not x.dtype.startswith("u"):
        rest = b("Where", b("Less", x, zero), b("Neg", one), rest)
    return b("Where", b("Less", zero, x), one, rest)


def absolute(s: Source) -> Value:
    return s[0] if s[0].dtype.startswith("u") else s.b("Abs", s[0])


def integral(core: str) -> Callable[[Source], Value]:
    return lambda s: s.b(core, s[0]) if s[0].dtype in FLOATS else s[0]


def is_inf(s: Source) -> Value:
    b, x = s.b, s[0]
    infinity = b.like(np.inf, x)
    positive, negative = bool(s.attr("detect_positive", 1)), bool(s.attr("detect_negative", 1))
    if positive and negative:
        return b("Equal", b("Abs", x), infinity)
    if not positive and not negative:
        return b.expand(b.constant(np.array(False)), x.shape)
    return b("Equal", x if positive else b("Neg", x), infinity)


def mod(s: Source) -> Value:
    """fmod=1: C's remainder; else Python's, for floats from the exact remainder (a zero takes the divisor's sign)."""
    b, x, y = s.b, s[0], s[1]
    if s.attr("fmod", 0):
        return b("Fmod", x, y)
    if x.dtype not in FLOATS:
        return b("Mod", x, y)
    rest = b("Fmod", x, y)
    zero = b.like(0, x)
    differs = b("Xor", b("Less", rest, zero), b("Less", y, zero))
    signed_zero = b("Where", b("Less", y, zero), b("Neg", zero), zero)
    return b("Where", b("Equal", rest, zero), signed_zero, b("Where", differs, b("Add", rest, y), rest))


def bit_shift(s: Source) -> Value:
    """Logical for unsigned, arithmetic for signed integers; shifting by the width or more, or by a negative amount, leaves only the sign's
    fill."""
    b, x, y = s.b, s[0], s[1]
    left = s.attr("direction") == "LEFT"
    if x.dtype.startswith("u"):
        return b("ShiftLeft" if left else "ShiftRight", x, y)
    zero, bits = b.like(0, x), b.like(DTYPES[x.dtype].itemsize * 8, x)
    outside = b("Or", b("Less", y, zero), b("LessOrEqual", bits, y))
    unsigned = "u" + x.dtype
    ux, uy = b.cast(x, unsigned), b.cast(b("Where", outside, zero, y), unsigned)
    negative = b("Less", x, zero)
    if left:
        return b("Where", outside, zero, b.cast(b("ShiftLeft", ux, uy), x.dtype))
    shifted = b("ShiftRight", b("Where", negative, b("BitwiseNot", ux), ux), uy)
    filled = b.cast(b("Where", negative, b("BitwiseNot", shifted), shifted), x.dtype)
    return b("Where", outside, b("Where", negative, b.like(-1, x), zero), filled)


def integer_power(s: Source, x: Value, y: Value) -> Value:
    """x^y of integers, wrapping as products do, by squaring; a negative exponent gives what is left of 1 / x^|y| when its fraction is cut
    off (0 as divisor: the largest number, as a cast of infinity gives)."""
    b = s.b
    one, exponent, signed = b.like(1, x), b.array(y), not y.dtype.startswith("u")
    bits = DTYPES[y.dtype].itemsize * 8 - signed if exponent is None else max((abs(int(n)) for n in exponent.flat), default=0).bit_length()
    negative = b("Less", y, b.like(0, y)) if signed and (exponent is None or (exponent < 0).any()) else None
    size = b.cast(y if negative is None else b("Where", negative, b("Neg", y), y), "u" + y.dtype.removeprefix("u"))
    odd = [b("Equal", b("BitwiseAnd", b("ShiftRight", size, b.like(i, size)), b.like(1, size)), b.like(1, size)) for i in range(bits)]
    result, square = one, x
    for i, bit in enumerate(odd):
        result = b("Where", bit, b("Mul", result, square), result)
        square = b("Mul", square, square) if i + 1 < bits else square
    if negative is not None:
        zero, most = b.like(0, x), b.like(np.iinfo(DTYPES[x.dtype]).max, x)
        inverse = b("Where", b("Equal", x, one), one, b("Where", b("Equal", x, zero), most, zero))
        if not x.dtype.startswith("u"):
            minus = b.like(-1, x)
            inverse = b("Where", b("Equal", x, minus), b("Where", odd[0], minus, one), inverse)
        result = b("Where", negative, inverse, result)
    return b.expand(result, np.broadcast_shapes(x.shape, y.shape))


def power(s: Source) -> Value:
    """x^2 and x^½ with a known exponent become x·x and √x (recorded: correctly rounded, so at least as close); integers stay integers."""
    b, x, y = s.b, s[0], s[1]
    exponent = b.array(y)
    if x.dtype not in FLOATS:
        if y.dtype not in FLOATS:
            return integer_power(s, x, y)
        if exponent is not None and np.all(exponent == np.rint(exponent)) and np.all(np.abs(exponent) < 2**31):
            return integer_power(s, x, b.constant(exponent.astype(np.int64)))
        if exponent is not None and np.all(exponent == 0.5):
            return b.expand(b.cast(b("Sqrt", b.cast(x, "float64")), x.dtype), np.broadcast_shapes(x.shape, y.shape))
        return b.cast(b("Pow", b.cast(x, "float64"), b.cast(y, "float64")), x.dtype)
    if exponent is not None and exponent.size == 1 and x.dtype in FLOATS and y.rank <= x.rank:
        e = float(exponent.reshape(()))
        if e == 1.0:
            return x
        if e == 2.0:
            b.record("power-of-two-as-product")
            return b("Mul", x, x)
        if e == 0.5:
            b.record("power-of-half-as-root")
            return b("Sqrt", x)
    return b("Pow", x, b.cast(y, x.dtype))


def clip(s: Source) -> Value:
    b, x = s.b, s[0]
    low, high = (s.optional(1), s.optional(2)) if s.opset >= 11 else (None, None)
    if s.has("min"):
        low = b.like(s.attr("min"), x)
    if s.has("max"):
        high = b.like(s.attr("max"), x)
    low, high = (b.reshape(v, ()) if v is not None and v.type.size == 1 else v for v in (low, high))  # files hold vectors of one, too
    return clamp(s, clamp(s, x, low, False), high, True)


def clamp(s: Source, x: Value, limit: Value | None, upper: bool) -> Value:
    if limit is None:
        return x
    return s.b("Where", s.b("Less", limit, x) if upper else s.b("Less", x, limit), limit, x)


def clipped(s: Source, x: Value, low: float, high: float) -> Value:
    """Between two numbers."""
    return s.b("Min", s.b("Max", x, s.b.like(low, x)), s.b.like(high, x))


def cast(s: Source) -> Value:
    given = s.attr("to")
    number = onnx.TensorProto.DataType.Value(given) if isinstance(given, str) else int(given)  # before opset 6: a name
    to = ONNX_DTYPES.get(number) or ONNX_NARROW.get(number)
    if to is None:
        raise s.unsupported(f"ONNX element type {number}", f"use one of {', '.join((*DTYPES, *NARROW))}")
    return converted(s, to)


def converted(s: Source, to: str) -> Value:
    """The first operand in another type, a narrow one perhaps."""
    x = s[0]
    if to in NARROW:
        return encoded(s.b, x, to, bool(s.attr("saturate", 1)), s.attr("round_mode", "up"))
    return s.b.cast(decoded(s.b, x) if x.element else x, to)


def hard_sigmoid(s: Source, x: Value) -> Value:
    b = s.b
    y = b("Add", b("Mul", x, b.like(s.attr("alpha", 0.2), x)), b.like(s.attr("beta", 0.5), x))
    return clamp(s, clamp(s, y, b.like(0, y), False), b.like(1, y), True)


def hard_swish(s: Source, x: Value) -> Value:
    b = s.b
    y = b("Add", b("Mul", x, b.like(1 / 6, x)), b.like(0.5, x))
    return b("Mul", x, clamp(s, clamp(s, y, b.like(0, y), False), b.like(1, y), True))


def _negative_part(s: Source, x: Value, negative: Value) -> Value:
    return s.b("Where", s.b("Less", x, s.b.like(0, x)), negative, x)


def leaky_relu(s: Source, x: Value) -> Value:
    return _negative_part(s, x, s.b("Mul", x, s.b.like(s.attr("alpha", 0.01), x)))


def prelu(s: Source) -> Value:
    x, slope = s[0], s[1]
    if s.opset < 7 and slope.rank == 1 and slope.type.size > 1:  # per channel
        slope = s.b.reshape(slope, (slope.type.size, *(1,) * (x.rank - 2)))
    return _negative_part(s, x, s.b("Mul", x, slope))


def _exp_minus_one(s: Source, x: Value) -> Value:
    """e^x − 1 without its cancellation near 0: with u = e^x rounded, (u − 1)·x / log u (Kahan; Higham, "Accuracy and Stability", 2002,
    §1.14)."""
    b = s.b
    u = b("Exp", x)
    less, log = b("Sub", u, b.like(1, x)), b("Log", u)
    inside = b("And", b("Less", b("Abs", less), b.like(0.5, x)), b("Not", b("Equal", log, b.like(0, x))))
    exact = b("Mul", less, b("Div", x, b("Where", inside, log, b.like(1, x))))
    return b("Where", inside, exact, b("Where", b("Equal", log, b.like(0, x)), x, less))


def _log_one_plus(s: Source, y: Value) -> Value:
    """log(1 + y) for y in [0, 1] without losing a small y: with u = 1 + y rounded, log u · y / (u − 1) (Kahan, as above)."""
    b = s.b
    u = b("Add", y, b.like(1, y))
    gained = b("Sub", u, b.like(1, y))
    lost = b("Equal", gained, b.like(0, y))
    return b("Where", lost, y, b("Mul", b("Log", u), b("Div", y, b("Where", lost, b.like(1, y), gained))))


def elu(s: Source, x: Value) -> Value:
    return _negative_part(s, x, s.b("Mul", _exp_minus_one(s, x), s.b.like(s.attr("alpha", 1.0), x)))


def celu(s: Source, x: Value) -> Value:
    alpha = s.b.like(s.attr("alpha", 1.0), x)
    return _negative_part(s, x, s.b("Mul", _exp_minus_one(s, s.b("Div", x, alpha)), alpha))


def selu(s: Source, x: Value) -> Value:
    b = s.b
    alpha, gamma = b.like(s.attr("alpha", 1.67326319217681884765625), x), b.like(s.attr("gamma", 1.05070102214813232421875), x)
    return b("Mul", _negative_part(s, x, b("Mul", _exp_minus_one(s, x), alpha)), gamma)


def softplus(s: Source, x: Value) -> Value:
    """max(x, 0) + log(1 + e^−|x|)."""
    b = s.b
    return b("Add", b("Relu", x), _log_one_plus(s, b("Exp", b("Neg", b("Abs", x)))))


def softsign(s: Source, x: Value) -> Value:
    return s.b("Div", x, s.b("Add", s.b("Abs", x), s.b.like(1, x)))


def mish(s: Source, x: Value) -> Value:
    return s.b("Mul", x, s.b("Tanh", softplus(s, x)))


def swish(s: Source, x: Value) -> Value:
    alpha = s.attr("alpha", 1.0)
    return s.b("Mul", x, s.b("Sigmoid", x if alpha == 1.0 else s.b("Mul", x, s.b.like(alpha, x))))


def gelu(s: Source, x: Value) -> Value:
    b = s.b
    half, one = b.like(0.5, x), b.like(1, x)
    if s.attr("approximate", "none") == "tanh":
        cube = b("Mul", b("Mul", b("Mul", x, x), x), b.like(0.044715, x))
        inner = b("Mul", b("Add", x, cube), b.like(np.sqrt(2 / np.pi), x))
        return b("Mul", b("Mul", x, half), b("Add", b("Tanh", inner), one))
    return b("Mul", b("Mul", x, half), b("Add", b("Erf", b("Mul", x, b.like(ONE_OVER_SQRT2, x))), one))


def thresholded_relu(s: Source, x: Value) -> Value:
    return s.b("Where", s.b("Less", s.b.like(s.attr("alpha", 1.0), x), x), x, s.b.like(0, x))


def shrink(s: Source, x: Value) -> Value:
    b, lambd, bias = s.b, s.attr("lambd", 0.5), s.attr("bias", 0.0)
    low = b("Where", b("Less", x, b.like(-lambd, x)), b("Add", x, b.like(bias, x)), b.like(0, x))
    return b("Where", b("Less", b.like(lambd, x), x), b("Sub", x, b.like(bias, x)), low)


def dropout(s: Source) -> Value | tuple[Value, ...]:
    training = s.optional(2)
    if training is not None and bool(np.any(s.b.known(training, "training_mode"))) and s.scalar("ratio", 1, 0.5) != 0:
        raise s.unsupported("training mode", "export the model for inference")
    mask = s.b.expand(s.b.constant(np.array(True)), s[0].shape)
    return (s[0], mask) if s.output_count > 1 else s[0]


def where(s: Source) -> Value:
    return s.b("Where", s[0], s[1], s[2])


TABLE: dict[str, Callable[[Source], Value | tuple[Value, ...]]] = {
    **{op: unary(op) for op in ("Neg", "Sqrt", "Relu", "Not", "BitwiseNot", "IsNaN", "Identity", *UNARY)},
    "Floor": integral("Floor"),
    "Ceil": integral("Ceil"),
    "Round": integral("Round"),
    "Abs": absolute,
    **{op: binary(op) for op in ("Add", "Sub", "Mul", "Div", "And", "Or", "Xor", "BitwiseAnd", "BitwiseOr", "BitwiseXor", "Less")},
    "Equal": equal,
    "LessOrEqual": binary("LessOrEqual"),
    "Greater": binary("Less", swap=True),
    "GreaterOrEqual": binary("LessOrEqual", swap=True),
    "Max": variadic("Max"),
    "Min": variadic("Min"),
    "Sum": variadic("Add"),
    "Mean": mean,
    "Reciprocal": reciprocal,
    "Sign": sign,
    "IsInf": is_inf,
    "Mod": mod,
    "BitShift": bit_shift,
    "Pow": power,
    "Clip": clip,
    "Cast": cast,
    "CastLike": lambda s: converted(s, s[1].element or s[1].dtype),
    "Where": where,
    "Dropout": dropout,
    "PRelu": prelu,
    **{
        op: activation(f)
        for op, f in {
            "HardSigmoid": hard_sigmoid,
            "HardSwish": hard_swish,
            "LeakyRelu": leaky_relu,
            "Elu": elu,
            "Celu": celu,
            "Selu": selu,
            "Softplus": softplus,
            "Softsign": softsign,
            "Mish": mish,
            "Swish": swish,
            "Gelu": gelu,
            "ThresholdedRelu": thresholded_relu,
            "Shrink": shrink,
        }.items()
    },
}
