"""StableHLO's elementwise operations in ONNX's. https://openxla.org/stablehlo/spec"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import pi
from typing import Any

import ml_dtypes
import numpy as np

from mlcc.error import Error
from mlcc.importers.nodes import type_of
from mlcc.importers.stablehlo.read import Op, direction
from mlcc.importers.stablehlo.write import Writer

LOGICAL = {"add": "Or", "maximum": "Or", "or": "Or", "multiply": "And", "minimum": "And", "and": "And", "xor": "Xor"}  # of booleans
BINARY = {"add": "Add", "subtract": "Sub", "multiply": "Mul", "divide": "Div", "maximum": "Max", "minimum": "Min", "power": "Pow"}
BITWISE = {"and": "BitwiseAnd", "or": "BitwiseOr", "xor": "BitwiseXor"}
UNARY = {
    "abs": "Abs", "ceil": "Ceil", "floor": "Floor", "negate": "Neg", "round_nearest_even": "Round", "exponential": "Exp", "log": "Log",
    "logistic": "Sigmoid", "tanh": "Tanh", "tan": "Tan", "sine": "Sin", "cosine": "Cos", "sqrt": "Sqrt", "optimization_barrier": "Identity",
}  # fmt: skip
KEPT = {(8, 7): ml_dtypes.bfloat16, (5, 10): np.float16, (8, 23): np.float32}  # bits of exponent and mantissa → type
COMPARES = {"EQ": "Equal", "LT": "Less", "LE": "LessOrEqual", "GT": "Greater", "GE": "GreaterOrEqual"}


def binary(w: Writer, op: Op, a: str, b: str) -> str:
    if op.results[0].dtype == np.bool_:
        return w.op(LOGICAL[op.name], a, b)
    return w.op({**BINARY, **BITWISE}[op.name], a, b)


def unary(w: Writer, op: Op, *x: str) -> list[str]:
    return [w.op(UNARY[op.name], one) for one in x]


def invert(w: Writer, op: Op, x: str) -> str:
    return w.op("Not" if op.results[0].dtype == np.bool_ else "BitwiseNot", x)


def remainder(w: Writer, op: Op, a: str, b: str) -> str:
    """Of the dividend's sign."""
    return w.op("Mod", a, b, fmod=1)


def sign(w: Writer, op: Op, x: str) -> str:
    if op.results[0].dtype.kind in "iu":
        return w.op("Sign", x)
    return w.op("Where", w.op("Equal", x, x), w.op("Sign", x), x)  # of NaN: itself


def rsqrt(w: Writer, op: Op, x: str) -> str:
    return w.op("Reciprocal", w.op("Sqrt", x))


def cbrt(w: Writer, op: Op, x: str) -> str:
    t = op.results[0].dtype
    return w.op("Mul", w.op("Sign", x), w.op("Pow", w.op("Abs", x), w.constant(1 / 3, t)))


def expm1(w: Writer, op: Op, x: str) -> str:
    """2 sinh(x/2) exp(x/2), which loses nothing near 0; far below it is −1."""
    t = op.results[0].dtype
    low = w.op("Max", x, w.constant(-40, t))
    half = w.op("Mul", low, w.constant(0.5, t))
    return w.op("Mul", w.op("Mul", w.op("Sinh", half), w.constant(2, t)), w.op("Exp", half))


def log1p(w: Writer, op: Op, x: str) -> str:
    """log(u) x / (u − 1) for u = 1 + x, as rounded: what 1 + x lost is lost in u − 1 too (Higham, Accuracy and Stability, 1.14.1)."""
    t = op.results[0].dtype
    one = w.constant(1, t)
    u = w.op("Add", x, one)
    found = w.op("Mul", w.op("Log", u), w.op("Div", x, w.op("Sub", u, one)))
    itself = w.op("Or", w.op("Equal", u, one), w.op("Equal", u, w.constant(np.inf, t)))
    return w.op("Where", itself, x, found)


def atan2(w: Writer, op: Op, y: str, x: str) -> str:
    """By the quotient of magnitudes, turned into x's half plane and y's sign."""
    t = op.results[0].dtype
    zero, up, across = w.constant(0, t), w.op("Abs", y), w.op("Abs", x)
    angle = w.op("Atan", w.op("Div", up, across))
    for same, value in ((w.op("Equal", up, zero), 0.0), (w.op("Equal", up, w.constant(np.inf, t)), pi / 4)):
        both = w.op("And", same, w.op("Equal", up, across))
        angle = w.op("Where", both, w.constant(value, t), angle)
    left = w.op("Less", w.op("Where", w.op("Equal", x, zero), w.op("Reciprocal", x), x), zero)  # −0 is left, too
    angle = w.op("Where", left, w.op("Sub", w.constant(pi, t), angle), angle)
    below = w.op("Less", w.op("Where", w.op("Equal", y, zero), w.op("Reciprocal", y), y), zero)
    return w.op("Where", below, w.op("Neg", angle), angle)


