"""Operators of others, as ONNX functions in a file of their own (`--functions`)."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import onnx
import onnx_ir as ir

from mlcc.error import Error
from mlcc.importers.onnx import from_proto


def add(model: ir.Model, files: Iterable[Path]) -> None:
    """Let a model call the functions of ONNX files; they go over what the model itself has of the same name. Raises Error(usage)."""
    for path in files:
        try:
            proto = onnx.load(path, load_external_data=False)
        except Exception as e:
            raise Error("usage", f"not an ONNX file: {e or type(e).__name__}", str(path), "onnx.save a model that has functions") from None
        found = from_proto(proto).functions
        if not found:
            raise Error("usage", "no functions in it", str(path), "onnx.helper.make_model(…, functions=[onnx.helper.make_function(…)])")
        for key, function in found.items():
            model.functions[key] = function
