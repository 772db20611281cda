"""ONNX files, with external data kept where it may lie: inside the model's own folder."""

from __future__ import annotations

import logging
from pathlib import Path

import onnx_ir as ir

from mlcc.error import Error


def load(path: Path) -> ir.Model:
    """Read an ONNX file. External tensors are memory-mapped, so that models over 2 GB need no copy."""
    logging.getLogger("onnx_ir").setLevel(logging.CRITICAL)  # what it warns of is an error here, said once
    try:
        if path.stat().st_size == 0:
            raise Error("model", "the file is empty", str(path))
        model = ir.load(path)
    except Error:
        raise
    except Exception as e:  # protobuf and the deserialiser raise many types
        raise Error(
            "model", f"not an ONNX model: {e or type(e).__name__}", str(path), "check that the file is complete, or export it again"
        ) from None
    if not model.opset_imports:
        raise Error(
            "model", "not an ONNX model: it imports no operator set", str(path), "check that the file is complete, or export it again"
        )
    check_external(model, path)
    return model


def check_external(model: ir.Model, path: Path) -> None:
    """External data must be regular files below the model's folder, long enough for what is read from them."""
    root = path.resolve().parent
    for graph in (model.graph, *(f.graph for f in model.functions.values())):
        for value in graph.initializers.values():
            tensor = value.const_value
            if not isinstance(tensor, ir.ExternalTensor):
                continue
            place = (root / tensor.location).resolve()
            if not place.is_relative_to(root):
                raise Error(
                    "model",
                    f"external data of {value.name} lies outside the model's folder: {tensor.location}",
                    str(path),
                    "move the file beside the model and export again",
                )
            if not place.is_file():
                raise Error(
                    "model",
                    f"external data of {value.name} is missing: {tensor.location}",
                    str(path),
                    "copy the data file beside the model",
                )
            if place.stat().st_size < (tensor.offset or 0) + (tensor.length or tensor.nbytes):
                raise Error(
                    "model", f"external data of {value.name} is cut short: {tensor.location}", str(path), "copy the whole data file"
                )
