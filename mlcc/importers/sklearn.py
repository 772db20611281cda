"""scikit-learn's models and pipelines: skops' files (.skops), which hold no code, and pickles (.joblib, .pkl), which do. Extra:
mlcc[sklearn].

A pickle is read with --trust-pickle alone. Both are read in a process that can change no file and open no connection, where the system
allows that (Landlock, on Linux).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir

from mlcc.cache.tools import packages
from mlcc.error import Error
from mlcc.importers import NOTES, SAMPLES, apart, columns, texts
from mlcc.importers.onnx import from_proto

suffixes = (".skops", ".joblib", ".pkl", ".pickle")
executes = (".joblib", ".pkl", ".pickle")  # to read these is to run what they say
SECONDS = 600
PROCESS = "mlcc.importers.pickled"


def inputs(path: Path, raw: bytes) -> list[tuple[str, Path]]:
    """One file holds all."""
    return []


def tools() -> dict[str, str]:
    return packages("scikit-learn", "skl2onnx", "skops")


def load(path: Path) -> ir.Model:
    """Read a fitted estimator, in another process."""
    return from_proto(onnx.load_from_string(apart.convert(PROCESS, path, SECONDS)))


def _judge(path: Path) -> apart.Runs:
    return apart.judge(PROCESS, path)


runtime = ("scikit-learn", _judge)


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
    texts.demand(model, where)
    _boosters()
    try:
        options = texts.tokens(model) | ({id(model): {"zipmap": False}} if is_classifier(model) else {})
        found = defined(skl2onnx.convert_sklearn(model, initial_types=given, options=options))
    except Exception as e:
        raise Error(
            "unsupported", f"skl2onnx cannot convert it: {apart.first_line(e)}", where, "see sklearn-onnx's list of supported models"
        ) from None
    read = {n for n, _ in given} & {i.name for i in found.graph.input if i.type.tensor_type.elem_type == onnx.TensorProto.STRING}
    samples = [{n: text for n in sorted(read)} for text in texts.documents(model)]
    if samples:
        found.metadata_props.add(key=SAMPLES, value=json.dumps(samples))
    return found


def judge(model: Any, where: str) -> apart.Runs:
    """The estimator itself: labels and probabilities of a classifier, numbers of a regressor, what a transformer makes. Raises
    Error(unsupported) for what gives scores of another kind."""
    from sklearn.base import is_classifier, is_regressor

    for part in columns.parts(model):
        if type(part).__name__ == "OneHotEncoder" and part.handle_unknown == "error":
            part.handle_unknown = "ignore"  # as `defined` has it
    names = [n for n, _ in columns.inputs(model, where)]
    arranged = columns.arranged(model, names)
    if is_classifier(model):
        if not hasattr(model, "predict_proba"):
            raise Error("unsupported", "scores that are no probabilities are not compared", where)
        return lambda feed: [model.predict(x := arranged(feed)), np.float32(model.predict_proba(x))]
    if is_regressor(model):
        return lambda feed: [np.float32(model.predict(x := arranged(feed))).reshape(len(x), -1)]
    if hasattr(model, "transform") and not hasattr(model, "predict"):
        return lambda feed: [_dense(model.transform(arranged(feed)))]
    raise Error("unsupported", f"what a {type(model).__name__} gives is not compared", where)


def _dense(found: Any) -> np.ndarray:
    return np.asarray(found.toarray() if hasattr(found, "toarray") else found, np.float32)


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
