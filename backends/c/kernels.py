"""Kernel specifications → C functions, one a specification; each does all of its kernel's work in the contract's order."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from math import prod

from mlcc.error import Error
from mlcc.program.kernel import BlockDot, Bound, Chain, Dot, Kernel, Map, Reduce, Scan, Scatter, block
from mlcc.program.program import Program
from mlcc_backends.c import body as bodies
from mlcc_backends.c.scan import arg, cumulative, scatter, top_k
from mlcc_backends.c.text import Lines, address, element, literal, memory_type, typed, value_type

LANES = {"float32": 16, "float64": 8}


def function(symbol: str, spec: Kernel) -> str:
    """A static C function of a kernel's pointer arguments."""
    lines, names = Lines(), arguments(spec)
    match spec:
        case Map() | Reduce() | Scan() | Scatter():
            with ExitStack() as stack:
                at_point(lines, names, spec, _nest(lines, stack, spec.dims))
        case Chain():
            _chain(lines, names, spec)
        case Dot():
            _dot(lines, names, spec)
        case _:
            raise Error("unsupported", f"{type(spec).__name__} kernels in C", hint="leave --precision away")
    return defined(symbol, spec, lines)


def arguments(spec: Kernel) -> list[str]:
    """Names of a kernel's pointers."""
    return [f"p{i}" for i in range(len(spec.arguments))]


def defined(symbol: str, spec: Kernel, lines: Lines) -> str:
    """The C function of a kernel's statements."""
    written = writes(spec)
    pairs = enumerate(zip(spec.arguments, arguments(spec)))
    pointers = ", ".join(f"{'' if i in written else 'const '}{memory_type(d)} *{n}" for i, (d, n) in pairs)
    return f"static void {symbol}({pointers or 'void'})\n{{\n{lines.text()}\n}}"


def symbols(program: Program) -> dict[str, str]:
    """Kernel → its function's name, numbered by kind in order of use."""
    found: dict[str, str] = {}
    for key in dict.fromkeys(c.kernel for c in program.calls):
        kind = key.split("_")[0]
        found[key] = f"{kind}_{sum(s.startswith(kind + '_') for s in found.values()) + 1}"
    return found


def at_point(lines: Lines, names: list[str], spec: Map | Reduce | Scan | Scatter, point: list[str]) -> None:
    """What a kernel does at one point of its dims."""
    match spec:
        case Map():
            bodies.store(lines, names, spec.output, spec.body[-1].dtype, point, bodies.run(lines, names, spec.body, point))
        case Reduce():
            _reduce(lines, names, spec, point)
        case Scan():
            {"ArgMax": arg, "ArgMin": arg, "CumSum": cumulative, "TopK": top_k}[spec.kind](lines, names, spec, point)
        case Scatter():
            scatter(lines, names, spec, point)


def writes(spec: Kernel) -> set[int]:
    """The arguments that a kernel writes to."""
    found = {spec.output.arg} if not isinstance(spec, Scan) else {spec.output.arg, *([spec.second.arg] if spec.second else [])}  # type: ignore[union-attr]
    if isinstance(spec, Dot) and spec.scratch is not None:
        found.add(spec.scratch)
    if isinstance(spec, Chain) and spec.plane is not None:
        found.add(spec.plane.copy)
    return found


def _nest(lines: Lines, stack: ExitStack, dims: Sequence[int]) -> list[str]:
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
    return [_named(lines, f) for f in found]


def finish(lines: Lines, names: list[str], spec: Reduce | Chain | Dot | BlockDot, point: list[str], value: str) -> None:
    dtype = spec.body[-1].dtype if spec.body else spec.dtype
    bodies.store(lines, names, spec.output, dtype, point, bodies.run(lines, names, spec.body, point, value))


def start_value(kind: str, dtype: str) -> str:
    if kind in ("ReduceSum", "ReduceProd"):
        return typed(0 if kind == "ReduceSum" else 1, dtype)
    if dtype.startswith("float"):
        return literal(float("-inf") if kind == "ReduceMax" else float("inf"), dtype)
    bits, unsigned = int(dtype.lstrip("uint")), dtype.startswith("u")
    low, high = (0, (1 << bits) - 1) if unsigned else (-(1 << (bits - 1)), (1 << (bits - 1)) - 1)
    return typed(low if kind == "ReduceMax" else high, dtype)


