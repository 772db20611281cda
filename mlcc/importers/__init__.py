"""Framework files → ONNX models, one importer a framework (`mlcc.plugin.Importer`); heavy frameworks are imported on use."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from mlcc import plugin
from mlcc.error import Error

if TYPE_CHECKING:
    import onnx_ir

NOTES = "mlcc.notes"  # metadata of a model that an importer made, a line each: what a build tells its user
DIMS = "mlcc.dims"  # JSON, an object of an open size's name → its range, such as 1..8
SAMPLES = "mlcc.samples"  # JSON, a list of objects of text input → text: what a model was made for, in golden vectors


def load(path: Path, trust_pickle: bool = False) -> onnx_ir.Model:
    """Read a model by its suffix. trust_pickle: also where reading runs what the file says. Raises Error(model) where the file is not what
    it claims to be."""
    known = plugin.importers()
    if not path.exists():
        raise Error("usage", "no such file", str(path), "give the path of a model file")
    if path.is_dir():
        what = f"a folder, not a model file, and no {' or '.join(sorted(plugin.folders()))} in it"
        raise Error("usage", what, str(path), f"give a file that ends in {' or '.join(known)}")
    importer = plugin.importer(path)
    if importer is None:
        raise Error("model", f"unknown model format '{path.suffix}'", str(path), f"formats read: {', '.join(known)}")
    demand_trust(path, trust_pickle)
    return importer.load(path)


def demand_trust(path: Path, trust_pickle: bool) -> None:
    """Raise Error(usage) where reading a file would run what it says, and nobody has said that this is wanted."""
    for file in (path, *plugin.within(path)):
        suffix = file.suffix.lower()
        if suffix in getattr(plugin.importer(file), "executes", ()) and not trust_pickle:
            what, hint = (
                f"{suffix} is a pickle: to read it is to run what it says",
                "better, save it as .skops or in the framework's own format",
            )
            raise Error("usage", what, str(file), f"if you trust it: --trust-pickle; {hint}")
