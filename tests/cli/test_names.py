"""Names of models and tensors are data: in headers, comments, project files and paths."""

from __future__ import annotations

import json
import re
import subprocess
import tomllib
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper

import mlcc
from mlcc import project
from mlcc.names import comment, identifier, label, library_name, member, printable, quoted, unique

HOSTILE = [
    "x*/ int injected; /*", 'q"uote', "back\\slash", "new\nline", "../../up", "nul\0byte", "‮right-to-left", "n" * 10_000, "float", "linux", "NULL",
    "EOF", "I", "errno", "size_t", "uint8_t", "x.1", "x/1", "x_1", "größe", "½", "😀", "??/", "//", "$(touch pwned)", "`id`", "%s%n", "inputs", "main", "c1", "v2",
]  # fmt: skip


def test_words_of_c_and_cpp_are_no_names() -> None:
    assert identifier("and") == "m_and" and identifier("float") == "m_float" and identifier("x.1") == "x_1" and identifier("1") == "m_1"
    assert unique(["a.b", "a_b", "class"]) == ["a_b", "a_b_2", "m_class"]
    assert member("linux") == "m_linux" and member("errno") == "m_errno" and member("I") == "m_I" and member("X") == "X"
    assert library_name("stdint") == "m_stdint" and library_name("kws") == "kws"


@given(st.text())
def test_every_language_gets_harmless_text(text: str) -> None:
    assert re.fullmatch(r"[A-Za-z][A-Za-z0-9_]{0,70}", member(text))
    made = comment(text)
    assert "*/" not in made and "/*" not in made and "\n" not in made and "\\" not in made and '"""' not in made and made.isprintable()
    assert re.fullmatch(r"[A-Za-z0-9 ._-]*", label(text)) and printable(text).isprintable()
    safe = text.encode("utf-8", "replace").decode()
    assert tomllib.loads(f"x = {quoted(safe)}")["x"] == safe


@given(st.lists(st.text(max_size=8), min_size=1, max_size=8))
def test_members_are_told_apart(names: list[str]) -> None:
    assert len(set(unique(names))) == len(names)


def hostile_model(path: Path, names: list[str]) -> dict[str, np.ndarray]:
    """y = Σ of inputs with these names, in nodes and outputs that are called as badly."""
    inputs = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [3]) for n in names]
    nodes = [
        helper.make_node("Sum", names, ["y*/; int k; /*"], name='n"\n*/ #error'),
        helper.make_node("Neg", ["y*/; int k; /*"], ["../z"], name="v1"),
    ]
    outputs = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [3]) for n in ("y*/; int k; /*", "../z")]
    model = helper.make_model(helper.make_graph(nodes, "g\n*/", inputs, outputs), opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 9
    onnx.save(model, str(path))
    return {n: np.full(3, 2.0**i, np.float32) for i, n in enumerate(names)}


@pytest.mark.parametrize("target", ["native", "c99"])
def test_hostile_names_build_and_run(target: str, tmp_path: Path) -> None:
    feed = hostile_model(tmp_path / "m.onnx", HOSTILE)
    made = mlcc.build(tmp_path / "m.onnx", target=target, out=tmp_path / "o", judge=False)
    root = Path(made["artifacts"][0]["path"])
    text = "".join(p.read_text() for p in root.rglob("*") if p.suffix in (".h", ".c"))
    assert "int injected" in text and "x*/" not in text  # it is there, as a comment
    for line in (["gcc", "-fsyntax-only"], ["g++", "-x", "c++", "-fsyntax-only"]):
        header = next((root / "include").glob("*.h"))
        done = subprocess.run([*line, "-Wall", "-Werror", str(header)], capture_output=True, text=True, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
    if target == "native":
        outputs = mlcc.load(root)(feed)
        assert np.array_equal(outputs["y*/; int k; /*"], np.full(3, np.float32(2.0 ** len(HOSTILE) - 1)))
        assert np.array_equal(outputs["../z"], -outputs["y*/; int k; /*"])
    assert not (tmp_path / "pwned").exists() and json.loads((root / "manifest.json").read_text())["inputs"][0]["name"] == HOSTILE[0]


@pytest.mark.parametrize(
    "targets",
    [["hls-zu3eg"], pytest.param(["cuda-sm80", "opencl", "hls-zu3eg", "stablehlo"], marks=pytest.mark.full)],
    ids=len,
)
def test_hostile_names_reach_no_accelerators_language(targets: list[str], tmp_path: Path) -> None:
    """CUDA, OpenCL, HLS C++ and SystemVerilog, StableHLO: built and run; pictures are well-formed XML."""
    hostile_model(tmp_path / "m.onnx", HOSTILE)
    made = mlcc.build(tmp_path / "m.onnx", target=targets, out=tmp_path / "o", judge=False)
    assert {a["conformance"] for a in made["artifacts"]} <= {"passed", "not-run"}
    drawings = [p for a in made["artifacts"] for p in Path(a["path"]).rglob("*.svg")]
    assert drawings
    for p in drawings:
        ElementTree.parse(p)
    pages = [p.read_text("utf-8") for p in tmp_path.rglob("*.html")]
    assert pages and all(c.isprintable() or c == "\n" for page in pages for c in page)
    assert not (tmp_path / "pwned").exists()


def test_names_of_models_that_are_paths_headers_or_long(tmp_path: Path) -> None:
    for name, expected in (("stdint", "m_stdint"), ("n" * 240, None), ("a b;c", "a_b_c")):
        hostile_model(tmp_path / f"{name}.onnx", ["x"])
        made = mlcc.build(tmp_path / f"{name}.onnx", target="native", out=tmp_path / "o", judge=False)
        assert expected in (None, made["model"]) and len(made["model"]) <= 64
    for name in ("../../x", "a b", "stdint", ""):
        if name:
            with pytest.raises(mlcc.Error, match="is no name for a C library"):
                mlcc.build(tmp_path / "stdint.onnx", target="native", out=tmp_path / "o", name=name)


def test_nothing_that_is_not_ours_is_replaced(tmp_path: Path) -> None:
    hostile_model(tmp_path / "m.onnx", ["x"])
    for kind in ("file", "folder"):
        place = tmp_path / kind / "m" / "native"
        (place if kind == "folder" else place.parent).mkdir(parents=True)
        kept = place / "precious" if kind == "folder" else place
        kept.write_text("mine")
        with pytest.raises(mlcc.Error, match="mlcc did not write"):
            mlcc.build(tmp_path / "m.onnx", target="native", out=tmp_path / kind, judge=False)
        assert kept.read_text() == "mine"


def test_a_project_file_says_hostile_names_back() -> None:
    text = project.render('m"\n[x]\nout = "/etc', [(n, "float32", [1, "N\n]"]) for n in HOSTILE if "\0" not in n and len(n) < 99])
    data = tomllib.loads(text)
    assert data["model"] == 'm"\n[x]\nout = "/etc' and set(data["shapes"]) == {n for n in HOSTILE if "\0" not in n and len(n) < 99}
