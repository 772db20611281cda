"""TFLite Metadata: whose a model is, and what its classes are called."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
import pytest

pytest.importorskip("tflite")

import mlcc  # noqa: E402
from mlcc.importers.tflite import load  # noqa: E402
from tests.importers.lite import Operator, constant, written  # noqa: E402
from tests.importers.test_tflite import f  # noqa: E402


def told(files: list[tuple[str, int]], **texts: str) -> bytes:
    """A table of the model's texts, and of its output's files (name, kind), by the schema's places."""
    b = flatbuffers.Builder(256)

    def table(slots: int, **fields: tuple[int, str, Any]) -> int:
        b.StartObject(slots)
        for place, kind, value in fields.values():
            b.PrependUOffsetTRelativeSlot(place, value, 0) if kind == "offset" else b.PrependInt8Slot(place, value, 0)
        return int(b.EndObject())

    def vector(items: list[int]) -> int:
        b.StartVector(4, len(items), 4)
        for item in reversed(items):
            b.PrependUOffsetTRelative(item)
        return int(b.EndVector())

    names = [b.CreateString(n) for n, _ in files]
    entries = [table(5, name=(0, "offset", n), kind=(2, "byte", k)) for n, (_, k) in zip(names, files)]
    output = table(7, files=(6, "offset", vector(entries)))
    graph = table(7, outputs=(3, "offset", vector([output])))
    places = {"name": 0, "description": 1, "version": 2, "author": 4, "license": 5}
    strings = {k: (places[k], "offset", b.CreateString(v)) for k, v in texts.items()}
    b.Finish(table(8, **strings, graphs=(3, "offset", vector([graph]))), b"M001")
    return bytes(b.Output())


def classifier(metadata: bytes, **files: str) -> bytes:
    x, y = f("x", 1, 4), f("y", 1, 3)
    dense = Operator("FULLY_CONNECTED", [x, constant("w", np.ones((3, 4), np.float32)), None], [y], "FullyConnectedOptions", {})
    raw = io.BytesIO(written([dense], [x], [y], metadata=metadata))
    if files:
        raw.seek(0, 2)
        with zipfile.ZipFile(raw, "a") as archive:
            for name, text in files.items():
                archive.writestr(f"{name}.txt", text)
    return raw.getvalue()


def test_a_file_says_whose_it_is_and_what_its_classes_are(tmp_path: Path) -> None:
    told_ = told(
        [("notes.txt", 1), ("classes.txt", 2)], name="pets", description="Pets", version="v2", author="A. Nyone", license="Apache-2.0"
    )
    (tmp_path / "m.tflite").write_bytes(classifier(told_, notes="no", classes="cat\ndog\n newt \n"))
    (made,) = mlcc.build(tmp_path / "m.tflite", "c99", out=tmp_path / "o")["artifacts"]
    about = json.loads((Path(made["path"]) / "manifest.json").read_text())
    assert about["outputs"][0]["labels"] == ["cat", "dog", "newt"]
    assert {k: about["about"][k] for k in ("description", "version", "author", "licence")} == {
        "description": "Pets", "version": "v2", "author": "A. Nyone", "licence": "Apache-2.0",
    }  # fmt: skip


def test_what_is_odd_is_left_out(tmp_path: Path) -> None:
    """Cut and changed tables, files that are not there, archives that are none: the model is read all the same."""
    good = told([("classes.txt", 2)], author="A. Nyone")
    g = np.random.default_rng(0)
    changed = [bytes(g.integers(256) if g.random() < 0.03 else v for v in good) for _ in range(60)]
    for metadata in [good, *(good[:n] for n in range(0, len(good), 5)), *changed]:
        (tmp_path / "m.tflite").write_bytes(classifier(metadata))
        model = load(tmp_path / "m.tflite")
        assert "labels" not in model.metadata_props and [v.name for v in model.graph.outputs] == ["y"]
