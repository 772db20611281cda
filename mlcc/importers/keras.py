"""Keras 3 files (.keras, and .h5 of older versions), through Keras' own ONNX exporter on JAX, in a process of its own. Extra: mlcc[keras].

Keras refuses files whose layers hold Python code (Lambda): such a file runs what it says, and has to be saved without them.
"""

from __future__ import annotations

import json
import os
import zipfile
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
from mlcc.importers.onnx import from_proto

suffixes = (".keras", ".h5")
SIGNATURES = (b"PK\x03\x04", b"\x89HDF\r\n\x1a\n")
SECONDS = 900
ENVIRONMENT = {"KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu"}


def inputs(path: Path, raw: bytes) -> list[tuple[str, Path]]:
    """One file holds all."""
    return []


def tools() -> dict[str, str]:
    return packages("keras", "jax", "jax2onnx")


def load(path: Path) -> ir.Model:
    """Read a saved model. Keras and JAX are loaded in another process: neither may be told later which of its backends to use."""
    demand(path)
    model = from_proto(onnx.load_from_string(apart.convert(__name__, path, SECONDS, ENVIRONMENT)))
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            version = json.loads(archive.read("metadata.json")).get("keras_version", "")
        model.metadata_props[ABOUT] = json.dumps({"frameworks": {"keras": version}})
    return model


def demand(path: Path) -> None:
    """Raise Error(model) where a file is none of Keras'."""
    with open(path, "rb") as f:
        if not f.read(8).startswith(SIGNATURES):
            raise Error("model", "not a model of Keras", str(path), "write it with model.save('….keras')")


def _judge(path: Path) -> apart.Runs:
    return apart.judge(__name__, path, ENVIRONMENT)


runtime = ("keras", _judge)


# ---- in the other process ----


def main() -> None:
    os.environ["KERAS_HOME"] = os.getcwd()
    apart.main(read, lambda model: exported(model, Path.cwd()), run)


def read(path: Path) -> Any:
    try:
        import keras
    except ImportError as e:
        raise Error("usage", f"reading it needs {e.name}", hint="pip install 'mlcc[keras]'") from None
    try:
        return keras.saving.load_model(path, compile=False, safe_mode=True)
    except Exception as e:
        if "lambda" in str(e).lower():
            raise Error("unsupported", "it holds Python code (a Lambda layer)", hint="save it without Lambda layers") from None
        raise Error("model", f"Keras cannot read it: {apart.first_line(e)}", hint="write it with model.save") from None


def run(model: Any) -> apart.Runs:
    """The model itself, its inputs by their names, or in their order where the exporter gave others."""
    names = [t.name for t in model.inputs]

    def answer(feed: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        given = [feed[n] for n in names] if set(names) <= set(feed) else list(feed.values())
        found = model(given if len(given) > 1 else given[0], training=False)
        flat = found.values() if isinstance(found, dict) else found if isinstance(found, list | tuple) else [found]
        return [np.asarray(a) for a in flat]

    return answer


def exported(model: Any, folder: Path) -> bytes:
    try:
        for tensor in model.inputs:
            if tensor.shape is None:
                raise ValueError("an input without a shape")
        feed = {t.name: np.zeros([1 if n is None else n for n in t.shape], t.dtype) for t in model.inputs}
        run(model)(feed)  # a model that was never called has nothing to export
        model.export(folder / "model.onnx", format="onnx", verbose=False)
    except Exception as e:
        raise Error("unsupported", f"Keras cannot export it to ONNX: {apart.first_line(e)}") from None
    return (folder / "model.onnx").read_bytes()


if __name__ == "__main__":
    main()
