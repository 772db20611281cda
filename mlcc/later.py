"""Imports of others that are put off until somebody uses them.

onnx_ir imports sympy for arithmetic on symbolic sizes, which mlcc never asks of it: half a second of every command, up to four on a slow
machine. sympy itself does not load in parts: https://github.com/sympy/sympy/issues/29881. TVM imports all of its dialects and its
distributed run-time, of which mlcc uses one: a second of the 1.6 that it takes. `tests/test_house.py` tells when they are mended."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType

PUT_OFF = {  # what is put off while a package is imported → that package
    "sympy": "onnx_ir._core", "onnx_ir._symbolic_shapes": "onnx_ir._core",
    "tvm.relax": "tvm", "tvm.s_tir": "tvm", "tvm.runtime.disco": "tvm",
}  # fmt: skip


class Later(MetaPathFinder):
    """Loads a module of PUT_OFF when an attribute of it is first asked for. Other imports of it are as they were."""

    def find_spec(self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None) -> ModuleSpec | None:
        importer = sys.modules.get(PUT_OFF.get(name, ""))
        if importer is None or not getattr(importer.__spec__, "_initializing", False):
            return None
        if name == "tvm.relax":  # which would have imported it, for whoever names it without importing it
            importlib.import_module("tvm.s_tir")
        spec = PathFinder.find_spec(name, path, target)
        if spec is not None and spec.loader is not None:
            spec.loader = importlib.util.LazyLoader(spec.loader)
        return spec


def install() -> None:
    if not any(isinstance(finder, Later) for finder in sys.meta_path):
        sys.meta_path.insert(0, Later())
