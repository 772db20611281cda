"""scikit-learn's models and pipelines: skops' files (.skops), which hold no code, and pickles (.joblib, .pkl), which do. Extra:
mlcc[sklearn].

A pickle is read with --trust-pickle alone. Both are read in a process that can change no file and open no connection, where the system
allows that (Landlock, on Linux).
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import onnx
import onnx_ir as ir

from mlcc.cache.tools import packages
from mlcc.error import Error
from mlcc.importers import NOTES, columns
from mlcc.importers.onnx import from_proto

suffixes = (".skops", ".joblib", ".pkl", ".pickle")
executes = (".joblib", ".pkl", ".pickle")  # to read these is to run what they say
SECONDS = 600


def inputs(path: Path, raw: bytes) -> list[tuple[str, Path]]:
    """One file holds all."""
    return []


def tools() -> dict[str, str]:
    return packages("scikit-learn", "skl2onnx", "skops")


def load(path: Path) -> ir.Model:
    """Read a fitted estimator, in another process."""
    return from_proto(onnx.load_from_string(_apart(path)))


def _apart(path: Path) -> bytes:
    """The model as `mlcc.importers.pickled` gives it."""
    command = [sys.executable, "-P", "-m", "mlcc.importers.pickled", str(path.resolve())]
    try:
        done = subprocess.run(command, capture_output=True, timeout=SECONDS)
    except subprocess.TimeoutExpired:
        raise Error("model", f"reading it takes more than {SECONDS} s", str(path)) from None
    if done.returncode:
        code, _, rest = done.stderr.decode(errors="replace").rpartition("mlcc-pickle:")[2].strip().partition(" ")
        what, _, hint = rest.partition("\n")
        known = code in ("usage", "model", "unsupported")
        raise Error(code if known else "model", what if known else f"reading it ended with {done.returncode}", str(path), hint.strip())
    return done.stdout


def _said(e: Exception) -> str:
    return (str(e).strip().splitlines() or [type(e).__name__])[0][:200]


def converted(model: Any, where: str) -> onnx.ModelProto:
    """A fitted estimator as ONNX: labels and probabilities of classifiers as tensors."""
    try:
        import skl2onnx
        from sklearn.base import is_classifier
    except ImportError as e:
        raise Error("usage", f"reading it needs {e.name}", where, "pip install 'mlcc[sklearn]'") from None
    if not hasattr(model, "get_params"):
        raise Error("model", f"a {type(model).__name__}, not an estimator of scikit-learn", where)
    given = columns.inputs(model, where)
    _boosters()
    try:
        options = {id(model): {"zipmap": False}} if is_classifier(model) else None
        return defined(skl2onnx.convert_sklearn(model, initial_types=given, options=options))
    except Exception as e:
        raise Error(
            "unsupported", f"skl2onnx cannot convert it: {_said(e)}", where, "see sklearn-onnx's list of supported models"
        ) from None


def defined(model: onnx.ModelProto) -> onnx.ModelProto:
    """With an answer for categories that were not learnt, for which scikit-learn would raise an error: a device cannot."""
    for node in model.graph.node:
        for attribute in node.attribute:
            if node.op_type == "OneHotEncoder" and attribute.name == "zeros" and attribute.i == 0:
                attribute.i = 1
                what = f"{node.name}: a category that was not learnt gives zeros, where scikit-learn raises an error"
                note = next((p for p in model.metadata_props if p.key == NOTES), None) or model.metadata_props.add(key=NOTES)
                note.value = "\n".join(filter(None, [note.value, what]))
    return model


def _boosters() -> None:
    """Let pipelines hold XGBoost's and LightGBM's estimators, where these are installed."""
    from skl2onnx import update_registered_converter
    from skl2onnx.common.shape_calculator import calculate_linear_classifier_output_shapes, calculate_linear_regressor_output_shapes

    shapes = {"Classifier": calculate_linear_classifier_output_shapes, "Regressor": calculate_linear_regressor_output_shapes}
    for package, prefix, module, converter in (
        ("xgboost", "XGB", "onnxmltools.convert.xgboost.operator_converters.XGBoost", "convert_xgboost"),
        ("lightgbm", "LGBM", "onnxmltools.convert.lightgbm.operator_converters.LightGbm", "convert_lightgbm"),
    ):
        try:
            framework, convert = __import__(package), getattr(__import__(module, fromlist=[converter]), converter)
        except ImportError:
            continue
        for kind, calculate in shapes.items():
            options = {"nocl": [True, False], "zipmap": [True, False, "columns"]} if kind == "Classifier" else None
            update_registered_converter(getattr(framework, prefix + kind), prefix + kind, calculate, convert, options=options)
