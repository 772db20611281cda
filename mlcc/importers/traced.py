"""Functions of onnxscript, `python -m mlcc.importers.traced convert FILE`: Python that its user trusts, run in a process of its own."""

from __future__ import annotations

import os
import runpy
import sys
from pathlib import Path

import onnx
import onnx_ir as ir

from mlcc.error import Error
from mlcc.importers import apart
from mlcc.importers.onnx import from_proto

FUNCTION = "MLCC_FUNCTION"
SECONDS = 600


def load(path: Path, function: str, where: str) -> ir.Model:
    """The function of a file as a model. Raises Error."""
    if not function:
        raise Error("usage", "which of its functions", where, f'python = "{path.name}:NAME"')
    return from_proto(onnx.load_from_string(apart.convert(__name__, path, SECONDS, {FUNCTION: function})))


# ---- in the other process ----


def main() -> None:
    apart.main(lambda path: path, lambda path: converted(path, os.environ[FUNCTION]))


def converted(path: Path, name: str) -> bytes:
    try:
        import onnxscript
    except ImportError as e:
        raise Error("usage", f"reading it needs {e.name}", hint="pip install 'mlcc[torch]'") from None
    sys.path.insert(0, str(path.parent))
    try:
        held = runpy.run_path(str(path))
    except Exception as e:
        raise Error("usage", f"it cannot be run: {type(e).__name__}: {apart.first_line(e)}") from None
    if not isinstance(held.get(name), onnxscript.OnnxFunction):
        raise Error("usage", f"{name} is no function of onnxscript", hint="decorate it with @onnxscript.script()")
    try:
        return bytes(held[name].to_model_proto().SerializeToString())
    except Exception as e:
        raise Error("unsupported", f"onnxscript cannot write {name}: {apart.first_line(e)}") from None


if __name__ == "__main__":
    main()
