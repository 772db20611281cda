"""Figures about a program."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import prod

from mlcc.core.graph import DTYPES
from mlcc.program.kernel import Access, BlockDot, Chain, Dot, Kernel, Map, Nest, Reduce, Scan, Scatter
from mlcc.program.program import KernelCall, Program, turns


@dataclass(frozen=True)
class StepCost:
    """What one kernel call must do at least: multiply-adds of dots and chains, bytes of all operands once."""

    origin: str
    kind: str
    shape: str
    multiply_adds: int
    bytes: int


def step_costs(program: Program) -> list[StepCost]:
    """One entry a kernel call, in order: of all of its turns, where it is in a loop."""
    found = [_cost(program, c, program.kernels[c.kernel]) for c in program.calls]
    return [replace(c, multiply_adds=c.multiply_adds * n, bytes=c.bytes * n) for c, n in zip(found, turns(program))]


def multiply_adds(program: Program) -> int:
    """Multiply-adds of its dots and chains."""
    return sum(c.multiply_adds for c in step_costs(program))


def _cost(program: Program, call: KernelCall, spec: Kernel) -> StepCost:
    touched, size = _touched(spec), [DTYPES[program.buffers[a.buffer].dtype].itemsize for a in call.arguments]
    moved = sum(min(n, program.buffers[a.buffer].elements) * s for n, s, a in zip(touched, size, call.arguments))
    return StepCost(call.origin, type(spec).__name__, _shape(spec), _multiply_adds(spec), moved)


def _multiply_adds(spec: Kernel) -> int:
    match spec:
        case Dot():
            return prod(spec.batch) * prod(spec.rows) * prod(spec.k) * spec.columns
        case BlockDot():
            return prod(spec.rows) * prod(spec.k) * spec.columns
        case Chain():
            return prod(spec.dims) * prod(spec.reduced)
        case Nest():
            return sum(_multiply_adds(stage) for stage, _ in spec.stages)
    return 0


def _touched(spec: Kernel) -> list[int]:
    """Elements of each argument that a kernel must read or write at least."""
    touched = [0] * len(spec.arguments)
    if isinstance(spec, Nest):
        for stage, sources in spec.stages:
            for n, source in zip(_touched(stage), sources):
                if source >= 0:
                    touched[source] = max(touched[source], n)
        return touched
    for access, dims in accesses(spec):
        live = prod(n for n, s in zip(dims, access.strides) if s)
        touched[access.arg] = max(touched[access.arg], live)
    if isinstance(spec, Dot):
        touched[spec.b.arg] = prod(n for n, s in zip(spec.batch, spec.b.strides) if s) * prod(spec.k) * spec.columns
    if isinstance(spec, BlockDot):
        touched[spec.b] = prod(spec.k) * spec.columns // 2
    return touched


def _shape(spec: Kernel) -> str:
    """How a profile names the kernel's size."""

    def x(*dims: int) -> str:
        return "x".join(map(str, dims))

    match spec:
        case Dot():
            return f"{x(*spec.batch, *spec.rows)} · {x(*spec.k)} · {spec.columns}"
        case BlockDot():
            return f"{x(*spec.rows)} · {x(*spec.k)} · {spec.columns} bf16"
        case Chain():
            return f"{x(*spec.dims)} · {x(*spec.reduced)}"
        case Reduce():
            return f"{x(*spec.dims)} ← {x(*spec.reduced)}"
        case Nest():
            return " → ".join(_shape(stage) for stage, _ in spec.stages if isinstance(stage, Dot))
    return x(*spec.dims)


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
        case Nest():
            raise TypeError("a nest's accesses are its stages'")
    return [(a, dims) for a in (*own, *_loads(spec))]


def _loads(spec: Map | Reduce | Chain | Dot | BlockDot) -> list[Access]:
    return [s.access for s in spec.body if s.access is not None]
