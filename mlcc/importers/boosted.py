"""Boosted trees from their frameworks' own files, which hold no code: XGBoost (.json, .ubj), LightGBM (.txt), CatBoost (.cbm).

Each is read by its own package and converted by the one that the field keeps for it. Extras: mlcc[xgboost], mlcc[lightgbm], mlcc[catboost].
"""

from __future__ import annotations

import contextlib
import io
import json
import logging
import re
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir

from mlcc.cache.tools import packages
from mlcc.core.about import ABOUT
from mlcc.error import Error
from mlcc.importers import NOTES
from mlcc.importers.apart import first_line
from mlcc.importers.onnx import from_proto

Runs = Callable[[Mapping[str, np.ndarray]], list[np.ndarray]]
INPUT = "X"  # [rows, features]


@dataclass(frozen=True)
class Files:
    """An importer (`mlcc.plugin.Importer`) of one framework's files. starts: what such a file begins with."""

    framework: str
    suffixes: tuple[str, ...]
    starts: tuple[bytes, ...]
    needs: tuple[str, ...]
    convert: Callable[[Path], onnx.ModelProto]
    runtime: tuple[str, Callable[[Path], Runs]]

    def inputs(self, path: Path, raw: bytes) -> list[tuple[str, Path]]:
        """One file holds all."""
        return []

    def tools(self) -> Mapping[str, str]:
        return packages(*self.needs)

    def load(self, path: Path) -> ir.Model:
        extra = self.framework.lower()
        with open(path, "rb") as f:
            if not f.read(64).lstrip().startswith(self.starts):
                raise Error("model", f"not a model of {self.framework}", str(path), "write it with save_model")
        try:
            with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
                return from_proto(self.convert(path))
        except Error:
            raise
        except ImportError as e:
            what = f"reading it needs {e.name or self.framework}"
            raise Error("usage", what, str(path), f"pip install 'mlcc[{extra}]'") from None
        except Exception as e:
            what = f"{self.framework} cannot read or convert it: {first_line(e)}"
            raise Error("model", what, str(path), "write it with save_model") from None


NUMBERS = ("reg:", "count:")  # XGBoost's objectives that give a number a row


def _float_rows(features: int) -> list[tuple[str, Any]]:
    from onnxmltools.convert.common.data_types import FloatTensorType

    return [(INPUT, FloatTensorType([None, features]))]


def _xgboost(path: Path) -> onnx.ModelProto:
    import onnxmltools

    booster, note = _rounds(path)
    about = json.loads(booster.save_config())
    learner = about["learner"]
    if learner["learner_train_param"]["booster"] != "gbtree":
        raise Error("unsupported", "a booster that is not of plain trees (dart, gblinear)", str(path), "train with booster='gbtree'")
    if learner["objective"]["name"].startswith("rank:"):
        raise Error("unsupported", "a ranking objective, which onnxmltools takes for classes", str(path))
    names = [f"f{i}" for i in range(booster.num_features())]  # what the converter takes; the columns' own names are not an input's
    booster.feature_names = names
    version = ".".join(map(str, about["version"]))
    made = _made_by(onnxmltools.convert_xgboost(booster, initial_types=_float_rows(len(names))), {"xgboost": version})
    if note:
        made.metadata_props.add(key=NOTES, value=note)
    return made


def _rounds(path: Path) -> tuple[Any, str]:
    """The booster as who saved it would use it, and what is to be said of that. scikit-learn's estimators answer with the best round of
    early stopping, boosters with all rounds: https://github.com/microsoft/onnxruntime/issues/5450"""
    import xgboost

    booster = xgboost.Booster()
    booster.load_model(str(path))
    best, have = booster.attr("best_iteration"), booster.num_boosted_rounds()
    if best is None or int(best) + 1 >= have:
        return booster, ""
    if booster.attr("scikit_learn") is not None:
        return booster[: int(best) + 1], f"early stopping: the first {int(best) + 1} of {have} rounds, as scikit-learn's estimators answer"
    return booster, f"early stopping: all {have} rounds, as Booster.predict answers; slice it to take the best {int(best) + 1} alone"


def _lightgbm(path: Path) -> onnx.ModelProto:
    import lightgbm
    import onnxmltools

    logging.getLogger("lightgbm").setLevel(logging.CRITICAL)
    booster = lightgbm.Booster(model_file=str(path))
    return onnxmltools.convert_lightgbm(booster, initial_types=_float_rows(booster.num_feature()), zipmap=False)


def _catboost(path: Path) -> onnx.ModelProto:
    import catboost

    model = catboost.CatBoost()
    model.load_model(str(path))
    with tempfile.TemporaryDirectory(prefix="mlcc-") as d:
        model.save_model(f"{d}/m.onnx", format="onnx")
        version = re.search(r"tags/v([\d.]+)", dict(model.get_metadata()).get("catboost_version_info", ""))
        return _made_by(onnx.load(f"{d}/m.onnx"), {"catboost": version[1] if version else ""})


def _made_by(model: onnx.ModelProto, frameworks: Mapping[str, str]) -> onnx.ModelProto:
    model.metadata_props.add(key=ABOUT, value=json.dumps({"frameworks": dict(frameworks)}))
    return model


def _answers(scores: Callable[[np.ndarray], np.ndarray], classes: int) -> Runs:
    """As the converted model gives them: numbers, or a class and the probability of each."""

    def run(feed: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        (x,) = feed.values()
        found = np.asarray(scores(x), np.float32)
        if not classes:
            return [found.reshape(len(x), -1)]
        found = np.stack([1 - found, found], 1) if found.ndim == 1 else found
        return [found.argmax(1), found]

    return run


def _xgboost_runs(path: Path) -> Runs:
    import xgboost

    booster, _ = _rounds(path)
    booster.feature_names = None
    objective = json.loads(booster.save_config())["learner"]["objective"]["name"]
    if objective not in ("binary:logistic", "multi:softprob") and not objective.startswith(NUMBERS):
        raise ValueError(f"the objective {objective} is not judged")
    return _answers(lambda x: booster.predict(xgboost.DMatrix(x)), 0 if objective.startswith(NUMBERS) else 2)


def _lightgbm_runs(path: Path) -> Runs:
    import lightgbm

    booster = lightgbm.Booster(model_file=str(path))
    text = path.read_text("utf-8", "replace")
    objective = text[text.find("\nobjective=") + 11 :].split()[0] if "\nobjective=" in text else ""
    if objective not in ("binary", "multiclass", "regression"):
        raise ValueError(f"the objective {objective} is not judged")
    return _answers(lambda x: booster.predict(x), 0 if objective == "regression" else 2)


def _catboost_runs(path: Path) -> Runs:
    import catboost

    model = catboost.CatBoost()
    model.load_model(str(path))
    classes = len(model.classes_) if model.classes_ is not None else 0
    return _answers(lambda x: model.predict(x, "Probability" if classes else "RawFormulaVal"), classes)


xgboost = Files("XGBoost", (".json", ".ubj"), (b"{",), ("xgboost", "onnxmltools", "skl2onnx"), _xgboost, ("xgboost", _xgboost_runs))
lightgbm = Files("LightGBM", (".txt",), (b"tree",), ("lightgbm", "onnxmltools", "skl2onnx"), _lightgbm, ("lightgbm", _lightgbm_runs))
catboost = Files("CatBoost", (".cbm",), (b"CBM1",), ("catboost",), _catboost, ("catboost", _catboost_runs))
