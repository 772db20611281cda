"""Microcontrollers: a static library without heap, operating system or C library, tested on an emulated board."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from mlcc.plugin import Lowering, Packaging
from mlcc.target import Target
from mlcc_backends.environment import environment
from mlcc_backends.mcu.compile import compile
from mlcc_backends.mcu.emit import emit
from mlcc_backends.mcu.kits import KITS
from mlcc_backends.mcu.module import McubootPackaging
from mlcc_backends.mcu.run import execute, runner
from mlcc_backends.mcu.sections import Board

consumes: Literal["graph", "program"] = "program"
target_sections: Mapping[str, type] = {"board": Board}
settings: Mapping[str, type] = {}
packagings: Mapping[str, Packaging] = {**KITS, "mcuboot": McubootPackaging()}


def lowering(target: Target) -> Lowering:
    vectors = target.variants[0].machine.vector_bits >= 128
    return Lowering(compact=True, vectors=vectors, bounded=target.section(Board) is not None, loops=True, open=True)


def tools(target: Target) -> Mapping[str, str]:
    return {}


__all__ = [
    "compile",
    "consumes",
    "emit",
    "environment",
    "execute",
    "lowering",
    "packagings",
    "runner",
    "settings",
    "target_sections",
    "tools",
]
