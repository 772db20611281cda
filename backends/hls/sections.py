"""What target files say of logic chips, and mlcc.toml of the hardware that is wanted."""

from __future__ import annotations

from dataclasses import dataclass

from mlcc.error import Error
from mlcc.target import Target

ARCHITECTURES = ("circuit", "dataflow", "engine")


@dataclass(frozen=True)
class Part:
    """A logic chip: what it has, and who makes hardware for it. ram_bits, ram_width: of one block of memory; dsp_bits: a multiplier's
    operands; flavour: "vitis", "catapult" or "rtl"; synthesis: yosys's command for the family; place: the command that places and
    routes."""

    device: str = ""
    flavour: str = "vitis"
    luts: int = 0
    dsps: int = 0
    rams: int = 0
    ram_bits: int = 36864
    ram_width: int = 72
    urams: int = 0
    dsp_bits: tuple[int, int] = (27, 18)
    lut_inputs: int = 6
    mhz: int = 200
    synthesis: str = ""
    place: tuple[str, ...] = ()

    @property
    def commands(self) -> tuple[tuple[str, ...], ...]:
        """What would be started."""
        return ((self.synthesis,) if self.synthesis else (), self.place)


@dataclass(frozen=True)
class Hardware:
    """What is asked of hardware. architecture: "circuit", "dataflow", "engine", or "" for whichever fits; interval: most cycles between
    inferences (0: as few as fit); share: of the part that may be planned with."""

    architecture: str = ""
    interval: int = 0
    share: float = 0.7

    def __post_init__(self) -> None:
        if self.architecture not in ("", *ARCHITECTURES):
            raise Error("usage", f"no architecture {self.architecture}", hint=", ".join(ARCHITECTURES[:2]) + " or engine")
        if self.interval < 0 or not 0 < self.share <= 1:
            raise Error("usage", "interval is a number of cycles, share a part of 1")


def part_of(target: Target) -> Part:
    """The chip. Raises Error(usage) where a target's file says nothing of it."""
    part = target.section(Part)
    if part is None:
        raise Error("usage", "no [part] in the target's file", target.name, "say what the chip has: luts, dsps, rams, mhz")
    return part


def hardware_of(target: Target) -> Hardware:
    """What is asked for."""
    return target.section(Hardware) or Hardware()
