"""Parts that kernels in C share: loops, indices, taps that lie inside, how a chain ends."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from math import prod

from mlcc.arithmetic.scalar import scalar
from mlcc.program.kernel import BlockDot, Bound, Chain, Dot, Reduce
from mlcc_backends.c import body as bodies
from mlcc_backends.c.sequences import expression
from mlcc_backends.c.text import Lines, literal, value_type
from mlcc_backends.c.writer import CWriter


def nest(lines: Lines, stack: ExitStack, dims: Sequence[int]) -> list[str]:
    return [stack.enter_context(lines.loop(n)) for n in dims]


def split(lines: Lines, flat: str, dims: Sequence[int]) -> list[str]:
    """Row-major indices of a flattened one."""
    if len(dims) <= 1:
        return [flat] * len(dims)
    found = []
    for i, n in enumerate(dims):
        below = prod(dims[i + 1 :])
        value = flat if below == 1 else f"{flat} / {below}"
        found.append("0" if n == 1 else value if i == 0 else f"({value}) % {n}" if below != 1 else f"{value} % {n}")
    return [named(lines, f) for f in found]


def named(lines: Lines, expression: str) -> str:
    """An index that is used more than once."""
    if expression.isidentifier() or expression.isdigit():
        return expression
    name = lines.fresh("j")
    lines.add(f"const int32_t {name} = {expression};")
    return name


def inside(lines: Lines, b: Bound, index: str, taps: int) -> tuple[str, str]:
    """First and last + 1 of the taps that lie inside, as constants or variables."""
    first, last = lines.fresh("first"), lines.fresh("last")
    at = lines.fresh("at")
    lines.add(f"const int32_t {at} = {f'{index} * {b.step}' if b.step != 1 else index} - {b.before};")
    if b.dilation == 1:
        lines.add(f"const int32_t {first} = {at} < 0 ? -{at} : 0, {last} = {b.extent} - {at} < {taps} ? {b.extent} - {at} : {taps};")
    else:
        d = b.dilation
        lines.add(f"const int32_t {first} = {at} < 0 ? ({d - 1} - {at}) / {d} : 0;")
        lines.add(
            f"const int32_t {last} = {b.extent} - {at} <= 0 ? 0 : ({b.extent + d - 1} - {at}) / {d} < {taps} ? ({b.extent + d - 1} - "
            f"{at}) / {d} : {taps};"
        )
    return first, last


def tap_loops(lines: Lines, stack: ExitStack, counts: Sequence[int], ranges: dict[int, tuple[str, str]]) -> list[str]:
    return [stack.enter_context(lines.loop(ranges[i][1], ranges[i][0]) if i in ranges else lines.loop(n)) for i, n in enumerate(counts)]


def fma(dtype: str, x: str, w: str, acc: str) -> str:
    if dtype == "float32":
        return f"FMA({x}, {w}, {acc})"
    if dtype == "float64":
        return f"FMA_64({x}, {w}, {acc})"
    return expression(scalar("Add", dtype), acc, f"({expression(scalar('Mul', dtype), x, w)})")


def finish(lines: Lines, names: list[str], spec: Reduce | Chain | Dot | BlockDot, point: list[str], value: str) -> None:
    dtype = spec.body[-1].dtype if spec.body else spec.dtype
    CWriter(lines, names).store(spec.output, dtype, point, bodies.run(lines, names, spec.body, point, value))


def close(lines: Lines, names: list[str], spec: Chain | Dot | BlockDot, point: list[str], value: str) -> None:
    """The chain's end, + 0 for floats, and the body."""
    if spec.dtype.startswith("float"):
        value = f"({value} + {literal(0.0, spec.dtype)})"
    name = lines.fresh("y")
    lines.add(f"const {value_type(spec.dtype)} {name} = {value};")
    finish(lines, names, spec, point, name)
