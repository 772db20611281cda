"""Reductions on GPUs: a thread, a warp or a block for each result."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod

from mlcc.arithmetic.scalar import combining
from mlcc.core.terms import Size, most
from mlcc.program.kernel import Reduce
from mlcc.program.serial import LANES, lane_count, start_value, widening
from mlcc_backends.c.loops import finish, split
from mlcc_backends.c.sequences import expression
from mlcc_backends.c.text import Lines, element, typed, value_type
from mlcc_backends.cuda.launch import BLOCK_THREADS, MANY, Launch, over, threads


def reduce(lines: Lines, names: list[str], spec: Reduce) -> Launch:
    outputs, total = prod(spec.dims), prod(spec.reduced)
    if most(outputs) >= MANY or most(total) < 32:
        return threads(lines, spec.dims, lambda at: _reduce_alone(lines, names, spec, at))
    width = lanes(spec)
    per_block = BLOCK_THREADS // width
    lines.add(f"const int32_t output = (int32_t)blockIdx.x * {per_block} + (int32_t)threadIdx.x / {width};")
    lines.add(f"SHARED_ARRAY({value_type(spec.dtype)}, part, 0);")
    with lines.block(""):
        reduce_shared(lines, names, spec, f"output < {outputs}", lambda: split(lines, "output", spec.dims))
    return Launch(over(outputs, per_block), BLOCK_THREADS, BLOCK_THREADS * 8, True)


def lanes(spec: Reduce) -> int:
    """Lanes that one output's elements are dealt to: the contract's for float sums, any number for the rest."""
    return LANES.get(spec.dtype, 16) if spec.kind in ("ReduceSum", "ReduceProd") else 16


def _start(spec: Reduce) -> str:
    return typed(start_value(spec.kind, spec.dtype), spec.dtype)


def _source(lines: Lines, names: list[str], spec: Reduce, at: Sequence[str]) -> str:
    """An element in the type that is computed in."""
    x, widen = element(names, spec.source, at), widening(spec)
    return x if widen is None else expression(widen, x)


def _reduce_alone(lines: Lines, names: list[str], spec: Reduce, at: list[str]) -> None:
    """One thread has all lanes; their numbers are constants, so that they stay in registers."""
    kind, total, start = value_type(spec.dtype), prod(spec.reduced), _start(spec)
    width = lane_count(spec)
    lines.add(f"{kind} lane[{width}];")
    with lines.loop(width, unrolled=True) as j:
        lines.add(f"lane[{j}] = {start};")

    def take(first: str, count: Size) -> None:
        with lines.loop(count, unrolled=isinstance(count, int)) as j:
            n = lines.fresh("n")
            lines.add(f"const int32_t {n} = {first} + {j};")
            x = _source(lines, names, spec, [*at, *split(lines, n, spec.reduced)])
            lines.add(f"lane[{j}] = {expression(combining(spec.kind, spec.dtype), f'lane[{j}]', x)};")

    if most(total) >= width:
        with lines.loop(total // width) as b:
            take(f"{b} * {width}", width)
    if total % width != 0:
        take(str(total // width * width), total % width)
    half = width // 2
    while half:
        with lines.loop(half, unrolled=True) as j:
            lines.add(f"lane[{j}] = {expression(combining(spec.kind, spec.dtype), f'lane[{j}]', f'lane[{j} + {half}]')};")
        half //= 2
    finish(lines, names, spec, at, "lane[0]")


def reduce_shared(lines: Lines, names: list[str], spec: Reduce, valid: str, point: Callable[[], list[str]]) -> None:
    """Neighbouring threads have a lane each, `part` is shared; all threads of the block come here."""
    width, total, kind = lanes(spec), prod(spec.reduced), value_type(spec.dtype)
    lines.add(f"const int32_t lane = (int32_t)threadIdx.x % {width};")
    lines.add(f"{kind} all = {_start(spec)};")
    with lines.block(f"if ({valid})"):
        at = point()
        with lines.block(f"for (int32_t n = lane; n < {total}; n += {width})"):
            x = _source(lines, names, spec, [*at, *split(lines, "n", spec.reduced)])
            lines.add(f"all = {expression(combining(spec.kind, spec.dtype), 'all', x)};")
    lines.add("part[threadIdx.x] = all;")
    lines.add("__syncthreads();")
    with lines.block(f"for (int32_t fold = {width // 2}; fold > 0; fold /= 2)"):
        with lines.block("if (lane < fold)"):
            both = expression(combining(spec.kind, spec.dtype), "part[threadIdx.x]", "part[threadIdx.x + fold]")
            lines.add(f"part[threadIdx.x] = {both};")
        lines.add("__syncthreads();")
    with lines.block(f"if (({valid}) && lane == 0)"):
        finish(lines, names, spec, point(), "part[threadIdx.x]")
    lines.add("__syncthreads();")
