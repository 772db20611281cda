"""Several kernels as one: for each point of the outer dimensions the stages in turn, what lies between them in local memory."""

from __future__ import annotations

from typing import Any

from tvm import tirx as t

from mlcc.machine import Machine
from mlcc.program.kernel import Dot, Map, Nest, Reduce
from mlcc.schedule import dot as schedule
from mlcc.tir.builder import Function, int32
from mlcc.tir.kernels import dot, map, reduce


def emit(spec: Nest, machine: Machine) -> Any:
    f = Function(spec)
    local = [f.local(dtype, size) for dtype, size in spec.locals]
    with f.loop(f.begin, t.Sub(f.end, f.begin)) as point:
        for stage, sources in spec.stages:
            share = schedule.tiles(stage, machine) if isinstance(stage, Dot) else 1
            begin = f.index(t.Mul(point, int32(share)))
            end = f.index(t.Add(begin, int32(share)))
            with f.stage([f.buffers[n] if n >= 0 else local[-1 - n] for n in sources], begin, end):
                match stage:
                    case Dot():
                        dot.write(f, stage, machine)
                    case Map():
                        map.write(f, stage, machine, len(spec.outer))
                    case Reduce():
                        reduce.write(f, stage, machine, len(spec.outer))
                    case _:
                        raise TypeError(f"no {type(stage).__name__} in a nest")
    return f.finish()
