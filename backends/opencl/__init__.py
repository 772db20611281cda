"""GPUs of any maker through OpenCL: the CUDA backend's kernels as OpenCL C, compiled by the device's driver at run time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from mlcc.plugin import Lowering, Packaging
from mlcc.target import Target
from mlcc_backends.cpu.run import execute
from mlcc_backends.opencl.build import compile, emit, environment, runner

consumes: Literal["graph", "program"] = "program"
target_sections: Mapping[str, type] = {}
settings: Mapping[str, type] = {}
packagings: Mapping[str, Packaging] = {}


def lowering(target: Target) -> Lowering:
    return Lowering(loops=True, open=True)


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
