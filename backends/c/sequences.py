"""Sequences (mlcc.arithmetic) as C: one operation as an expression, more of them as a function of their own."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence as Some
from functools import cache, partial
from itertools import product

import numpy as np

from mlcc.arithmetic import scalar
from mlcc.arithmetic.elementary import SEQUENCES
from mlcc.arithmetic.elementary64 import SEQUENCES64
from mlcc.arithmetic.scalar import FLOATS, HALF
from mlcc.arithmetic.sequence import Instruction, Sequence
from mlcc.core.graph import DTYPES
from mlcc_backends.c.text import literal, typed, value_type

ELEMENTARY = frozenset((*SEQUENCES.values(), *SEQUENCES64.values()))
FUNCTIONS = {"sqrt": ("square_root", "root_of_64"), "rem": ("remainder_of", "remainder_of_64")} | {
    op: (name, f"{name}_64") for op, name in (("fma", "FMA"), ("floor", "round_down"), ("ceil", "round_up"), ("round", "round_even"))
}


def function_name(s: Sequence) -> str:
    return f"{s.name.lower()}_of" if s in ELEMENTARY else s.name.lower()


def expression(s: Sequence, *x: str) -> str:
    """A sequence's value; operands are names, literals or places in memory."""
    made = [n for n, i in enumerate(s.instructions) if i.op not in ("arg", "const")]
    if len(made) > 1 or (made and s.instructions[made[0]].op == "call"):
        return f"{function_name(s)}({', '.join(x)})"
    values: list[str] = []
    for i in s.instructions:
        values.append(x[i.value] if i.op == "arg" else _instruction(s, i, values))
    return values[-1]


def definition(s: Sequence) -> str:
    """A sequence as a function, one statement an instruction."""
    head = f"{'HELPER' if s in ELEMENTARY else 'QUICK'} {value_type(s.dtype)} {function_name(s)}"
    kind, source, to = (*s.name.split("_"), "", "")[:3]
    if kind == "Cast" and source in FLOATS and to not in (*FLOATS, *HALF, "bool"):
        return f"{head}({value_type(source)} x)\n{{\n    return {_saturated(source, to)};\n}}"
    lines = [f"{head}({', '.join(f'{value_type(d)} x{i}' for i, d in enumerate(s.arguments))})", "{"]
    names = [f"v{n}" for n in range(len(s.instructions))]
    lines += [f"    const {value_type(i.dtype)} v{n} = {_instruction(s, i, names)};" for n, i in enumerate(s.instructions)]
    return "\n".join([*lines, f"    return {names[-1]};", "}"])


def _saturated(source: str, to: str) -> str:
    """A float x as an integer, which C converts only where it fits: each test is made only where the one before it does not decide."""
    info, nan = np.iinfo(to), "is_nan(x)" if source == "float32" else "is_nan_64(x)"
    above, low = literal(float(int(info.max) + 1), source), literal(float(info.min), source)
    top, bottom = typed(int(info.max), to), typed(int(info.min), to)
    return f"{nan} ? {typed(0, to)} : x >= {above} ? {top} : x <= {low} ? {bottom} : ({value_type(to)})x"


@cache
def definitions() -> dict[str, Callable[[], Sequence]]:
    """Name in C → the sequence, for all that expressions may call."""
    found: dict[str, Callable[[], Sequence]] = {f"{s.name.lower()}_of": partial(_same, s) for s in ELEMENTARY}
    named = (*scalar.WIDENED.values(), scalar.NARROWED, scalar.ROUNDED_TO_ODD, scalar.TO_BFLOAT16, scalar.BRAIN, scalar.REQUANTIZE)
    found |= {function_name(s): partial(_same, s) for s in named}
    for op, d in product(scalar.OPERATORS, DTYPES):
        found[f"{op}_{d}".lower()] = partial(scalar.scalar, op, d)
    for a, b in product(DTYPES, DTYPES):
        found[f"cast_{a}_{b}"] = partial(scalar.cast, a, b)
        if "bool" not in (a, b) and scalar.width(a) == scalar.width(b):
            found[f"bitcast_{a}_{b}"] = partial(scalar.bit_cast, a, b)
    for d in DTYPES:
        found[f"inrange_{d}"] = partial(scalar.in_range, d)
        for kind in ("ReduceMax", "ReduceMin"):
            found[f"{kind}_{d}".lower()] = partial(scalar.combining, kind, d)
        for large, word in ((True, "above"), (False, "below")):
            found[f"{word}_{d}"] = partial(scalar.beats, d, large)
            found[f"{word}first_{d}"] = partial(scalar.precedes, d, large)
    return found


