"""Bodies: straight-line elementwise code at one point of an iteration, scalar or vector."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from tvm import tirx as t

from mlcc.arithmetic.elementary import SEQUENCES
from mlcc.machine import Machine
from mlcc.program.kernel import Access, Body, Step, storage
from mlcc.tir.arithmetic import Arithmetic, differ
from mlcc.tir.builder import Expr, Function, affine, int32
from mlcc.tir.kernels.convert import ROUND, ROUND_BITS, bfloat16_bits, cast, is_nan


def strips(f: Function, machine: Machine, extent: int, widths: Iterable[int]) -> Iterator[tuple[Arithmetic, Expr]]:
    """Loops over an extent in ever narrower vectors: what each loop's body is written with, (its arithmetic, its first lane's index)."""
    done = 0
    for width in dict.fromkeys(widths):
        count = (extent - done) // width
        if not count:
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
    valid: int,
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


def register(dtype: str) -> str:
    """The type of a value between load and store: half-width floats travel as bits."""
    return {"float16": "uint16", "bfloat16": "uint16"}.get(dtype, dtype)


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
        return a.const(step.value, "bool" if step.dtype == "bool" else register(step.dtype))
    if step.op == "load":
        assert step.access is not None
        value = load(f, a, step.access, step.dtype, point)
    elif step.op == "gather":
        value = _gather(f, a, step, x, [body[o] for o in step.operands], point)
    elif step.op == "Requantize":
        value = requantize(f, a, x[0], x[1], step.dtype, *step.value)
    elif step.op == "Half":
        value = bfloat16_bits(f, a, x[0])
    elif step.op == "Cast":
        value = cast(f, a, x[0], body[step.operands[0]].dtype, step.dtype)
    elif step.op in SEQUENCES:
        return a.run_sequence(SEQUENCES[step.op], x)
    else:
        value = elementwise(f, a, step.op, body[step.operands[-1]].dtype, x)
    return f.let(value, a.v(register(step.dtype)))


def requantize(f: Function, a: Arithmetic, x: Expr, scale: Expr, to: str, zero: int, low: int, high: int) -> Expr:
    """round(binary32(x) · scale) + zero between the bounds. Clamped before it is rounded: the bounds less the zero point are integers."""
    y = f.let(a.mul("float32", a.cast("float32", x), scale), a.v("float32"))
    least, most = a.const(float(low - zero), "float32"), a.const(float(high - zero), "float32")
    y = f.let(t.Select(t.LT(least, y), y, least), a.v("float32"))  # a NaN gives the least
    y = f.let(t.Select(t.LT(y, most), y, most), a.v("float32"))
    shifted = f.let(t.Add(y, a.const(ROUND, "float32")), a.v("float32"))  # the sum's last bit is 1, so that this rounds
    whole = t.Sub(a.reinterpret("int32", shifted), a.const(ROUND_BITS - zero, "int32"))
    return a.cast(to, f.let(whole, a.v("int32")))


def in_range(f: Function, a: Arithmetic, index: Expr, dtype: str, extent: int) -> Expr:
    """Negative indices count from the end; the rest is clamped."""
    lane = a.v(dtype)
    zero, top = a.const(0, dtype), a.const(max(extent - 1, 0), dtype)
    if dtype.startswith("u"):
        i = f.let(index, lane)
    else:
        raw = f.let(index, lane)
        i = f.let(t.Select(t.LT(raw, zero), t.Add(raw, a.const(extent, dtype)), raw), lane)
        i = f.let(t.Select(t.LT(i, zero), zero, i), lane)
    return f.let(a.cast("int32", t.Select(t.LT(top, i), top, i)), a.v("int32"))


def _gather(f: Function, a: Arithmetic, step: Step, indices: list[Expr], sources: list[Step], point: Sequence[Expr]) -> Expr:
    """A load whose address depends on loaded indices; scalar, or in vectors with one index for all lanes (see gather_is_uniform)."""
    assert step.access is not None
    one = Arithmetic(f, 1, a.machine)
    address = affine(point, step.access.strides, step.access.offset)
    for index, source, (stride, extent) in zip(indices, sources, step.terms):
        if a.lanes > 1:
            assert source.access is not None
            index = load(f, one, source.access, source.dtype, point)
        address = t.Add(address, t.Mul(in_range(f, one, index, source.dtype, extent), int32(stride)))
    address = f.let(address, "int32")
    last = step.access.strides[-1] if step.access.strides else 0
    value = (
        f.load(f.buffers[step.access.arg], address, a.lanes, last)
        if last or a.lanes == 1
        else a.wide(f.load(f.buffers[step.access.arg], address))
    )
    return t.NE(value, a.const(0, "uint8")) if step.dtype == "bool" else value


def _divide(f: Function, a: Arithmetic, dtype: str, x: Expr, y: Expr) -> Expr:
    if dtype.startswith("float"):
        return t.Div(x, y)
    zero, one = a.const(0, dtype), a.const(1, dtype)
    unsafe = t.EQ(y, zero)
    if dtype.startswith("u"):
        return t.Select(unsafe, zero, t.Div(x, t.Select(unsafe, one, y)))
    minus = t.EQ(y, a.const(-1, dtype))
    safe = f.let(t.Select(t.Or(unsafe, minus), one, y), a.v(dtype))
    return t.Select(unsafe, zero, t.Select(minus, t.Sub(zero, x), t.Div(x, safe)))


def _remainder(f: Function, a: Arithmetic, dtype: str, x: Expr, y: Expr) -> Expr:
    """The dividend's sign; 0 for y = 0 in integers."""
    if dtype.startswith("float"):  # exact by definition, so the C library's is the one answer
        return t.call_extern(dtype, "fmodf" if dtype == "float32" else "fmod", x, y)
    q = f.let(_divide(f, a, dtype, x, y), a.v(dtype))
    zero = a.const(0, dtype)
    return t.Select(t.EQ(y, zero), zero, t.Sub(x, t.Mul(q, y)))


