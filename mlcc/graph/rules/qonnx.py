"""QONNX: quantisation to any number of bits (Pappalardo et al., "QONNX: representing arbitrary-precision quantized neural networks", 2022).

A Quant node rounds and gives the rounded number back as a float; products of such numbers are meant as products of integers, and are
written so. https://github.com/fastmachinelearning/qonnx/tree/main/docs/qonnx-custom-ops
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from mlcc.graph.builder import Value
from mlcc.graph.integers import Quantised
from mlcc.graph.rules.elementwise import clamp
from mlcc.graph.source import Source

DOMAINS = ("qonnx.custom_op.general", "finn.custom_op.general", "onnx.brevitas")
ROUNDINGS = {"ROUND": "Round", "HALF_EVEN": "Round", "CEIL": "Ceil", "FLOOR": "Floor"}


def limits(s: Source, bits: int) -> tuple[int, int]:
    """The least and the greatest number of so many bits, by the node's attributes."""
    signed, narrow = bool(s.attr("signed", 1)), bool(s.attr("narrow", 0))
    if signed:
        return -(1 << (bits - 1)) + narrow, (1 << (bits - 1)) - 1
    return 0, (1 << bits) - 1 - narrow


def bits_of(s: Source, index: int, most: int = 16) -> int:
    bits = float(np.ravel(s.b.known(s[index], "the bit width"))[0])
    if bits != int(bits) or not 1 <= bits <= most:
        raise s.unsupported(f"quantisation to {bits:g} bits", f"1 to {most}")
    return int(bits)


def mode_of(s: Source, default: str) -> str:
    mode = ROUNDINGS.get(str(s.attr("rounding_mode", default)).upper(), "")
    if not mode:
        raise s.unsupported(f"rounding_mode {s.attr('rounding_mode')}", f"one of {', '.join(ROUNDINGS)}")
    return mode


def clipped(s: Source, x: Value, low: int, high: int) -> Value:
    for limit, upper in ((low, False), (high, True)):
        x = clamp(s, x, s.b.constant(np.float32(limit)), upper)
    return x


def quant(s: Source) -> Value:
    """((clip(round(x / scale + zero)) − zero) · scale."""
    b, x, scale, zero = s.b, s[0], s[1], s[2]
    low, high = limits(s, bits_of(s, 3))
    rounded = clipped(s, b(mode_of(s, "ROUND"), b("Add", b("Div", x, scale), zero)), low, high)
    return stands_for(s, rounded, low, high, scale, zero)


def trunc(s: Source) -> Value:
    """Fewer bits: round(x / scale + zero) less its last ones. With an output scale (version 2 of the operator) they go where that says,
    within the output's range; without, the output has the input's scale and zero point."""
    b, x, scale, zero = s.b, s[0], s[1], s[2]
    whole, mode = b("Round", b("Add", b("Div", x, scale), zero)), mode_of(s, "FLOOR")
    if s.optional(5) is None:
        factor = np.float32(2.0 ** (bits_of(s, 3, 32) - bits_of(s, 4, 32)))
        return b("Mul", b("Sub", b(mode, b("Div", whole, b.constant(factor))), zero), scale)
    ratio = b.known(s[4], "the output scale").astype(np.float64) / b.known(scale, "the scale").astype(np.float64)
    shift = b.constant(np.exp2(np.round(np.log2(ratio))).astype(np.float32))
    low, high = limits(s, bits_of(s, 5))
    kept = b(mode, clipped(s, b("Div", whole, shift), low, high))
    return stands_for(s, kept, low, high, s[4], b("Div", zero, shift))


def stands_for(s: Source, rounded: Value, low: int, high: int, scale: Value, zero: Value) -> Value:
    """The float that a whole number in a range stands for."""
    b, x = s.b, s[0]
    dtype = "int8" if low >= -128 and high <= 127 else "uint8" if low >= 0 and high <= 255 else "int16" if high <= 32767 else "uint16"
    q = b.cast(rounded, dtype)
    y = b("Mul", b("Sub", b.cast(q, "float32"), zero), scale)
    keep(s, y, q, scale, zero, x, max(abs(low), abs(high)))
    return y


def bipolar(s: Source) -> Value:
    """scale where x ≥ 0, else −scale."""
    b, x, scale = s.b, s[0], s[1]
    one = b.constant(np.float32(1))
    q = b.cast(b("Where", b("Less", x, b.constant(np.float32(0))), b.constant(np.float32(-1)), one), "int8")
    y = b("Mul", b.cast(q, "float32"), scale)
    keep(s, y, q, scale, None, x, 1)
    return y


def keep(s: Source, y: Value, q: Value, scale: Value, zero: Value | None, x: Value, reach: int) -> None:
    """Note what the float stands for, where scale and zero point are known and, at most, the scale differs along one axis."""
    b = s.b
    values = b.array(scale)
    if values is None or (values.size > 1 and sorted(values.shape)[:-1] != [1] * (values.ndim - 1)):
        return
    axis = int(np.argmax(values.shape)) + x.rank - values.ndim if values.size > 1 else 0
    if values.size == 1:
        scale = b.reshape(scale, ())
    if zero is not None:
        known = b.array(zero)
        if known is None or (known != np.rint(known)).any() or known.size != 1:
            return
        zero = b.cast(b.reshape(zero, ()), "int32")
    b.quantised[y.name] = Quantised(q, scale, zero, axis, whole=True, reach=reach)


TABLE: dict[str, Callable[[Source], Value | tuple[Value, ...]]] = {
    "Quant": quant,
    "IntQuant": quant,
    "BipolarQuant": bipolar,
    "Trunc": trunc,
}
