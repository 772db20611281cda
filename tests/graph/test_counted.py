"""Sizes that only a run knows: a bound, a count beside the value, and no operator that would take the one for the other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper, numpy_helper

import mlcc
from mlcc.core.graph import canonical_bytes
from mlcc.core.narrow import shown
from mlcc.error import Error
from mlcc.graph.normalise import normalise
from mlcc.graph.passes import optimise
from mlcc.program.lower import lower
from mlcc.reference.execute import execute
from tests.support import Compiled

F, I = TensorProto.FLOAT, TensorProto.INT64


def model(nodes: list[Any], inputs: dict[str, tuple[int, tuple[int, ...]]], outputs: dict[str, int], stored: dict[str, np.ndarray]) -> Any:
    ends = [helper.make_tensor_value_info(n, t, s) for n, (t, s) in inputs.items()]
    results = [helper.make_tensor_value_info(n, t, None) for n, t in outputs.items()]
    graph = helper.make_graph(nodes, "g", ends, results, [numpy_helper.from_array(a, n) for n, a in stored.items()])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def built(proto: Any, tmp_path: Path, target: str = "native") -> Any:
    onnx.save(proto, tmp_path / "m.onnx")
    return mlcc.build(tmp_path / "m.onnx", target=target, out=tmp_path / "out")


N = helper.make_node
DETECTOR = [
    N("NonMaxSuppression", ["b", "s", "most", "iou", "least"], ["sel"]),
    N("Gather", ["sel", "two"], ["box"], axis=1),
    N("Gather", ["sel", "zero"], ["image"], axis=1),
    N("Unsqueeze", ["box", "ax"], ["bu"]),
    N("Unsqueeze", ["image", "ax"], ["iu"]),
    N("Concat", ["iu", "bu"], ["at"], axis=1),
    N("GatherND", ["b", "at"], ["found"]),
    N("ReduceMean", ["found"], ["mean"], axes=[0], keepdims=0),
    N("Softmax", ["found"], ["soft"], axis=0),
    N("Shape", ["found"], ["shape"]),
]
STORED = {
    "most": np.array([5]),
    "iou": np.float32([0.3]),
    "least": np.float32([0.25]),
    "two": np.array(2),
    "zero": np.array(0),
    "ax": np.array([1]),
}


@pytest.mark.parametrize("seed", [0, *(pytest.param(n, marks=pytest.mark.full) for n in range(1, 4))])
def test_detections(seed: int, tmp_path: Path) -> None:
    """As ONNX Runtime finds them, with ties, through an artifact; what follows knows how many there are."""
    ort = pytest.importorskip("onnxruntime")
    r = np.random.default_rng(seed)
    corner, size = r.random((2, 30, 2)) * 10, r.random((2, 30, 2)) * 4 + 0.1
    boxes = np.concatenate([corner, corner + size], 2).astype(np.float32)
    scores = np.round(r.random((2, 3, 30)) * (seed > 0), 1).astype(np.float32)
    inputs, stored = {"b": (F, boxes.shape), "s": (F, scores.shape)}, dict(STORED)
    feed = {"b": boxes, "s": scores}
    if seed == 2:  # how many at most is an input
        inputs["most"], feed["most"] = (I, (1,)), stored.pop("most")
    proto = model(DETECTOR, inputs, {"sel": I, "found": F, "mean": F, "soft": F, "shape": I}, stored)
    want = ort.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"]).run(None, feed)
    loaded = mlcc.load(built(proto, tmp_path)["artifacts"][0]["path"])
    for (name, got), wanted in zip(loaded(feed).items(), want):
        assert got.shape == wanted.shape, name
        if len(want[0]) or name == "shape":  # of nothing a mean is NaN here, as in NumPy, and 0 there
            np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=1e-6, err_msg=name)
    assert len(want[0]) == loaded.stored({k: np.asarray(v) for k, v in feed.items()})["sel.count"]


def test_flatten_keeps_a_count_where_its_axis_stays_one(tmp_path: Path) -> None:
    nodes = [N("NonZero", ["x"], ["at"]), N("Flatten", ["at"], ["y"], axis=1), N("Flatten", ["at"], ["z"], axis=0)]
    with pytest.raises(Error, match="only at run time"):  # two rows in one
        normalise(ir.from_proto(model(nodes, {"x": (F, (3, 4))}, {"y": I, "z": I}, {})), "g", {}, "g")
    proto = model(nodes[:2], {"x": (F, (3, 4))}, {"y": I}, {})
    x = np.float32([[0, 1, 0, 2], [0, 0, 0, 0], [3, 0, 4, 5]])
    found = mlcc.load(built(proto, tmp_path)["artifacts"][0]["path"])(x=x)["y"]
    assert np.array_equal(found, np.stack(np.nonzero(x)))


def test_one_answer_on_other_targets(tmp_path: Path) -> None:
    nodes = [N("NonZero", ["x"], ["at"]), N("Transpose", ["at"], ["rows"]), N("GatherND", ["x", "rows"], ["values"])]
    proto = model(nodes, {"x": (F, (3, 4))}, {"rows": I, "values": F}, {})
    onnx.save(proto, tmp_path / "m.onnx")
    made = mlcc.build(tmp_path / "m.onnx", target=["native", "c99"], out=tmp_path / "out")
    assert [a["conformance"] for a in made["artifacts"]] == ["passed", "passed"]
    x = np.float32([[0, 1, 0, 2], [0, 0, 0, 0], [3, 0, -0.0, np.nan]])
    found = mlcc.load(made["artifacts"][0]["path"])(x=x)
    assert np.array_equal(found["rows"], np.argwhere(x)) and np.array_equal(found["values"], x[np.nonzero(x)], equal_nan=True)


@pytest.mark.parametrize("ascending", [0, 1])
@pytest.mark.parametrize("axis", [None, 0, 1])
def test_unique_rows(ascending: int, axis: int | None, tmp_path: Path) -> None:
    ort = pytest.importorskip("onnxruntime")
    attributes = {"sorted": ascending} | ({} if axis is None else {"axis": axis})
    proto = model(
        [N("Unique", ["x"], ["y", "first", "which", "often"], **attributes)],
        {"x": (F, (6, 5))},
        {"y": F, "first": I, "which": I, "often": I},
        {},
    )
    x = np.random.default_rng(3).integers(0, 2, (6, 5)).astype(np.float32)
    x[4], x[:, 3] = x[1], x[:, 0]
    want = ort.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"]).run(None, {"x": x})
    for (name, got), wanted in zip(mlcc.load(built(proto, tmp_path)["artifacts"][0]["path"])(x=x).items(), want):
        assert np.array_equal(got, wanted), (name, got, wanted)


def test_k_of_top_k_at_run_time(tmp_path: Path) -> None:
    proto = model([N("TopK", ["x", "k"], ["v", "i"], axis=1)], {"x": (F, (2, 5)), "k": (I, (1,))}, {"v": F, "i": I}, {})
    loaded = mlcc.load(built(proto, tmp_path)["artifacts"][0]["path"])
    x = np.float32([[3, 1, 2, 5, 4], [1, 1, 9, 0, 2]])
    for k in (0, 1, 3, 5):
        found = loaded(x=x, k=np.array([k]))
        assert np.array_equal(found["v"], -np.sort(-x, axis=1)[:, :k]) and found["i"].shape == (2, k)


REFUSED = {
    "CumSum": N("CumSum", ["c", "zero"], ["y"]),
    "Concat": N("Concat", ["c", "c"], ["y"], axis=0),
    "Add": N("Add", ["c", "x"], ["y"]),
    "Slice": N("Slice", ["c", "first", "last"], ["y"]),
    "ReduceL2": N("ReduceL2", ["c"], ["y"]),
    "ArgMax": N("ArgMax", ["c"], ["y"], axis=0),
    "Gather": N("Gather", ["c", "first"], ["y"], axis=0),
    "Softplus of a function": N("MeanVarianceNormalization", ["c"], ["y"], axes=[0]),
}


@pytest.mark.parametrize("node", REFUSED.values(), ids=REFUSED)
def test_what_would_take_the_bound_for_the_size_is_refused(node: Any) -> None:
    stored = {"zero": np.array(0), "first": np.array([0]), "last": np.array([2])}
    nodes = [N("Greater", ["x", "half"], ["m"]), N("Compress", ["x", "m"], ["c"], axis=0), node]
    proto = model(nodes, {"x": (F, (6,))}, {"y": F}, {**stored, "half": np.float32(0.5)})
    with pytest.raises(Error) as e:
        normalise(ir.from_proto(proto), "g", {}, "g")
    assert e.value.code == "unsupported" and "only at run time" in e.value.what


def test_branches_of_different_shapes() -> None:
    """If gives the larger bound and the extent that is meant."""
    rows = helper.make_graph([helper.make_node("Slice", ["x", "start", "end"], ["a"])], "t", [], [onnx.ValueInfoProto(name="a")])
    wide = helper.make_graph([helper.make_node("Concat", ["x", "x"], ["c"], axis=1)], "e", [], [onnx.ValueInfoProto(name="c")])
    nodes = [
        helper.make_node("ReduceSum", ["x"], ["s"], keepdims=0),
        helper.make_node("Greater", ["s", "zero"], ["f"]),
        helper.make_node("If", ["f"], ["y"], then_branch=rows, else_branch=wide),
        helper.make_node("Abs", ["y"], ["r"]),
        helper.make_node("ReduceSum", ["y"], ["total"], keepdims=0),
    ]
    known = [("zero", np.float32(0)), ("start", np.array([0], np.int64)), ("end", np.array([3], np.int64))]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, (4, 3))],
        [onnx.ValueInfoProto(name="r"), onnx.ValueInfoProto(name="total")],
        [numpy_helper.from_array(np.asarray(a), n) for n, a in known],
    )
    core = optimise(normalise(ir.from_proto(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)])), "g", {}, "g"))
    for sign in (1, -1):
        x = (np.arange(12, dtype=np.float32).reshape(4, 3) - 2) * sign
        found = execute(core, {"x": x})
        kept = shown({n: d.counts for n, d in core.described.items()}, found)
        want = x[:3] if sign > 0 else np.concatenate([x, x], axis=1)
        assert np.array_equal(kept["r"], np.abs(want)) and kept["total"] == want.sum()
        native = Compiled(lower(core))({"x": x}, 2)
        assert all(canonical_bytes(native[n]) == canonical_bytes(found[n]) for n in core.outputs)
