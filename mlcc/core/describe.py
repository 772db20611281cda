"""What a person must know to feed a model's inputs and to read its outputs: scales, layouts, ranges, labels, as the file says them.

Sources: QuantizeLinear and its kin around the interface, the operators whose axes ONNX names, and ONNX's metadata (docs/MetadataProps.md,
"Image Category Definition"; IR.md, "Type Denotation" and "Dimension Denotation").
"""

from __future__ import annotations

import ast
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import onnx_ir as ir

from mlcc.core.axes import MOVING, constant, dims_of, layout_from, layout_of, rank_of, reach
from mlcc.error import Error


@dataclass(frozen=True)
class Description:
    """A number stands for (stored − zero_point) · scale, one pair or one for each index of `axis`; layout: a letter an axis (N batch, C
    channel, D H W space, T time, F feature); channels: their order, such as RGB; element: the narrow type that the bytes stand for,
    "string", whose numbers are places among `labels`, or "letters", text as code points along the last axis; counts: (axis, the output
    that says how much of the axis is meant); range: of the numbers that are meant; labels: of the classes; text: in words."""

    scale: tuple[float, ...] = ()
    zero_point: tuple[int, ...] = ()
    axis: int = -1
    layout: str = ""
    channels: str = ""
    range: tuple[float, float] | None = None
    unit: str = ""
    element: str = ""
    counts: tuple[tuple[int, str], ...] = ()
    labels: tuple[str, ...] = ()
    text: str = ""

    def entry(self) -> dict[str, Any]:
        """For the manifest: what is known."""
        found = {f.name: getattr(self, f.name) for f in fields(self) if getattr(self, f.name) not in ((), "", None)}
        if len(self.scale) == 1:
            found |= {"scale": self.scale[0], "zero_point": self.zero_point[0]}
        if len(self.scale) < 2:
            found.pop("axis", None)
        return {k: list(v) if isinstance(v, tuple) else v for k, v in found.items()}


OPERANDS: dict[str, tuple[tuple[int, int, int], ...]] = {
    "DequantizeLinear": ((0, 1, 2),),
    "QLinearConv": ((0, 1, 2),),
    "QLinearMatMul": ((0, 1, 2), (3, 4, 5)),
    "QGemm": ((0, 1, 2), (3, 4, 5)),
    "QLinearAdd": ((0, 1, 2), (3, 4, 5)),
    "QLinearMul": ((0, 1, 2), (3, 4, 5)),
    **{
        op: ((0, 1, 2),)
        for op in ("QLinearAveragePool", "QLinearGlobalAveragePool", "QLinearSigmoid", "QLinearLeakyRelu", "QLinearSoftmax")
    },
}
RESULTS = {
    "QuantizeLinear": (1, 2),
    "QLinearConv": (6, 7),
    "QLinearMatMul": (6, 7),
    "QGemm": (7, 8),
    "QLinearAdd": (6, 7),
    "QLinearMul": (6, 7),
    "QLinearConcat": (0, 1),
    **{op: (3, 4) for op in ("QLinearAveragePool", "QLinearGlobalAveragePool", "QLinearSigmoid", "QLinearLeakyRelu", "QLinearSoftmax")},
}
CLASSIFIERS = ("TreeEnsembleClassifier", "LinearClassifier", "SVMClassifier")
LABEL_KEYS = ("labels", "classes", "class_names", "class_labels", "names", "categories", "id2label")
RANGES = {
    "NominalRange_0_255": (0.0, 255.0),
    "NominalRange_16_235": (16.0, 235.0),
    "Normalized_0_1": (0.0, 1.0),
    "Normalized_1_1": (-1.0, 1.0),
}
DENOTED = {"DATA_BATCH": "N", "DATA_CHANNEL": "C", "DATA_TIME": "T"}


