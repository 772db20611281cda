"""Kernels that walk from one element to the next (Scan, Scatter, and Reduce where it goes element by element), written once for every
language that has a `Writer`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import replace
from typing import Any, Protocol

from mlcc.arithmetic.scalar import beats, cast, combining, in_range, precedes, scalar
from mlcc.arithmetic.sequence import Sequence as Instructions
from mlcc.core.dim import larger
from mlcc.program.kernel import Access, Reduce, Scan, Scatter

LANES = {"float32": 16, "float64": 8}  # of sums and products; all else is combined in one
Value = Any  # an expression of the language; good until the next statement
Cell = Any


class Writer(Protocol):
    """A language's statements over single elements."""

    def loop(self, extent: int, first: int = 0) -> AbstractContextManager[Value]:
        """From `first` to `extent` − 1; its index, an int32."""

    def when(self, condition: Value) -> AbstractContextManager[None]: ...
    def cell(self, dtype: str, start: Value) -> Cell:
        """A variable; its value is `get`'s, which the next `set` changes."""

    def get(self, cell: Cell) -> Value: ...
    def set(self, cell: Cell, value: Value) -> None: ...
    def lanes(self, dtype: str, count: int, start: Value) -> Cell:
        """Cells in a row."""

    def update(self, lanes: Cell, lane: Value, change: Callable[[Value], Value]) -> None: ...
    def fold(self, lanes: Cell, count: int, dtype: str, combine: Instructions) -> Value:
        """Lanes j and j + half combined, halving until one is left."""

    def const(self, value: float | int, dtype: str) -> Value: ...
    def load(self, access: Access, dtype: str, point: Sequence[Value]) -> Value:
        """An element, kept."""

    def store(self, access: Access, dtype: str, point: Sequence[Value], value: Value) -> None: ...
    def run(self, s: Instructions, *x: Value) -> Value:
        """A sequence's result, kept."""


def scan(w: Writer, spec: Scan, point: Sequence[Value]) -> None:
    {"ArgMax": _arg, "ArgMin": _arg, "CumSum": _cumulative, "CumProd": _cumulative, "TopK": _top_k}[spec.kind](w, spec, point)


def _backwards(access: Access, extent: int) -> Access:
    """The same elements from the last to the first along the last dimension."""
    step = access.strides[-1]
    return replace(access, strides=(*access.strides[:-1], -step), offset=access.offset + (extent - 1) * step)


def _arg(w: Writer, spec: Scan, point: Sequence[Value]) -> None:
    """The first of equals, or the last: that is the first from behind."""
    last, dtype = dict(spec.options)["last"], spec.dtype
    source = _backwards(spec.source, spec.extent) if last else spec.source
    zero = w.const(0, "int32")
    best, where = w.cell(dtype, w.load(source, dtype, [*point, zero])), w.cell("int32", zero)
    with w.loop(spec.extent, 1) as n:
        x = w.load(source, dtype, [*point, n])
        with w.when(w.run(beats(dtype, spec.kind == "ArgMax"), x, w.get(best))):
            w.set(best, x)
            w.set(where, n)
    found = w.get(where)
    if last:
        found = w.run(scalar("Sub", "int32"), w.const(spec.extent - 1, "int32"), found)
    w.store(spec.output, "int64", [*point, zero], w.run(cast("int32", "int64"), found))


def _cumulative(w: Writer, spec: Scan, point: Sequence[Value]) -> None:
    options, dtype = dict(spec.options), spec.dtype
    source, output = (_backwards(a, spec.extent) if options["reverse"] else a for a in (spec.source, spec.output))
    op, start = ("Add", 0) if spec.kind == "CumSum" else ("Mul", 1)
    total = w.cell(dtype, w.const(start, dtype))
    with w.loop(spec.extent) as n:
        after = w.run(scalar(op, dtype), w.get(total), w.load(source, dtype, [*point, n]))
        w.store(output, dtype, [*point, n], w.get(total) if options["exclusive"] else after)
        w.set(total, after)


