"""Weights in .safetensors, which has no graph: that is the ONNX file of the same name beside it. Extra: mlcc[safetensors].

A tensor takes the place of the initializer, or of the input, of its name. The file is mapped, not copied, and the `safetensors` package
checks its header before anything of it is believed (https://github.com/huggingface/safetensors#format).
"""

from __future__ import annotations

import json
from pathlib import Path

import onnx
import onnx_ir as ir

from mlcc.cache.tools import packages
from mlcc.error import Error
from mlcc.importers import NOTES, apart, external
from mlcc.importers import onnx as graphs

suffixes = (".safetensors",)
TYPES = {
    "F64": ir.DataType.DOUBLE, "F32": ir.DataType.FLOAT, "F16": ir.DataType.FLOAT16, "BF16": ir.DataType.BFLOAT16,
    "I64": ir.DataType.INT64, "I32": ir.DataType.INT32, "I16": ir.DataType.INT16, "I8": ir.DataType.INT8, "BOOL": ir.DataType.BOOL,
    "U64": ir.DataType.UINT64, "U32": ir.DataType.UINT32, "U16": ir.DataType.UINT16, "U8": ir.DataType.UINT8,
    "F8_E4M3": ir.DataType.FLOAT8E4M3FN, "F8_E5M2": ir.DataType.FLOAT8E5M2,
}  # fmt: skip
COUNTERS = ".num_batches_tracked"  # of PyTorch's batch normalisation: no inference reads them
FEW = 5  # names that an error gives


def inputs(path: Path, raw: bytes) -> list[tuple[str, Path]]:
    """The graph, and what that has outside."""
    graph = path.with_suffix(".onnx")
    return [(graph.name, graph), *external.files(graph, graph.read_bytes())] if graph.is_file() else []


def tools() -> dict[str, str]:
    return packages("safetensors")


def load(path: Path) -> ir.Model:
    """The graph with these weights. Raises Error(usage, model, unsupported)."""
    model, about = graphs.load(_graph(path)), _checked(path)
    with open(path, "rb") as f:
        size = int.from_bytes(f.read(8), "little")
        header = json.loads(f.read(size))
    header.pop("__metadata__", None)
    values = {v.name: v for v in (*model.graph.inputs, *model.graph.initializers.values())}
    strange = sorted(n for n in header if n not in values and not n.endswith(COUNTERS))
    if strange:
        raise Error(
            "model",
            f"tensors that {path.stem}.onnx does not name: {_few(strange)}",
            str(path),
            "export the graph with the weights' own names",
        )
    for name, entry in header.items():
        if name not in values:
            continue
        if entry["dtype"] not in TYPES:
            raise Error("unsupported", f"{name} is of type {entry['dtype']}", str(path), f"types read: {', '.join(TYPES)}")
        begin, end = entry["data_offsets"]
        given = ir.ExternalTensor(
            path.name, 8 + size + begin, end - begin, TYPES[entry["dtype"]], shape=ir.Shape(entry["shape"]), name=name, base_dir=path.parent
        )
        _replace(model, values[name], given, path)
    kept = [n for n, v in model.graph.initializers.items() if n not in header and v.const_value is not None and v.const_value.size > 1]
    if kept:
        model.metadata_props[NOTES] = f"weights that {path.name} does not hold are the graph's own: {_few(kept)}"
    for key, text in about.items():
        if not key.startswith("mlcc."):  # those are importers' own
            model.metadata_props.setdefault(key, text)
    return model


def _few(names: list[str]) -> str:
    return ", ".join(names[:FEW]) + (f" and {len(names) - FEW} more" if len(names) > FEW else "")


def _graph(path: Path) -> Path:
    graph = path.with_suffix(".onnx")
    if not graph.is_file():
        raise Error(
            "usage", f"weights alone, without a graph: no {graph.name} beside them", str(path), "export the graph to ONNX under that name"
        )
    return graph


def _checked(path: Path) -> dict[str, str]:
    """The file's metadata; the package has checked that tensors lie within the file, one behind the other."""
    try:
        from safetensors import safe_open
    except ImportError:
        raise Error("usage", "reading it needs safetensors", str(path), "pip install 'mlcc[safetensors]'") from None
    try:
        with safe_open(path, "np") as f:
            return dict(f.metadata() or {})
    except Exception as e:
        raise Error("model", f"not a safetensors file: {apart.first_line(e)}", str(path), "check that the file is complete") from None


def _replace(model: ir.Model, value: ir.Value, given: ir.ExternalTensor, path: Path) -> None:
    """An initializer's data, or an input's. Raises Error(model) where it is of another type or shape."""
    wanted = value.shape.numpy() if value.shape is not None and all(isinstance(n, int) for n in value.shape) else None
    if value.const_value is not None:
        wanted = tuple(value.const_value.shape.numpy())
    if (value.dtype or given.dtype) != given.dtype or wanted not in (None, tuple(given.shape.numpy())):
        here = f"{given.dtype.name.lower()}{list(given.shape.numpy())}"
        there = f"{value.dtype.name.lower() if value.dtype else ''}{list(wanted) if wanted is not None else ''}"
        raise Error("model", f"{value.name} is {here}, the graph's {there}", str(path), "weights and graph are not of one model")
    value.const_value = given
    if value in model.graph.inputs:
        model.graph.inputs.remove(value)
    model.graph.initializers[value.name] = value


def _judge(path: Path) -> apart.Runs:
    """ONNX Runtime, with the weights as the package reads them."""
    from safetensors.numpy import load_file

    from mlcc.conformance import compare

    proto = onnx.load(_graph(path))
    held = load_file(path)
    names = {t.name for t in proto.graph.initializer} | {v.name for v in proto.graph.input}
    kept = [t for t in proto.graph.initializer if t.name not in held]
    del proto.graph.initializer[:]
    proto.graph.initializer.extend([*kept, *(onnx.numpy_helper.from_array(a, n) for n, a in held.items() if n in names)])
    free = [v for v in proto.graph.input if v.name not in held]
    del proto.graph.input[:]
    proto.graph.input.extend(free)
    return compare.asked(compare.session(proto.SerializeToString()))


runtime = ("onnxruntime", _judge)
