"""CPUs with an operating system: a shared and a static library with a C interface."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from mlcc.plugin import Lowering, Packaging
from mlcc.target import Target
from mlcc_backends.cpu.compile import compile
from mlcc_backends.cpu.emit import emit
from mlcc_backends.cpu.run import execute, runner
from mlcc_backends.environment import environment

consumes: Literal["graph", "program"] = "program"
target_sections: Mapping[str, type] = {}
settings: Mapping[str, type] = {}
packagings: Mapping[str, Packaging] = {}


def lowering(target: Target) -> Lowering:
    return Lowering(narrow=True, loops=True, open=True)


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
