"""Conversions between element types, as the contract has them (mlcc.reference.elementwise.cast).

Half-width floats travel as bits. LLVM turns their conversions into calls of the compiler's library where the CPU has no instruction, and
these take and return float16 in other registers than a 16-bit integer on RISC-V and on IBM Z: wrong numbers. So they are written out here.
"""

from __future__ import annotations

import numpy as np
from tvm import tirx as t

from mlcc.arithmetic.bf16 import ROUNDS_TO_SMALLEST
from mlcc.tir.arithmetic import Arithmetic
from mlcc.tir.builder import Expr, Function

ROUND, ROUND_BITS = 12582912.0, 0x4B400000  # 1.5 · 2^23
FLOAT_RANGE = {
    "int8": (-128.0, 127.0),
    "uint8": (0.0, 255.0),
    "int16": (-32768.0, 32767.0),
    "uint16": (0.0, 65535.0),
    "int32": (-2147483648.0, 2147483520.0),
    "uint32": (0.0, 4294967040.0),
    "int64": (-9223372036854775808.0, 9223371487098961920.0),
    "uint64": (0.0, 18446742974197923840.0),
}


def is_nan(a: Arithmetic, dtype: str, x: Expr) -> Expr:
    integer, mask, infinity = {"float32": ("int32", 0x7FFFFFFF, 0x7F800000), "float64": ("int64", (1 << 63) - 1, 0x7FF << 52)}[dtype]
    magnitude = a.int_op("bitwise_and", integer, a.reinterpret(integer, x), a.const(mask, integer))
    return t.LT(a.const(infinity, integer), magnitude)


def cast(f: Function, a: Arithmetic, x: Expr, source: str, to: str) -> Expr:
    """The contract's conversions (see mlcc.reference.elementwise.cast)."""
    if source == to:
        return x
    if source == "float16":
        return cast(f, a, f.let(widened(f, a, x), a.v("float32")), "float32", to)
    if source == "bfloat16":
        bits = a.int_op("shift_left", "uint32", a.cast("uint32", x), a.const(16, "uint32"))
        return cast(f, a, f.let(a.reinterpret("float32", bits), a.v("float32")), "float32", to)
    if to == "float16":
        if source == "float64":
            return narrowed(f, a, f.let(_rounded_to_odd(f, a, x), a.v("float32")))
        return narrowed(f, a, f.let(cast(f, a, x, source, "float32"), a.v("float32")))
    if to == "bfloat16":
        return _to_bfloat16(f, a, f.let(cast(f, a, x, source, "float32"), a.v("float32")))
    if to == "bool":
        return t.Not(t.EQ(x, a.const(0, source)))  # TVM's NE is false for NaN
    if source == "bool":
        return t.Select(x, a.const(1, to), a.const(0, to))
    if source.startswith("float") and not to.startswith("float"):
        return _to_integer(f, a, x, source, to)
    return a.cast(to, x)


def _to_bfloat16(f: Function, a: Arithmetic, x: Expr) -> Expr:
    bits = f.let(a.reinterpret("uint32", x), a.v("uint32"))
    odd = a.int_op("bitwise_and", "uint32", a.int_op("shift_right", "uint32", bits, a.const(16, "uint32")), a.const(1, "uint32"))
    rounded = t.Add(bits, t.Add(odd, a.const(0x7FFF, "uint32")))
    quiet = a.int_op("bitwise_or", "uint32", bits, a.const(0x400000, "uint32"))
    chosen = t.Select(is_nan(a, "float32", x), quiet, rounded)
    return a.cast("uint16", a.int_op("shift_right", "uint32", chosen, a.const(16, "uint32")))


def _to_integer(f: Function, a: Arithmetic, x: Expr, source: str, to: str) -> Expr:
    low, high = FLOAT_RANGE[to]
    if source == "float64":
        info = np.iinfo(to)
        high = float(info.max) if info.bits < 64 else float(np.nextafter(np.float64(info.max), 0))
    lane = a.v(source)
    v = f.let(t.Select(is_nan(a, source, x), a.const(0, source), x), lane)
    clamped = t.Select(
        t.LT(v, a.const(low, source)), a.const(low, source), t.Select(t.LT(a.const(high, source), v), a.const(high, source), v)
    )
    info = np.iinfo(to)
    if info.bits < 32 and source == "float32":
        converted = a.cast(to, _truncated(f, a, f.let(clamped, lane)))
    else:
        converted = a.cast(to, f.let(clamped, lane))
    return t.Select(t.LE(a.const(float(info.max), source), v), a.const(int(info.max), to), converted)


def _truncated(f: Function, a: Arithmetic, x: Expr) -> Expr:
    """A binary32 number below 2^22 without its fraction, as int32, by additions alone.

    QEMU 7.2 dies of a RISC-V vector's own conversion where that starts a block (decode_save_opc's assertion; gen_set_rm runs twice).
    """
    shift, one = a.const(ROUND, "float32"), a.const(1.0, "float32")
    near = f.let(t.Sub(f.let(t.Add(x, shift), a.v("float32")), shift), a.v("float32"))
    size, wanted = (f.let(a.intrinsic("llvm.fabs", "float32", v), a.v("float32")) for v in (near, x))
    step = t.Select(t.LT(x, a.const(0.0, "float32")), a.const(-1.0, "float32"), one)
    whole = f.let(t.Select(t.LT(wanted, size), t.Sub(near, step), near), a.v("float32"))
    bits = a.reinterpret("int32", f.let(t.Add(whole, shift), a.v("float32")))
    return f.let(t.Sub(bits, a.const(ROUND_BITS, "int32")), a.v("int32"))


