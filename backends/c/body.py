"""Elementwise bodies as C statements, one a step."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mlcc.arithmetic.elementary import SEQUENCES
from mlcc.core.graph import DTYPES
from mlcc.program.kernel import Access, Body, Step
from mlcc_backends.c.helpers import function_name
from mlcc_backends.c.text import Lines, address, element, literal, typed, value_type

HALF = ("float16", "bfloat16")
FLOATS = ("float32", "float64")


def load(names: Sequence[str], access: Access, dtype: str, point: Sequence[str]) -> str:
    place = element(names, access, point)
    return f"{place} != 0" if dtype == "bool" else place


def store(lines: Lines, names: Sequence[str], access: Access, dtype: str, point: Sequence[str], value: str) -> None:
    lines.add(f"{element(names, access, point)} = {f'(uint8_t)({value})' if dtype == 'bool' else value};")


def run(lines: Lines, names: Sequence[str], body: Body, point: Sequence[str], entry: str = "") -> str:
    """The body's value at a point; `entry` is what `input` stands for. An empty body hands it through."""
    values: list[str] = []
    for step in body:
        if step.op == "input":
            values.append(entry)
        elif step.op == "const":
            values.append(typed(step.value, step.dtype))
        else:
            name = lines.fresh("v")
            lines.add(f"const {value_type(step.dtype)} {name} = {_expression(lines, names, step, values, body, point)};")
            values.append(name)
    return values[-1] if body else entry


def _expression(lines: Lines, names: Sequence[str], step: Step, values: list[str], body: Body, point: Sequence[str]) -> str:
    x = [values[o] for o in step.operands]
    match step.op:
        case "load":
            assert step.access is not None
            return load(names, step.access, step.dtype, point)
        case "gather":
            assert step.access is not None
            place = address(point, step.access.strides, step.access.offset)
            for index, o, (stride, extent) in zip(x, step.operands, step.terms):
                place += f" + {in_range(lines, index, body[o].dtype, extent)} * {stride}"
            value = f"{names[step.access.arg]}[{place}]"
            return f"{value} != 0" if step.dtype == "bool" else value
        case "Requantize":
            zero, low, high = step.value
            return f"({value_type(step.dtype)})requantize({x[0]}, {x[1]}, {zero}, {low}, {high})"
        case "Cast":
            return cast(lines, x[0], body[step.operands[0]].dtype, step.dtype)
        case "Half":
            return f"brain_of({x[0]})"
    if step.op in SEQUENCES:
        return f"{function_name(step.op)}({', '.join(x)})"
    return elementwise(lines, step.op, body[step.operands[-1]].dtype, x)


def in_range(lines: Lines, index: str, dtype: str, extent: int) -> str:
    """Negative indices count from the end; the rest is clamped."""
    top = max(extent - 1, 0)
    i = lines.fresh("n")
    if dtype.startswith("u"):
        lines.add(f"const int32_t {i} = (int32_t)({index} < {top}u ? {index} : {top}u);")
        return i
    lines.add(f"int64_t {i} = {index};")
    lines.add(f"{i} = {i} < 0 ? {i} + {extent} : {i};")
    lines.add(f"{i} = {i} < 0 ? 0 : {i} > {top} ? {top} : {i};")
    return f"(int32_t){i}"


def _bits(dtype: str) -> tuple[str, str, str]:
    """(bits of a float, float of bits, mask without the sign)."""
    if dtype == "float32":
        return "bits_of", "float_of", "0x7FFFFFFFu"
    return "bits_of_double", "double_of", "0x7FFFFFFFFFFFFFFFULL"


def wrapping(dtype: str, expression: str) -> str:
    """An unsigned expression in two's complement of the type."""
    if dtype in ("int32", "int64"):
        return f"signed_of{'_64' if dtype == 'int64' else ''}({expression})"
    return f"({value_type(dtype)})({expression})"


def widened(dtype: str, x: str) -> str:
    return f"(uint{max(32, DTYPES[dtype].itemsize * 8)}_t){x}"


def arithmetic(symbol: str, dtype: str, a: str, b: str) -> str:
    """a + b, a − b or a · b; integers wrap."""
    if dtype in FLOATS:
        return f"{a} {symbol} {b}"
    return wrapping(dtype, f"{widened(dtype, a)} {symbol} {widened(dtype, b)}")


def _divide(lines: Lines, dtype: str, x: str, y: str) -> str:
    """IEEE; integers truncate, x / 0 is 0, overflow wraps."""
    if dtype in FLOATS:
        return f"{x} / {y}"
    kind = value_type(dtype)
    if dtype.startswith("u"):
        return f"({kind})({y} == 0u ? 0u : {x} / ({y} == 0u ? 1u : {y}))"
    minus = wrapping(dtype, f"0u - {widened(dtype, x)}")
    return f"({kind})({y} == 0 ? 0 : {y} == -1 ? {minus} : {x} / ({y} == 0 ? 1 : {y}))"


def _remainder(lines: Lines, dtype: str, x: str, y: str) -> str:
    if dtype in FLOATS:
        return f"remainder_of({x}, {y})" if dtype == "float32" else f"remainder_of_64({x}, {y})"
    q = lines.fresh("q")
    lines.add(f"const {value_type(dtype)} {q} = {_divide(lines, dtype, x, y)};")
    rest = arithmetic("-", dtype, x, f"({arithmetic('*', dtype, q, y)})")
    return (
        f"({value_type(dtype)})({y} == 0 ? 0 : {rest})" if not dtype.startswith("u") else f"({value_type(dtype)})({y} == 0u ? 0u : {rest})"
    )


