"""What elementwise operators and conversions do to one number, as sequences that every language prints.

`scalar("Mod", "int32")` is an operator on operands of a type, `cast("float32", "int8")` a conversion. Half-width floats travel as bits
(uint16). mlcc.reference.elementwise says the same independently; tests hold every language against it.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np

from mlcc.arithmetic.bf16 import ROUNDS_TO_SMALLEST
from mlcc.arithmetic.elementary import SEQUENCES
from mlcc.arithmetic.elementary64 import SEQUENCES64
from mlcc.arithmetic.sequence import Sequence, Term, call, select, sequence

HALF = ("float16", "bfloat16")
FLOATS = ("float32", "float64")
ROUND, ROUND_BITS = 12582912.0, 0x4B400000  # 1.5 · 2^23: in a sum with it the last bit is 1, so that the addition rounds to an integer


def stored(dtype: str) -> str:
    """The type of a value at hand."""
    return "uint16" if dtype in HALF else dtype


def width(dtype: str) -> int:
    return np.dtype(stored(dtype)).itemsize * 8


# operators


def _divide(a: Term, b: Term) -> Term:
    """Integers truncate, x / 0 is 0, overflow wraps."""
    if a.dtype in FLOATS:
        return a / b
    none = b.equals(0)
    if a.dtype.startswith("u"):
        return select(none, a.lift(0), a / select(none, a.lift(1), b))
    minus = b.equals(-1)
    return select(none, a.lift(0), select(minus, -a, a / select(none | minus, a.lift(1), b)))


def _remainder(a: Term, b: Term) -> Term:
    """With the dividend's sign; of integers by 0: 0."""
    if a.dtype in FLOATS:
        return a.apply("rem", b)
    return select(b.equals(0), a.lift(0), a - _divide(a, b) * b)


def _modulo(a: Term, b: Term) -> Term:
    """With the divisor's sign."""
    rest = _remainder(a, b)
    if a.dtype.startswith("u"):
        return rest
    return select(~rest.equals(0) & ((rest < 0) ^ (b < 0)), rest + b, rest)


def _first(a: Term, b: Term, wins: Term) -> Term:
    return select(wins | a.is_nan() if a.dtype in FLOATS else wins, a, b)


def _absolute(a: Term) -> Term:
    if a.dtype in FLOATS:
        return abs(a)
    return a if a.dtype.startswith("u") else select(a < 0, -a, a)


def _shift_left(a: Term, b: Term) -> Term:
    inside = b < width(a.dtype)
    return select(inside, a << select(inside, b, b.lift(0)), a.lift(0))


def _rescale(x: Term, multiplier: Term, shift: Term) -> Term:
    """x · multiplier · 2^(shift − 31): the high half of the doubled product, half rounded up, then what a negative shift divides by, half
    rounded away from zero (gemmlowp's SaturatingRoundingDoublingHighMul and RoundingDivideByPOT). Shifts by 31 at most; all wraps."""
    back = shift < 0
    left, right = select(back, shift.lift(0), shift & 31), select(back, -shift & 31, shift.lift(0))
    product = (x << left).convert("int64") * multiplier.convert("int64")
    high = ((product + (1 << 30)) >> 31).convert("int32")
    mask = (x.lift(1) << right) - 1
    half = (mask >> 1) + select(high < 0, high.lift(1), high.lift(0))
    return (high >> right) + select(half < (high & mask), high.lift(1), high.lift(0))


OPERATORS: dict[str, Callable[..., Term]] = {
    "Add": lambda a, b: a + b,
    "Sub": lambda a, b: a - b,
    "Mul": lambda a, b: a * b,
    "Div": _divide,
    "Min": lambda a, b: _first(a, b, a < b),
    "Max": lambda a, b: _first(a, b, b < a),
    "Mod": _modulo,
    "Fmod": _remainder,
    "Neg": lambda a: -a,
    "Abs": _absolute,
    "Sqrt": lambda a: a.sqrt(),
    "Floor": lambda a: a.apply("floor"),
    "Ceil": lambda a: a.apply("ceil"),
    "Round": lambda a: a.apply("round"),
    "Relu": lambda a: select(a < 0, a.lift(0), a),
    "Identity": lambda a: a,
    "Equal": lambda a, b: a.equals(b),
    "Less": lambda a, b: a < b,
    "LessOrEqual": lambda a, b: a <= b,
    "IsNaN": lambda a: a.is_nan(),
    "And": lambda a, b: a & b,
    "Or": lambda a, b: a | b,
    "Xor": lambda a, b: a ^ b,
    "Not": lambda a: ~a,
    "BitwiseAnd": lambda a, b: a & b,
    "BitwiseOr": lambda a, b: a | b,
    "BitwiseXor": lambda a, b: a ^ b,
    "BitwiseNot": lambda a: ~a,
    "ShiftLeft": _shift_left,
    "ShiftRight": lambda a, b: a.shift_right_logical(b),
    "Where": lambda c, a, b: select(c, a, b),
    "Rescale": _rescale,  # of int32
}
OF_BITS: dict[str, Callable[..., Term]] = {  # of half-width floats
    "Neg": lambda a: a ^ 0x8000,
    "Abs": lambda a: a & 0x7FFF,
    "Identity": OPERATORS["Identity"],
    "Where": OPERATORS["Where"],
}


