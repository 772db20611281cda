"""What a part has, what stages cost on it, and how fast it runs: models that synthesis is held against (docs/fpga.md)."""

from __future__ import annotations

from dataclasses import dataclass, fields
from math import ceil

from mlcc_backends.hls.sections import Part


@dataclass(frozen=True)
class Resources:
    luts: int = 0
    registers: int = 0
    dsps: int = 0
    rams: int = 0

    def __add__(self, other: Resources) -> Resources:
        return Resources(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(self)))

    def __mul__(self, count: int) -> Resources:
        return Resources(*(getattr(self, f.name) * count for f in fields(self)))

    def exceed(self, limits: Resources) -> list[str]:
        """Names of what there is too much of."""
        return [f.name for f in fields(self) if f.name != "registers" and getattr(self, f.name) > getattr(limits, f.name)]


def limits(part: Part, share: float) -> Resources:
    return Resources(int(part.luts * share), int(part.luts * 2 * share), int(part.dsps * share), int((part.rams + 8 * part.urams) * share))


def memory(part: Part, width: int, depth: int) -> Resources:
    """A memory of `depth` words: in lookup tables where it is shallow, else in blocks."""
    if width * depth == 0:
        return Resources()
    if depth <= 64 or width * depth <= 1024:
        return Resources(luts=ceil(width * max(1, ceil(depth / (1 << part.lut_inputs)))) + 4)
    best = min(ceil(width / w) * ceil(depth * w / part.ram_bits) for w in _widths(part))
    return Resources(rams=best)


def _widths(part: Part) -> list[int]:
    found = [part.ram_width]
    while found[-1] > 1:
        found.append(max(1, found[-1] // 2))
    return found


def multiplier(part: Part, a: int, b: int) -> Resources:
    """One product of a by b bits."""
    wide, narrow = max(a, b), min(a, b)
    if narrow <= 1 or wide * narrow <= 24:
        return Resources(luts=max(1, wide * narrow * 6 // part.lut_inputs // 2))
    count = ceil(wide / part.dsp_bits[0]) * ceil(narrow / part.dsp_bits[1])
    if part.dsps == 0:
        return Resources(luts=wide * narrow * 6 // part.lut_inputs)
    return Resources(dsps=count)


def adder(bits: int) -> Resources:
    return Resources(luts=bits, registers=bits)
