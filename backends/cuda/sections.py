"""What target files say of GPUs."""

from __future__ import annotations

from dataclasses import dataclass

from mlcc.error import Error
from mlcc.target import Target


@dataclass(frozen=True)
class Gpu:
    """architectures: whose code the library holds, such as sm_90."""

    architectures: tuple[str, ...]


def architectures_of(target: Target) -> tuple[str, ...]:
    """Raises Error(usage) where a target's file names none."""
    gpu = target.section(Gpu)
    if gpu is None:
        raise Error("usage", "no [gpu] in the target's file", target.name, 'say whose code to hold: architectures = ["sm_90"]')
    return gpu.architectures
