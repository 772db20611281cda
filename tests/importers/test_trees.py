"""scikit-learn's and boosted trees' own files: what the framework says, within rounding; pickles only where they are trusted."""

from __future__ import annotations

import pickle
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mlcc
from mlcc.error import Error
from mlcc.graph.normalise import normalise
from mlcc.graph.passes import optimise
from mlcc.importers import NOTES, demand_trust, load
from mlcc.reference.execute import execute

sklearn = pytest.importorskip("sklearn")
pytest.importorskip("skl2onnx")

from sklearn.datasets import load_diabetes, load_digits  # noqa: E402
from sklearn.ensemble import GradientBoostingRegressor, RandomForestClassifier  # noqa: E402
from sklearn.linear_model import LogisticRegression  # noqa: E402
from sklearn.pipeline import make_pipeline  # noqa: E402
from sklearn.preprocessing import StandardScaler  # noqa: E402

DIGITS, LABELS = (a.astype(np.float32) if i == 0 else a for i, a in enumerate(load_digits(return_X_y=True)))
DIABETES, PROGRESS = (a.astype(np.float32) if i == 0 else a for i, a in enumerate(load_diabetes(return_X_y=True)))
ROWS = 40


def gives(path: Path, x: np.ndarray, wanted: np.ndarray, tolerance: float = 1e-5) -> None:
    """That the imported model's numbers (its last output) are these."""
    source = load(path, trust_pickle=True)
    shapes = {str(source.graph.inputs[0].name): x.shape}
    graph = optimise(normalise(source, "trees", shapes, str(path)), check=True)
    found = list(execute(graph, {graph.inputs[0]: x}).values())[-1]
    np.testing.assert_allclose(found.reshape(wanted.shape), wanted, rtol=tolerance, atol=tolerance)


def forest() -> Any:
    return make_pipeline(StandardScaler(), RandomForestClassifier(12, max_depth=6, random_state=0)).fit(DIGITS, LABELS)


@pytest.mark.parametrize("suffix", [".joblib", ".pkl", ".skops"])
def test_pipelines(suffix: str, tmp_path: Path) -> None:
    model, path = forest(), tmp_path / f"p{suffix}"
    if suffix == ".skops":
        pytest.importorskip("skops.io").dump(model, path)
    elif suffix == ".joblib":
        pytest.importorskip("joblib").dump(model, path)
    else:
        path.write_bytes(pickle.dumps(model))
    gives(path, DIGITS[:ROWS], model.predict_proba(DIGITS[:ROWS]))


def test_regressors(tmp_path: Path) -> None:
    model, path = GradientBoostingRegressor(n_estimators=20, random_state=0).fit(DIABETES, PROGRESS), tmp_path / "r.pkl"
    path.write_bytes(pickle.dumps(model))
    gives(path, DIABETES[:ROWS], model.predict(DIABETES[:ROWS]))


def _lightgbm(path: Path, classes: bool) -> np.ndarray:
    lightgbm = pytest.importorskip("lightgbm")
    if classes:
        model = lightgbm.LGBMClassifier(n_estimators=6, verbose=-1).fit(DIGITS, LABELS)
        model.booster_.save_model(path)
        return model.predict_proba(DIGITS[:ROWS])
    model = lightgbm.LGBMRegressor(n_estimators=9, verbose=-1).fit(DIABETES, PROGRESS)
    model.booster_.save_model(path)
    return model.predict(DIABETES[:ROWS])


def _xgboost(path: Path, classes: bool) -> np.ndarray:
    xgboost = pytest.importorskip("xgboost")
    if classes:
        model = xgboost.XGBClassifier(n_estimators=6, max_depth=4).fit(DIGITS, LABELS)
        model.save_model(path)
        return model.predict_proba(DIGITS[:ROWS])
    model = xgboost.XGBRegressor(n_estimators=9).fit(DIABETES, PROGRESS)
    model.save_model(path)
    return model.predict(DIABETES[:ROWS])


def _catboost(path: Path, classes: bool) -> np.ndarray:
    catboost = pytest.importorskip("catboost")
    kind, x, y = (catboost.CatBoostClassifier, DIGITS, LABELS) if classes else (catboost.CatBoostRegressor, DIABETES, PROGRESS)
    model = kind(iterations=8, depth=4, verbose=0, allow_writing_files=False).fit(x, y)
    model.save_model(str(path))
    return model.predict_proba(x[:ROWS]) if classes else model.predict(x[:ROWS])


@pytest.mark.parametrize("classes", [True, False])
@pytest.mark.parametrize(
    "make,suffix",
    [(_lightgbm, ".txt"), (_xgboost, ".json"), (_xgboost, ".ubj"), (_catboost, ".cbm")],
    ids=["lightgbm", "xgboost", "xgboost-binary", "catboost"],
)
def test_boosted_trees(make: Callable[[Path, bool], np.ndarray], suffix: str, classes: bool, tmp_path: Path) -> None:
    path = tmp_path / f"m{suffix}"
    wanted = make(path, classes)
    gives(path, DIGITS[:ROWS] if classes else DIABETES[:ROWS], wanted)


