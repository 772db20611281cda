"""What schedules know of a target's core, from its TOML."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Choice:
    """How a kernel of a family is scheduled, by a lock file or by measuring: numbers by name, in the order of their names. No bit depends
    on it."""

    family: str
    values: tuple[tuple[str, int], ...]

    def __getitem__(self, name: str) -> int:
        return dict(self.values)[name]


@dataclass(frozen=True)
class Machine:
    """vector_bits: 32 for scalar float units; registers: how many such vectors; fma: a fused multiply-add instruction for binary32; l1_kib:
    the smallest first-level data cache of the family; amx: x86 tiles of bfloat16; half: an instruction that widens vectors of float16;
    choice: what a lock file says of the kernel at hand."""

    vector_bits: int
    registers: int
    fma: bool
    l1_kib: int = 32
    amx: bool = False
    half: bool = False
    choice: Choice | None = None

    def lanes(self, heavy: bool) -> int:
        """float32 lanes of an elementwise loop: two vectors for light bodies (latency), one for heavy ones (registers)."""
        own = max(1, self.vector_bits // 32)
        return own if own == 1 else max(4, min(16, own * (1 if heavy else 2)))
