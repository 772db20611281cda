"""Kernel specifications → CUDA kernels. Each output is one thread's work, in the contract's order; blocks and tiles never change a bit.

The C is that of `mlcc_backends.c`, at one point of a kernel's dims; here is what spreads the points over threads. All memory that a
block shares is one array, `shared`, so that a host can poison it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from math import prod

from mlcc.core.terms import most
from mlcc.program.kernel import BlockDot, Chain, Dot, Kernel, Map, Nest, Reduce, Scan, Scatter
from mlcc_backends.c.kernels import at_point
from mlcc_backends.c.loops import close, fma, split
from mlcc_backends.c.text import Lines, address, element, memory_type, typed, value_type
from mlcc_backends.cuda.launch import Launch, over, threads
from mlcc_backends.cuda.nest import nest
from mlcc_backends.cuda.reduce import reduce
from mlcc_backends.cuda.thread import batch_of_b, blocks, chain, one_dot, panel
from mlcc_backends.cuda.tiles import Tile, tile

BYTES = ("int8", "uint8")


def function(symbol: str, spec: Kernel, written: Sequence[int], matrix: bool = True, sizes: Sequence[str] = ()) -> tuple[str, Launch]:
    """The text of a kernel, and its launch. written: arguments that it writes; matrix: whether bytes have matrix instructions; sizes: the
    numbers, behind the pointers, of what a run decides.

    What differs between CUDA and OpenCL is a macro of theirs (KERNEL, GLOBAL, SHARED_ARRAY, COPY_4, …).
    """
    lines, names = Lines(), [f"p{i}" for i in range(len(spec.arguments))]
    match spec:
        case Map() | Scan():
            launch = threads(lines, spec.dims, lambda at: at_point(lines, names, spec, at))
        case Scatter():
            launch = _once(lines, names, spec)
        case Reduce():
            launch = reduce(lines, names, spec)
        case Chain():
            launch = threads(lines, spec.dims, lambda at: chain(lines, names, spec, at))
        case Dot():
            shape = tile(spec, matrix)
            launch = _tiled(lines, names, spec, shape) if shape else _thin(lines, names, spec)
        case BlockDot():
            launch = threads(lines, (*spec.rows, spec.columns), lambda at: blocks(lines, names, spec, at))
        case Nest():
            launch = nest(lines, names, spec)
    parameters = [
        f"GLOBAL {memory_type(d)} *{n}" if i in written else f"GLOBAL const {memory_type(d)} *RESTRICT {n}"
        for i, (d, n) in enumerate(zip(spec.arguments, names))
    ]
    pointers = ", ".join([*parameters, *(f"const int32_t {n}" for n in sizes)])
    shared = f"    SHARED_MEMORY({launch.shared});\n" if launch.shared else ""
    return f"KERNEL({launch.threads}) {symbol}({pointers})\n{{\n{shared}{lines.text()}\n}}", launch


def _once(lines: Lines, names: list[str], spec: Scatter) -> Launch:
    """Updates in order: one thread."""
    with ExitStack() as stack:
        at_point(lines, names, spec, [stack.enter_context(lines.loop(n)) for n in spec.dims])
    return Launch(1, 1)


def _thin(lines: Lines, names: list[str], spec: Dot) -> Launch:
    """Few outputs: one a thread, operands from memory."""
    dims = (*spec.batch, *spec.rows, spec.columns)
    return threads(lines, dims, lambda at: one_dot(lines, names, spec, at))


def _tiled(lines: Lines, names: list[str], spec: Dot, t: Tile) -> Launch:
    """A block makes rows × columns of sums, each thread a tile of them in registers; operands come by way of shared memory, k in order.

    What lies beyond the last k is 0 · 0, which a chain that ends in + 0 does not show.
    """
    rows, depth, columns = prod(spec.rows), prod(spec.k), spec.columns
    words = spec.arguments[spec.a.arg] in BYTES
    unit = "int32_t" if words else "float"
    deep = t.depth  # elements of `unit` in shared memory; four k each where they are words
    per = 4 if words else 1
    steps = over(depth, deep * per)
    stages = 1 if words else 2
    tiles = over(rows, t.rows), over(columns, t.columns)
    a_size, b_size = t.sizes
    lines.add(f"SHARED_ARRAY({unit}, a_tile, 0);")
    lines.add(f"SHARED_ARRAY({unit}, b_tile, {stages * a_size * 4});")
    lines.add("const int32_t thread = (int32_t)threadIdx.x;")
    if t.warps:
        lines.add(f"const int32_t lane = thread % 32, tx = thread / 32 % {t.across}, ty = thread / {32 * t.across};")
    else:
        lines.add(f"const int32_t tx = thread % {t.across}, ty = thread / {t.across};")
    lines.add("const int32_t block = (int32_t)blockIdx.x;")
    lines.add(f"const int32_t column0 = block % {tiles[1]} * {t.columns}, row0 = block / {tiles[1]} % {tiles[0]} * {t.rows};")
    batch = split(lines, f"(block / {tiles[0] * tiles[1]})", spec.batch) if spec.batch else []

    # what each thread brings: rows of a one k apart, groups of four columns of b
    passes, step_a = t.row_passes
    lines.add(f"const int32_t own_k = thread % {deep}, own_row = thread / {deep};")
    lines.add(f"int32_t from[{passes}];")
    with lines.loop(passes, unrolled=True) as p:
        row = lines.fresh("row")
        lines.add(f"const int32_t {row} = row0 + own_row + {p} * {step_a};")
        at = split(lines, f"({row} < {rows} ? {row} : 0)" if rows % t.rows != 0 else row, spec.rows)
        strides = spec.a.strides[: len(spec.batch) + len(spec.rows)]
        lines.add(f"from[{p}] = {address([*batch, *at], strides, spec.a.offset)};")
    groups = t.columns // 4
    lines.add(f"const int32_t own_column = thread % {groups} * 4, own_b = thread / {groups};")
    first, pitch = panel(spec, "(column0 + own_column)")
    lines.add(f"const int32_t b_pitch = {pitch};")
    lines.add(f"const int32_t b_valid = column0 + own_column < {spec.packing.across(columns)};")
    weights = names[spec.b.arg]
    lines.add(
        f"GLOBAL const {memory_type(spec.arguments[spec.b.arg])} *b_from = {weights} + (b_valid ? {batch_of_b(spec, batch)} + {first} : 0);"
    )

    _accumulators(lines, names, spec, t, batch)
    bring = _bring_words if words else _bring_floats
    if stages == 2:
        bring(lines, names, spec, t, "0", "0")
        lines.add("COPY_COMMIT();")
    many = most(steps) > 1
    with lines.loop(steps) as step:
        now = f"({step} & 1)" if stages == 2 and many else "0"
        if stages == 2 and many:
            with lines.block(f"if ({step} + 1 < {steps})"):
                bring(lines, names, spec, t, f"({step} + 1)", f"(~{step} & 1)")
                lines.add("COPY_COMMIT();")
                lines.add("COPY_WAIT(1);")
            with lines.block("else"):
                lines.add("COPY_WAIT(0);")
        elif stages == 2:
            lines.add("COPY_WAIT(0);")
        else:
            bring(lines, names, spec, t, step, "0")
        lines.add("__syncthreads();")
        (_multiply_warps if t.warps else _multiply)(lines, spec, t, now, unit)
        if many:
            lines.add("__syncthreads();")
    _write(lines, names, spec, t, batch)
    return Launch(prod(spec.batch) * tiles[0] * tiles[1], t.threads, stages * (a_size + b_size) * 4, True)


def _accumulators(lines: Lines, names: list[str], spec: Dot, t: Tile, batch: list[str]) -> None:
    rows, columns = prod(spec.rows), spec.columns
    lines.add(f"{value_type(spec.dtype)} sum[{t.held_rows}][{t.held_columns}];")
    with lines.loop(t.held_rows, unrolled=True) as i, lines.loop(t.held_columns, unrolled=True) as j:
        if spec.init is None:
            lines.add(f"sum[{i}][{j}] = {typed(0, spec.dtype)};")
            return
        r, c = f"row0 + {t.row(i)}", f"column0 + {t.column(j)}"
        lines.add(f"const int32_t c = {c};")
        at = [*batch, *["0"] * len(spec.rows), "c"]
        inside = f"c < {columns}"
        if any(spec.init.strides[len(spec.batch) : -1]):
            lines.add(f"const int32_t r = {r};")
            at = [*batch, *split(lines, f"(r < {rows} ? r : 0)", spec.rows), "c"]
        lines.add(f"sum[{i}][{j}] = {inside} ? {element(names, spec.init, at)} : {typed(0, spec.dtype)};")


def _taps(lines: Lines, spec: Dot, k: str) -> str:
    """How far from a row's first operand the k-th lies."""
    return address(split(lines, k, spec.k), spec.a.strides[len(spec.batch) + len(spec.rows) :])