def arity(op: str) -> int:
    return OPERATORS[op].__code__.co_argcount


@cache
def scalar(op: str, dtype: str) -> Sequence:
    """An elementwise core operator on operands of a type (Where: a condition and two of them)."""
    if op in SEQUENCES:
        return (SEQUENCES64 if dtype == "float64" else SEQUENCES)[op]
    name, function = f"{op}_{dtype}", OPERATORS[op]
    types = ("bool", *[stored(dtype)] * 2) if op == "Where" else (stored(dtype),) * arity(op)
    if dtype not in HALF:
        return sequence(name, types, function)
    if op in OF_BITS:
        return sequence(name, types, OF_BITS[op])

    def by_binary32(*x: Term) -> Term:
        made = function(*(call(WIDENED[dtype], v) for v in x))
        return made if made.dtype == "bool" else converted(made, "float32", dtype)

    return sequence(name, types, by_binary32)


# half-width floats


def _widened(x: Term, finite: bool = False) -> Term:
    """Exponent and fraction moved into place and scaled by 2^112, which is exact and makes subnormals normal."""
    bits = x.convert("uint32")
    rest = bits & 0x7FFF
    moved = rest << 13
    size = (moved.reinterpret("float32") * 2.0**112).reinterpret("uint32")
    if not finite:
        size = select(rest < 0x7C00, size, moved | 0x7F800000)
    return (size | ((bits & 0x8000) << 16)).reinterpret("float32")


def _narrowed(x: Term) -> Term:
    """Half to even. Subnormals get their rounding from an addition of 0.5, whose last place is theirs (F. Giesen, "Half to float, done
    quic")."""
    bits = x.reinterpret("uint32")
    size = bits & 0x7FFFFFFF
    odd = size.shift_right_logical(13) & 1
    normal = (size + odd + ((0xFFF - (112 << 23)) & 0xFFFFFFFF)).shift_right_logical(13)
    subnormal = (size.reinterpret("float32") + 0.5).reinterpret("uint32") - 0x3F000000
    found = select(size < 0x38800000, subnormal, normal)
    found = select(size < 0x477FF000, found, found.lift(0x7C00))
    found = select(size > 0x7F800000, found.lift(0x7E00), found)
    return (found | (bits.shift_right_logical(16) & 0x8000)).convert("uint16")


def _rounded_to_odd(x: Term) -> Term:
    """A binary64 number in binary32, its last bit set where it is not exact: another rounding, to fewer bits, is then right."""
    near = x.convert("float32")
    back, bits = near.convert("float64"), near.reinterpret("uint32")
    below = select(abs(x) < abs(back), bits - 1, bits)
    return select(back.equals(x) | x.is_nan(), bits, below | 1).reinterpret("float32")


def _to_bfloat16(x: Term) -> Term:
    bits = x.reinterpret("uint32")
    rounded = bits + (bits.shift_right_logical(16) & 1) + 0x7FFF
    return select(x.is_nan(), bits | 0x400000, rounded).shift_right_logical(16).convert("uint16")


def _brain(x: Term) -> Term:
    """The bf16 profile's bfloat16: +0 below 2^-55."""
    y = x + 0.0
    return select(abs(y) < ROUNDS_TO_SMALLEST, x.tracer.emit("const", (), "uint16", 0), call(TO_BFLOAT16, y))


WIDENED = {
    "float16": sequence("float_of_half", ("uint16",), _widened),
    "bfloat16": sequence("float_of_bfloat", ("uint16",), lambda x: (x.convert("uint32") << 16).reinterpret("float32")),
}
FINITE_HALF = sequence("float_of_finite_half", ("uint16",), lambda x: _widened(x, finite=True))
NARROWED = sequence("half_of_float", ("float32",), _narrowed)
ROUNDED_TO_ODD = sequence("odd_of_double", ("float64",), _rounded_to_odd)
TO_BFLOAT16 = sequence("bfloat_of_float", ("float32",), _to_bfloat16)
BRAIN = sequence("brain_of", ("float32",), _brain)


# conversions


@cache
def cast(source: str, to: str) -> Sequence:
    """The contract's conversions: float to integer truncates and saturates, NaN becomes 0; integers wrap; to bool: not equal to zero."""
    return sequence(f"Cast_{source}_{to}", (stored(source),), lambda x: converted(x, source, to))


def converted(x: Term, source: str, to: str) -> Term:
    if source == to:
        return x
    if source in HALF:
        return converted(call(WIDENED[source], x), "float32", to)
    if to == "float16":
        return call(NARROWED, call(ROUNDED_TO_ODD, x) if source == "float64" else converted(x, source, "float32"))
    if to == "bfloat16":
        return call(TO_BFLOAT16, converted(x, source, "float32"))
    if to == "bool":
        return ~x.equals(0)
    if source == "bool":
        one, zero = (x.tracer.emit("const", (), to, v) for v in (1, 0))
        return select(x, one, zero)
    return _saturated(x, to) if source in FLOATS and to not in FLOATS else x.convert(to)


