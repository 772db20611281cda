"""FPGAs and ASICs: HLS C++ for the vendors' tools and SystemVerilog for open ones, from the core graph.

A model is mapped to stages joined by streams (map.py), given lanes and memories that fit a part (fold.py, timing.py), and written as C++
(cpp.py) and as RTL (verilog.py); what has no such form runs one layer after the other (engine.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from mlcc.cache.tools import programs
from mlcc.plugin import Lowering, Packaging
from mlcc.target import Target
from mlcc_backends.hls.build import compile, emit
from mlcc_backends.hls.run import environment, execute, runner
from mlcc_backends.hls.sections import Hardware, Part
from mlcc_backends.hls.synth import BitstreamPackaging

consumes: Literal["graph", "program"] = "graph"
target_sections: Mapping[str, type] = {"part": Part}
settings: Mapping[str, type] = {"hardware": Hardware}
packagings: Mapping[str, Packaging] = {"bitstream": BitstreamPackaging()}


def lowering(target: Target) -> Lowering:
    return Lowering()


def tools(target: Target) -> Mapping[str, str]:
    return programs("verilator", "g++", "yosys", "nextpnr-ice40", "nextpnr-ecp5")


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