def widened(f: Function, a: Arithmetic, x: Expr, finite: bool = False) -> Expr:
    """A float16, given by its bits, in binary32: exponent and fraction moved into place and scaled by 2^112, which is exact and makes
    subnormals normal. `finite`: it is no infinity and no NaN."""
    if a.machine.half:
        return a.cast("float32", a.reinterpret("float16", x))
    bits = f.let(a.cast("uint32", x), a.v("uint32"))
    rest = f.let(a.int_op("bitwise_and", "uint32", bits, a.const(0x7FFF, "uint32")), a.v("uint32"))
    sign = a.int_op("shift_left", "uint32", a.int_op("bitwise_and", "uint32", bits, a.const(0x8000, "uint32")), a.const(16, "uint32"))
    moved = f.let(a.int_op("shift_left", "uint32", rest, a.const(13, "uint32")), a.v("uint32"))
    scaled = f.let(a.mul("float32", a.reinterpret("float32", moved), a.const(2.0**112, "float32")), a.v("float32"))
    size = a.reinterpret("uint32", scaled)
    if not finite:
        special = a.int_op("bitwise_or", "uint32", moved, a.const(0x7F800000, "uint32"))
        size = t.Select(t.LT(rest, a.const(0x7C00, "uint32")), size, special)
    return a.reinterpret("float32", a.int_op("bitwise_or", "uint32", f.let(size, a.v("uint32")), sign))


def narrowed(f: Function, a: Arithmetic, x: Expr) -> Expr:
    """A binary32 number as float16's bits, rounded half to even. Subnormals get their rounding from an addition of 0.5, whose last place is
    theirs (F. Giesen, "Half to float, done quic")."""
    if a.machine.half:
        return a.reinterpret("uint16", a.cast("float16", x))

    def let(e: Expr) -> Expr:
        return f.let(e, a.v("uint32"))

    def word(n: int) -> Expr:
        return a.const(n, "uint32")

    bits = let(a.reinterpret("uint32", x))
    size = let(a.int_op("bitwise_and", "uint32", bits, word(0x7FFFFFFF)))
    sign = a.int_op("bitwise_and", "uint32", a.int_op("shift_right", "uint32", bits, word(16)), word(0x8000))
    odd = a.int_op("bitwise_and", "uint32", a.int_op("shift_right", "uint32", size, word(13)), word(1))
    normal = let(a.int_op("shift_right", "uint32", let(t.Add(let(t.Add(size, odd)), word((0xFFF - (112 << 23)) & 0xFFFFFFFF))), word(13)))
    raised = f.let(t.Add(a.reinterpret("float32", size), a.const(0.5, "float32")), a.v("float32"))
    subnormal = let(t.Sub(a.reinterpret("uint32", raised), word(0x3F000000)))
    found = let(t.Select(t.LT(size, word(0x38800000)), subnormal, normal))
    found = let(t.Select(t.LT(size, word(0x477FF000)), found, word(0x7C00)))
    found = let(t.Select(t.LT(word(0x7F800000), size), word(0x7E00), found))
    return a.cast("uint16", a.int_op("bitwise_or", "uint32", found, sign))


def _rounded_to_odd(f: Function, a: Arithmetic, x: Expr) -> Expr:
    """A binary64 number in binary32, its last bit set where it is not exact: another rounding, to fewer bits, is then right."""
    near = f.let(a.cast("float32", x), a.v("float32"))
    back = f.let(a.cast("float64", near), a.v("float64"))
    bits = f.let(a.reinterpret("uint32", near), a.v("uint32"))
    large, exact = (f.let(a.intrinsic("llvm.fabs", "float64", v), a.v("float64")) for v in (back, x))
    below = f.let(t.Select(t.LT(exact, large), t.Sub(bits, a.const(1, "uint32")), bits), a.v("uint32"))
    odd = a.int_op("bitwise_or", "uint32", below, a.const(1, "uint32"))
    kept = t.Or(t.EQ(back, x), is_nan(a, "float64", x))
    return a.reinterpret("float32", f.let(t.Select(kept, bits, odd), a.v("uint32")))


def bfloat16_bits(f: Function, a: Arithmetic, x: Expr) -> Expr:
    """The bf16 profile's bfloat16 of a binary32 number, as bits: +0 below 2^-55."""

    def bits_of(value: int) -> Expr:
        return a.const(value, "uint32")

    y = f.let(t.Add(x, a.const(0.0, "float32")), a.v("float32"))  # a NaN becomes quiet, so that its upper half is one
    bits = f.let(a.reinterpret("uint32", y), a.v("uint32"))
    odd = a.int_op("bitwise_and", "uint32", a.int_op("shift_right", "uint32", bits, bits_of(16)), bits_of(1))
    rounded = t.Select(t.EQ(y, y), t.Add(bits, t.Add(odd, bits_of(0x7FFF))), bits)
    tiny = t.LT(a.intrinsic("llvm.fabs", "float32", y), a.const(ROUNDS_TO_SMALLEST, "float32"))
    kept = f.let(t.Select(tiny, bits_of(0), rounded), a.v("uint32"))
    return a.cast("uint16", a.int_op("shift_right", "uint32", kept, bits_of(16)))
