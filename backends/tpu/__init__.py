"""TPUs and other accelerators through XLA: portable StableHLO, and executables compiled ahead of time by libtpu, without a TPU.

This backend takes the core graph, not the loop program: XLA makes its own loops.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from mlcc.cache.tools import packages
from mlcc.plugin import Lowering, Packaging
from mlcc.target import Target
from mlcc_backends.tpu.build import compile, emit
from mlcc_backends.tpu.run import environment, execute, runner
from mlcc_backends.tpu.sections import Serving, Xla

consumes: Literal["graph", "program"] = "graph"
target_sections: Mapping[str, type] = {"xla": Xla}
settings: Mapping[str, type] = {"serving": Serving}
packagings: Mapping[str, Packaging] = {}


def lowering(target: Target) -> Lowering:
    return Lowering(open=True)


def tools(target: Target) -> Mapping[str, str]:
    return packages("jax", "jaxlib", "libtpu")


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
