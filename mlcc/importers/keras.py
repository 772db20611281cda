"""Keras 3 files (.keras, and .h5 of older versions), through Keras' own ONNX exporter on JAX, in a process of its own. Extra: mlcc[keras].

Keras refuses files whose layers hold Python code (Lambda): such a file runs what it says, and has to be saved without them.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import onnx
import onnx_ir as ir

from mlcc.cache.tools import packages
from mlcc.error import Error
from mlcc.importers.onnx import from_proto

suffixes = (".keras", ".h5")
SIGNATURES = (b"PK\x03\x04", b"\x89HDF\r\n\x1a\n")
SECONDS = 900
MARK = "mlcc-keras:"


def inputs(path: Path, raw: bytes) -> list[tuple[str, Path]]:
    """One file holds all."""
    return []


def tools() -> dict[str, str]:
    return packages("keras", "jax", "jax2onnx")


def load(path: Path) -> ir.Model:
    """Read a saved model. Keras and JAX are loaded in another process: neither may be told later which of its backends to use."""
    with open(path, "rb") as f:
        if not f.read(8).startswith(SIGNATURES):
            raise Error("model", "not a model of Keras", str(path), "write it with model.save('….keras')")
    with tempfile.TemporaryDirectory(prefix="mlcc-") as d:
        out = Path(d) / "model.onnx"
        command = [sys.executable, "-P", "-m", "mlcc.importers.keras", str(path.resolve()), str(out)]
        environment = {**os.environ, "KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu", "KERAS_HOME": d}
        try:
            done = subprocess.run(command, capture_output=True, timeout=SECONDS, env=environment, cwd=d)
        except subprocess.TimeoutExpired:
            raise Error("model", f"reading it takes more than {SECONDS} s", str(path)) from None
        if done.returncode:
            said = done.stderr.decode(errors="replace").rpartition(MARK)[2].strip().splitlines() or ["model it cannot be read"]
            code, _, what = said[0].partition(" ")
            raise Error(code, what, str(path), said[1] if len(said) > 1 else "")
        return from_proto(onnx.load(out))


def main() -> None:
    """In the other process: the file's name, and where to write the ONNX model."""
    try:
        import keras
    except ImportError as e:
        sys.exit(f"{MARK} usage reading it needs {e.name}\npip install 'mlcc[keras]'")
    try:
        model = keras.saving.load_model(sys.argv[1], compile=False, safe_mode=True)
    except Exception as e:
        unsafe = "lambda" in str(e).lower()
        what = "unsupported it holds Python code (a Lambda layer)" if unsafe else f"model Keras cannot read it: {_first(e)}"
        sys.exit(f"{MARK} {what}\n{'save it without Lambda layers' if unsafe else 'write it with model.save'}")
    try:
        import numpy as np

        for tensor in model.inputs:
            if tensor.shape is None:
                raise ValueError("an input without a shape")
        feed = [np.zeros([1 if n is None else n for n in t.shape], t.dtype) for t in model.inputs]
        model(feed if len(feed) > 1 else feed[0])  # a model that was never called has nothing to export
        model.export(sys.argv[2], format="onnx", verbose=False)
    except Exception as e:
        sys.exit(f"{MARK} unsupported Keras cannot export it to ONNX: {_first(e)}")


def _first(e: Exception) -> str:
    return (str(e).strip().splitlines() or [type(e).__name__])[0][:200]


if __name__ == "__main__":
    main()
