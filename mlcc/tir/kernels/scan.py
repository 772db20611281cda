"""Sequential kernels: argmax and argmin, cumulative sums, top-k, scatter."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

from tvm import tirx as t

from mlcc.machine import Machine
from mlcc.program.kernel import Scan, Scatter
from mlcc.tir.arithmetic import Arithmetic
from mlcc.tir.builder import Expr, Function, affine, int32
from mlcc.tir.kernels import body as bodies
from mlcc.tir.kernels import convert
from mlcc.tir.kernels.map import split_index
from mlcc.tir.kernels.reduce import combine


def emit(spec: Scan, machine: Machine) -> Any:
    f = Function(spec.arguments)
    a = Arithmetic(f, 1, machine)
    with f.loop(f.begin, t.Sub(f.end, f.begin)) as task:
        point = split_index(f, task, spec.dims)
        {"ArgMax": _arg, "ArgMin": _arg, "CumSum": _cumulative, "TopK": _top_k}[spec.kind](f, a, spec, point)
    return f.finish()


def _better(a: Arithmetic, spec: Scan, x: Expr, best: Expr, largest: bool) -> Expr:
    """x strictly beats best; a NaN beats every number and no NaN."""
    wins = t.LT(best, x) if largest else t.LT(x, best)
    if not spec.dtype.startswith("float"):
        return wins
    return t.Or(wins, t.And(convert.is_nan(a, spec.dtype, x), t.Not(convert.is_nan(a, spec.dtype, best))))


def _arg(f: Function, a: Arithmetic, spec: Scan, point: list[Expr]) -> None:
    largest, last = spec.kind == "ArgMax", dict(spec.options)["last"]
    best, where = f.local(spec.dtype, 1), f.local("int64", 1)

    def at(i: Expr) -> Expr:
        return t.Sub(int32(spec.extent - 1), i) if last else i

    f.store(best, 0, bodies.load(f, a, spec.source, spec.dtype, [*point, f.index(at(int32(0)))]))
    f.store(where, 0, a.cast("int64", at(int32(0))))
    with f.loop(1, spec.extent - 1) if spec.extent > 2 else f.loop(int32(1), spec.extent - 1) as i:
        place = f.index(at(i))
        x = f.let(bodies.load(f, a, spec.source, spec.dtype, [*point, place]), spec.dtype)
        with f.when(_better(a, spec, x, f.load(best, 0), largest)):
            f.store(best, 0, x)
            f.store(where, 0, a.cast("int64", place))
    bodies.store(f, a, spec.output, "int64", [*point, int32(0)], f.load(where, 0))


def _cumulative(f: Function, a: Arithmetic, spec: Scan, point: list[Expr]) -> None:
    options = dict(spec.options)
    total = f.local(spec.dtype, 1)
    f.store(total, 0, a.const(0, spec.dtype))
    with f.loop(int32(0), spec.extent) as i:
        place = f.index(t.Sub(int32(spec.extent - 1), i) if options["reverse"] else i)
        before = f.let(f.load(total, 0), spec.dtype)
        after = f.let(t.Add(before, bodies.load(f, a, spec.source, spec.dtype, [*point, place])), spec.dtype)
        f.store(total, 0, after)
        bodies.store(f, a, spec.output, spec.dtype, [*point, place], before if options["exclusive"] else after)


def _top_k(f: Function, a: Arithmetic, spec: Scan, point: list[Expr]) -> None:
    """Selection: for each rank the best element after the one before it in (value, index) order."""
    assert spec.second is not None
    options = dict(spec.options)
    k, largest = options["k"], bool(options["largest"])
    best, where = f.local(spec.dtype, 1), f.local("int32", 1)
    previous, previous_at = f.local(spec.dtype, 1), f.local("int32", 1)
    f.store(previous_at, 0, int32(-1))
    f.store(previous, 0, a.const(0, spec.dtype))
    floating = spec.dtype.startswith("float")

    def before(x: Expr, i: Expr, y: Expr, j: Expr) -> Expr:
        """(x, i) comes strictly before (y, j)."""
        wins = t.LT(y, x) if largest else t.LT(x, y)
        loses = t.LT(x, y) if largest else t.LT(y, x)
        if floating:
            nx, ny = convert.is_nan(a, spec.dtype, x), convert.is_nan(a, spec.dtype, y)
            first, second = (nx, ny) if largest else (ny, nx)
            wins = t.Or(wins, t.And(first, t.Not(second)))
            loses = t.Or(loses, t.And(second, t.Not(first)))
        return t.Or(wins, t.And(t.Not(t.Or(wins, loses)), t.LT(i, j)))

    with f.loop(int32(0), k) as rank:
        f.store(where, 0, int32(-1))
        f.store(best, 0, a.const(0, spec.dtype))
        with f.loop(int32(0), spec.extent) as i:
            x = f.let(bodies.load(f, a, spec.source, spec.dtype, [*point, i]), spec.dtype)
            last, last_at, top, top_at = (
                f.let(f.load(b, 0), d) for b, d in ((previous, spec.dtype), (previous_at, "int32"), (best, spec.dtype), (where, "int32"))
            )
            fresh = t.Or(t.LT(last_at, int32(0)), before(last, last_at, x, i))
            with f.when(t.And(fresh, t.Or(t.LT(top_at, int32(0)), before(x, i, top, top_at)))):
                f.store(best, 0, x)
                f.store(where, 0, i)
        bodies.store(f, a, spec.output, spec.dtype, [*point, rank], f.load(best, 0))
        bodies.store(f, a, spec.second, "int64", [*point, rank], a.cast("int64", f.load(where, 0)))
        f.store(previous, 0, f.load(best, 0))
        f.store(previous_at, 0, f.load(where, 0))


def emit_scatter(spec: Scatter, machine: Machine) -> Any:
    """Applies updates in order, so it is one task."""
    f = Function(spec.arguments)
    a = Arithmetic(f, 1, machine)
    with f.loop(f.begin, t.Sub(f.end, f.begin)) as _, ExitStack() as stack:
        point = [stack.enter_context(f.loop(int32(0), n)) for n in spec.dims]
        address = affine(point, spec.output.strides, spec.output.offset)
        for access, (stride, extent) in zip(spec.indices, spec.terms):
            index = bodies.in_range(f, a, bodies.load(f, a, access, spec.index_dtype, point), spec.index_dtype, extent)
            address = t.Add(address, t.Mul(index, int32(stride)))
        address = f.index(address)
        register = bodies.register(spec.dtype)
        new = f.let(bodies.load(f, a, spec.updates, spec.dtype, point), register)
        buffer = f.buffers[spec.output.arg]
        if spec.reduction != "none":
            old = f.let(f.load(buffer, address), register)
            kind = {"add": "ReduceSum", "mul": "ReduceProd"}.get(spec.reduction)
            new = (
                combine(a, kind, spec.dtype, old, new)
                if kind
                else bodies.elementwise(f, a, {"max": "Max", "min": "Min"}[spec.reduction], spec.dtype, [old, new])
            )
        if spec.dtype == "bool":
            new = t.Select(new, a.const(1, "uint8"), a.const(0, "uint8"))
        f.store(buffer, address, new)
    return f.finish()