@contextmanager
def _own_rows(lines: Lines, t: Tile) -> Iterator[tuple[str, str]]:
    """For each row that a thread brings an operand of: the pass and the row."""
    passes, step = t.row_passes
    with lines.loop(passes, unrolled=True) as p:
        row = f"own_row + {p} * {step}"
        with lines.block("" if t.rows * t.depth % t.threads == 0 else f"if ({row} < {t.rows})"):
            yield p, row


@contextmanager
def _own_lines(lines: Lines, t: Tile) -> Iterator[str]:
    """For each k, within the tile, that a thread brings four columns of."""
    passes, step = t.column_passes
    with lines.loop(passes, unrolled=True) as p:
        line = f"own_b + {p} * {step}"
        with lines.block(f"if ({line} < {t.depth})" if passes * step > t.depth else ""):
            yield line


def _bring_floats(lines: Lines, names: list[str], spec: Dot, t: Tile, step: str, stage: str) -> None:
    depth, rows, deep, (a_size, b_size) = prod(spec.k), prod(spec.rows), t.depth, t.sizes
    with lines.block(""):
        lines.add(f"const int32_t k = {step} * {deep} + own_k;")
        lines.add(f"const int32_t inside = k < {depth};" if depth % deep != 0 else "const int32_t inside = 1;")
        lines.add(f"const int32_t reach = {_taps(lines, spec, '(inside ? k : 0)' if depth % deep != 0 else 'k')};")
        with _own_rows(lines, t) as (p, row):
            valid = " && ".join(["inside", *([f"row0 + {row} < {rows}"] if rows % t.rows != 0 else [])])
            to = f"&a_tile[{stage} * {a_size} + own_k * {t.pitches[0]} + {row}]"
            lines.add(f"COPY_4({to}, {names[spec.a.arg]} + from[{p}] + reach, {valid});")
        with _own_lines(lines, t) as line:
            lines.add(f"const int32_t line = {step} * {deep} + {line};")
            valid = " && ".join(["b_valid", *([f"line < {depth}"] if depth % deep != 0 else [])])
            to = f"&b_tile[{stage} * {b_size} + ({line}) * {t.pitches[1]} + own_column]"
            lines.add(f"COPY_16({to}, b_from + line * b_pitch, {valid});")


