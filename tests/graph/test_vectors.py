"""Golden vectors: drawn by what inputs are for, measured, and refused where they say nothing."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper, numpy_helper

import mlcc
from mlcc.conformance import judge, locate
from mlcc.error import Error
from mlcc.graph.draws import draws
from mlcc.graph.freeze import frozen_vectors, golden_input
from mlcc.reference import execute
from tests.support import graph_of


def saved(
    path: Path, nodes: list[onnx.NodeProto], inputs: dict[str, tuple[int, list[int]]], initial: dict[str, np.ndarray] | None = None
) -> Path:
    values = [helper.make_tensor_value_info(n, t, s) for n, (t, s) in inputs.items()]
    constants = [numpy_helper.from_array(a, n) for n, a in (initial or {}).items()]
    graph = helper.make_graph(nodes, "g", values, [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 9
    onnx.save(model, str(path))
    return path


def test_inputs_are_drawn_for_their_use() -> None:
    """1 an index below its axis, moved; 2 a mask that blocks; 3 a class to compare with; 4 a root's operand; 5 an index by way of
    arithmetic."""

    def make(b, ids, mask, kind, size, x, far):  # type: ignore[no-untyped-def]
        table = b.constant(np.arange(120, dtype=np.float32).reshape(40, 3))
        rows = b("Gather", table, b("Add", b.cast(ids, "int64"), b.like(2, b.cast(ids, "int64"))), axis=0)
        blocked = b("Mul", b("Sub", b.constant(np.float32(1)), b.cast(mask, "float32")), b.constant(np.float32(-1e4)))
        same = b.cast(b("Equal", kind, b.like(16000, kind)), "float32")
        whole = b("Add", b("Mul", far, b.like(1, far)), b("Mul", b("Sub", far, far), far))
        return rows, blocked, same, b("Log", size), b("Relu", x), b("Gather", table, whole, axis=0)

    shapes = {
        "ids": ("int32", (5,)),
        "mask": ("int64", (5,)),
        "kind": ("int64", ()),
        "size": ("float32", (4,)),
        "x": ("float32", (4,)),
        "far": ("int64", (3,)),
    }
    graph = graph_of(shapes, make)
    found = {v: (d.kind, d.low, d.span) for v, d in draws(graph).items()}
    assert found["ids"] == ("range", 0, 38) and found["mask"] == ("range", 0, 2) and found["kind"] == ("range", 16000, 2)
    assert found["size"][0] == "unit" and found["x"][0] == "free" and found["far"] == ("range", 0, 40)
    vectors, coverage = frozen_vectors(graph)
    assert {n.op for n in coverage.idle()} == {"Sub", "Mul"}  # far - far, by design
    for g in vectors:
        assert g.inputs["ids"].max() < 38 and g.inputs["ids"].min() >= 0 and set(np.unique(g.inputs["mask"])) <= {0, 1}
    assert np.array_equal(vectors[0].inputs["ids"], golden_input(graph.types["ids"], 0, 1, "uniform", draws(graph)["ids"]))


def test_further_vectors_are_searched_for_what_is_idle() -> None:
    """Between 10 and 20 nothing lies in (−4, 4), nor among the special values: a larger scale reaches it."""

    def make(b, x):  # type: ignore[no-untyped-def]
        size = b("Abs", x)
        return b("And", b("Less", b.like(10, size), size), b("Less", size, b.like(20, size)))

    vectors, coverage = frozen_vectors(graph_of({"x": ("float32", (8,))}, make))
    assert len(vectors) > 3 and vectors[-1].exponent > 0 and not coverage.idle()


def test_an_output_that_is_nowhere_finite_is_no_pass(tmp_path: Path) -> None:
    path = saved(tmp_path / "m.onnx", [helper.make_node("Mul", ["x", "n"], ["y"])], {"x": (1, [3])}, {"n": np.full(3, np.nan, np.float32)})
    with pytest.raises(Error, match="output y is not a finite number in any golden vector") as e:
        mlcc.build(path, target="native", out=tmp_path / "o")
    assert e.value.code == "model"


def test_idle_operators_are_named_and_fail_strict_builds(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Greater", ["x", "far"], ["g"]),
        helper.make_node("Cast", ["g"], ["f"], to=1),
        helper.make_node("Add", ["x", "f"], ["y"]),
    ]
    path = saved(tmp_path / "m.onnx", nodes, {"x": (1, [3])}, {"far": np.array([1e30], np.float32)})
    np.save(tmp_path / "x.npy", np.array([2e30, 0, 1], np.float32))
    made = mlcc.build(path, target="native", out=tmp_path / "o")
    report = json.loads((Path(made["artifacts"][0]["path"]) / "conformance.json").read_text())
    assert report["coverage"]["not_exercised"] == [
        {"operator": "Less", "where": "g", "why": "all equal"},
        {"operator": "Cast", "where": "f", "why": "all equal"},
    ]
    assert any("not exercised" in n for n in made["notes"])
    with pytest.raises(Error, match="2 of 3 operators are not exercised"):
        mlcc.build(path, target="native", out=tmp_path / "o", strict=True)
    made = mlcc.build(path, target="native", out=tmp_path / "o", strict=True, samples={"x": (tmp_path / "x.npy",)})
    root = Path(made["artifacts"][0]["path"])
    report = json.loads((root / "conformance.json").read_text())
    assert [v["kind"] for v in report["vectors"]] == ["uniform", "uniform", "edge", "sample"] and report["vectors"][3]["ran"]
    assert np.array_equal(np.load(root / "golden/3/input_0.npy"), np.array([2e30, 0, 1], np.float32))
    with pytest.raises(Error, match="wanted"):
        np.save(tmp_path / "bad.npy", np.zeros(4, np.float32))
        mlcc.build(path, target="native", out=tmp_path / "o", samples={"x": (tmp_path / "bad.npy",)})


def test_reads_of_memory_that_nothing_wrote_are_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program that lacks a call, so that others read arena that nothing filled: not proven; with proofs off, its two runs differ."""
    from mlcc import versions

    nodes = [helper.make_node("MatMul", ["x", "w"], ["a"]), helper.make_node("Softmax", ["a"], ["y"])]
    path = saved(tmp_path / "m.onnx", nodes, {"x": (1, [6, 8])}, {"w": np.eye(8, 12, dtype=np.float32)})
    real = versions.lower

    def without_one(graph, *a, **k):  # type: ignore[no-untyped-def]
        from dataclasses import replace

        program = real(graph, *a, **k)
        return replace(program, calls=(program.calls[0], *program.calls[2:]))

    from mlcc.program import program as loop

    monkeypatch.setattr(versions, "lower", without_one)
    monkeypatch.setattr(loop, "validate", lambda *a: None)
    with pytest.raises(Error, match="wrong translation: call"):
        mlcc.build(path, target="c99", out=tmp_path / "o", cache=False)
    monkeypatch.setattr(versions, "prove", lambda *a: None)
    with pytest.raises(Error, match="depend on what the workspace held before"):
        mlcc.build(path, target="c99", out=tmp_path / "o", cache=False)


