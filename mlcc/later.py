"""Imports of others that are put off until somebody uses them.

onnx_ir imports sympy for arithmetic on symbolic sizes, which mlcc never asks of it: half a second of every command, up to four on a slow
machine. sympy itself does not load in parts: https://github.com/sympy/sympy/issues/29881 (`tests/test_house.py` tells when it does)."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType

PUT_OFF = ("sympy", "onnx_ir._symbolic_shapes")
BY = "onnx_ir._core"


class Later(MetaPathFinder):
    """Loads what onnx_ir imports of PUT_OFF when an attribute of it is first asked for. Others' imports are as they were."""

    def find_spec(self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None) -> ModuleSpec | None:
        importer = sys.modules.get(BY)
        if name not in PUT_OFF or importer is None or not getattr(importer.__spec__, "_initializing", False):
            return None
        spec = PathFinder.find_spec(name, path, target)
        if spec is not None and spec.loader is not None:
            spec.loader = importlib.util.LazyLoader(spec.loader)
        return spec


def install() -> None:
    if not any(isinstance(finder, Later) for finder in sys.meta_path):
        sys.meta_path.insert(0, Later())
