"""scikit-learn's pipelines over columns of several kinds and over text: judged by scikit-learn itself."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import mlcc
from mlcc.error import Error

joblib = pytest.importorskip("joblib")
pytest.importorskip("skl2onnx")

from sklearn.compose import ColumnTransformer  # noqa: E402
from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer  # noqa: E402
from sklearn.linear_model import LogisticRegression  # noqa: E402
from sklearn.pipeline import make_pipeline  # noqa: E402
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, StandardScaler  # noqa: E402

from mlcc.importers import columns, texts  # noqa: E402

TEXTS = ["a good film", "Bad film", "good, GOOD day", "not bad", "schön x", "x schön ist"] * 4
ROWS = np.array([[i / 7, ["bern", "oslo", "rome"][i % 3], t] for i, t in enumerate(TEXTS)], object)
CLASSES = np.arange(len(TEXTS)) % 6 % 3


def mixed() -> ColumnTransformer:
    words = CountVectorizer(ngram_range=(1, 2))
    return ColumnTransformer([("n", StandardScaler(), [0]), ("c", OneHotEncoder(), [1]), ("t", words, 2)])


def test_numbers_categories_and_text(tmp_path: Path) -> None:
    """One input a column; words of one letter and letters beyond ASCII as scikit-learn's own pattern has them."""
    model = make_pipeline(mixed(), LogisticRegression(C=100)).fit(ROWS, CLASSES)
    joblib.dump(model, tmp_path / "mixed.joblib")
    made = mlcc.build(tmp_path / "mixed.joblib", target="native", out=tmp_path, trust_pickle=True)
    assert any("a category that was not learnt gives zeros" in note for note in made["notes"])
    place = Path(made["artifacts"][0]["path"])
    judged = json.loads((place / "conformance.json").read_text())["judge"]
    assert judged["engine"].startswith("scikit-learn") and judged["verdict"] == "agrees"
    artifact = mlcc.load(place)
    assert [t.name for t in artifact.inputs] == ["x0", "x1", "x2"]
    for number, city, text in [*ROWS[:6].tolist(), [9.0, "rome", "schön schön a"]]:
        found = artifact(x0=np.array([[number]], np.float32), x1=np.array([[city]]), x2=np.array([[text]]))["probabilities"]
        np.testing.assert_allclose(found, model.predict_proba(np.array([[number, city, text]], object)), rtol=1e-4, atol=1e-6)


def test_what_is_converted_to_something_else_does_not_pass(tmp_path: Path) -> None:
    """Documents of the model's own words show it: skl2onnx takes logarithms of other numbers."""
    words = TfidfVectorizer(sublinear_tf=True, norm="l1")
    joblib.dump(make_pipeline(words, LogisticRegression(C=100)).fit(TEXTS, CLASSES), tmp_path / "m.joblib")
    with pytest.raises(Error, match="by scikit-learn") as e:
        mlcc.build(tmp_path / "m.joblib", target="native", out=tmp_path, trust_pickle=True)
    assert e.value.code == "conformance"


def test_which_inputs_a_pipeline_has() -> None:
    def inputs(model: object) -> dict[str, str]:
        return {n: type(t).__name__.removesuffix("TensorType") for n, t in columns.inputs(model, "m")}

    numbers = np.arange(12.0).reshape(4, 3)
    assert inputs(StandardScaler().fit(numbers)) == {"X": "Float"}
    assert inputs(mixed().fit(ROWS)) == {"x0": "Float", "x1": "String", "x2": "String"}
    assert inputs(make_pipeline(TfidfVectorizer(), LogisticRegression()).fit(TEXTS, CLASSES)) == {"text": "String"}
    pandas = pytest.importorskip("pandas")
    table = pandas.DataFrame({"age": [1.0, 2.0, 3.0], "city": ["a", "b", "a"], "unread": ["x", "y", "z"]})
    by_name = ColumnTransformer([("n", StandardScaler(), ["age"]), ("c", OrdinalEncoder(), ["city"])]).fit(table)
    assert inputs(by_name) == {"age": "Float", "city": "String"}
    with pytest.raises(Error, match="not fitted"):
        inputs(StandardScaler())


def test_stop_words_between_n_grams_are_refused() -> None:
    bad = make_pipeline(CountVectorizer(stop_words=["film"], ngram_range=(1, 2)), LogisticRegression()).fit(TEXTS, CLASSES)
    with pytest.raises(Error, match="stop words"):
        texts.demand(bad, "m")
    texts.demand(make_pipeline(CountVectorizer(stop_words=["film"]), LogisticRegression()).fit(TEXTS, CLASSES), "m")


def test_words_are_pythons() -> None:
    import re

    ours, theirs = re.compile(f"[{texts.words()}]{{2,}}"), re.compile(r"(?u)\b\w\w+\b")
    for text in ("schön_1 a ßß é́ Köln–Bonn ٣٤ 你好", "x y zz\tÀÉ"):
        assert ours.findall(text) == theirs.findall(text)
