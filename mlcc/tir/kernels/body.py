"""Bodies: straight-line elementwise code at one point of an iteration, scalar or vector."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from tvm import tirx as t

from mlcc.arithmetic.elementary import SEQUENCES
from mlcc.arithmetic.scalar import BRAIN, REQUANTIZE, bit_cast, cast, in_range, scalar, stored
from mlcc.core.dim import Dim, larger
from mlcc.machine import Machine
from mlcc.program.kernel import Access, Body, Step, storage
from mlcc.tir.arithmetic import Arithmetic
from mlcc.tir.builder import Expr, Function, affine, int32


def strips(f: Function, machine: Machine, extent: int | Expr, widths: Iterable[int]) -> Iterator[tuple[Arithmetic, Expr]]:
    """Loops over an extent in ever narrower vectors: what each loop's body is written with, (its arithmetic, its first lane's index)."""
    done: Any = 0
    for width in dict.fromkeys(widths):
        if not isinstance(extent, int | Dim):  # known only where the kernel is
            count = f.index(t.Div(t.Sub(extent, int32(done) if isinstance(done, int) else done), int32(width)))
            with f.loop(int32(0), count) as i:
                at = t.Mul(i, int32(width))
                yield Arithmetic(f, width, machine), f.index(at if isinstance(done, int) else t.Add(at, done))
            done = f.index(t.Mul(count, int32(width)) if isinstance(done, int) else t.Add(done, t.Mul(count, int32(width))))
            continue
        count = (extent - done) // width
        if count == 0:
            continue
        with f.loop(0, count) as i:
            yield Arithmetic(f, width, machine), f.index(t.Add(t.Mul(i, int32(width)), int32(done)))
        done += count * width


def sweep(
    f: Function,
    machine: Machine,
    body: Body,
    output: Access,
    scratch: tuple[Any, int, str],
    rows: int,
    point: Callable[[Expr], list[Expr]],
    column: Expr,
    valid: int | Expr,
    widths: Sequence[int],
) -> None:
    """The body over rows of sums that wait in a scratch array (its buffer, pitch and element type), `valid` of each row from `column`
    on."""
    buffer, pitch, dtype = scratch
    with f.loop(0, rows) as r:
        row = point(r)
        for a, j in strips(f, machine, valid, widths):
            at = [*row, f.index(t.Add(column, j))]
            value = f.let(f.load(buffer, t.Add(t.Mul(r, int32(pitch)), j), a.lanes), a.v(dtype))
            store(f, a, output, body[-1].dtype if body else dtype, at, run(f, a, body, at, value))


def weight(body: Body) -> int:
    """Instructions of a body, elementary functions counted in full."""
    return sum(len(SEQUENCES[s.op].instructions) if s.op in SEQUENCES else 1 for s in body)


def load(f: Function, a: Arithmetic, access: Access, dtype: str, point: Sequence[Expr]) -> Expr:
    """The operand's value at a point whose last index is the first of `a.lanes` lanes."""
    buffer, base = f.buffers[access.arg], affine(point, access.strides, access.offset)
    step = access.strides[-1] if access.strides else 0
    if a.lanes > 1 and step == 0:
        value = a.wide(f.let(f.load(buffer, base), storage(dtype)))
    else:
        value = f.load(buffer, base, a.lanes, step)
    if dtype == "bool":
        value = f.let(value, a.v("uint8"))
    return t.NE(value, a.const(0, "uint8")) if dtype == "bool" else value


def load_across(f: Function, a: Arithmetic, access: Access, address: Sequence[Expr], column: int) -> Expr:
    """A number at an address of any depth whose vector runs along dimension `column`, not the last one."""
    buffer, base, stride = f.buffers[access.arg], affine(address, access.strides, access.offset), access.strides[column]
    if a.lanes > 1 and stride == 0:
        return a.wide(f.load(buffer, base))
    return f.load(buffer, base, a.lanes, stride)


