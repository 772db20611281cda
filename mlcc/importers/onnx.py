"""ONNX files, with external data kept where it may lie: inside the model's own folder."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import onnx
import onnx_ir as ir

from mlcc.error import Error
from mlcc.importers.external import files, place

suffixes = (".onnx",)


def inputs(path: Path, raw: bytes) -> list[tuple[str, Path]]:
    """External data."""
    return files(path, raw)


def tools() -> dict[str, str]:
    return {}


def load(path: Path) -> ir.Model:
    """Read an ONNX file. External tensors are memory-mapped, so that models over 2 GB need no copy."""
    logging.getLogger("onnx_ir").setLevel(logging.CRITICAL)  # what it warns of is an error here, said once
    try:
        if path.stat().st_size == 0:
            raise Error("model", "the file is empty", str(path))
        model = from_proto(onnx.load(path, load_external_data=False))
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


def from_proto(proto: onnx.ModelProto) -> ir.Model:
    """A model as onnx_ir has it, which knows no maps: what scikit-learn's and CatBoost's classifiers give stays without a declared type,
    and becomes a tensor (ZipMap)."""
    for value in (*proto.graph.output, *proto.graph.value_info):
        if "map_type" in _kinds(value.type):
            value.ClearField("type")
    return ir.from_proto(proto)


def _kinds(type: onnx.TypeProto) -> list[str]:
    """A type and what it is of."""
    kind = type.WhichOneof("value")
    inner = getattr(type, str(kind)).elem_type if kind in ("sequence_type", "optional_type") else None
    return [str(kind), *(_kinds(inner) if inner is not None else [])]


def check_external(model: ir.Model, path: Path) -> None:
    """External data, wherever the model names it, must be plain files where a model's data may lie, long enough for what is read from
    them."""
    for tensor in _external(model):
        file = place(path, str(tensor.location))
        if file.stat().st_size < (tensor.offset or 0) + (tensor.length or tensor.nbytes):
            raise Error("model", f"external data of {tensor.name} is cut short: {tensor.location}", str(path), "copy the whole data file")
        tensor.base_dir, tensor._location = str(file.parent), file.name  # links followed; onnx_ir has no setter for the name


def _external(model: ir.Model) -> Iterator[ir.ExternalTensor]:
    """Every external tensor: initializers and attributes of all graphs."""
    for top in (model.graph, *(f.graph for f in model.functions.values())):
        for graph in (top, *top.subgraphs()):
            for value in graph.initializers.values():
                if isinstance(value.const_value, ir.ExternalTensor):
                    yield value.const_value
            for node in graph:
                for attribute in node.attributes.values():
                    if attribute.is_ref():
                        continue
                    held = attribute.value if isinstance(attribute.value, tuple) else (attribute.value,)
                    yield from (t for t in held if isinstance(t, ir.ExternalTensor))