def _same(s: Sequence) -> Sequence:
    return s


def _unsigned(dtype: str) -> str:
    """The type in which integers of a type wrap."""
    return f"uint{max(32, DTYPES[dtype].itemsize * 8)}_t"


def wrapped(dtype: str, text: str) -> str:
    """An unsigned expression in two's complement of the type."""
    if dtype in ("int32", "int64"):
        return f"signed_of{'_64' if dtype == 'int64' else ''}({text})"
    return f"({value_type(dtype)})({text})"


def _instruction(s: Sequence, i: Instruction, values: Some[str]) -> str:
    dtype, kind = i.dtype, value_type(i.dtype)
    source = s.instructions[i.operands[0]].dtype if i.operands else ""
    floating, x = dtype in FLOATS, [values[o] for o in i.operands]
    a, b, c = (x + [""] * 3)[:3]
    u = "" if floating or dtype == "bool" else f"({_unsigned(dtype)})"

    def integers(text: str) -> str:
        return text if floating or dtype == "bool" else wrapped(dtype, text)

    match i.op:
        case "arg":
            return f"x{i.value}"
        case "const":
            return typed(i.value, dtype)
        case "call":
            return f"{function_name(i.value)}({', '.join(x)})"
        case "add" | "sub" | "mul" | "and" | "or" | "xor":
            symbol = {"add": "+", "sub": "-", "mul": "*", "and": "&", "or": "|", "xor": "^"}[i.op]
            return integers(f"{u}{a} {symbol} {u}{b}")
        case "div":
            return f"{a} / {b}" if floating else f"({kind})({a} / {b})"
        case "fma" | "sqrt" | "floor" | "ceil" | "round" | "rem":
            return f"{FUNCTIONS[i.op][dtype == 'float64']}({', '.join(x)})"
        case "neg":
            return f"-{a}" if floating else wrapped(dtype, f"0u - {u}{a}")
        case "abs" if dtype == "float32":
            return f"float_of(bits_of({a}) & 0x7FFFFFFFu)"
        case "abs":
            return f"double_of(bits_of_double({a}) & 0x7FFFFFFFFFFFFFFFULL)"
        case "not":
            return f"!{a}" if dtype == "bool" else wrapped(dtype, f"~{u}{a}")
        case "shl":
            return wrapped(dtype, f"{u}{a} << {b}")
        case "sar":
            return wrapped(dtype, f"{a} < 0 ? ~(~{u}{a} >> {b}) : {u}{a} >> {b}")
        case "shr":
            bits = DTYPES[dtype].itemsize * 8
            whole = f"(uint{bits}_t){a}" if bits >= 32 else f"{u}{a}" if dtype.startswith("u") else f"{u}(uint{bits}_t){a}"
            return wrapped(dtype, f"{b} < {bits} ? {whole} >> {b} : 0u")
        case "lt" | "le" | "eq":
            return f"{a} {dict(lt='<', le='<=', eq='==')[i.op]} {b}"
        case "nan":
            return f"is_nan{'_64' if source == 'float64' else ''}({a})"
        case "select":
            return f"{a} ? {b} : {c}"
        case "convert":
            return _converted(a, source, dtype)
        case "reinterpret":
            return _reinterpreted(a, source, dtype)
    raise AssertionError(i.op)


def _converted(x: str, source: str, to: str) -> str:
    if to in FLOATS or source in FLOATS or to.startswith("u"):
        return f"({value_type(to)}){x}"
    one, other = np.iinfo(source), np.iinfo(to)
    if other.min <= one.min and one.max <= other.max:
        return f"({value_type(to)}){x}"
    return wrapped(to, f"({_unsigned(to)}){x}")


def _reinterpreted(x: str, source: str, to: str) -> str:
    if to in FLOATS:
        return f"float_of((uint32_t){x})" if to == "float32" else f"double_of((uint64_t){x})"
    bits = f"bits_of({x})" if source == "float32" else f"bits_of_double({x})"
    return bits if to.startswith("u") else wrapped(to, bits)
