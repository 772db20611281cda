"""Products in C: a few rows at a time over packed columns, or one output after the other."""

from __future__ import annotations

from contextlib import ExitStack
from math import prod

from mlcc.program.kernel import Dot
from mlcc.program.packing import PLAIN, VECTORS, WORDS
from mlcc_backends.c.loops import close, fma, inside, named, nest, split, tap_loops
from mlcc_backends.c.text import Lines, address, element, memory_type, typed, value_type

OF_BYTES = {WORDS: "words", VECTORS: "vectors"}  # their functions in snippets/bytes.c


def dot(lines: Lines, names: list[str], spec: Dot) -> None:
    """A few rows at a time over packed columns: all sums of such a tile are in registers."""
    tile = _tile(spec)
    if tile is None:
        _plain(lines, names, spec)
        return
    helper, height, columns, wide = tile
    rows, kind = prod(spec.rows), value_type(spec.dtype)
    element_type = memory_type(spec.arguments[spec.a.arg])
    with lines.loop(rows, step=height) as r:
        lines.add(f"const {element_type} *x[{height}];")
        count = str(height)
        if rows % height != 0:
            count = "rows"
            lines.add(f"const int32_t rows = {rows} - {r} < {height} ? {rows} - {r} : {height};")
        with lines.loop(height) as i:
            row = r if i == "0" else f"{r} + ({i} < {count} ? {i} : 0)" if rows % height != 0 else f"{r} + {i}"
            point = split(lines, named(lines, row), spec.rows)
            if spec.scratch is None:
                lines.add(f"x[{i}] = &{names[spec.a.arg]}[{address(point, spec.a.strides, spec.a.offset)}];")
            else:
                lines.add(f"{element_type} *patch = {names[spec.scratch]} + {i} * {wide};")
                gather(lines, names, spec, point, "patch", wide)
                lines.add(f"x[{i}] = patch;")
        with lines.loop(spec.columns, step=columns) if spec.columns > columns else lines.loop(1) as c:
            lines.add(f"{kind} sum[{columns * height}];")
            width = str(min(columns, spec.columns))
            if spec.columns % columns and spec.columns > columns:
                width = "columns"
                lines.add(f"const int32_t columns = {spec.columns} - {c} < {columns} ? {spec.columns} - {c} : {columns};")
            with lines.loop(height) as i, lines.loop(columns, unrolled=height > 1) as j:
                start = typed(0, spec.dtype)
                if spec.init is not None:
                    at = ["0"] * len(spec.rows)
                    if any(spec.init.strides[:-1]):
                        at = split(lines, named(lines, f"{r} + ({i} < {count} ? {i} : 0)"), spec.rows)
                    start = element(names, spec.init, [*at, f"({c} + {j})"])
                    start = start if width == str(columns) else f"{j} < {width} ? {start} : {typed(0, spec.dtype)}"
                lines.add(f"sum[{i} * {columns} + {j}] = {start};")
            weights = f"&{names[spec.b.arg]}[{address([c], [wide], spec.b.offset)}]"
            scales = [f"&{element(names, spec.scale, [c])}"] if spec.scale else []
            lines.add(f"{helper}({', '.join(['x', weights, *scales, str(wide), 'sum'])});")
            with (
                lines.loop(int(count) if count.isdigit() else count) as i,
                lines.loop(int(width) if width.isdigit() else width, unrolled=height > 1 and width.isdigit()) as j,
            ):
                point = split(lines, r if i == "0" else named(lines, f"{r} + {i}"), spec.rows)
                close(lines, names, spec, [*point, j if c == "0" else f"({c} + {j})"], f"sum[{i} * {columns} + {j}]")