def elementwise(lines: Lines, op: str, dtype: str, x: list[str]) -> str:
    """A core elementwise operator on operands of `dtype`."""
    kind, zero = value_type(dtype), literal(0, dtype if dtype not in HALF else "uint16")
    if dtype in HALF and op in ("Equal", "IsNaN"):
        x, dtype = [cast(lines, v, dtype, "float32") for v in x], "float32"
    match op:
        case "Add" | "Sub" | "Mul":
            return arithmetic({"Add": "+", "Sub": "-", "Mul": "*"}[op], dtype, x[0], x[1])
        case "Div":
            return _divide(lines, dtype, x[0], x[1])
        case "Min" | "Max":
            wins = f"{x[0]} {'<' if op == 'Min' else '>'} {x[1]}"
            return f"{f'({wins} || {x[0]} != {x[0]})' if dtype in FLOATS else wins} ? {x[0]} : {x[1]}"
        case "Fmod":
            return _remainder(lines, dtype, x[0], x[1])
        case "Mod":
            rest = lines.fresh("r")
            lines.add(f"const {kind} {rest} = {_remainder(lines, dtype, x[0], x[1])};")
            if dtype.startswith("u"):
                return rest
            return f"{rest} != {zero} && ({rest} < {zero}) != ({x[1]} < {zero}) ? {arithmetic('+', dtype, rest, x[1])} : {rest}"
        case "Neg":
            if dtype in HALF:
                return f"(uint16_t)({x[0]} ^ 0x8000u)"
            return f"-{x[0]}" if dtype in FLOATS else wrapping(dtype, f"0u - {widened(dtype, x[0])}")
        case "Abs":
            if dtype in HALF:
                return f"(uint16_t)({x[0]} & 0x7FFFu)"
            if dtype in FLOATS:
                of, back, mask = _bits(dtype)
                return f"{back}({of}({x[0]}) & {mask})"
            if dtype.startswith("u"):
                return x[0]
            return f"({kind})({x[0]} < 0 ? {wrapping(dtype, f'0u - {widened(dtype, x[0])}')} : {x[0]})"
        case "Sqrt":
            return f"square_root({x[0]})" if dtype == "float32" else f"root_of_64({x[0]})"
        case "Floor" | "Ceil" | "Round":
            name = {"Floor": "round_down", "Ceil": "round_up", "Round": "round_even"}[op]
            return f"{name}{'_64' if dtype == 'float64' else ''}({x[0]})"
        case "Relu":
            return f"{x[0]} < {zero} ? {typed(0, dtype)} : {x[0]}"
        case "Identity":
            return x[0]
        case "Equal":
            return f"{x[0]} == {x[1]}"
        case "Less":
            return f"{x[0]} < {x[1]}"
        case "LessOrEqual":
            return f"{x[0]} <= {x[1]}"
        case "IsNaN":
            return f"{x[0]} != {x[0]}"
        case "And" | "Or":
            return f"{x[0]} {'&&' if op == 'And' else '||'} {x[1]}"
        case "Xor":
            return f"{x[0]} != {x[1]}"
        case "Not":
            return f"!{x[0]}"
        case "BitwiseAnd" | "BitwiseOr" | "BitwiseXor":
            symbol = {"BitwiseAnd": "&", "BitwiseOr": "|", "BitwiseXor": "^"}[op]
            return wrapping(dtype, f"{widened(dtype, x[0])} {symbol} {widened(dtype, x[1])}")
        case "BitwiseNot":
            return wrapping(dtype, f"~{widened(dtype, x[0])}")
        case "ShiftLeft" | "ShiftRight":
            width, symbol = DTYPES[dtype].itemsize * 8, "<<" if op == "ShiftLeft" else ">>"
            return f"({kind})({x[1]} < {width}u ? {widened(dtype, x[0])} {symbol} {x[1]} : 0u)"
        case "Where":
            return f"{x[0]} ? {x[1]} : {x[2]}"
    raise AssertionError(op)


def cast(lines: Lines, x: str, source: str, to: str) -> str:
    """The contract's conversions (see mlcc.reference.elementwise.cast)."""
    if source == to:
        return x
    if source in HALF:
        wide = f"to_float_of_half({x})" if source == "float16" else f"float_of((uint32_t){x} << 16)"
        name = lines.fresh("h")
        lines.add(f"const float {name} = {wide};")
        return cast(lines, name, "float32", to)
    if to in HALF:
        if to == "float16" and source == "float64":
            return f"to_half_of_double({x})"
        wide = x if source == "float32" else f"({cast(lines, x, source, 'float32')})"
        return f"to_half({wide})" if to == "float16" else f"to_bfloat({wide})"
    if to == "bool":
        return f"{x} != {literal(0, source)}"
    if source == "bool":
        return f"{x} ? {typed(1, to)} : {typed(0, to)}"
    if source in FLOATS and to not in FLOATS:
        return _to_integer(lines, x, source, to)
    if to in FLOATS:
        return f"({value_type(to)}){x}"
    if to.startswith("u"):
        return f"({value_type(to)}){x}"
    return wrapping(to, f"(uint{max(32, DTYPES[to].itemsize * 8)}_t){x}")


def _to_integer(lines: Lines, x: str, source: str, to: str) -> str:
    """Truncates and saturates; NaN becomes 0."""
    info, kind = np.iinfo(DTYPES[to]), value_type(to)
    # the smallest float above the range, exact in both formats
    above = literal(float(int(info.max) + 1), source)
    low = literal(float(info.min), source)
    top, bottom = typed(int(info.max), to), typed(int(info.min), to)
    return f"{x} != {x} ? {typed(0, to)} : {x} >= {above} ? {top} : {x} <= {low} ? {bottom} : ({kind}){x}"