def _bring_words(lines: Lines, names: list[str], spec: Dot, t: Tile, step: str, stage: str) -> None:
    """Four k a word."""
    depth, rows, deep = prod(spec.k), prod(spec.rows), t.depth
    strides = spec.a.strides[len(spec.batch) + len(spec.rows) :]
    runs = spec.k[-1] % 4 == 0 and strides[-1] == 1
    with lines.block(""):
        lines.add(f"const int32_t k = ({step} * {deep} + own_k) * 4;")
        names_of = []
        for n in range(4):
            if runs and n:
                names_of.append(f"reach + {n}")
                continue
            inside = f"k + {n} < {depth}" if n else f"k < {depth}"
            name = "reach" if runs else f"reach{n}"
            lines.add(f"const int32_t {name} = {_taps(lines, spec, f'({inside} ? k + {n} : 0)')};")
            names_of.append(name)
        with _own_rows(lines, t) as (p, row):
            lines.add("uint32_t word = 0u;")
            for n in range(4):
                valid = [f"k + {n} < {depth}" if n else f"k < {depth}"] if depth % (4 * deep) != 0 else []
                valid += [f"row0 + {row} < {rows}"] if rows % t.rows != 0 else []
                byte = f"(uint32_t)(uint8_t){names[spec.a.arg]}[from[{p}] + {names_of[n]}]"
                inside = " && ".join(valid)
                lines.add(f"word |= ({inside}) ? {byte} << {8 * n} : 0u;" if valid else f"word |= {byte} << {8 * n};")
            lines.add(f"a_tile[own_k * {t.pitches[0]} + {row}] = (int32_t)word;")
        with _own_lines(lines, t) as line:
            lines.add(f"const int32_t first = ({step} * {deep} + {line}) * 4;")
            with lines.loop(4, unrolled=True) as c:
                lines.add("uint32_t word = 0u;")
                for n in range(4):
                    known = " && ".join(["b_valid", *([f"first + {n} < {depth}"] if depth % (4 * deep) != 0 else [])])
                    lines.add(f"word |= ({known}) ? (uint32_t)(uint8_t)b_from[(first + {n}) * b_pitch + {c}] << {8 * n} : 0u;")
                lines.add(f"b_tile[({line}) * {t.pitches[1]} + own_column + {c}] = (int32_t)word;")