def store(f: Function, a: Arithmetic, access: Access, dtype: str, point: Sequence[Expr], value: Expr) -> None:
    if dtype == "bool":
        value = t.Select(value, a.const(1, "uint8"), a.const(0, "uint8"))
    f.store(
        f.buffers[access.arg], affine(point, access.strides, access.offset), value, a.lanes, access.strides[-1] if access.strides else 0
    )


def run(f: Function, a: Arithmetic, body: Body, point: Sequence[Expr], entry: Expr = None) -> Expr:
    """The body's value at a point; `entry` is what `input` stands for. An empty body hands it through."""
    values: list[Expr] = []
    for step in body:
        values.append(_step(f, a, step, values, body, point, entry))
    return values[-1] if body else entry


def _step(f: Function, a: Arithmetic, step: Step, values: list[Expr], body: Body, point: Sequence[Expr], entry: Expr) -> Expr:
    x = [values[o] for o in step.operands]
    if step.op == "input":
        return entry
    if step.op == "const":
        return a.const(step.value, "bool" if step.dtype == "bool" else stored(step.dtype))
    if step.op == "load":
        assert step.access is not None
        value = load(f, a, step.access, step.dtype, point)
    elif step.op == "gather":
        value = _gather(f, a, step, x, [body[o] for o in step.operands], point)
    else:
        value = compute(a, step, x, [body[o].dtype for o in step.operands])
    return f.let(value, a.v(stored(step.dtype)))


def compute(a: Arithmetic, step: Step, x: list[Expr], dtypes: Sequence[str]) -> Expr:
    """What a step does to operands of these types."""
    match step.op:
        case "Requantize":
            return a.cast(step.dtype, a.run(REQUANTIZE, *x, *(a.const(v, "int32") for v in step.value)))
        case "Half":
            return a.run(BRAIN, *x)
        case "Cast":
            return a.run(cast(dtypes[0], step.dtype), *x)
        case "BitCast":
            return a.run(bit_cast(dtypes[0], step.dtype), *x)
    return a.run(scalar(step.op, dtypes[-1]), *x)


def index_in_range(a: Arithmetic, index: Expr, dtype: str, extent: int) -> Expr:
    """Negative indices count from the end; the rest is clamped."""
    s = in_range(dtype)
    return a.run(s, index, a.const(larger(extent - 1, 0), s.arguments[1]))


def _gather(f: Function, a: Arithmetic, step: Step, indices: list[Expr], sources: list[Step], point: Sequence[Expr]) -> Expr:
    """A load whose address depends on loaded indices; scalar, or in vectors with one index for all lanes (see gather_is_uniform)."""
    assert step.access is not None
    one = Arithmetic(f, 1, a.machine)
    address = affine(point, step.access.strides, step.access.offset)
    for index, source, (stride, extent) in zip(indices, sources, step.terms):
        if a.lanes > 1:
            assert source.access is not None
            index = load(f, one, source.access, source.dtype, point)
        where = one.cast("int32", index) if step.value else index_in_range(one, index, source.dtype, extent)
        address = t.Add(address, t.Mul(where, int32(stride)))
    address = f.let(address, "int32")
    last = step.access.strides[-1] if step.access.strides else 0
    value = (
        f.load(f.buffers[step.access.arg], address, a.lanes, last)
        if last or a.lanes == 1
        else a.wide(f.load(f.buffers[step.access.arg], address))
    )
    return t.NE(value, a.const(0, "uint8")) if step.dtype == "bool" else value


def gather_is_uniform(body: Body, step: Step) -> bool:
    """Whether a gather's indices are the same in all lanes, and it is so alone that a vector may load after them."""
    return all(body[o].op == "load" and (a := body[o].access) is not None and (not a.strides or a.strides[-1] == 0) for o in step.operands)


def vectorisable(body: Body) -> bool:
    return all(s.op != "gather" or gather_is_uniform(body, s) for s in body) and all(
        not (s.op in ("Fmod",) and s.dtype.startswith("float")) for s in body
    )
