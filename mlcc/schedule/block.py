"""How the bf16 profile's dots are cut."""

from __future__ import annotations

from math import prod

from mlcc.machine import Machine
from mlcc.program.kernel import BlockDot

CHUNK_PAIRS = 32  # pairs of panels that one task of a block dot takes
SWEEP_PAIRS = 8  # pairs whose sums wait for the body


def block_rows(machine: Machine) -> int:
    """Rows that a task of a block dot packs and multiplies."""
    return 32 if machine.amx else 8


def block_chunks(spec: BlockDot) -> int:
    """Column ranges that a block dot's tasks are made of."""
    pairs = -(-spec.columns // 32)
    return -(-pairs // CHUNK_PAIRS)


def tasks(spec: BlockDot, machine: Machine) -> int:
    return (prod(spec.rows) + block_rows(machine) - 1) // block_rows(machine) * block_chunks(spec)
