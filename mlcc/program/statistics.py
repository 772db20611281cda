"""Figures about a program."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

from mlcc.graph.core import DTYPES
from mlcc.program.kernel import Access, BlockDot, Chain, Dot, Kernel, Map, Reduce, Scan, Scatter
from mlcc.program.program import KernelCall, Program


@dataclass(frozen=True)
class StepCost:
    """What one kernel call must do at least: multiply-adds of dots and chains, bytes of all operands once."""

    origin: str
    kind: str
    shape: str
    multiply_adds: int
    bytes: int


def step_costs(program: Program) -> list[StepCost]:
    """One entry a kernel call, in order."""
    return [_cost(program, c, program.kernels[c.kernel]) for c in program.calls]


def multiply_adds(program: Program) -> int:
    """Multiply-adds of its dots and chains."""
    return sum(c.multiply_adds for c in step_costs(program))


def _cost(program: Program, call: KernelCall, spec: Kernel) -> StepCost:
    macs, touched = 0, [0] * len(call.arguments)
    for access, dims in accesses(spec):
        live = prod(n for n, s in zip(dims, access.strides) if s)
        touched[access.arg] = max(touched[access.arg], live)
    match spec:
        case Dot():
            macs = prod(spec.batch) * prod(spec.rows) * prod(spec.k) * spec.columns
            touched[spec.b.arg] = prod(spec.batch) * prod(spec.k) * spec.columns
            shape = f"{'x'.join(map(str, (*spec.batch, *spec.rows)))} · {'x'.join(map(str, spec.k))} · {spec.columns}"
        case BlockDot():
            macs = prod(spec.rows) * prod(spec.k) * spec.columns
            touched[spec.b] = prod(spec.k) * spec.columns // 2
            shape = f"{'x'.join(map(str, spec.rows))} · {'x'.join(map(str, spec.k))} · {spec.columns} bf16"
        case Chain():
            macs = prod(spec.dims) * prod(spec.reduced)
            shape = f"{'x'.join(map(str, spec.dims))} · {'x'.join(map(str, spec.reduced))}"
        case Reduce():
            shape = f"{'x'.join(map(str, spec.dims))} ← {'x'.join(map(str, spec.reduced))}"
        case _:
            shape = "x".join(map(str, spec.dims))
    size = [DTYPES[program.buffers[a.buffer].dtype].itemsize for a in call.arguments]
    moved = sum(min(n, program.buffers[a.buffer].elements) * s for n, s, a in zip(touched, size, call.arguments))
    return StepCost(call.origin, type(spec).__name__, shape, macs, moved)


def accesses(spec: Kernel) -> list[tuple[Access, tuple[int, ...]]]:
    """Every access with the dimensions that its strides run over."""
    match spec:
        case Map():
            dims: tuple[int, ...] = spec.dims
            own = [spec.output]
        case Reduce():
            dims, own = spec.dims, [spec.output]
            return [(spec.source, (*dims, *spec.reduced)), *((a, dims) for a in (*own, *_loads(spec)))]
        case Chain():
            dims, own = spec.dims, [spec.output, *([spec.init] if spec.init else [])]
            wide = (*dims, *spec.reduced)
            return [(spec.a, wide), (spec.b, wide), *((a, dims) for a in (*own, *_loads(spec)))]
        case Dot():
            dims = (*spec.batch, *spec.rows, spec.columns)
            own = [spec.output, *([spec.init] if spec.init else [])]
            return [(spec.a, (*spec.batch, *spec.rows, *spec.k)), *((a, dims) for a in (*own, *_loads(spec)))]
        case BlockDot():
            dims, own = (*spec.rows, spec.columns), [spec.output]
            return [(spec.a, (*spec.rows, *spec.k)), *((a, dims) for a in (*own, *_loads(spec)))]
        case Scan():
            dims = (*spec.dims, spec.extent)
            return [(a, dims) for a in (spec.source, spec.output, *([spec.second] if spec.second else []))]
        case Scatter():
            return [(a, spec.dims) for a in (*spec.indices, spec.updates, spec.output)]
    return [(a, dims) for a in (*own, *_loads(spec))]


def _loads(spec: Map | Reduce | Chain | Dot | BlockDot) -> list[Access]:
    return [s.access for s in spec.body if s.access is not None]
