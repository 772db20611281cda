"""Whose model it is: from the file and from mlcc.toml into manifest, README and SBOM."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import onnx
import pytest
from onnx import TensorProto, helper

import mlcc
from mlcc import project
from mlcc.error import Error
from tests.conftest import Mlcc

GIVEN = {
    "licence": "Apache-2.0",
    "author": "A. Turing",
    "dataset": "digits",
    "dataset_sha256": "ab" * 32,
    "revision": "4f2c",
    "metrics": {"accuracy": 0.93},
}


def model(place: Path, **properties: str) -> Path:
    values = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [4]) for n in "xy"]
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "g", values[:1], values[1:])
    made = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8, producer_name="forge", producer_version="1.2"
    )
    made.doc_string = "Keeps what is\npositive."
    helper.set_model_props(made, properties)
    onnx.save(made, place)
    return place


def built(path: Path, out: Path, **about: Any) -> tuple[dict[str, Any], str, dict[str, Any]]:
    place = Path(mlcc.build(path, "c99", out=out, about=about, cache=False, check=False)["artifacts"][0]["path"])
    sbom = json.loads((place / "sbom.cdx.json").read_text())
    return (
        json.loads((place / "manifest.json").read_text()),
        (place / "README.md").read_text(),
        next(c for c in sbom["components"] if c["bom-ref"] == "model") | {"all": sbom},
    )


def test_what_the_file_says(tmp_path: Path) -> None:
    about, readme, component = built(model(tmp_path / "m.onnx", License="MIT", author="N. N. | <b>\x1b[31m", version="3"), tmp_path)
    assert about["about"]["licence"] == about["licences"]["model"] == "MIT"
    assert about["about"]["frameworks"] == {"forge": "1.2"} and about["about"]["description"] == "Keeps what is positive."
    assert "\x1b" not in about["about"]["author"] and "<b>" not in readme and "Keeps what is positive." in readme
    assert component["licenses"] == [{"license": {"id": "MIT"}}] and component["version"] == "3"


def test_what_its_user_says_goes_over_it(tmp_path: Path) -> None:
    about, readme, component = built(model(tmp_path / "m.onnx", license="MIT"), tmp_path, **GIVEN, frameworks={"torch": "2.13.0"})
    assert about["about"] == {**GIVEN, "description": "Keeps what is positive.", "frameworks": {"forge": "1.2", "torch": "2.13.0"}}
    assert all(text in readme for text in ("Apache-2.0", "A. Turing", "digits", "0.93", "torch 2.13.0"))
    card = component["modelCard"]
    assert card["quantitativeAnalysis"]["performanceMetrics"] == [{"type": "accuracy", "value": "0.93"}]
    assert card["modelParameters"]["datasets"] == [{"ref": "dataset"}] and card["modelParameters"]["inputs"] == [
        {"format": "x: float32[4]"}
    ]
    (data,) = (c for c in component["all"]["components"] if c["type"] == "data")
    assert data["name"] == "digits" and data["hashes"] == [{"alg": "SHA-256", "content": "ab" * 32}]


def test_a_model_that_says_nothing(tmp_path: Path) -> None:
    path = model(tmp_path / "m.onnx")
    bare = onnx.load(path)
    for field in ("producer_name", "producer_version", "doc_string"):
        bare.ClearField(field)
    onnx.save(bare, path)
    about, readme, component = built(path, tmp_path)
    assert "about" not in about and "licenses" not in component and about["licences"]["model"] == "see the model's own"


def test_in_the_project_file(tmp_path: Path, mlcc: Mlcc) -> None:
    model(tmp_path / "m.onnx")
    (tmp_path / "mlcc.toml").write_text(
        'model = "m.onnx"\ntargets = ["c99"]\n[about]\nlicence = "Apache-2.0"\nmetrics = { accuracy = 0.93 }\n'
    )
    assert project.load(tmp_path / "mlcc.toml").about == {"licence": "Apache-2.0", "metrics": {"accuracy": 0.93}}
    for licence in ("Apache-2.0", "MIT"):  # what is said is part of what the cache knows an artifact by
        text = (tmp_path / "mlcc.toml").read_text()
        (tmp_path / "mlcc.toml").write_text(text.replace("Apache-2.0", licence))
        assert mlcc("build", cwd=tmp_path).returncode == 0
        assert json.loads((tmp_path / "dist/m/c99/manifest.json").read_text())["about"]["licence"] == licence


@pytest.mark.parametrize(
    ("text", "what"),
    [("colour = 1", "unknown key colour"), ("licence = 1", "must be a text"), ('metrics = "good"', "table of numbers"),
     ('metrics = { a = "b" }', "table of numbers"), ('dataset_sha256 = "12"', "64 hexadecimal"), ("metrics = { a = nan }", "table of numbers")],
)  # fmt: skip
def test_what_cannot_be_said(text: str, what: str, tmp_path: Path) -> None:
    (tmp_path / "mlcc.toml").write_text(f'model = "m.onnx"\ntargets = ["c99"]\n[about]\n{text}\n')
    with pytest.raises(Error, match=what):
        project.load(tmp_path / "mlcc.toml")