def combined(kind: str, dtype: str, x: str, y: str) -> str:
    if kind in ("ReduceSum", "ReduceProd"):
        return bodies.arithmetic("+" if kind == "ReduceSum" else "*", dtype, x, y)
    if dtype.startswith("float"):
        name = "largest" if kind == "ReduceMax" else "smallest"
        return f"{name}{'_64' if dtype == 'float64' else ''}({x}, {y})"
    return f"{x} {'>' if kind == 'ReduceMax' else '<'} {y} ? {x} : {y}"


def _reduce(lines: Lines, names: list[str], spec: Reduce, point: list[str]) -> None:
    """Sums and products of floats by virtual lanes and a tree; the rest in any order."""
    kind, width = value_type(spec.dtype), LANES.get(spec.dtype, 1) if spec.kind in ("ReduceSum", "ReduceProd") else 1
    start = start_value(spec.kind, spec.dtype)
    if width > 1:
        lines.add(f"{kind} lane[{width}];")
        lines.add("int32_t n = 0;")
        with lines.loop(width) as j:
            lines.add(f"lane[{j}] = {start};")
    else:
        lines.add(f"{kind} all = {start};")
    with ExitStack() as inner:
        taps = _nest(lines, inner, spec.reduced)
        x = element(names, spec.source, [*point, *taps])
        if spec.arguments[spec.source.arg] != spec.dtype:
            x = f"({kind}){x}"
        if width > 1:
            lines.add(f"lane[n] = {combined(spec.kind, spec.dtype, 'lane[n]', x)};")
            lines.add(f"n = (n + 1) % {width};")
        else:
            lines.add(f"all = {combined(spec.kind, spec.dtype, 'all', x)};")
    if width > 1:
        with lines.block(f"for (int32_t h = {width // 2}; h > 0; h /= 2)"), lines.block("for (int32_t j = 0; j < h; j++)"):
            lines.add(f"lane[j] = {combined(spec.kind, spec.dtype, 'lane[j]', 'lane[j + h]')};")
    finish(lines, names, spec, point, "lane[0]" if width > 1 else "all")


def _range(lines: Lines, b: Bound, index: str, taps: int) -> tuple[str, str]:
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


def _tap_loops(lines: Lines, stack: ExitStack, counts: Sequence[int], ranges: dict[int, tuple[str, str]]) -> list[str]:
    return [stack.enter_context(lines.loop(ranges[i][1], ranges[i][0]) if i in ranges else lines.loop(n)) for i, n in enumerate(counts)]


def fma(dtype: str, x: str, w: str, acc: str) -> str:
    if dtype == "float32":
        return f"FMA({x}, {w}, {acc})"
    if dtype == "float64":
        return f"FMA_64({x}, {w}, {acc})"
    return bodies.arithmetic("+", dtype, acc, bodies.arithmetic("*", dtype, x, w))