def away(w: Writer, op: Op, x: str) -> str:
    """To the nearest, halves away from zero."""
    t = op.results[0].dtype
    size = w.op("Abs", x)
    whole = w.op("Floor", size)
    more = w.cast(w.op("GreaterOrEqual", w.op("Sub", size, whole), w.constant(0.5, t)), t)
    rounded = w.op("Add", whole, more)
    return w.op("Where", w.op("Less", x, w.constant(0, t)), w.op("Neg", rounded), w.op("Where", w.op("Equal", x, x), rounded, x))


def finite(w: Writer, op: Op, x: str) -> str:
    return w.op("Not", w.op("Or", w.op("IsInf", x), w.op("IsNaN", x)))


def ordered(w: Writer, x: str, kind: np.dtype[Any]) -> str:
    """Floats as integers of IEEE 754's total order: −NaN, −∞ … −0, +0 … ∞, NaN."""
    whole = np.dtype(f"i{kind.itemsize}")
    bits = w.op("BitCast", x, to=type_of(whole))
    turned = w.op("BitwiseXor", bits, w.constant(np.iinfo(whole).max, whole))
    return w.op("Where", w.op("Less", bits, w.constant(0, whole)), turned, bits)


def bitcast(w: Writer, op: Op, x: str) -> str:
    given, wanted = op.operands[0].dtype, op.results[0].dtype
    if given.itemsize != wanted.itemsize or np.bool_ in (given, wanted):
        raise Error("unsupported", f"bitcast_convert of {given} to {wanted}")
    return w.op("BitCast", x, to=type_of(wanted))


def compare(w: Writer, op: Op, a: str, b: str) -> str:
    kind = op.operands[0].dtype
    if "TOTALORDER" in str(op.attributes.get("compare_type", "")) and kind.kind != "i":
        a, b = ordered(w, a, kind), ordered(w, b, kind)
    way = direction(op)
    if kind == np.bool_ and way not in ("EQ", "NE"):
        a, b = w.cast(a, np.int32), w.cast(b, np.int32)
    return w.op("Not", w.op("Equal", a, b)) if way == "NE" else w.op(COMPARES[way], a, b)


def clamp(w: Writer, op: Op, low: str, x: str, high: str) -> str:
    return w.between(x, low, high)


def select(w: Writer, op: Op, which: str, a: str, b: str) -> str:
    return w.op("Where", which, a, b)


def convert(w: Writer, op: Op, x: str) -> str:
    return x if op.operands[0].dtype == op.results[0].dtype else w.cast(x, op.results[0].dtype)


def reduce_precision(w: Writer, op: Op, x: str) -> str:
    bits = (op.integer("exponent_bits"), op.integer("mantissa_bits"))
    if bits not in KEPT:
        raise Error("unsupported", f"reduce_precision to {bits[0]} and {bits[1]} bits")
    return w.cast(w.cast(x, KEPT[bits]), op.results[0].dtype)


def shift(w: Writer, op: Op, x: str, by: str) -> str:
    """Of bits; by as many as there are, or more, nothing is left."""
    t = op.results[0].dtype
    bits = np.dtype(f"u{t.itemsize}")
    unsigned, amount = (w.cast(v, bits) if t != bits else v for v in (x, by))
    way = "LEFT" if op.name == "shift_left" else "RIGHT"
    most, zero = w.constant(8 * t.itemsize, bits), w.constant(0, bits)

    def moved(v: str) -> str:
        inside = w.op("Min", amount, w.constant(8 * t.itemsize - 1, bits))
        return w.op("Where", w.op("Less", amount, most), w.op("BitShift", v, inside, direction=way), zero)

    found = moved(unsigned)
    if op.name == "shift_right_arithmetic" and t.kind == "i":
        other = w.op("BitwiseNot", moved(w.op("BitwiseNot", unsigned)))
        found = w.op("Where", w.op("Less", x, w.constant(0, t)), other, found)
    return w.cast(found, t) if t != bits else found


def batch_norm(w: Writer, op: Op, x: str, scale: str, offset: str, mean: str, variance: str) -> str:
    t, rank, axis = op.results[0].dtype, len(op.operands[0].shape), op.integer("feature_index")
    epsilon = w.constant(float(op.attributes["epsilon"].value), t)
    scale, offset, mean, variance = (w.reshape(v, [-1 if i == axis else 1 for i in range(rank)]) for v in (scale, offset, mean, variance))
    normal = w.op("Div", w.op("Sub", x, mean), w.op("Sqrt", w.op("Add", variance, epsilon)))
    return w.op("Add", w.op("Mul", normal, scale), offset)


Rule = Callable[..., Any]
RULES: Mapping[str, Rule] = {
    **{name: binary for name in (*BINARY, *BITWISE)}, **{name: unary for name in UNARY},
    **{name: shift for name in ("shift_left", "shift_right_logical", "shift_right_arithmetic")},
    "not": invert, "remainder": remainder, "sign": sign, "rsqrt": rsqrt, "cbrt": cbrt, "exponential_minus_one": expm1,
    "log_plus_one": log1p, "atan2": atan2, "round_nearest_afz": away, "is_finite": finite, "compare": compare, "clamp": clamp,
    "select": select, "convert": convert,
    "bitcast_convert": bitcast, "reduce_precision": reduce_precision, "batch_norm_inference": batch_norm,
}  # fmt: skip
