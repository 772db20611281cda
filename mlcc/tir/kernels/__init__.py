"""Kernel specifications → TIR functions, one file a family."""

from __future__ import annotations

from typing import Any

from mlcc.machine import Machine
from mlcc.program.kernel import BlockDot, Chain, Dot, Kernel, Map, Nest, Reduce, Scan, Scatter
from mlcc.tir.kernels import block, chain, dot, map, nest, reduce, serial


def emit(spec: Kernel, machine: Machine) -> Any:
    """The TIR function `(begin, end, arguments…)` of a kernel, scheduled for a machine."""
    match spec:
        case Map():
            return map.emit(spec, machine)
        case Reduce():
            return reduce.emit(spec, machine)
        case Chain():
            return chain.emit(spec, machine)
        case Dot():
            return dot.emit(spec, machine)
        case BlockDot():
            return block.emit(spec, machine)
        case Nest():
            return nest.emit(spec, machine)
        case Scan():
            return serial.emit(spec, machine)
        case Scatter():
            return serial.emit_scatter(spec, machine)
