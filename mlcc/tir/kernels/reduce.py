"""Reductions in the contract's 16 lanes, vectors along the reduced axis or across outputs."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from math import prod
from typing import Any

from tvm import tirx as t

from mlcc.machine import Machine
from mlcc.program.kernel import Reduce
from mlcc.schedule.tiles import outer_dims, reduce_across
from mlcc.tir.arithmetic import Arithmetic
from mlcc.tir.builder import Expr, Function, int32
from mlcc.tir.kernels import body as bodies
from mlcc.tir.kernels import convert
from mlcc.tir.kernels.map import split_index

LANES = {"float32": 16, "float64": 8}


def start_value(kind: str, dtype: str) -> float | int:
    if kind in ("ReduceSum", "ReduceProd"):
        return 0 if kind == "ReduceSum" else 1
    if dtype.startswith("float"):
        return float("-inf") if kind == "ReduceMax" else float("inf")
    bits, unsigned = int(dtype.lstrip("uint")), dtype.startswith("u")
    if kind == "ReduceMax":
        return 0 if unsigned else -(1 << (bits - 1))
    return (1 << bits) - 1 if unsigned else (1 << (bits - 1)) - 1


def combine(a: Arithmetic, kind: str, dtype: str, x: Expr, y: Expr) -> Expr:
    if kind == "ReduceSum":
        return t.Add(x, y)
    if kind == "ReduceProd":
        return a.mul(dtype, x, y)
    if dtype.startswith("float"):
        # IEEE 754-2019 maximum and minimum: NaN wins, +0 is above −0
        return a.intrinsic("llvm.maximum" if kind == "ReduceMax" else "llvm.minimum", dtype, x, y)
    return t.Select(t.LT(x, y) if kind == "ReduceMax" else t.LT(y, x), y, x)


def emit(spec: Reduce, machine: Machine) -> Any:
    f = Function(spec.arguments)
    write(f, spec, machine, outer_dims(spec.dims, 1 if reduce_across(spec) else 0))
    return f.finish()


def write(f: Function, spec: Reduce, machine: Machine, outer: int) -> None:
    """Tasks f.begin to f.end, numbered over the `outer` first dimensions."""
    across = reduce_across(spec)
    inner = spec.dims[outer:-1] if across else spec.dims[outer:]
    with f.loop(f.begin, t.Sub(f.end, f.begin)) as task, ExitStack() as stack:
        point = split_index(f, task, spec.dims[:outer])
        for n in inner:
            point.append(stack.enter_context(f.loop(0, n)))
        if across:
            _across(f, spec, machine, point)
        else:
            _along(f, spec, machine, point)


def _tree(f: Function, a: Arithmetic, spec: Reduce, lanes: Any, count: int, used: int) -> Expr:
    """Accumulators lane by lane (each scalar or a vector across outputs) folded 8, 4, 2, 1; lanes that took no element change nothing."""
    values = [f.load(lanes, j) if j < used else None for j in range(count)]
    while len(values) > 1:
        half = len(values) // 2
        values = [
            x if y is None else f.let(combine(a, spec.kind, spec.dtype, x, y), a.v(spec.dtype))
            for x, y in zip(values[:half], values[half:])
        ]
    return values[0]


def _load(f: Function, a: Arithmetic, spec: Reduce, value: Expr) -> Expr:
    """A source element in the type that is computed in: bfloat16 bits become the number that they stand for, bytes int32."""
    if spec.dtype == "float32" and spec.arguments[spec.source.arg] == "uint16":
        return convert.cast(f, a, f.let(value, a.v("uint16")), "bfloat16", "float32")
    if spec.arguments[spec.source.arg] in ("int8", "uint8") and spec.dtype == "int32":
        return a.number(value, spec.arguments[spec.source.arg], spec.dtype)
    return value


def _vector_tree(f: Function, spec: Reduce, machine: Machine, lanes: Any, count: int) -> Expr:
    """The same fold of lanes that lie side by side in memory, as halving vectors."""
    while count > 1:
        count //= 2
        a = Arithmetic(f, count, machine)
        x, y = (f.let(f.load(lanes, j, count), a.v(spec.dtype)) for j in (0, count))
        f.store(lanes, 0, combine(a, spec.kind, spec.dtype, x, y), count)
    return f.let(f.load(lanes, 0), spec.dtype)


def _finish(f: Function, a: Arithmetic, spec: Reduce, at: Sequence[Expr], value: Expr) -> None:
    dtype = spec.body[-1].dtype if spec.body else spec.dtype
    bodies.store(f, a, spec.output, dtype, at, bodies.run(f, a, spec.body, at, value))


def _along(f: Function, spec: Reduce, machine: Machine, point: list[Expr]) -> None:
    """Each output by itself. Lane j holds elements ≡ j: a vector when the reduced axis lies side by side."""
    total, n = prod(spec.reduced), len(spec.dims)
    width = LANES.get(spec.dtype, 1)
    one = Arithmetic(f, 1, machine)
    lanes = f.local(spec.dtype, width)
    contiguous = len(spec.reduced) == 1 and spec.source.strides[-1] == 1 and width > 1 and machine.vector_bits > 32
    start = start_value(spec.kind, spec.dtype)
    blocks = total // width if contiguous else 0
    if contiguous:
        a = Arithmetic(f, width, machine)
        acc = f.local(a.v(spec.dtype), 1)
        f.store(acc, 0, a.const(start, spec.dtype))
        if blocks:
            with f.loop(0, blocks) as i:
                x = _load(f, a, spec, bodies.load(f, a, spec.source, spec.dtype, [*point, f.index(t.Mul(i, int32(width)))]))
                f.store(acc, 0, combine(a, spec.kind, spec.dtype, f.load(acc, 0), x))
        f.store(lanes, 0, f.load(acc, 0), width)
    else:
        for j in range(width):
            f.store(lanes, j, one.const(start, spec.dtype))
    done = blocks * width

    def add(flat: Expr, indices: list[Expr]) -> None:
        lane = f.index(t.Mod(flat, int32(width))) if width > 1 else int32(0)
        x = _load(f, one, spec, bodies.load(f, one, spec.source, spec.dtype, [*point, *indices]))
        f.store(lanes, lane, combine(one, spec.kind, spec.dtype, f.load(lanes, lane), x))

    if total > done:
        with f.loop(done, total - done) if total - done > 1 else f.loop(0, 1) as i:
            flat = i if total - done > 1 else int32(done)
            add(flat, split_index(f, flat, spec.reduced))
    _finish(f, one, spec, point[:n], _vector_tree(f, spec, machine, lanes, width))


def _across(f: Function, spec: Reduce, machine: Machine, point: list[Expr]) -> None:
    """Vectors across neighbouring outputs, one accumulator vector for each virtual lane."""
    extent, total = spec.dims[-1], prod(spec.reduced)
    width = LANES.get(spec.dtype, 1)
    for a, column in bodies.strips(f, machine, extent, (machine.lanes(False), 4, 1)):
        acc = f.local(a.v(spec.dtype), width)

        def add(flat: Expr, lane: Expr, first: bool, a: Arithmetic = a, acc: Any = acc, column: Expr = column) -> None:
            indices = split_index(f, flat, spec.reduced)
            address = [*point, column, *indices]
            x = _load(f, a, spec, bodies.load_across(f, a, spec.source, address, len(spec.dims) - 1))
            f.store(acc, lane, x if first else combine(a, spec.kind, spec.dtype, f.load(acc, lane), x))

        extremum = spec.kind in ("ReduceMax", "ReduceMin")
        if not (extremum and 0 < total <= 64):
            for j in range(width):
                f.store(acc, j, a.const(start_value(spec.kind, spec.dtype), spec.dtype))
        if total <= 64:
            for k in range(total):
                add(int32(k), int32(k % width), extremum and k < width)
        else:
            with f.loop(0, total // width) as block:
                for j in range(width):
                    add(f.index(t.Add(t.Mul(block, int32(width)), int32(j))), int32(j), False)
            for k in range(total - total % width, total):
                add(int32(k), int32(k % width), False)
        _finish(f, a, spec, [*point, column], _tree(f, a, spec, acc, width, max(1, min(total, width))))
