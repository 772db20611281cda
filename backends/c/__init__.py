"""Portable C99: one readable file a model, for any conforming compiler."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from mlcc.plugin import Lowering, Packaging
from mlcc.target import Target
from mlcc_backends.c.compile import compile, execute
from mlcc_backends.c.emit import emit
from mlcc_backends.cpu.run import runner
from mlcc_backends.environment import environment

consumes: Literal["graph", "program"] = "program"
target_sections: Mapping[str, type] = {}
settings: Mapping[str, type] = {}
packagings: Mapping[str, Packaging] = {}


def lowering(target: Target) -> Lowering:
    return Lowering(compact=True, vectors=target.variants[0].machine.vector_bits >= 128, loops=True, open=True)


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
