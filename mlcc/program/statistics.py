"""Figures about a program."""

from __future__ import annotations

from math import prod

from mlcc.program.kernel import Chain, Dot
from mlcc.program.program import Program


def multiply_adds(program: Program) -> int:
    """Multiply-adds of its dots and chains."""
    total = 0
    for call in program.calls:
        spec = program.kernels[call.kernel]
        if isinstance(spec, Dot):
            total += prod(spec.batch) * prod(spec.rows) * prod(spec.k) * spec.columns
        elif isinstance(spec, Chain):
            total += prod(spec.dims) * prod(spec.reduced)
    return total
