"""External data of ONNX models: which files a model names, wherever it names them, and where these may lie.

A model's data lies in its own folder, or below. Where the model is a link (as in the Hugging Face cache, whose snapshots are links into a
folder of blobs), the data may also lie beside the link or beside what it points to, within the folder that holds both.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import onnx

from mlcc.error import Error


def tensors(model: onnx.ModelProto) -> Iterator[onnx.TensorProto]:
    """Every tensor of a model: initializers, sparse ones, attributes, in all graphs and functions."""
    for function in model.functions:
        for attribute in function.attribute_proto:
            yield from _of_attribute(attribute)
        yield from _of_nodes(function.node)
    for info in model.training_info:
        yield from _of_graph(info.initialization)
        yield from _of_graph(info.algorithm)
    yield from _of_graph(model.graph)


def _of_graph(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield from (sparse.values, sparse.indices)
    yield from _of_nodes(graph.node)


def _of_nodes(nodes: object) -> Iterator[onnx.TensorProto]:
    for node in nodes:  # type: ignore[attr-defined]
        for attribute in node.attribute:
            yield from _of_attribute(attribute)


def _of_attribute(attribute: onnx.AttributeProto) -> Iterator[onnx.TensorProto]:
    if attribute.HasField("t"):
        yield attribute.t
    yield from attribute.tensors
    for sparse in (*([attribute.sparse_tensor] if attribute.HasField("sparse_tensor") else []), *attribute.sparse_tensors):
        yield from (sparse.values, sparse.indices)
    if attribute.HasField("g"):
        yield from _of_graph(attribute.g)
    for graph in attribute.graphs:
        yield from _of_graph(graph)


def locations(raw: bytes) -> list[str]:
    """Names of the external data files of an ONNX model, as it gives them; none where it is no ONNX file."""
    if b"location" not in raw:
        return []
    try:
        model = onnx.load_model_from_string(raw)
    except Exception:  # the importer says what is wrong with it
        return []
    named = {
        e.value for t in tensors(model) if t.data_location == onnx.TensorProto.EXTERNAL for e in t.external_data if e.key == "location"
    }
    return sorted(named)


def place(path: Path, location: str) -> Path:
    """Where a model's data file lies. Raises Error(model) where it lies nowhere that it may, or is no plain file."""
    parts = PurePosixPath(location.replace("\\", "/"))
    if parts.is_absolute() or ".." in parts.parts or not parts.parts or "\0" in location:
        raise _outside(path, location)
    folders = _folders(path)
    found = next((f / parts for f in folders if (f / parts).exists()), None)
    if found is None:
        raise Error("model", f"external data is missing: {location}", str(path), "copy the data file beside the model")
    real = found.resolve()
    if not any(real.is_relative_to(f.resolve()) for f in folders):
        raise _outside(path, location)
    if not real.is_file():
        raise Error("model", f"external data is no file: {location}", str(path))
    return real


def _folders(path: Path) -> list[Path]:
    """The model's folder; and, where the model is a link to a neighbour of it, that one's folder."""
    own = path.absolute().parent
    target = path.resolve().parent
    shared = target.parent
    return [own, target] if target != own.resolve() and own.resolve().is_relative_to(shared) and shared != Path(shared.anchor) else [own]


def _outside(path: Path, location: str) -> Error:
    return Error(
        "model", f"external data lies outside the model's folder: {location}", str(path), "move the file beside the model and export again"
    )


def files(path: Path, raw: bytes) -> list[tuple[str, Path]]:
    """(name in the model, file) of the external data of a model (its file, and what that holds) that is there and may be."""
    found = []
    for location in locations(raw):
        try:
            found.append((location, place(path, location)))
        except Error:  # the importer refuses it
            continue
    return found