def test_the_judge_agrees_parts_and_can_be_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nodes = [
        helper.make_node("Sigmoid", ["x"], ["a"], name="first"),
        helper.make_node("Tanh", ["a"], ["b"], name="second"),
        helper.make_node("Add", ["b", "x"], ["y"]),
    ]
    path = saved(tmp_path / "m.onnx", nodes, {"x": (1, [50])})
    said = mlcc.build(path, target="native", out=tmp_path / "o", cache=False)
    report = json.loads((Path(said["artifacts"][0]["path"]) / "conformance.json").read_text())
    assert report["judge"]["verdict"] == "agrees" and report["judge"]["engine"].startswith("onnxruntime")
    comparison = json.loads((tmp_path / "o/m/comparison.json").read_text())
    figures = [v["outputs"]["y"] for v in comparison["vectors"]]
    assert comparison["engine"] == report["judge"]["engine"] and all(f["max_abs"] <= f.get("allowed", 1e-6) for f in figures)
    assert [f.get("allowed", 0) > 0 for f in figures] == [v["kind"] != "edge" for v in comparison["vectors"]]
    monkeypatch.setitem(execute.TABLE, "Tanh", lambda node, a: a)
    graph = graph_of({"x": ("float32", (50,))}, lambda b, x: b("Add", b("Tanh", b("Sigmoid", x)), x))
    vectors, _ = frozen_vectors(graph)
    renamed = [type(g)(g.seed, g.kind, g.inputs, {"y": g.outputs["y0"]}, g.digest, g.draws) for g in vectors]
    with pytest.raises(Error, match=r"output y is off by .* the first operator that parts is Tanh \(second\)"):
        judge.judge(path, graph, renamed)
    monkeypatch.undo()
    without = mlcc.build(path, target="native", out=tmp_path / "o", judge=False)
    report = json.loads((Path(without["artifacts"][0]["path"]) / "conformance.json").read_text())
    assert report["judge"] == {"engine": "", "verdict": "not judged: --no-judge"}


