"""How work is dealt to threads and blocks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod

from mlcc.core.terms import Size, most
from mlcc_backends.c.loops import split
from mlcc_backends.c.text import Lines

BLOCK_THREADS = 256
MANY = 4096  # outputs from which a reduction has threads enough without sharing one output's lanes


@dataclass(frozen=True)
class Launch:
    """How a kernel is started. blocks: may follow from sizes that a run decides; shared: bytes a block; barriers: whether its threads wait
    for one another."""

    blocks: Size
    threads: int
    shared: int = 0
    barriers: bool = False


def over(n: Size, by: int) -> Size:
    """How many times `by` covers n."""
    return (n + by - 1) // by


def threads(lines: Lines, dims: Sequence[int], work: Callable[[list[str]], None]) -> Launch:
    count = prod(dims)
    threads = min(BLOCK_THREADS, over(most(count), 32) * 32)
    lines.add(f"const uint32_t thread = blockIdx.x * {threads}u + threadIdx.x;")
    if count % threads != 0:
        lines.add(f"if (thread >= {f'{count}u' if isinstance(count, int) else f'(uint32_t)({count})'}) return;")
    lines.add("const int32_t i = (int32_t)thread;")
    work(split(lines, "i", dims))
    return Launch(over(count, threads), threads)