def described(model: ir.Model) -> dict[str, Description]:
    """Value's name → what the file says of it, for each input and output of which it says something."""
    graph = model.graph
    inputs = [v for v in graph.inputs if str(v.name) not in {w.name for w in graph.initializers.values()}]
    found: dict[str, Description] = {}
    for v in inputs:
        found[str(v.name)] = replace(_quantised(_operand_scales(v)), layout=_denoted(v) or layout_from(v), text=v.doc_string or "")
    for v in graph.outputs:
        own = replace(_quantised(_result_scales(v)), layout=_denoted(v) or layout_of(v), labels=_classes(v), text=v.doc_string or "")
        found[str(v.name)] = replace(own, **_said(found.get(str(v.name), Description())))
    notes = {str(k).lower(): str(x) for k, x in model.metadata_props.items()}
    _images(inputs, notes, found)
    _labels(list(graph.outputs), notes, found)
    return {name: d for name, d in found.items() if d != Description()}


def told(known: Mapping[str, Description], given: Mapping[str, Mapping[str, Any]], names: Sequence[str]) -> dict[str, Description]:
    """With what the user says instead (mlcc.toml's [describe]). Raises Error(usage) for names that are no input or output."""
    for name in given:
        if name not in names:
            raise Error("usage", f"[describe] names no input or output: {name}", hint=f"there are {', '.join(names)}")
    found = dict(known)
    for name, said in given.items():
        plain: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in said.items()}
        for key in ("scale", "zero_point"):
            if key in plain:
                plain[key] = (plain[key],)
        both = replace(found.get(name, Description()), **plain)
        if len(both.scale) != len(both.zero_point):
            both = replace(both, zero_point=both.zero_point[:1] * len(both.scale) or (0,) * len(both.scale))
        found[name] = both
    return found


def _said(d: Description) -> dict[str, Any]:
    return {f.name: getattr(d, f.name) for f in fields(d) if getattr(d, f.name) != f.default}


def _pair(node: ir.Node, scale: int, zero: int) -> tuple[tuple[float, ...], tuple[int, ...], int] | None:
    """Scales and zero points of a quantised operand or result; None where the file does not know them."""

    def at(i: int) -> ir.Value | None:
        return node.inputs[i] if i < len(node.inputs) else None

    s, z = constant(at(scale)), constant(at(zero))
    if s is None or s.ndim > 1 or at(zero) is not None and z is None:
        return None
    scales = tuple(float(np.float32(x)) for x in s.reshape(-1))
    zeros = tuple(int(x) for x in z.reshape(-1)) if z is not None else (0,) * len(scales)
    axis = node.attributes["axis"].as_int() if "axis" in node.attributes else 1
    return (scales, zeros, axis if len(scales) > 1 else -1) if len(scales) == len(zeros) and scales else None


def _quantised(pairs: list[tuple[tuple[float, ...], tuple[int, ...], int] | None]) -> Description:
    """What all uses agree on."""
    if not pairs or pairs[0] is None or any(p != pairs[0] for p in pairs):
        return Description()
    scale, zero, axis = pairs[0]
    return Description(scale, zero, axis)


def _operand_scales(start: ir.Value) -> list[Any]:
    found: list[Any] = []
    for value, moved in reach(start, lambda n: n.op_type in MOVING):
        for use in value.uses():
            for operand, scale, zero in OPERANDS.get(use.node.op_type, ()):
                if use.idx == operand:
                    pair = _pair(use.node, scale, zero)
                    found.append(None if pair and len(pair[0]) > 1 and moved else pair)
    return found


def _result_scales(end: ir.Value) -> list[Any]:
    value, moved = end, False
    while (node := value.producer()) is not None:
        if node.op_type in RESULTS:
            pair = _pair(node, *RESULTS[node.op_type])
            return [None if pair and len(pair[0]) > 1 and moved else pair]
        if node.op_type not in MOVING or node.inputs[0] is None:
            break
        value, moved = node.inputs[0], moved or node.op_type != "Identity"
    return []