def test_whether_an_exporter_parts_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A framework that computes otherwise than the program that was made of its file."""
    path = saved(tmp_path / "m.onnx", [helper.make_node("Tanh", ["x"], ["y"])], {"x": (1, [50])})
    importer = SimpleNamespace(load=lambda model: ir.from_proto(onnx.load(path)))
    monkeypatch.setattr(locate.plugin, "importer", lambda model: importer)
    vectors, _ = frozen_vectors(graph_of({"x": ("float32", (50,))}, lambda b, x: b("Tanh", x)))
    renamed = [type(g)(g.seed, g.kind, g.inputs, {"y": g.outputs["y0"]}, g.digest, g.draws) for g in vectors]
    graph = graph_of({"x": ("float32", (50,))}, lambda b, x: b("Tanh", x))
    own = ("numpy", lambda model: lambda feed: [np.tanh(feed["x"]) + np.float32(0.1)])
    with pytest.raises(Error, match="by numpy .*; of the ONNX program that was made of the file, ONNX Runtime computes what we do"):
        judge.judge(tmp_path / "m.fake", graph, renamed, own)


def test_a_judge_that_refuses_drawn_vectors_hears_the_samples(tmp_path: Path) -> None:
    """A rate that decides which branch fits: what is drawn for it, no caller would pass."""
    branches = [
        helper.make_graph(
            [helper.make_node("Conv", ["x", f"w{n}"], [f"y{n}"])],
            f"b{n}",
            [],
            [helper.make_tensor_value_info(f"y{n}", TensorProto.FLOAT, None)],
            [numpy_helper.from_array(np.ones((1, n, 3), np.float32), f"w{n}")],
        )
        for n in (2, 3)
    ]
    nodes = [
        helper.make_node("Constant", [], ["c"], value=numpy_helper.from_array(np.array(16000, np.int64))),
        helper.make_node("Equal", ["rate", "c"], ["fast"]),
        helper.make_node("If", ["fast"], ["y"], then_branch=branches[0], else_branch=branches[1]),
    ]
    path = saved(tmp_path / "m.onnx", nodes, {"x": (1, [1, 2, 9]), "rate": (7, [])})

    def verdict(**samples: float) -> str:
        for n, value in samples.items():
            np.save(tmp_path / f"{n}.npy", np.array(value, np.int64))
        given = {n: (tmp_path / f"{n}.npy",) for n in samples}
        made = mlcc.build(path, target="native", out=tmp_path / "o", samples=given)
        return str(json.loads((Path(made["artifacts"][0]["path"]) / "conformance.json").read_text())["judge"]["verdict"])

    assert verdict().startswith("not judged") and verdict(rate=16000) == "agrees"


def test_one_symbol_is_one_size(tmp_path: Path) -> None:
    nodes = [helper.make_node("Add", ["a", "b"], ["y"])]
    values = [helper.make_tensor_value_info(n, TensorProto.FLOAT, ["rows", 3]) for n in "ab"]
    model = helper.make_model(
        helper.make_graph(nodes, "g", values, [helper.make_tensor_value_info("y", 1, None)]), opset_imports=[helper.make_opsetid("", 17)]
    )
    model.ir_version = 9
    onnx.save(model, str(tmp_path / "m.onnx"))
    made = mlcc.build(tmp_path / "m.onnx", target="native", out=tmp_path / "o", shapes={"a": (4, 3)})
    about = json.loads((Path(made["artifacts"][0]["path"]) / "manifest.json").read_text())
    assert [i["shape"] for i in about["inputs"]] == [[4, 3], [4, 3]] and not made["notes"]
    made = mlcc.build(tmp_path / "m.onnx", target="native", out=tmp_path / "o")
    assert any("batch dimension rows built as 1" in n for n in made["notes"])
