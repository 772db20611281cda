"""Several kernels as one: for each point of the outer dimensions the stages in turn, what lies between them in local memory."""

from __future__ import annotations

from typing import Any

from tvm import tirx as t

from mlcc.machine import Machine
from mlcc.program.kernel import Dot, Map, Nest, Reduce
from mlcc.tir.builder import Function
from mlcc.tir.kernels import dot, map, reduce
from mlcc.tir.kernels.map import split_index


def emit(spec: Nest, machine: Machine) -> Any:
    f = Function(spec)
    local = [f.local(dtype, size) for dtype, size in spec.locals]
    with f.loop(f.begin, t.Sub(f.end, f.begin)) as task:
        point = split_index(f, task, spec.outer)
        for stage, sources in spec.stages:
            with f.stage([f.buffers[n] if n >= 0 else local[-1 - n] for n in sources]):
                match stage:
                    case Dot():
                        dot.product(f, stage, machine, point)
                    case Map():
                        map.at(f, stage, machine, point)
                    case Reduce():
                        reduce.at(f, stage, machine, point)
                    case _:
                        raise TypeError(f"no {type(stage).__name__} in a nest")
    return f.finish()
