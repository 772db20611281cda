"""Writes the table in docs/frameworks.md: models trained here, saved in their frameworks' own files, built for three instruction sets and
judged by the frameworks' own runtimes. `python -m docs.make_frameworks` (extras: tflite, sklearn, boost; ai-edge-litert)"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

import mlcc

PAGE = Path(__file__).with_name("frameworks.md")
TARGETS = ("x86_64-linux", "aarch64-linux", "cortex-m7")
TINY = Path(__file__).resolve().parents[2] / "shared" / "models" / "mlperf-tiny"
HEAD = "| framework | model | judge | bits beside it | one digest on |\n|---|---|---|---|---|"


def trained(folder: Path) -> Iterator[tuple[str, str, Path]]:
    """(framework, model, its file)."""
    import catboost
    import lightgbm
    import skops.io
    import xgboost
    from sklearn.compose import ColumnTransformer
    from sklearn.datasets import load_diabetes, load_digits
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler
    from sklearn.svm import SVC

    digits, labels = load_digits(return_X_y=True)
    sick, progress = load_diabetes(return_X_y=True)
    digits, sick = digits.astype(np.float32), sick.astype(np.float32)

    def kept(name: str, save: Callable[[Path], Any]) -> Path:
        save(folder / name)
        return folder / name

    for name, model in (
        ("scaler and random forest, 30 trees", make_pipeline(StandardScaler(), RandomForestClassifier(30, max_depth=7, random_state=0))),
        ("scaler and support vectors", make_pipeline(StandardScaler(), SVC(gamma=0.02))),
    ):
        fitted = model.fit(digits, labels)
        yield "scikit-learn (.skops)", name, kept(f"{name.split()[2]}.skops", lambda p, m=fitted: skops.io.dump(m, p))
    rows = np.array([[float(n), ["bern", "oslo", "rome"][n % 3], ["good film", "bad film", "not bad"][n % 3]] for n in range(60)], object)
    mixed = ColumnTransformer([("n", StandardScaler(), [0]), ("c", OneHotEncoder(), [1]), ("t", TfidfVectorizer(ngram_range=(1, 2)), 2)])
    columns = make_pipeline(mixed, LogisticRegression()).fit(rows, np.arange(60) % 3)
    yield "scikit-learn (.skops)", "numbers, categories and text, logistic", kept("columns.skops", lambda p: skops.io.dump(columns, p))
    forest = xgboost.XGBClassifier(n_estimators=20, max_depth=4).fit(digits, labels)
    yield "XGBoost (.json)", "20 rounds, 10 classes", kept("xgboost_classes.json", forest.save_model)
    line = xgboost.XGBRegressor(n_estimators=50).fit(sick, progress)
    yield "XGBoost (.ubj)", "regression, 50 rounds", kept("xgboost_regression.ubj", line.save_model)
    leaves = lightgbm.LGBMClassifier(n_estimators=10, verbose=-1).fit(digits, labels)
    yield "LightGBM (.txt)", "10 rounds, 10 classes", kept("lightgbm_classes.txt", leaves.booster_.save_model)
    cats = catboost.CatBoostClassifier(iterations=30, depth=5, verbose=0, allow_writing_files=False).fit(digits, labels)
    yield "CatBoost (.cbm)", "30 rounds, 10 classes", kept("catboost_classes.cbm", lambda p: cats.save_model(str(p)))
    for file in sorted(TINY.glob("*.tflite")):
        yield "TensorFlow Lite (.tflite)", f"MLPerf Tiny {file.stem}", file


def row(framework: str, name: str, path: Path, out: Path) -> str:
    built = mlcc.build(path, TARGETS, out=out, cache=False)  # what a cache holds is not judged again
    about = json.loads((Path(built["artifacts"][0]["path"]) / "conformance.json").read_text())["judge"]
    assert all(a["class"] == "exact" and a["conformance"] == "passed" for a in built["artifacts"])
    beside = json.loads((out / built["model"] / "comparison.json").read_text()) if about["engine"] else {}
    return f"| {framework} | {name} | {about['engine'] or '—'} | {_apart(beside)} | {', '.join(TARGETS)} |"


def _apart(comparison: dict[str, Any]) -> str:
    """How far ordinary outputs are from the judge's."""
    outputs = [
        o for v in comparison.get("judge", comparison).get("vectors", []) if v["kind"] != "edge" for o in v.get("outputs", {}).values()
    ]
    if not outputs:
        return "not judged"
    unequal = sum(o.get("unequal", 0) for o in outputs)
    floats = [o for o in outputs if "max_abs" in o]
    if not floats:
        return "all equal" if not unequal else f"{unequal} differ"
    most = max(float(o["max_abs"]) for o in floats)
    return f"{'classes equal, ' if unequal == 0 and len(outputs) > len(floats) else ''}{most:.1g} at most"


def main() -> None:
    with tempfile.TemporaryDirectory() as d:
        rows = [row(*case, Path(d) / "out") for case in trained(Path(d))]
    text = PAGE.read_text("utf-8")
    start = text.index(HEAD.splitlines()[0])
    end = text.index("\n\n", start)
    PAGE.write_text(text[:start] + "\n".join([HEAD, *rows]) + text[end:], "utf-8")


if __name__ == "__main__":
    main()
