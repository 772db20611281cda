"""Framework files → ONNX models, one importer a framework (`mlcc.plugin.Importer`); heavy frameworks are imported on use."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from mlcc import plugin
from mlcc.error import Error

if TYPE_CHECKING:
    import onnx_ir


def load(path: Path) -> onnx_ir.Model:
    """Read a model by its suffix. Raises Error(model) where the file is not what it claims to be."""
    known = plugin.importers()
    if not path.exists():
        raise Error("usage", "no such file", str(path), "give the path of a model file")
    if path.is_dir():
        raise Error("usage", "a folder, not a model file", str(path), f"give a file that ends in {' or '.join(known)}")
    importer = known.get(path.suffix.lower())
    if importer is None:
        raise Error("model", f"unknown model format '{path.suffix}'", str(path), f"formats read: {', '.join(known)}")
    return importer.load(path)
