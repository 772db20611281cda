"""mlcc as a standard ONNX backend (`onnx.backend.base.Backend`): what ONNX's own runner scores, and the quickest way to try a model.

>>> from mlcc import onnx_backend
>>> outputs = onnx_backend.prepare(onnx.load("model.onnx")).run([x])

A run is of a native artifact, built as `mlcc build` builds it, self-tested and verified. Sizes that the model leaves open are those of the
first run's arrays; an input that must be known at build time (a shape, axes, a number of repetitions) is built in with the value that it
has, and the model is built again where a later run gives another.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
from onnx import numpy_helper
from onnx.backend.base import Backend, BackendRep, Device, DeviceType, namedtupledict

from mlcc import pipeline
from mlcc.error import Error, Undecided
from mlcc.graph.rules.text import reads_letters
from mlcc.request import Request
from mlcc.runtime import Model, load


class Representation(BackendRep):  # type: ignore[misc]  # onnx.backend has no types
    """A model that is built when it is run."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self.model = model
        stored = {t.name for t in model.graph.initializer}
        self.inputs = [v.name for v in model.graph.input if v.name not in stored]
        self.outputs = [v.name for v in model.graph.output]
        self._fixed: tuple[str, ...] = ()  # inputs that are built in
        self._built: dict[Any, Model] = {}

    def run(self, inputs: Any, **options: Any) -> tuple[Any, ...]:
        """Outputs in the model's order, for a list of inputs or one array."""
        given = [inputs] if isinstance(inputs, np.ndarray) else list(inputs)
        if len(given) != len(self.inputs):
            raise Error("usage", f"{len(given)} inputs given", hint=f"the model takes {', '.join(self.inputs) or 'none'}")
        feed = dict(zip(self.inputs, given))
        for name, value in feed.items():
            if isinstance(value, onnx.TensorProto):
                feed[name] = numpy_helper.to_array(value)
        feed = tensors_of(feed)
        model = self._model(feed)
        found = model({t.name: feed[t.name] if t.name in feed else np.zeros(t.shape, t.numpy) for t in model.inputs})  # a seed may be added
        results = [found[n] if n in found else items_of(n, found) for n in self.outputs]
        return tuple(namedtupledict("Outputs", self.outputs)(*results))

    def _model(self, feed: dict[str, np.ndarray]) -> Model:
        """The artifact for these sizes, and for the values of the inputs that are built in."""
        while True:
            key = tuple((n, a.shape, *_kind(a), a.tobytes() if n in self._fixed else b"") for n, a in feed.items())
            if key in self._built:
                return self._built[key]
            try:
                self._built[key] = _build(self.model, feed, self._fixed)
            except Undecided as e:
                more = [n for n in e.inputs if n not in self._fixed]
                if not more:
                    raise
                self._fixed += tuple(more)


def tensors_of(feed: dict[str, Any]) -> dict[str, np.ndarray]:
    """Inputs as mlcc names them: a sequence's items one by one, an optional without a value not at all."""
    found: dict[str, np.ndarray] = {}
    for name, value in feed.items():
        if isinstance(value, (list, tuple)):
            found |= {f"{name}[{i}]": np.asarray(v) for i, v in enumerate(value)}
        elif value is not None:
            found[name] = np.asarray(value)
    return found


def items_of(name: str, outputs: dict[str, np.ndarray]) -> list[np.ndarray]:
    """A sequence, of its items."""
    found: list[np.ndarray] = []
    while f"{name}[{len(found)}]" in outputs:
        found.append(outputs[f"{name}[{len(found)}]"])
    return found


def built_in(model: onnx.ModelProto, values: dict[str, np.ndarray]) -> onnx.ModelProto:
    """A copy of a model with some inputs' values stored in it."""
    proto = onnx.ModelProto()
    proto.CopyFrom(model)
    kept = [v for v in proto.graph.input if v.name not in values]
    del proto.graph.input[:]
    proto.graph.input.extend(kept)
    proto.graph.initializer.extend(numpy_helper.from_array(a, n) for n, a in values.items())
    return proto


def _build(model: onnx.ModelProto, feed: dict[str, np.ndarray], fixed: Sequence[str]) -> Model:
    """A native artifact for inputs of these shapes, those of `fixed` as constants."""
    proto = built_in(model, {n: feed[n] for n in fixed})
    with tempfile.TemporaryDirectory(prefix="mlcc-") as folder:
        path = Path(folder) / "model.onnx"
        onnx.save(proto, path)
        letters = reads_letters(ir.from_proto(model))
        shapes = {n: (*a.shape, *longest(a, letters)) for n, a in feed.items() if n not in fixed}
        made = pipeline.run(Request(path, ("native",), Path(folder), shapes=shapes, judge=False))
        return load(Path(made["artifacts"][0]["path"]))


def _kind(array: np.ndarray) -> tuple[Any, ...]:
    return ("text", *longest(array, True)) if array.dtype.kind in "OUS" else (str(array.dtype),)


def longest(array: np.ndarray, letters: bool) -> tuple[int, ...]:
    """How many characters text is built for, as the last number of its shape: a multiple of 64, at least as many as there are."""
    if not letters or array.dtype.kind not in "OUS":
        return ()
    return (max(1, *(-(-len(str(w)) // 64) for w in array.ravel())) * 64 if array.size else 64,)


class MlccBackend(Backend):  # type: ignore[misc]
    """The class that `onnx.backend.test.BackendTest` takes."""

    @classmethod
    def is_compatible(cls, model: onnx.ModelProto, device: str = "CPU", **options: Any) -> bool:
        return cls.supports_device(device)

    @classmethod
    def prepare(cls, model: onnx.ModelProto, device: str = "CPU", **options: Any) -> Representation:
        if not cls.supports_device(device):
            raise Error("usage", f"no device {device}", hint="the CPU of this machine: CPU")
        return Representation(model)

    @classmethod
    def supports_device(cls, device: str) -> bool:
        return bool(Device(device).type == DeviceType.CPU)


is_compatible = MlccBackend.is_compatible
prepare = MlccBackend.prepare
run_model = MlccBackend.run_model
run_node = MlccBackend.run_node
supports_device = MlccBackend.supports_device
