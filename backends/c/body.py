"""Elementwise bodies as C statements, one a step."""

from __future__ import annotations

from collections.abc import Sequence

from mlcc.arithmetic.scalar import BRAIN, REQUANTIZE, bit_cast, cast, in_range, scalar
from mlcc.core.dim import larger
from mlcc.program.kernel import Body, Step
from mlcc_backends.c.sequences import expression
from mlcc_backends.c.text import Lines, address, typed, value_type
from mlcc_backends.c.writer import load


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
            lines.add(f"const {value_type(step.dtype)} {name} = {_value(lines, names, step, values, body, point)};")
            values.append(name)
    return values[-1] if body else entry


def _value(lines: Lines, names: Sequence[str], step: Step, values: list[str], body: Body, point: Sequence[str]) -> str:
    x, dtypes = [values[o] for o in step.operands], [body[o].dtype for o in step.operands]
    match step.op:
        case "load":
            assert step.access is not None
            return load(names, step.access, step.dtype, point)
        case "gather":
            assert step.access is not None
            place = address(point, step.access.strides, step.access.offset)
            for index, dtype, (stride, extent) in zip(x, dtypes, step.terms):
                where = f"(int32_t){index}" if step.value else index_in_range(lines, index, dtype, extent)
                place += f" + {where} * {stride}"
            value = f"{names[step.access.arg]}[{place}]"
            return f"{value} != 0" if step.dtype == "bool" else value
        case "Requantize":
            return f"({value_type(step.dtype)}){expression(REQUANTIZE, *x, *(str(v) for v in step.value))}"
        case "Cast":
            return expression(cast(dtypes[0], step.dtype), *x)
        case "BitCast":
            return expression(bit_cast(dtypes[0], step.dtype), *x)
        case "Half":
            return expression(BRAIN, *x)
    return expression(scalar(step.op, dtypes[-1]), *x)


def index_in_range(lines: Lines, index: str, dtype: str, extent: int) -> str:
    """Negative indices count from the end; the rest is clamped."""
    clamp, name = in_range(dtype), lines.fresh("n")
    lines.add(f"const int32_t {name} = {expression(clamp, index, typed(larger(extent - 1, 0), clamp.arguments[1]))};")
    return name
