"""Framework files → ONNX models, one file a framework; heavy frameworks are imported on use."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from mlcc.error import Error

if TYPE_CHECKING:
    import onnx_ir


def _onnx(path: Path) -> onnx_ir.Model:
    from mlcc.importers.onnx import load

    return load(path)


def _torch(path: Path) -> onnx_ir.Model:
    from mlcc.importers.torch import load

    return load(path)


BY_SUFFIX: dict[str, Callable[[Path], onnx_ir.Model]] = {".onnx": _onnx, ".pt2": _torch}


def load(path: Path) -> onnx_ir.Model:
    """Read a model by its suffix. Raises Error(model) where the file is not what it claims to be."""
    if not path.exists():
        raise Error("usage", "no such file", str(path), "give the path of a model file")
    if path.is_dir():
        raise Error("usage", "a folder, not a model file", str(path), f"give a file that ends in {' or '.join(BY_SUFFIX)}")
    importer = BY_SUFFIX.get(path.suffix.lower())
    if importer is None:
        raise Error("model", f"unknown model format '{path.suffix}'", str(path), f"formats read: {', '.join(BY_SUFFIX)}")
    return importer(path)
