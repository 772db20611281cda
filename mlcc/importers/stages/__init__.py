"""Stages by kind: what comes before a model and after it, as ONNX. Each kind is a frozen dataclass of its options, with the inputs that it
reads (name → type and shape), its outputs' names and what writes its nodes."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
import onnx
from onnx import TensorProto, helper

from mlcc.importers.nodes import Nodes, type_of
from mlcc.importers.stages import images, sounds, values

OPSET, ML_OPSET = 21, 4


class Stage(Protocol):
    outputs: dict[str, str]  # name → NumPy's name of the type

    @property
    def inputs(self) -> dict[str, tuple[str, tuple[object, ...]]]:
        """Name → (NumPy's name of the type, or "string"; the shape: sizes, or names of sizes that are said later)."""

    def write(self, w: Nodes, *inputs: str) -> list[str]: ...


KINDS: dict[str, type[Any]] = {
    "resize": images.Resize, "letterbox": images.Letterbox, "colours": images.Colours, "normalise": images.Normalise,
    "layout": images.Layout, "spectrogram": sounds.Spectrogram, "mel_spectrogram": sounds.MelSpectrogram, "scaler": values.Scaler,
    "lookup": values.Lookup, "softmax": values.Softmax, "argmax": values.Best, "top_k": values.TopK, "nms": values.Nms,
}  # fmt: skip


def written(stage: Stage) -> onnx.ModelProto:
    """A stage as a model of its own."""
    w = Nodes()
    found = stage.write(w, *stage.inputs)
    w.nodes += [helper.make_node("Identity", [a], [b]) for a, b in zip(found, stage.outputs)]
    inputs = [helper.make_tensor_value_info(n, _type(kind), list(shape)) for n, (kind, shape) in stage.inputs.items()]
    given = [onnx.ValueInfoProto(name=n, type=helper.make_tensor_type_proto(_type(kind), None)) for n, kind in stage.outputs.items()]
    graph = helper.make_graph(w.nodes, "stage", inputs, given)
    return helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", OPSET), helper.make_opsetid("ai.onnx.ml", ML_OPSET)], ir_version=10
    )


def _type(name: str) -> int:
    return TensorProto.STRING if name == "string" else type_of(np.dtype(name))