def _top_k(w: Writer, spec: Scan, point: Sequence[Value]) -> None:
    """Selection: for each rank the best element after the one before it in (value, index) order."""
    assert spec.second is not None
    options, dtype = dict(spec.options), spec.dtype
    before, less = precedes(dtype, bool(options["largest"])), scalar("Less", "int32")
    zero, none = w.const(0, "int32"), w.const(-1, "int32")
    previous, previous_at = w.cell(dtype, w.const(0, dtype)), w.cell("int32", none)
    best, where = w.cell(dtype, w.const(0, dtype)), w.cell("int32", none)
    either = scalar("Or", "bool")
    with w.loop(options["k"]) as rank:
        w.set(where, none)
        with w.loop(spec.extent) as n:
            x = w.load(spec.source, dtype, [*point, n])
            left = w.run(either, w.run(less, w.get(previous_at), zero), w.run(before, w.get(previous), w.get(previous_at), x, n))
            with w.when(left):
                better = w.run(either, w.run(less, w.get(where), zero), w.run(before, x, n, w.get(best), w.get(where)))
                with w.when(better):
                    w.set(best, x)
                    w.set(where, n)
        w.store(spec.output, dtype, [*point, rank], w.get(best))
        w.store(spec.second, "int64", [*point, rank], w.run(cast("int32", "int64"), w.get(where)))
        w.set(previous, w.get(best))
        w.set(previous_at, w.get(where))


def scatter(w: Writer, spec: Scatter, point: Sequence[Value]) -> None:
    """One update, put in its place."""
    clamp = in_range(spec.index_dtype)
    tops = [w.const(larger(extent - 1, 0), clamp.arguments[1]) for _, extent in spec.terms]
    indices = [w.run(clamp, w.load(a, spec.index_dtype, point), top) for a, top in zip(spec.indices, tops)]
    target = replace(spec.output, strides=(*spec.output.strides, *(stride for stride, _ in spec.terms)))
    at = [*point, *indices]
    new = w.load(spec.updates, spec.dtype, point)
    if spec.reduction != "none":
        combine = scalar({"add": "Add", "mul": "Mul", "max": "Max", "min": "Min"}[spec.reduction], spec.dtype)
        new = w.run(combine, w.load(target, spec.dtype, at), new)
    w.store(target, spec.dtype, at, new)


def reduce(w: Writer, spec: Reduce, point: Sequence[Value]) -> Value:
    """All elements of one result: sums and products of floats by lanes, which the contract numbers, and a tree; the rest in one."""
    combine, widen, count = combining(spec.kind, spec.dtype), widening(spec), lane_count(spec)
    start = w.const(start_value(spec.kind, spec.dtype), spec.dtype)
    lanes, lane = w.lanes(spec.dtype, count, start), w.cell("int32", w.const(0, "int32")) if count > 1 else None
    with ExitStack() as stack:
        taps = [stack.enter_context(w.loop(n)) for n in spec.reduced]
        x = w.load(spec.source, spec.arguments[spec.source.arg], [*point, *taps])
        if widen is not None:
            x = w.run(widen, x)
        w.update(lanes, w.get(lane) if lane is not None else w.const(0, "int32"), lambda old: w.run(combine, old, x))
        if lane is not None:
            following = w.run(scalar("Add", "int32"), w.get(lane), w.const(1, "int32"))
            w.set(lane, w.run(scalar("BitwiseAnd", "int32"), following, w.const(count - 1, "int32")))
    return w.fold(lanes, count, spec.dtype, combine)


def lane_count(spec: Reduce) -> int:
    """Lanes that the contract gives a reduction; 1 where any order is right."""
    return LANES.get(spec.dtype, 1) if spec.kind in ("ReduceSum", "ReduceProd") else 1


def widening(spec: Reduce) -> Instructions | None:
    """What makes an element the number that is computed with, where it lies as another type: bfloat16's bits, or bytes."""
    stored = spec.arguments[spec.source.arg]
    return None if stored == spec.dtype else cast("bfloat16" if stored == "uint16" else stored, spec.dtype)


def start_value(kind: str, dtype: str) -> float | int:
    """What a reduction starts from."""
    if kind in ("ReduceSum", "ReduceProd"):
        return 0 if kind == "ReduceSum" else 1
    if dtype.startswith("float"):
        return float("-inf") if kind == "ReduceMax" else float("inf")
    bits, unsigned = int(dtype.lstrip("uint")), dtype.startswith("u")
    if kind == "ReduceMax":
        return 0 if unsigned else -(1 << (bits - 1))
    return (1 << bits) - 1 if unsigned else (1 << (bits - 1)) - 1
