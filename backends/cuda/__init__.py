"""NVIDIA GPUs: one library that loads the driver at run time; built, and proven on the host, without a GPU."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from mlcc.cache.tools import packages
from mlcc.plugin import Lowering, Packaging
from mlcc.target import Target
from mlcc_backends.cuda.compile import compile
from mlcc_backends.cuda.emit import emit
from mlcc_backends.cuda.run import environment, execute, runner
from mlcc_backends.cuda.sections import Gpu

consumes: Literal["graph", "program"] = "program"
target_sections: Mapping[str, type] = {"gpu": Gpu}
settings: Mapping[str, type] = {}
packagings: Mapping[str, Packaging] = {}


def lowering(target: Target) -> Lowering:
    return Lowering(loops=True, open=True)


def tools(target: Target) -> Mapping[str, str]:
    return packages("nvidia-cuda-nvrtc")


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