@pytest.mark.parametrize(
    "suffix,content",
    [(".json", b'{"a": 1}'), (".ubj", b"{"), (".txt", b"tree\nnot"), (".txt", b"Hello"), (".cbm", b"CBM1...."), (".skops", b"PK")],
)
def test_files_that_are_something_else(suffix: str, content: bytes, tmp_path: Path) -> None:
    path = tmp_path / f"m{suffix}"
    path.write_bytes(content)
    with pytest.raises(Error) as e:
        load(path)
    assert e.value.code in ("model", "usage") and str(path) in (e.value.where or "")


class Evil:
    """Unpickled, it writes a file and calls out, and says what came of it."""

    def __init__(self, place: Path, port: int) -> None:
        self.place, self.port = place, port

    def __reduce__(self) -> tuple[Any, ...]:
        code = (
            "import socket, sys\n"
            f"try: open({str(self.place)!r}, 'w').close(); wrote = True\n"
            "except OSError: wrote = False\n"
            f"try: socket.create_connection(('127.0.0.1', {self.port}), 2); called = True\n"
            "except OSError: called = False\n"
            "raise SystemExit(10 + 2 * wrote + called)"
        )
        return exec, (code,)


def test_pickles_are_not_read_unasked_and_are_confined_when_asked(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        path, place = tmp_path / "m.pkl", tmp_path / "written"
        path.write_bytes(pickle.dumps(Evil(place, server.getsockname()[1])))
        for ask in (lambda: load(path), lambda: demand_trust(path, False), lambda: mlcc.build(path, ["c99"], out=tmp_path / "out")):
            with pytest.raises(Error, match="is a pickle") as e:
                ask()
            assert e.value.code == "usage" and not place.exists()
        done = subprocess.run([sys.executable, "-m", "mlcc.importers.pickled", "convert", str(path)], capture_output=True, text=True)
        if "cannot confine" in done.stderr:
            pytest.skip("no Landlock here")
        assert done.returncode == 10 and not place.exists()  # neither written nor called
        with pytest.raises(Error):
            load(path, trust_pickle=True)


def test_what_is_no_estimator_or_not_fitted_is_said(tmp_path: Path) -> None:
    path = tmp_path / "m.pkl"
    for model, what in (({"a": 1}, "a dict, not an estimator"), (LogisticRegression(), "not fitted")):
        path.write_bytes(pickle.dumps(model))
        with pytest.raises(Error, match=what):
            load(path, trust_pickle=True)


def test_maps_of_probabilities_become_rows(tmp_path: Path) -> None:
    """As scikit-learn's converter writes them unless it is told otherwise; ONNX Runtime judges."""
    import skl2onnx

    model, path = LogisticRegression(max_iter=50).fit(DIGITS, LABELS), tmp_path / "m.onnx"
    path.write_bytes(skl2onnx.to_onnx(model, DIGITS[:1]).SerializeToString())
    gives(path, DIGITS[:ROWS], model.predict_proba(DIGITS[:ROWS]))
    made = mlcc.build(path, ["c99"], out=tmp_path / "out", shapes={"X": (3, 64)})
    assert made["artifacts"][0]["conformance"] == "passed"


@pytest.mark.parametrize("through", ["scikit-learn", "booster"])
def test_early_stopping(through: str, tmp_path: Path) -> None:
    """XGBoost's estimators answer with the best round, its boosters with all: https://github.com/microsoft/onnxruntime/issues/5450"""
    xgboost = pytest.importorskip("xgboost")
    half = len(DIGITS) // 2
    path = tmp_path / "early.json"
    if through == "scikit-learn":
        model = xgboost.XGBClassifier(n_estimators=90, max_depth=3, learning_rate=0.9, early_stopping_rounds=4)
        model.fit(DIGITS[:half], LABELS[:half], eval_set=[(DIGITS[half:], LABELS[half:])], verbose=False)
        model.save_model(path)
        rounds, best, wanted = model.get_booster().num_boosted_rounds(), model.best_iteration, model.predict_proba(DIGITS[:9])
    else:
        data = [xgboost.DMatrix(DIGITS[p], LABELS[p]) for p in (slice(half), slice(half, None))]
        options = {"objective": "multi:softprob", "num_class": 10, "max_depth": 3, "learning_rate": 0.9}
        booster = xgboost.train(options, data[0], 90, evals=[(data[1], "v")], early_stopping_rounds=4, verbose_eval=False)
        booster.save_model(path)
        rounds, best, wanted = booster.num_boosted_rounds(), booster.best_iteration, booster.predict(xgboost.DMatrix(DIGITS[:9]))
    assert best + 1 < rounds
    source = load(path)
    graph = optimise(normalise(source, "early", {"X": (9, 64)}, str(path)), check=True)
    *_, found = execute(graph, {"X": DIGITS[:9]}).values()
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-6)
    assert f"{best + 1}" in source.metadata_props[NOTES] and f"{rounds} rounds" in source.metadata_props[NOTES]


@pytest.mark.parametrize("options", [{"booster": "dart", "rate_drop": 0.3}, {"booster": "gblinear"}, {"objective": "rank:ndcg"}], ids=str)
def test_boosters_that_are_not_read(options: dict[str, Any], tmp_path: Path) -> None:
    xgboost = pytest.importorskip("xgboost")
    data = xgboost.DMatrix(DIGITS[:90], LABELS[:90] % 2, qid=np.arange(90) // 9 if "objective" in options else None)
    xgboost.train(options, data, 3).save_model(tmp_path / "m.json")
    with pytest.raises(Error) as e:
        load(tmp_path / "m.json")
    assert e.value.code == "unsupported"