def _multiply(lines: Lines, spec: Dot, t: Tile, stage: str, unit: str) -> None:
    """One step's products from shared memory."""
    words = unit == "int32_t"
    four = "int4" if words else "float4"
    lines.add(f"UNROLLED_BY_{8 if t.held_rows * t.held_columns < 64 else 4}")
    with lines.block(f"for (int32_t k = 0; k < {t.depth}; k++)"):
        for which, held, own, extent, pitch, size, place in (
            ("a", t.held_rows, "ty", t.rows, t.pitches[0], t.sizes[0], t.row),
            ("b", t.held_columns, "tx", t.columns, t.pitches[1], t.sizes[1], t.column),
        ):
            lines.add(f"{unit} {which}[{held}];")
            base = f"{which}_tile[{f'{stage} * {size} + ' if stage != '0' else ''}k * {pitch} + "
            if held % 4:
                with lines.loop(held, unrolled=True) as each:
                    lines.add(f"{which}[{each}] = {base}{place(each)}];")
                continue
            for n in range(held // 4):
                spread = extent * 4 // held if held > 4 else 0
                lines.add(f"const {four} {which}{n} = *(LOCAL const {four} *)&{base}{n * spread} + {own} * 4];")
                for m, part in enumerate("xyzw"):
                    lines.add(f"{which}[{4 * n + m}] = {which}{n}.{part};")
        with lines.loop(t.held_rows, unrolled=True) as i, lines.loop(t.held_columns, unrolled=True) as j:
            if words:
                dot4 = "DOT_4_U" if spec.arguments[spec.a.arg] == "uint8" else "DOT_4"
                lines.add(f"sum[{i}][{j}] = {dot4}(a[{i}], b[{j}], sum[{i}][{j}]);")
            else:
                lines.add(f"sum[{i}][{j}] = {fma(spec.dtype, f'a[{i}]', f'b[{j}]', f'sum[{i}][{j}]')};")


def _multiply_warps(lines: Lines, spec: Dot, t: Tile, stage: str, unit: str) -> None:
    """The same by matrix instructions, 32 k deep; operands lie in a warp's registers as PTX's mma.m16n8k32 says."""
    matrix = "MATRIX_U" if spec.arguments[spec.a.arg] == "uint8" else "MATRIX"
    high, wide = t.held_rows // 2, t.held_columns // 2
    a_pitch, b_pitch = t.pitches
    lines.add(f"int32_t a[{high}][4], b[{wide}][2];")
    with lines.loop(high, unrolled=True) as i, lines.loop(4, unrolled=True) as q:
        at = f"(lane % 4 + {q} / 2 * 4) * {a_pitch} + ty * {t.held_rows * 8} + {i} * 16 + {q} % 2 * 8 + lane / 4"
        lines.add(f"a[{i}][{q}] = a_tile[{at}];")
    with lines.loop(wide, unrolled=True) as j, lines.loop(2, unrolled=True) as q:
        lines.add(f"b[{j}][{q}] = b_tile[(lane % 4 + {q} * 4) * {b_pitch} + tx * {t.held_columns * 4} + {j} * 8 + lane / 4];")
    with lines.loop(high, unrolled=True) as i, lines.loop(wide, unrolled=True) as j:
        lines.add(f"{matrix}(&sum[{i} * 2][{j} * 2], &sum[{i} * 2 + 1][{j} * 2], a[{i}], b[{j}]);")


def _write(lines: Lines, names: list[str], spec: Dot, t: Tile, batch: list[str]) -> None:
    rows, columns = prod(spec.rows), spec.columns
    with lines.loop(t.held_rows, unrolled=True) as i:
        lines.add(f"const int32_t r = row0 + {t.row(i)};")
        with lines.block(f"if (r < {rows})" if rows % t.rows != 0 else ""):
            at = split(lines, "r", spec.rows)
            with lines.loop(t.held_columns, unrolled=True) as j:
                lines.add(f"const int32_t c = column0 + {t.column(j)};")
                with lines.block(f"if (c < {columns})" if columns % t.columns != 0 else ""):
                    close(lines, names, spec, [*batch, *at, "c"], f"sum[{i}][{j}]")