def _chain(lines: Lines, names: list[str], spec: Chain) -> None:
    """One chain an output over operands as they lie; four or eight neighbours at once where they lie side by side."""
    n, kind = len(spec.dims), value_type(spec.dtype)
    quick = {("float32", "float32"): "lanes_4", ("int8", "int8"): "bytes_4_s8", ("uint8", "int8"): "bytes_4_u8"}
    helper = quick.get((spec.arguments[spec.a.arg], spec.arguments[spec.b.arg])) if spec.dtype in ("float32", "int32") else None
    dims = list(spec.dims)
    while dims and dims[-1] == 1 and n > 1:  # a depthwise kernel's outputs within the group
        dims.pop()
    last = len(dims) - 1
    side = dims and spec.a.strides[last] == 1 and spec.b.strides[last] == 1
    with ExitStack() as stack:
        point = _nest(lines, stack, dims[:1] if last else [])
        if spec.plane is not None:
            with ExitStack() as inner:
                at = _nest(lines, inner, spec.plane.extents)
                below = [prod(spec.plane.extents[i + 1 :]) for i in range(len(spec.plane.extents))]
                source = element(names, spec.plane.source, [*point, *at])
                lines.add(f"{names[spec.plane.copy]}[{address(at, below)}] = {source};")
        point += _nest(lines, stack, dims[1:-1])
        ranges = {b.axis: _range(lines, b, point[b.dim] if b.dim < last else "0", spec.reduced[b.axis]) for b in spec.bounds}
        pad = ["0"] * (n - len(dims))
        wide = 8 if helper == "lanes_4" and dims[-1] % 8 == 0 else 4  # float units have the registers
        blocks, rest = divmod(dims[-1], wide) if helper and side else (0, dims[-1])

        def edges(at: list[str], lanes: int, total: Callable[[str], str]) -> None:
            """What taps outside contribute."""
            if not ranges or not spec.outside:
                return
            cut = " || ".join(f"{first} > 0 || {last} < {spec.reduced[i]}" for i, (first, last) in ranges.items())
            with lines.block(f"if ({cut})"), ExitStack() as inner:
                taps = [inner.enter_context(lines.loop(m)) for m in spec.reduced]
                missing = " || ".join(f"{taps[i]} < {first} || {taps[i]} >= {last}" for i, (first, last) in ranges.items())
                inner.enter_context(lines.block(f"if ({missing})"))
                j = inner.enter_context(lines.loop(lanes))
                w = element(names, spec.b, [*at, *taps])
                lines.add(f"{total(j)} += {spec.outside} * {w if j == '0' else f'{w[:-1]} + {j}]'};")

        def one(at: list[str]) -> None:
            start = element(names, spec.init, at) if spec.init else typed(0, spec.dtype)
            lines.add(f"{kind} sum = {start};")
            edges(at, 1, lambda j: "sum")
            with ExitStack() as inner:
                taps = _tap_loops(lines, inner, spec.reduced, ranges)
                x, w = (element(names, access, [*at, *taps]) for access in (spec.a, spec.b))
                lines.add(f"sum = {fma(spec.dtype, x, w, 'sum')};")
            close(lines, names, spec, at, "sum")

        if blocks:
            with lines.loop(blocks * wide, step=wide) as c:
                at = [*point, c, *pad]
                lines.add(f"{kind} sums[{wide}];")
                with lines.loop(wide, unrolled=True) as j:
                    place = [*point, f"({c} + {j})", *pad]
                    lines.add(f"sums[{j}] = {element(names, spec.init, place) if spec.init else typed(0, spec.dtype)};")
                edges(at, wide, lambda j: f"sums[{j}]")
                with ExitStack() as inner:
                    taps = _tap_loops(lines, inner, spec.reduced, ranges)
                    x, w = (f"&{element(names, access, [*at, *taps])}" for access in (spec.a, spec.b))
                    lines.add(f"{'lanes_8' if wide == 8 else helper}({x}, {w}, sums);")
                with lines.loop(wide, unrolled=True) as j:
                    close(lines, names, spec, [*point, f"({c} + {j})", *pad], f"sums[{j}]")
        if rest:
            with lines.loop(dims[-1], start=str(blocks * wide)) if dims[-1] > 1 else lines.loop(1) as c:
                one([*point, c, *pad])


def close(lines: Lines, names: list[str], spec: Chain | Dot | BlockDot, point: list[str], value: str) -> None:
    """The chain's end, + 0 for floats, and the body."""
    if spec.dtype.startswith("float"):
        value = f"({value} + {literal(0.0, spec.dtype)})"
    name = lines.fresh("y")
    lines.add(f"const {value_type(spec.dtype)} {name} = {value};")
    finish(lines, names, spec, point, name)


def _dot(lines: Lines, names: list[str], spec: Dot) -> None:
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
        if rows % height:
            count = "rows"
            lines.add(f"const int32_t rows = {rows} - {r} < {height} ? {rows} - {r} : {height};")
        with lines.loop(height) as i:
            row = r if i == "0" else f"{r} + ({i} < {count} ? {i} : 0)" if rows % height else f"{r} + {i}"
            point = split(lines, _named(lines, row), spec.rows)
            if spec.scratch is None:
                lines.add(f"x[{i}] = &{names[spec.a.arg]}[{address(point, spec.a.strides, spec.a.offset)}];")
            else:
                lines.add(f"{element_type} *patch = {names[spec.scratch]} + {i} * {wide};")
                _gather(lines, names, spec, point, "patch", wide)
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
                        at = split(lines, _named(lines, f"{r} + ({i} < {count} ? {i} : 0)"), spec.rows)
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
                point = split(lines, r if i == "0" else _named(lines, f"{r} + {i}"), spec.rows)
                close(lines, names, spec, [*point, j if c == "0" else f"({c} + {j})"], f"sum[{i} * {columns} + {j}]")


