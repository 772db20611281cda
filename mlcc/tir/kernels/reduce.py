"""Reductions in the contract's 16 lanes, vectors along the reduced axis or across outputs."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack, nullcontext
from math import prod
from typing import Any

from tvm import tirx as t

from mlcc.arithmetic.scalar import combining
from mlcc.core.dim import Dim
from mlcc.machine import Machine
from mlcc.program import serial
from mlcc.program.kernel import Reduce
from mlcc.program.serial import LANES, start_value
from mlcc.schedule.reduce import reduce_across
from mlcc.schedule.tasks import outer_dims
from mlcc.tir.arithmetic import Arithmetic
from mlcc.tir.builder import Expr, Function, int32
from mlcc.tir.kernels import body as bodies
from mlcc.tir.kernels.map import split_index
from mlcc.tir.kernels.serial import TirWriter


def emit(spec: Reduce, machine: Machine) -> Any:
    f = Function(spec)
    write(f, spec, machine, outer_dims(spec.dims, 1 if reduce_across(spec) else 0))
    return f.finish()


def write(f: Function, spec: Reduce, machine: Machine, outer: int) -> None:
    """Tasks f.begin to f.end, numbered over the `outer` first dimensions."""
    with f.loop(f.begin, t.Sub(f.end, f.begin)) as task:
        at(f, spec, machine, split_index(f, task, spec.dims[:outer]))


def at(f: Function, spec: Reduce, machine: Machine, outer: Sequence[Expr]) -> None:
    """What belongs to one point of the first dimensions."""
    across = reduce_across(spec)
    inner = spec.dims[len(outer) : -1] if across else spec.dims[len(outer) :]
    with ExitStack() as stack:
        point = [*outer, *(stack.enter_context(f.loop(0, n)) for n in inner)]
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
            x if y is None else f.let(a.run(combining(spec.kind, spec.dtype), x, y), a.v(spec.dtype))
            for x, y in zip(values[:half], values[half:])
        ]
    return values[0]


def _load(f: Function, a: Arithmetic, spec: Reduce, value: Expr) -> Expr:
    """A source element in the type that is computed in: bfloat16 bits become the number that they stand for, bytes int32."""
    widen = serial.widening(spec)
    return value if widen is None else a.run(widen, f.let(value, a.v(spec.arguments[spec.source.arg])))


def _finish(f: Function, a: Arithmetic, spec: Reduce, at: Sequence[Expr], value: Expr) -> None:
    dtype = spec.body[-1].dtype if spec.body else spec.dtype
    bodies.store(f, a, spec.output, dtype, at, bodies.run(f, a, spec.body, at, value))


def _along(f: Function, spec: Reduce, machine: Machine, point: list[Expr]) -> None:
    """Each output by itself. Lane j holds elements ≡ j: a vector when the reduced axis lies side by side."""
    w = TirWriter(f, machine)
    width = LANES.get(spec.dtype, 1)
    if len(spec.reduced) == 1 and spec.source.strides[-1] == 1 and width > 1 and machine.vector_bits > 32:
        value = _side_by_side(f, spec, machine, point, width)
    else:
        value = serial.reduce(w, spec, point)
    _finish(f, w.a, spec, point, value)


def _side_by_side(f: Function, spec: Reduce, machine: Machine, point: list[Expr], width: int) -> Expr:
    """Vectors of all lanes, then what is left, one by one."""
    w, a = TirWriter(f, machine), Arithmetic(f, width, machine)
    one, (total,) = w.a, spec.reduced
    blocks, combine = total // width, combining(spec.kind, spec.dtype)
    lanes, acc = f.local(spec.dtype, width), f.local(a.v(spec.dtype), 1)
    f.store(acc, 0, a.const(start_value(spec.kind, spec.dtype), spec.dtype))
    if blocks != 0:
        with f.loop(0, blocks) as i:
            x = _load(f, a, spec, bodies.load(f, a, spec.source, spec.dtype, [*point, f.index(t.Mul(i, int32(width)))]))
            f.store(acc, 0, a.run(combine, f.load(acc, 0), x))
    if (rest := total - blocks * width) != 0:  # with what changes nothing behind them, as a vector: the lanes stay in registers
        with f.when(t.LT(int32(0), int32(rest))) if isinstance(rest, Dim) else nullcontext():
            tail = f.local(spec.dtype, width)
            f.store(tail, 0, a.const(start_value(spec.kind, spec.dtype), spec.dtype), width)
            with f.loop(0, rest) as lane:
                at = f.index(t.Add(lane, int32(blocks * width)))
                f.store(tail, lane, _load(f, one, spec, bodies.load(f, one, spec.source, spec.dtype, [*point, at])))
            f.store(acc, 0, a.run(combine, f.load(acc, 0), f.let(f.load(tail, 0, width), a.v(spec.dtype))))
    f.store(lanes, 0, f.load(acc, 0), width)
    return w.fold(lanes, width, spec.dtype, combine)


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
            f.store(acc, lane, x if first else a.run(combining(spec.kind, spec.dtype), f.load(acc, lane), x))

        extremum = spec.kind in ("ReduceMax", "ReduceMin")
        few = isinstance(total, int) and total <= 64
        if not (extremum and few and total):
            for j in range(width):
                f.store(acc, j, a.const(start_value(spec.kind, spec.dtype), spec.dtype))
        if few:
            for k in range(total):
                add(int32(k), int32(k % width), extremum and k < width)
        else:
            with f.loop(0, total // width) as block:
                for j in range(width):
                    add(f.index(t.Add(t.Mul(block, int32(width)), int32(j))), int32(j), False)
            if isinstance(total, int):
                for k in range(total - total % width, total):
                    add(int32(k), int32(k % width), False)
            else:  # each lane by its number, so that all stay in registers
                whole, rest = f.index(total // width * width), f.index(total % width)
                for j in range(width - 1):
                    with f.when(t.LT(int32(j), rest)):
                        add(f.index(t.Add(whole, int32(j))), int32(j), False)
        used = max(1, min(total, width)) if isinstance(total, int) else width
        _finish(f, a, spec, [*point, column], _tree(f, a, spec, acc, width, used))