def _denoted(v: ir.Value) -> str:
    """An input's axes, as the file's denotations name them."""
    if v.shape is None:
        return ""
    said = [v.shape.get_denotation(i) or "" for i in range(len(v.shape))]
    space = iter({1: "W", 2: "HW", 3: "DHW"}.get(said.count("DATA_FEATURE"), ""))
    letters = [DENOTED.get(d) or (next(space, "") if d == "DATA_FEATURE" else "") for d in said]
    return "".join(letters) if letters and all(letters) else ""


def _images(inputs: list[ir.Value], notes: Mapping[str, str], found: dict[str, Description]) -> None:
    """What Image.* says of the inputs that are denoted as images, else of the only one of four dimensions."""
    pixels, nominal = notes.get("image.bitmappixelformat", ""), notes.get("image.nominalpixelrange", "")
    denoted = [v for v in inputs if v.type is not None and getattr(v.type, "denotation", None) == "IMAGE"]
    flat = [v for v in inputs if rank_of(v) == 4]
    for v in denoted or (flat if len(flat) == 1 else []):
        name = str(v.name)
        found[name] = replace(found[name], channels=pixels.rstrip("0123456789").upper(), range=RANGES.get(nominal))


def _classes(v: ir.Value) -> tuple[str, ...]:
    """The classes of a classifier of ai.onnx.ml whose scores an output is."""
    value: ir.Value | None = v
    while value is not None and (node := value.producer()) is not None:
        if node.op_type in CLASSIFIERS and value is node.outputs[1]:
            for key in ("classlabels_strings", "classlabels_int64s", "classlabels_ints"):
                if key in node.attributes:
                    return tuple(str(x) for x in node.attributes[key].value)
        if node.op_type not in ("Identity", "Cast", "Normalizer", "ZipMap"):
            return ()
        value = node.inputs[0]
    return ()


def _labels(outputs: list[ir.Value], notes: Mapping[str, str], found: dict[str, Description]) -> None:
    """Labels in the metadata: of the output that alone has as many numbers along its last axis, or along its channels; else of an only
    output, which may hold other numbers beside the classes' (a detector's boxes)."""
    for key in LABEL_KEYS:
        labels = parse_labels(notes.get(key, ""))
        fitting = [v for v in outputs if labels and len(labels) in _class_axes(v, found[str(v.name)].layout)]
        if labels and not fitting and len(outputs) == 1:
            fitting = outputs
        if len(fitting) == 1 and not found[str(fitting[0].name)].labels:
            name = str(fitting[0].name)
            found[name] = replace(found[name], labels=labels)


def _class_axes(v: ir.Value, layout: str) -> list[int]:
    dims = dims_of(v)
    return [*dims[-1:], *(dims[i] for i, letter in enumerate(layout) if letter == "C")]


def parse_labels(text: str) -> tuple[str, ...]:
    """Labels in any of the ways that exporters write them: a list or a mapping from indices (JSON, or as Python prints it), lines,
    commas."""
    body = text.strip()
    if not body or len(body) > 1 << 20:
        return ()
    value: Any = None
    if body[0] in "[{":
        for read in (json.loads, ast.literal_eval):
            try:
                value = read(body)
                break
            except (ValueError, SyntaxError, RecursionError, MemoryError):
                continue
    if isinstance(value, dict):
        try:
            numbered = {int(k): x for k, x in value.items()}
        except (TypeError, ValueError):
            return ()
        value = [numbered[i] for i in sorted(numbered)] if sorted(numbered) == list(range(len(numbered))) else None
    if isinstance(value, list):
        return tuple(map(str, value)) if all(isinstance(x, str | int | float) for x in value) else ()
    if body[0] in "[{":
        return ()
    parts = [p.strip() for p in (body.splitlines() if "\n" in body else body.split(","))]
    return tuple(parts) if len(parts) > 1 and all(parts) else ()