@cache
def bit_cast(source: str, to: str) -> Sequence:
    """The bits of a number in another type of the same width; a NaN's are those of the quiet one, which every target makes the same."""

    def bits(x: Term) -> Term:
        kind = stored(source)
        if source in FLOATS:
            nan = x.is_nan()
            kind = f"uint{width(source)}"
            x = x.reinterpret(kind)
            x = select(nan, x.lift(0x7FC00000 if source == "float32" else 0x7FF8000000000000), x)
        elif source in HALF:
            infinity, quiet = (0x7C00, 0x7E00) if source == "float16" else (0x7F80, 0x7FC0)
            x = select(x.lift(infinity) < (x & 0x7FFF), x.lift(quiet), x)
        if to in FLOATS:
            return x.convert(f"uint{width(to)}").reinterpret(to) if kind != f"uint{width(to)}" else x.reinterpret(to)
        return x if kind == stored(to) else x.convert(stored(to))

    return sequence(f"BitCast_{source}_{to}", (stored(source),), bits)


def _saturated(x: Term, to: str) -> Term:
    info = np.iinfo(to)
    over, under = x >= float(int(info.max) + 1), x <= float(info.min)  # both limits are exact in either format
    whole = select(over | under | x.is_nan(), x.lift(0), x).convert(to)
    return select(over, whole.lift(int(info.max)), select(under, whole.lift(int(info.min)), whole))


def _requantized(x: Term, scale: Term, zero: Term, low: Term, high: Term) -> Term:
    """Clamped before it is rounded: the bounds less the zero point are integers. A NaN gives the lower one."""
    y = x.convert("float32") * scale
    least, most = (low - zero).convert("float32"), (high - zero).convert("float32")
    y = select(least < y, y, least)
    y = select(y < most, y, most)
    return (y + ROUND).bits() - ROUND_BITS + zero


# round(binary32(x) · scale) + zero between the bounds
REQUANTIZE = sequence("requantize", ("int32", "float32", "int32", "int32", "int32"), _requantized)


@cache
def in_range(dtype: str) -> Sequence:
    """An index and the highest that there is: negative ones count from the end, the rest is clamped. An int32."""
    wide = dtype if width(dtype) == 64 or dtype == "uint32" else "int32"

    def clamped(index: Term, top: Term) -> Term:
        i = index.convert(wide)
        if not wide.startswith("u"):
            i = select(i < 0, i + top + 1, i)
            i = select(i < 0, i.lift(0), i)
        return select(top < i, top, i).convert("int32")

    return sequence(f"InRange_{dtype}", (dtype, wide), clamped)


# what walks and reductions combine with


@cache
def combining(kind: str, dtype: str) -> Sequence:
    """Two partial results of a reduction. Extremes of floats are IEEE 754-2019's maximum and minimum: NaN wins, +0 is above −0."""
    if kind in ("ReduceSum", "ReduceProd"):
        return scalar({"ReduceSum": "Add", "ReduceProd": "Mul"}[kind], dtype)
    large = kind == "ReduceMax"

    def key(x: Term) -> Term:
        """An integer in the order of the numbers, +0 above −0."""
        bits, highest = ("int32", 31) if dtype == "float32" else ("int64", 63)
        b = x.reinterpret(bits)
        return b ^ ((b >> highest) & ((1 << highest) - 1))

    def extreme(a: Term, b: Term) -> Term:
        x, y = (key(a), key(b)) if dtype in FLOATS else (a, b)
        found = select(y < x if large else x < y, a, b)
        return select(a.is_nan(), a, select(b.is_nan(), b, found)) if dtype in FLOATS else found

    return sequence(f"{kind}_{dtype}", (dtype, dtype), extreme)


def _ahead(x: Term, y: Term, large: bool, nan_wins: bool) -> Term:
    """Whether x is strictly better than y; a NaN is better than every number, or worse."""
    wins = x > y if large else x < y
    if x.dtype not in FLOATS:
        return wins
    nan, other = (x, y) if nan_wins else (y, x)
    return wins | (nan.is_nan() & ~other.is_nan())


@cache
def beats(dtype: str, large: bool) -> Sequence:
    """Whether x is strictly better than the best; a NaN beats every number and no NaN."""
    return sequence(f"{'Above' if large else 'Below'}_{dtype}", (dtype, dtype), lambda x, best: _ahead(x, best, large, True))


@cache
def precedes(dtype: str, large: bool) -> Sequence:
    """Whether (x, i) comes strictly before (y, j): the better number first, then the lower index. A NaN is above every number."""

    def before(x: Term, i: Term, y: Term, j: Term) -> Term:
        wins = _ahead(x, y, large, large)
        return wins | (~wins & ~_ahead(y, x, large, large) & (i < j))

    return sequence(f"{'Above' if large else 'Below'}First_{dtype}", (dtype, "int32", dtype, "int32"), before)
