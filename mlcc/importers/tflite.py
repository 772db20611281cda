"""TensorFlow Lite files (.tflite) as they are: each operator a node of the domain `tflite`, its tensors' quantisation beside it. Extra:
mlcc[tflite] (the FlatBuffers schema; TensorFlow is not needed).

What the operators mean: `mlcc.graph.rules.lite`. https://ai.google.dev/edge/litert
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir

from mlcc.cache.tools import packages
from mlcc.error import Error
from mlcc.importers.lite.file import Reader

suffixes = (".tflite",)
IDENTIFIER = b"TFL3"


def inputs(path: Path, raw: bytes) -> list[tuple[str, Path]]:
    """One file holds all."""
    return []


def tools() -> dict[str, str]:
    return packages("tflite", "flatbuffers")


def load(path: Path) -> ir.Model:
    """Read a TensorFlow Lite file; needs the extra `tflite`."""
    try:
        import tflite
    except ImportError:
        raise Error("usage", "reading .tflite needs the FlatBuffers schema", str(path), "pip install 'mlcc[tflite]'") from None
    raw = path.read_bytes()
    if raw[4:8] != IDENTIFIER:
        raise Error("model", "not a TensorFlow Lite model", str(path), f"such a file has {IDENTIFIER.decode()} at its fifth byte")
    try:
        return Reader(tflite, raw, str(path)).model(path.stem)
    except Error:
        raise
    except Exception as e:  # FlatBuffers' Python code checks nothing: a damaged file raises whatever comes of it
        raise Error("model", f"a damaged TensorFlow Lite model: {type(e).__name__}", str(path), "convert it again") from None


def _litert(path: Path) -> Callable[[Mapping[str, np.ndarray]], list[np.ndarray]]:
    """LiteRT's reference kernels."""
    from ai_edge_litert import interpreter

    kinds = interpreter.OpResolverType
    try:
        judge = interpreter.Interpreter(str(path), experimental_op_resolver_type=kinds.BUILTIN_REF)
    except ValueError:  # some operators on floats have no reference kernel
        judge = interpreter.Interpreter(str(path), experimental_op_resolver_type=kinds.BUILTIN_WITHOUT_DEFAULT_DELEGATES)
    names = [str(v.name) for v in load(path).graph.inputs]
    given = {n: int(d["index"]) for n, d in zip(names, judge.get_input_details())}
    held = _variables(path)
    if set(names) != {*given, *held}:
        raise ValueError("its variables cannot be set")

    def run(feed: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        _ask(judge, given, held, feed)
        return [judge.get_tensor(i).copy() for i in (*(d["index"] for d in judge.get_output_details()), *held.values())]

    return run


runtime = ("ai-edge-litert", _litert)


def _ask(judge: Any, given: Mapping[str, int], held: Mapping[str, int], feed: Mapping[str, np.ndarray]) -> None:
    """One inference; given, held: the tensors of inputs, which may change their shapes, and of variables."""
    for name, index in given.items():
        judge.resize_tensor_input(index, feed[name].shape)
    judge.allocate_tensors()
    for name, index in {**given, **held}.items():
        judge.set_tensor(index, feed[name])
    judge.invoke()


def _named(path: Path) -> tuple[list[str], list[Any]]:
    """The names here of a file's tensors, and these, in their order."""
    import tflite

    reader = Reader(tflite, path.read_bytes(), str(path))
    graph = reader.file.Subgraphs(0)
    tensors = list(reader.each(graph.TensorsLength(), graph.Tensors))
    return reader.names(tensors, graph.InputsAsNumpy(), graph.OutputsAsNumpy()), tensors


def _variables(path: Path) -> dict[str, int]:
    """Tensors that calls share: name → index."""
    return {name: i for i, (name, t) in enumerate(zip(*_named(path))) if t.IsVariable()}


def layers(path: Path) -> Callable[[Mapping[str, np.ndarray]], dict[str, np.ndarray]]:
    """What LiteRT computes within, by the names that values have here."""
    from ai_edge_litert import interpreter

    kinds = interpreter.OpResolverType
    judge = interpreter.Interpreter(
        str(path), experimental_op_resolver_type=kinds.BUILTIN_WITHOUT_DEFAULT_DELEGATES, experimental_preserve_all_tensors=True
    )
    names, _ = _named(path)
    given = {names[d["index"]]: int(d["index"]) for d in judge.get_input_details()}

    def run(feed: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        _ask(judge, given, {}, feed)
        found = {}
        for detail in judge.get_tensor_details():
            if detail["index"] < len(names):
                with suppress(ValueError):  # what was never computed has no data
                    found[names[detail["index"]]] = judge.get_tensor(detail["index"])
        return found

    return run
