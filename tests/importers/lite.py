"""Writes TensorFlow Lite files of one operator or a few, for tests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import flatbuffers
import numpy as np
import tflite

TYPES = {
    "float32": "FLOAT32",
    "float16": "FLOAT16",
    "bool": "BOOL",
    "complex64": "COMPLEX64",
    "resource": "RESOURCE",
    **{t: t.upper() for t in ("int8", "uint8", "int16", "int32", "int64")},
}


@dataclass(frozen=True)
class Tensor:
    """Of a type and shape; `data` where it is constant; scales and zero points where it is quantised, along `axis` if there are several."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    data: np.ndarray | None = None
    scale: tuple[float, ...] = ()
    zero: tuple[int, ...] = ()
    axis: int = 0
    variable: bool = False
    signature: tuple[int, ...] = ()  # its shape with -1 for what a run decides


def constant(name: str, data: np.ndarray, scale: Sequence[float] = (), zero: Sequence[int] = (), axis: int = 0) -> Tensor:
    return Tensor(name, str(data.dtype), data.shape, data, tuple(scale), tuple(zero) or (0,) * len(scale), axis)


@dataclass(frozen=True)
class Operator:
    """By its name in the schema; `options` by the schema's table and its fields."""

    name: str
    inputs: Sequence[Tensor | None]
    outputs: Sequence[Tensor]
    table: str = ""
    options: Mapping[str, Any] | None = None


Graph = tuple[Sequence[Operator], Sequence[Tensor], Sequence[Tensor]]  # operators, inputs, outputs


def written(
    operators: Sequence[Operator], inputs: Sequence[Tensor], outputs: Sequence[Tensor], *inner: Graph, metadata: bytes = b""
) -> bytes:
    """A file; inner: further subgraphs, from number 1 on; metadata: TFLite Metadata's own table."""
    b = flatbuffers.Builder(1024)

    def vector(values: Sequence[int], floats: bool = False, wide: bool = False) -> int:
        return b.CreateNumpyVector(np.array(values, np.float32 if floats else np.int64 if wide else np.int32))

    def table(name: str, **fields: Any) -> int:
        getattr(tflite, f"{name}Start")(b)
        for field, value in fields.items():
            getattr(tflite, f"{name}Add{field}")(b, value)
        return getattr(tflite, f"{name}End")(b)

    def offsets(items: Sequence[int]) -> int:
        b.StartVector(4, len(items), 4)
        for item in reversed(items):
            b.PrependUOffsetTRelative(item)
        return b.EndVector()

    def tensor(t: Tensor, buffer: int) -> int:
        name, shape, more = b.CreateString(t.name), vector(t.shape), {}
        if t.scale:
            scale, zero = vector(t.scale, floats=True), vector(t.zero, wide=True)  # type: ignore[arg-type]
            more["Quantization"] = table("QuantizationParameters", Scale=scale, ZeroPoint=zero, QuantizedDimension=t.axis)
        if t.variable:
            more["IsVariable"] = True
        if t.signature:
            more["ShapeSignature"] = vector(t.signature)
        return table("Tensor", Name=name, Shape=shape, Type=getattr(tflite.TensorType, TYPES[t.dtype]), Buffer=buffer, **more)

    buffers, codes = [table("Buffer")], []

    def subgraph(operators: Sequence[Operator], inputs: Sequence[Tensor], outputs: Sequence[Tensor]) -> int:
        known = [*inputs, *(t for o in operators for t in (*o.inputs, *o.outputs) if t is not None)]
        by_name = {t.name: t for t in known}
        place = {n: i for i, n in enumerate(by_name)}
        made = []
        for t in by_name.values():
            if t.data is not None:
                buffers.append(table("Buffer", Data=b.CreateByteVector(np.ascontiguousarray(t.data).tobytes())))
            made.append(tensor(t, len(buffers) - 1 if t.data is not None else 0))
        nodes = []
        for o in operators:
            code = getattr(tflite.BuiltinOperator, o.name)
            version = VERSIONS.get(o.name, 1)
            codes.append(table("OperatorCode", DeprecatedBuiltinCode=min(code, 127), BuiltinCode=code, Version=version))
            ins, outs = vector([-1 if t is None else place[t.name] for t in o.inputs]), vector([place[t.name] for t in o.outputs])
            more = {}
            if o.table:
                fields = {
                    k: vector(v, floats=any(isinstance(n, float) for n in v))
                    if isinstance(v, (list, tuple))
                    else b.CreateString(v)
                    if isinstance(v, str)
                    else v
                    for k, v in (o.options or {}).items()
                }
                more = {"BuiltinOptions": table(o.table, **fields), "BuiltinOptionsType": getattr(tflite.BuiltinOptions, o.table)}
            nodes.append(table("Operator", OpcodeIndex=len(codes) - 1, Inputs=ins, Outputs=outs, **more))
        ends = [vector([place[t.name] for t in group]) for group in (inputs, outputs)]
        return table("SubGraph", Tensors=offsets(made), Inputs=ends[0], Outputs=ends[1], Operators=offsets(nodes))

    graphs = [subgraph(operators, inputs, outputs), *(subgraph(*g) for g in inner)]
    more = {}
    if metadata:
        buffers.append(table("Buffer", Data=b.CreateByteVector(metadata)))
        name = b.CreateString("TFLITE_METADATA")
        more = {"Metadata": offsets([table("Metadata", Name=name, Buffer=len(buffers) - 1)])}
    root = table("Model", **more, Version=3, OperatorCodes=offsets(codes), Subgraphs=offsets(graphs), Buffers=offsets(buffers))
    b.Finish(root, b"TFL3")
    return bytes(b.Output())


VERSIONS = {"CONV_2D": 3, "DEPTHWISE_CONV_2D": 3, "FULLY_CONNECTED": 4, "ADD": 2, "SUB": 2, "MUL": 2, "SOFTMAX": 2, "LOGISTIC": 2, "TANH": 2,
            "AVERAGE_POOL_2D": 2, "MAX_POOL_2D": 2, "QUANTIZE": 2, "DEQUANTIZE": 2, "RELU": 2, "RELU6": 2, "LEAKY_RELU": 2, "PAD": 2, "PADV2": 2,
            "CONCATENATION": 2, "STRIDED_SLICE": 2, "MAXIMUM": 2, "MINIMUM": 2, "TRANSPOSE": 2, "SLICE": 2, "SPLIT": 2, "PACK": 2, "UNPACK": 2,
            "GATHER": 2, "TOPK_V2": 2, "ARG_MAX": 2, "RESIZE_BILINEAR": 3, "RESIZE_NEAREST_NEIGHBOR": 3, "TILE": 1, "REDUCE_MAX": 2, "MEAN": 2,
            "BATCH_TO_SPACE_ND": 2, "SPACE_TO_BATCH_ND": 2, "SPACE_TO_DEPTH": 2, "DEPTH_TO_SPACE": 1, "EQUAL": 2, "LESS": 2, "SELECT_V2": 1,
            "TRANSPOSE_CONV": 1, "FILL": 3, "EXPAND_DIMS": 1, "MIRROR_PAD": 2, "GREATER": 2, "BATCH_MATMUL": 1, "L2_NORMALIZATION": 1}  # fmt: skip