def _tile(spec: Dot) -> tuple[str, int, int, int] | None:
    """(helper, its rows and columns, k with padding) for the shapes that have one."""
    depth, one = prod(spec.k), prod(spec.rows) == 1
    if spec.batch or spec.packing == "plain":
        return None
    if spec.packing in ("words", "vectors"):
        suffix, size = "s8" if spec.arguments[spec.a.arg] == "int8" else "u8", block(spec.packing)
        return f"{spec.packing}_{1 if one else 2}x2_{suffix}", 1 if one else 2, 2, -(-depth // size) * size
    if spec.dtype != "float32":
        return None
    if spec.scale is not None:
        return ("dot_1x4_bytes", 1, 4, depth) if one else ("dot_4x4_bytes", 4, 4, depth)
    return ("dot_1x4", 1, 4, depth) if one else ("dot_2x4", 2, 4, depth)


def _named(lines: Lines, expression: str) -> str:
    """An index that is used more than once."""
    if expression.isidentifier() or expression.isdigit():
        return expression
    name = lines.fresh("j")
    lines.add(f"const int32_t {name} = {expression};")
    return name


def _gather(lines: Lines, names: list[str], spec: Dot, point: list[str], place: str, wide: int) -> None:
    """A row's operands side by side; taps outside are zero points, which the start of the sums accounts for, or zeros."""
    strides = spec.a.strides[len(spec.rows) :]
    bounded = {b.axis for b in spec.bounds}
    run, cut = 1, len(spec.k)
    while cut and cut - 1 not in bounded and (spec.k[cut - 1] == 1 or strides[cut - 1] == run):
        run *= spec.k[cut - 1]
        cut -= 1
    below = [prod(spec.k[i + 1 :]) for i in range(len(spec.k))]
    ranges = {b.axis: _range(lines, b, point[b.dim], spec.k[b.axis]) for b in spec.bounds}
    depth = prod(spec.k)
    outside = typed(spec.outside, spec.arguments[spec.a.arg])
    if ranges:
        with lines.loop(wide) as i:
            lines.add(f"{place}[{i}] = {outside};")
    elif wide > depth:
        with lines.loop(wide, start=str(depth)) as i:
            lines.add(f"{place}[{i}] = {outside};")
    with ExitStack() as stack:
        taps = _tap_loops(lines, stack, spec.k[:cut], ranges)
        target = address(taps, below[:cut])
        source = f"{names[spec.a.arg]}[{address([*point, *taps], [*spec.a.strides[: len(spec.rows)], *strides[:cut]], spec.a.offset)}"
        with lines.loop(run) as i:
            lines.add(
                f"{place}[{target if i == '0' else i if target == '0' else f'{target} + {i}'}] = {source}{'' if i == '0' else f' + {i}'}];"
            )


def _plain(lines: Lines, names: list[str], spec: Dot) -> None:
    """One output after the other, from weights in any packing."""
    kind, depth = value_type(spec.dtype), prod(spec.k)
    size = block(spec.packing)
    wide = -(-depth // size) * size
    pairs = wide * -(-spec.columns // 2) * 2
    per_batch = {"plain": depth * spec.columns, "fours": depth * -(-spec.columns // 4) * 4, "words": pairs, "vectors": pairs}[spec.packing]
    with ExitStack() as stack:
        at = _nest(lines, stack, (*spec.batch, *spec.rows, spec.columns))
        batch, point, c = at[: len(spec.batch)], at[len(spec.batch) : -1], at[-1]
        ranges = {b.axis: _range(lines, b, point[b.dim], spec.k[b.axis]) for b in spec.bounds}
        start = element(names, spec.init, at) if spec.init else typed(0, spec.dtype)
        lines.add(f"{kind} sum = {start};")
        base = address(batch, [s * per_batch for s in spec.b.strides], spec.b.offset)
        with ExitStack() as inner:
            taps = _tap_loops(lines, inner, spec.k, ranges)
            x = element(names, spec.a, [*batch, *point, *taps])
            k = address(taps, [prod(spec.k[i + 1 :]) for i in range(len(spec.k))])
            place = {
                "plain": f"({k}) * {spec.columns} + {c}",
                "fours": f"{c} / 4 * {4 * depth} + ({k}) * 4 + {c} % 4",
                **{
                    p: f"{c} / 2 * {2 * wide} + ({k}) / {size} * {2 * size} + {c} % 2 * {size} + ({k}) % {size}"
                    for p in ("words", "vectors")
                },
            }[spec.packing]
            w = f"{names[spec.b.arg]}[{base} + {place}]"
            if spec.scale is not None:
                w = f"(float){w} * {element(names, spec.scale, [c])}"
            lines.add(f"sum = {fma(spec.dtype, x, w, 'sum')};")
        close(lines, names, spec, at, "sum")
