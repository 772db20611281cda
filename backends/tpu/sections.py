"""What target files and mlcc.toml say for XLA."""

from __future__ import annotations

import re
from dataclasses import dataclass
from math import prod

from mlcc.error import Error


@dataclass(frozen=True)
class Xla:
    """topology: of TPUs, as libtpu names it; floats: "exact": binary32 is computed in integers; platforms: what the portable program is
    for."""

    topology: str = ""
    floats: str = ""
    platforms: tuple[str, ...] = ()


@dataclass(frozen=True)
class Serving:
    """How an accelerator's program is called. batches: a program for each of these numbers of inputs at once; chips: a topology (v5e:2x2)
    over which a batch is dealt out; donate: whether inputs' memory may be used for results."""

    batches: tuple[int, ...] = ()
    chips: str = ""
    donate: bool = False

    def __post_init__(self) -> None:
        if not all(n > 0 for n in self.batches):
            raise Error("usage", "batches is a list of whole numbers from 1 on")
        if self.chips and not re.fullmatch(r"v\w+:\d+(x\d+)+", self.chips):
            raise Error("usage", f"no topology: {self.chips}", hint='chips is one as libtpu names it, such as "v5e:2x2"')
        if uneven := [n for n in self.batches if n % self.devices]:
            raise Error(
                "usage", f"a batch of {uneven[0]} cannot be dealt to {self.devices} chips", hint=f"batches that {self.devices} divides"
            )
        object.__setattr__(self, "batches", tuple(dict.fromkeys(self.batches)))

    @property
    def devices(self) -> int:
        """Chips that a batch is dealt to."""
        return prod(int(n) for n in self.chips.partition(":")[2].split("x")) if self.chips else 1
