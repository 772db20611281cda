"""TensorFlow's SavedModels (folders with a saved_model.pb), by tf2onnx, in a process of its own. Extra: mlcc[tensorflow].

A SavedModel is a program that TensorFlow runs, and its operators may read and write files: it is read in a process that can change no file
and open no connection, where the system allows that (Landlock, on Linux).
"""

from __future__ import annotations

import json
import logging
import os
import re
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir

from mlcc.cache.tools import packages
from mlcc.core.about import ABOUT
from mlcc.error import Error
from mlcc.importers import apart
from mlcc.importers.confine import confine
from mlcc.importers.onnx import from_proto

suffixes = (".pb",)
folder = "saved_model.pb"  # the file that makes a folder a model
PARTS = ("variables", "assets")
SIGNATURE = "serving_default"
OPSET = 18
SECONDS = 900
ENVIRONMENT = {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "", "TF_ENABLE_ONEDNN_OPTS": "0"}


def inputs(path: Path, raw: bytes) -> list[tuple[str, Path]]:
    """Variables and assets beside it."""
    found = sorted(p for part in PARTS for p in (path.parent / part).rglob("*") if p.is_file())
    return [(p.relative_to(path.parent).as_posix(), p) for p in found]


def tools() -> dict[str, str]:
    return packages("tensorflow-cpu", "tensorflow", "tf2onnx")


def load(path: Path) -> ir.Model:
    """Read a SavedModel's signature, in another process."""
    if path.name != folder:
        raise Error("model", "not a SavedModel", str(path), f"tf.saved_model.save writes a folder with a {folder}; give the folder")
    return from_proto(onnx.load_from_string(apart.convert(__name__, path, SECONDS, ENVIRONMENT)))


def _judge(path: Path) -> apart.Runs:
    return apart.judge(__name__, path, ENVIRONMENT)


runtime = ("tensorflow-cpu", _judge)


# ---- in the other process ----


def main() -> None:
    def begun(path: Path) -> tuple[Path, Any, str]:
        os.environ["TMPDIR"] = tempfile.tempdir = os.getcwd()
        confine(Path.cwd())
        return path.parent, *read(path.parent)

    def converted(held: tuple[Path, Any, str]) -> bytes:
        place, model, name = held
        return exported(place, name, Path.cwd(), str(getattr(model, "tensorflow_version", "")))

    apart.main(begun, converted, lambda held: run(held[1].signatures[held[2]]))


def read(place: Path) -> tuple[Any, str]:
    """(the model, which of its signatures)."""
    try:
        import tensorflow as tf
    except ImportError as e:
        raise Error("usage", f"reading it needs {e.name}", hint="pip install 'mlcc[tensorflow]'") from None
    try:
        model = tf.saved_model.load(str(place))
    except Exception as e:
        raise Error("model", f"TensorFlow cannot read it: {apart.first_line(e)}", hint="write it with tf.saved_model.save") from None
    names = list(model.signatures)
    if SIGNATURE not in names and len(names) != 1:
        raise Error(
            "model",
            f"of its signatures ({', '.join(names) or 'none'}) none is {SIGNATURE}",
            hint=f"tf.saved_model.save(model, folder, signatures={{'{SIGNATURE}': function}})",
        )
    return model, SIGNATURE if SIGNATURE in names else names[0]


def run(signature: Any) -> apart.Runs:
    """The signature itself; outputs in the order of their names, as the exporter has them."""
    import tensorflow as tf

    specs = signature.structured_input_signature[1]

    def answer(feed: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        found = signature(**{n: tf.constant(feed[n], spec.dtype) for n, spec in specs.items() if n in feed})
        return [np.asarray(found[n]) for n in sorted(found)]

    return answer


def exported(place: Path, signature: str, into: Path, version: str) -> bytes:
    """By tf2onnx' own command. version: of the TensorFlow that wrote it."""
    try:
        import tf2onnx.convert
    except ImportError as e:
        raise Error("usage", f"reading it needs {e.name}", hint="pip install 'mlcc[tensorflow]'") from None
    heard: list[str] = []
    handler = logging.Handler(logging.ERROR)
    handler.emit = lambda record: heard.append(record.getMessage())  # type: ignore[method-assign]
    target = into / "model.onnx"
    sys.argv = ["tf2onnx", "--saved-model", str(place), "--signature_def", signature, "--opset", str(OPSET), "--output", str(target)]
    try:
        logging.getLogger().addHandler(handler)
        logging.getLogger("tf2onnx").addHandler(handler)
        tf2onnx.convert.main()
        model = onnx.load(target)
    except BaseException as e:
        raise Error("unsupported", f"tf2onnx cannot convert it: {_reason(heard) or apart.first_line(e)}") from None
    if reason := _reason(heard):
        raise Error("unsupported", f"tf2onnx cannot convert it: {reason}")
    order = sorted(range(len(model.graph.output)), key=lambda i: model.graph.output[i].name)
    outputs = [model.graph.output[i] for i in order]
    del model.graph.output[:]
    model.graph.output.extend(outputs)
    model.metadata_props.add(key=ABOUT, value=json.dumps({"frameworks": {"tensorflow": version}}))
    return bytes(model.SerializeToString())


def _reason(heard: list[str]) -> str:
    """All operators that it does not know, else the first error."""
    strange = sorted({name for text in heard for name in re.findall(r"Tensorflow op \[[^\]:]*: (\w+)\] is not supported", text)})
    return f"no ONNX for {', '.join(strange)}" if strange else (heard[0].splitlines()[0][:200] if heard else "")


if __name__ == "__main__":
    main()
