"""Cycles of an inference on Cortex-M cores whose timings Arm publishes: instructions counted by QEMU, one by one, times what each takes.

Sources: Cortex-M0+ (DDI 0484, 3.3), Cortex-M3 (DDI 0337, 3.3) and Cortex-M4 (DDI 0439, 3.3 and 7.2.3) Technical Reference Manuals. No wait
states, no dependencies between float instructions; a load behind a load or store takes one cycle less (M3, M4), divisions half-way between
their extremes. Arm publishes no such table for Cortex-M7, M33 and M55; RISC-V cores differ by maker.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Timing:
    """Cycles by class of instruction; `taken`: what a branch that is taken takes more; `pipelined`: whether loads behind loads and stores
    take one."""

    source: str
    taken: int
    load: int
    store: int
    pipelined: bool
    others: Mapping[str, int] = field(default_factory=dict)


CORES = {
    "cortex_m0plus": Timing("Arm DDI 0484", 1, 2, 2, False, {"link": 2}),
    "cortex_m3": Timing("Arm DDI 0337", 2, 2, 1, True, {"accumulate": 2, "long": 4, "divide": 7}),
    "cortex_m4": Timing("Arm DDI 0439", 2, 2, 1, True, {"divide": 7, "fused": 3, "float divide": 14}),
}


def timing(cpu: str) -> Timing | None:
    """Of a core by LLVM's name (and its features); None where nothing is published."""
    return CORES.get(cpu.partition("+")[0])


def instructions(code: bytes) -> Iterator[tuple[str, int]]:
    """(class, registers that it moves) of each Thumb instruction (Armv7-M Architecture Reference Manual, A5)."""
    at = 0
    while at + 1 < len(code):
        first = int.from_bytes(code[at : at + 2], "little")
        if first >> 11 in (0b11101, 0b11110, 0b11111):
            yield _wide(first, int.from_bytes(code[at + 2 : at + 4], "little"))
            at += 4
        else:
            yield _narrow(first)
            at += 2


def _narrow(h: int) -> tuple[str, int]:
    match h >> 12:
        case 0b0100 if h & 0xF800 == 0x4800:
            return "load", 1
        case 0b0100 if h & 0xFF00 == 0x4700:
            return "branch", 0
        case 0b0101:
            return ("store" if (h >> 9) & 7 < 3 else "load"), 1
        case 0b0110 | 0b0111 | 0b1000 | 0b1001:
            return ("load" if h & 0x800 else "store"), 1
        case 0b1011 if h & 0xFE00 in (0xB400, 0xBC00):
            return "several", (h & 0x1FF).bit_count()
        case 0b1100:
            return "several", (h & 0xFF).bit_count()
    return "other", 0


def _wide(h: int, second: int) -> tuple[str, int]:
    if h & 0xFE40 == 0xE800:
        return "several", second.bit_count()
    if h & 0xFE40 == 0xE840:
        if h & 0xFFF0 == 0xE8D0 and second & 0xFFE0 == 0xF000:
            return "load", 1  # a table of branches
        return "several", 2
    if h & 0xEE00 == 0xEC00:
        if h & 0xFFE0 == 0xEC40:
            return "several", 1  # two core registers
        if h & 0x0120 == 0x0100:
            return ("load" if h & 0x10 else "store"), 1
        return "several", second & 0xFF
    if h & 0xEF00 == 0xEE00 and second & 0x0E10 == 0x0A00:
        kind = (h >> 5 & 4) | (h >> 4 & 3)
        root = kind == 7 and h & 0xF == 1 and second & 0xC0 == 0xC0
        return ("float divide" if kind == 4 or root else "fused" if kind in (0, 1, 5, 6) else "other"), 0
    if h & 0xF800 == 0xF000 and second & 0x8000:
        return ("link" if second & 0xD000 == 0xD000 else "other"), 0
    if h & 0xFE00 == 0xF800:
        return ("load" if h & 0x10 else "store"), 1
    if h & 0xFF80 == 0xFB00:
        return ("other" if h & 0x70 == 0 and second & 0xF000 == 0xF000 else "accumulate"), 0
    if h & 0xFF80 == 0xFB80:
        return ("divide" if second & 0xF0 == 0xF0 else "long"), 0
    return "other", 0


def counted(text: str, core: Timing) -> tuple[int, int]:
    """(instructions, cycles) of an inference; text: what the plugin wrote."""
    total = cycles = 0
    for line in text.splitlines():
        _, runs, taken, code = line.split()
        spent, count, before = 0, 0, ""
        for kind, registers in instructions(bytes.fromhex(code)):
            count += 1
            if kind == "several":
                spent += 1 + registers
            elif kind in ("load", "store"):
                cost = core.load if kind == "load" else core.store
                spent += 1 if core.pipelined and before in ("load", "store") else cost
            else:
                spent += core.others.get(kind, 1)
            before = kind
        total += count * int(runs)
        cycles += spent * int(runs) + core.taken * int(taken)
    return total, cycles
