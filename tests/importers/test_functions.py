"""Operators that nobody knows, as functions in a file of their own."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

import mlcc
from mlcc.error import Error
from tests.conftest import Mlcc


def model(place: Path) -> Path:
    values = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [4]) for n in "xy"]
    graph = helper.make_graph([helper.make_node("Twice", ["x"], ["y"], domain="house", by=3.0)], "g", values[:1], values[1:])
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17), helper.make_opsetid("house", 1)], ir_version=8)
    onnx.save(made, place)
    return place


def functions(place: Path, op: str = "Mul") -> Path:
    """house.Twice: x op by, whose opset is another."""
    nodes = [helper.make_node("Constant", [], ["c"]), helper.make_node(op, ["x", "c"], ["y"])]
    nodes[0].attribute.append(onnx.AttributeProto(name="value_float", ref_attr_name="by", type=onnx.AttributeProto.FLOAT))
    function = helper.make_function("house", "Twice", ["x"], ["y"], nodes, [helper.make_opsetid("", 20)], ["by"])
    graph = helper.make_graph([], "none", [], [])
    onnx.save(helper.make_model(graph, functions=[function], opset_imports=[helper.make_opsetid("", 20)], ir_version=10), place)
    return place


def test_an_operator_is_what_its_function_says(tmp_path: Path, mlcc: Mlcc) -> None:
    import mlcc as m

    place, ops = model(tmp_path / "m.onnx"), functions(tmp_path / "ops.onnx")
    refused = mlcc("build", place, "-t", "native", "-o", tmp_path)
    assert refused.returncode == 4 and "house::Twice" in refused.stderr and "--functions" in refused.stderr
    x = np.array([1, -2, 3, 0.5], np.float32)
    for op, wanted in (("Mul", x * 3), ("Add", x + 3)):  # another file of that name is another model
        functions(ops, op)
        done = mlcc("build", place, "-t", "native", "-o", tmp_path, "--functions", ops, "--depfile", tmp_path / "d", "--json")
        assert done.returncode == 0, done.stderr
        artifact = m.load(json.loads(done.stdout)["artifacts"][0]["path"])
        assert (artifact(x=x)["y"] == wanted).all()
        assert "ops.onnx" in (tmp_path / "d").read_text()


def test_a_file_without_functions_is_said(tmp_path: Path) -> None:
    place = model(tmp_path / "m.onnx")
    for content, what in ((b"hello", "not an ONNX file"), (place.read_bytes(), "no functions in it")):
        (tmp_path / "ops.onnx").write_bytes(content)
        with pytest.raises(Error, match=what):
            mlcc.build(place, "native", out=tmp_path, functions=(tmp_path / "ops.onnx",))