def elementwise(f: Function, a: Arithmetic, op: str, dtype: str, x: list[Expr]) -> Expr:
    """A core elementwise operator on operands of `dtype`."""
    lane = a.v(register(dtype))
    match op:
        case "Add":
            return t.Add(x[0], x[1])
        case "Sub":
            return t.Sub(x[0], x[1])
        case "Mul":
            return a.mul(dtype, x[0], x[1])
        case "Div":
            return _divide(f, a, dtype, x[0], x[1])
        case "Min" | "Max":
            first = t.LT(x[0], x[1]) if op == "Min" else t.LT(x[1], x[0])
            return t.Select(t.Or(first, is_nan(a, dtype, x[0])) if dtype.startswith("float") else first, x[0], x[1])
        case "Fmod":
            return _remainder(f, a, dtype, x[0], x[1])
        case "Mod":
            rest, zero = f.let(_remainder(f, a, dtype, x[0], x[1]), lane), a.const(0, dtype)
            if dtype.startswith("u"):
                return rest
            differs = t.And(t.NE(rest, zero), differ(t.LT(rest, zero), t.LT(x[1], zero)))
            return t.Select(differs, t.Add(rest, x[1]), rest)
        case "Neg":
            if dtype in ("float16", "bfloat16"):
                return a.int_op("bitwise_xor", "uint16", x[0], a.const(0x8000, "uint16"))
            return a.neg(dtype, x[0])
        case "Abs":
            if dtype in ("float16", "bfloat16"):
                return a.int_op("bitwise_and", "uint16", x[0], a.const(0x7FFF, "uint16"))
            if dtype.startswith("float"):
                return a.intrinsic("llvm.fabs", dtype, x[0])
            return t.Select(t.LT(x[0], a.const(0, dtype)), t.Sub(a.const(0, dtype), x[0]), x[0])
        case "Sqrt":
            return a.sqrt(dtype, x[0])
        case "Floor":
            return a.intrinsic("llvm.floor", dtype, x[0])
        case "Ceil":
            return a.intrinsic("llvm.ceil", dtype, x[0])
        case "Round":
            return a.intrinsic("llvm.rint", dtype, x[0])
        case "Relu":
            zero = a.const(0, dtype)
            return t.Select(t.LT(x[0], zero), zero, x[0])
        case "Identity":
            return x[0]
        case "Equal":
            if dtype in ("float16", "bfloat16"):
                x = [cast(f, a, v, dtype, "float32") for v in x]
            return t.Not(differ(x[0], x[1])) if dtype == "bool" else t.EQ(x[0], x[1])
        case "Less":
            return t.LT(x[0], x[1])
        case "LessOrEqual":
            return t.LE(x[0], x[1])
        case "IsNaN":
            if dtype in ("float16", "bfloat16"):
                return is_nan(a, "float32", f.let(cast(f, a, x[0], dtype, "float32"), a.v("float32")))
            return is_nan(a, dtype, x[0])
        case "And":
            return t.And(x[0], x[1])
        case "Or":
            return t.Or(x[0], x[1])
        case "Xor":
            return differ(x[0], x[1])
        case "Not":
            return t.Not(x[0])
        case "BitwiseAnd":
            return a.int_op("bitwise_and", dtype, x[0], x[1])
        case "BitwiseOr":
            return a.int_op("bitwise_or", dtype, x[0], x[1])
        case "BitwiseXor":
            return a.int_op("bitwise_xor", dtype, x[0], x[1])
        case "BitwiseNot":
            return a.int_op("bitwise_not", dtype, x[0])
        case "ShiftLeft" | "ShiftRight":
            width = a.const(int(dtype[4:]), dtype)
            amount = t.Select(t.LT(x[1], width), x[1], a.const(0, dtype))
            shifted = a.int_op("shift_left" if op == "ShiftLeft" else "shift_right", dtype, x[0], amount)
            return t.Select(t.LT(x[1], width), shifted, a.const(0, dtype))
        case "Where":
            return t.Select(x[0], x[1], x[2])
    raise AssertionError(op)


def gather_is_uniform(body: Body, step: Step) -> bool:
    """Whether a gather's indices are the same in all lanes, and it is so alone that a vector may load after them."""
    return all(body[o].op == "load" and (a := body[o].access) is not None and (not a.strides or a.strides[-1] == 0) for o in step.operands)


def vectorisable(body: Body) -> bool:
    return all(s.op != "gather" or gather_is_uniform(body, s) for s in body) and all(
        not (s.op in ("Fmod",) and s.dtype.startswith("float")) for s in body
    )