def _tile(spec: Dot) -> tuple[str, int, int, int] | None:
    """(helper, its rows and columns, k with padding) for the shapes that have one."""
    depth, one = prod(spec.k), prod(spec.rows) == 1
    if spec.batch or spec.packing == PLAIN:
        return None
    if spec.packing in OF_BYTES:
        suffix = "s8" if spec.arguments[spec.a.arg] == "int8" else "u8"
        return f"{OF_BYTES[spec.packing]}_{1 if one else 2}x2_{suffix}", 1 if one else 2, 2, spec.packing.rows(depth)
    if spec.dtype != "float32":
        return None
    if spec.scale is not None:
        return ("dot_1x4_bytes", 1, 4, depth) if one else ("dot_4x4_bytes", 4, 4, depth)
    return ("dot_1x4", 1, 4, depth) if one else ("dot_2x4", 2, 4, depth)


def gather(lines: Lines, names: list[str], spec: Dot, point: list[str], place: str, wide: int) -> None:
    """A row's operands side by side; taps outside are zero points, which the start of the sums accounts for, or zeros."""
    strides = spec.a.strides[len(spec.rows) :]
    bounded = {b.axis for b in spec.bounds}
    run, cut = 1, len(spec.k)
    while cut and cut - 1 not in bounded and (spec.k[cut - 1] == 1 or strides[cut - 1] == run):
        run *= spec.k[cut - 1]
        cut -= 1
    below = [prod(spec.k[i + 1 :]) for i in range(len(spec.k))]
    ranges = {b.axis: inside(lines, b, point[b.dim], spec.k[b.axis]) for b in spec.bounds}
    depth = prod(spec.k)
    outside = typed(spec.outside, spec.arguments[spec.a.arg])
    if ranges:
        with lines.loop(wide) as i:
            lines.add(f"{place}[{i}] = {outside};")
    elif wide > depth:
        with lines.loop(wide, start=str(depth)) as i:
            lines.add(f"{place}[{i}] = {outside};")
    with ExitStack() as stack:
        taps = tap_loops(lines, stack, spec.k[:cut], ranges)
        target = address(taps, below[:cut])
        source = f"{names[spec.a.arg]}[{address([*point, *taps], [*spec.a.strides[: len(spec.rows)], *strides[:cut]], spec.a.offset)}"
        with lines.loop(run) as i:
            lines.add(
                f"{place}[{target if i == '0' else i if target == '0' else f'{target} + {i}'}] = {source}{'' if i == '0' else f' + {i}'}];"
            )


def _plain(lines: Lines, names: list[str], spec: Dot) -> None:
    """One output after the other, from weights in any packing."""
    kind, depth = value_type(spec.dtype), prod(spec.k)
    per_batch = spec.packing.elements(depth, spec.columns)
    with ExitStack() as stack:
        at = nest(lines, stack, (*spec.batch, *spec.rows, spec.columns))
        batch, point, c = at[: len(spec.batch)], at[len(spec.batch) : -1], at[-1]
        ranges = {b.axis: inside(lines, b, point[b.dim], spec.k[b.axis]) for b in spec.bounds}
        start = element(names, spec.init, at) if spec.init else typed(0, spec.dtype)
        lines.add(f"{kind} sum = {start};")
        base = address(batch, [s * per_batch for s in spec.b.strides], spec.b.offset)
        with ExitStack() as inner:
            taps = tap_loops(lines, inner, spec.k, ranges)
            x = element(names, spec.a, [*batch, *point, *taps])
            k = address(taps, [prod(spec.k[i + 1 :]) for i in range(len(spec.k))])
            w = f"{names[spec.b.arg]}[{base} + {_place(spec, k, c)}]"
            if spec.scale is not None:
                w = f"(float){w} * {element(names, spec.scale, [c])}"
            lines.add(f"sum = {fma(spec.dtype, x, w, 'sum')};")
        close(lines, names, spec, at, "sum")


def _place(spec: Dot, k: str, column: str) -> str:
    """Where an element of the packed operand lies."""
    across, deep = spec.packing.columns, spec.packing.depth
    if spec.packing == PLAIN:
        return f"({k}) * {spec.columns} + {column}"
    group = f"{column} / {across} * {across * spec.packing.rows(prod(spec.k))}"
    if deep == 1:
        return f"{group} + ({k}) * {across} + {column} % {across}"
    return f"{group} + ({k}) / {deep} * {across * deep} + {column} % {across} * {deep} + ({k}) % {deep}"
