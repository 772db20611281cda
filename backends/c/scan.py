"""Sequential scans and scatters in C."""

from __future__ import annotations

from collections.abc import Callable

from mlcc.program.kernel import Scan, Scatter
from mlcc_backends.c import body as bodies
from mlcc_backends.c.text import Lines, address, element, typed, value_type


def beats(dtype: str, x: str, best: str, large: bool) -> str:
    """x strictly beats best; a NaN beats every number and no NaN."""
    wins = f"{x} {'>' if large else '<'} {best}"
    return f"{wins} || ({x} != {x} && {best} == {best})" if dtype.startswith("float") else wins


def arg(lines: Lines, names: list[str], spec: Scan, point: list[str]) -> None:
    large, last = spec.kind == "ArgMax", dict(spec.options)["last"]
    first = str(spec.extent - 1) if last else "0"
    lines.add(f"{value_type(spec.dtype)} best = {element(names, spec.source, [*point, first])};")
    lines.add(f"int64_t where = {first};")
    with lines.block(f"for (int32_t n = 1; n < {spec.extent}; n++)"):
        place = f"({spec.extent - 1} - n)" if last else "n"
        lines.add(f"const {value_type(spec.dtype)} x = {element(names, spec.source, [*point, place])};")
        with lines.block(f"if ({beats(spec.dtype, 'x', 'best', large)})"):
            lines.add("best = x;")
            lines.add(f"where = {place};")
    lines.add(f"{element(names, spec.output, [*point, '0'])} = where;")


def cumulative(lines: Lines, names: list[str], spec: Scan, point: list[str]) -> None:
    options, kind = dict(spec.options), value_type(spec.dtype)
    lines.add(f"{kind} total = {typed(0, spec.dtype)};")
    with lines.block(f"for (int32_t n = 0; n < {spec.extent}; n++)"):
        place = f"({spec.extent - 1} - n)" if options["reverse"] else "n"
        x = element(names, spec.source, [*point, place])
        lines.add(f"const {kind} before = total;")
        lines.add(f"total = {bodies.arithmetic('+', spec.dtype, 'before', x)};")
        lines.add(f"{element(names, spec.output, [*point, place])} = {'before' if options['exclusive'] else 'total'};")


def top_k(lines: Lines, names: list[str], spec: Scan, point: list[str]) -> None:
    """Selection: for each rank the best element after the one before it in (value, index) order."""
    assert spec.second is not None
    options, kind, floating = dict(spec.options), value_type(spec.dtype), spec.dtype.startswith("float")
    large = bool(options["largest"])

    def precedes(x: str, i: str, y: str, j: str) -> str:
        """(x, i) comes strictly before (y, j)."""
        wins, loses = (f"{x} > {y}", f"{y} > {x}") if large else (f"{x} < {y}", f"{y} < {x}")
        if floating:
            nx, ny = f"{x} != {x}", f"{y} != {y}"
            first, second = (nx, ny) if large else (ny, nx)
            wins, loses = f"{wins} || ({first} && !({second}))", f"{loses} || ({second} && !({first}))"
        return f"(({wins}) || (!({wins}) && !({loses}) && {i} < {j}))"

    lines.add(f"{kind} previous = {typed(0, spec.dtype)};")
    lines.add("int32_t previous_at = -1;")
    with lines.loop(options["k"]) as rank:
        lines.add(f"{kind} best = {typed(0, spec.dtype)};")
        lines.add("int32_t where = -1;")
        with lines.block(f"for (int32_t n = 0; n < {spec.extent}; n++)"):
            lines.add(f"const {kind} x = {element(names, spec.source, [*point, 'n'])};")
            fresh = f"previous_at < 0 || {precedes('previous', 'previous_at', 'x', 'n')}"
            with lines.block(f"if (({fresh}) && (where < 0 || {precedes('x', 'n', 'best', 'where')}))"):
                lines.add("best = x;")
                lines.add("where = n;")
        lines.add(f"{element(names, spec.output, [*point, rank])} = best;")
        lines.add(f"{element(names, spec.second, [*point, rank])} = where;")
        lines.add("previous = best;")
        lines.add("previous_at = where;")


def scatter(lines: Lines, names: list[str], spec: Scatter, point: list[str]) -> None:
    """Applies updates in order."""
    place = address(point, spec.output.strides, spec.output.offset)
    for access, (stride, extent) in zip(spec.indices, spec.terms):
        index = lines.fresh("k")
        lines.add(f"const {value_type(spec.index_dtype)} {index} = {element(names, access, point)};")
        place += f" + {bodies.in_range(lines, index, spec.index_dtype, extent)} * {stride}"
    target = f"{names[spec.output.arg]}[{place}]"
    new = bodies.load(names, spec.updates, spec.dtype, point)
    if spec.reduction != "none":
        lines.add(f"const {value_type(spec.dtype)} old = {target}, update = {new};")
        combine: dict[str, Callable[[], str]] = {
            "add": lambda: bodies.arithmetic("+", spec.dtype, "old", "update"),
            "mul": lambda: bodies.arithmetic("*", spec.dtype, "old", "update"),
            "max": lambda: bodies.elementwise(lines, "Max", spec.dtype, ["old", "update"]),
            "min": lambda: bodies.elementwise(lines, "Min", spec.dtype, ["old", "update"]),
        }
        new = combine[spec.reduction]()
    lines.add(f"{target} = {f'(uint8_t)({new})' if spec.dtype == 'bool' else new};")
