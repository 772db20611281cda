"""Recurrence as loops of the program: few calls however many turns, the bits of the turns written out, and what is still written out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto as T
from onnx import helper as h

import mlcc
from mlcc.core.graph import CoreGraph, digest, validate
from mlcc.core.types import check
from mlcc.error import Error
from mlcc.graph.freeze import golden_input
from mlcc.graph.normalise import normalise
from mlcc.graph.passes import optimise
from mlcc.graph.unroll import unrolled
from mlcc.program.lower import lower
from mlcc.program.program import written_out
from mlcc.reference.execute import execute
from mlcc.translation.check import prove
from tests.graph.open_models import MODELS, model, recurrent
from tests.support import Compiled, assert_same_bits

N = h.make_node


def graph_of(proto: Any, **shapes: tuple[int, ...]) -> CoreGraph:
    return optimise(normalise(ir.from_proto(proto), "loop", shapes, "loop.onnx"), check=True)


def fed(graph: CoreGraph, seed: int = 3) -> dict[str, np.ndarray]:
    return {n: golden_input(graph.types[n], i, seed, "uniform") for i, n in enumerate(graph.inputs)}


@pytest.mark.parametrize("kind", ["LSTM", "GRU", "RNN"])
def test_calls_do_not_grow_with_steps(kind: str) -> None:
    made = recurrent(kind, "bidirectional")[0]
    few, many = (lower(graph_of(made, x=(n, 2, 5))) for n in (3, 300))
    assert len(few.calls) == len(many.calls) < 40 and len(many.loops) == 2
    assert len(written_out(many).calls) > 600


@pytest.mark.parametrize("name", ["LSTM", "LSTM, lengths", "GRU", "RNN", "looped"])
def test_turns_written_out_are_the_same_bits(name: str) -> None:
    """By another graph, which is legal, lowered and proven by itself."""
    made, spec = MODELS[name]()
    shapes = {n: tuple(6 if ".." in d else int(d) for d in dims.split("x")) for n, dims in spec.items()}
    graph = graph_of(made, **shapes)
    assert graph.bodies
    flat = unrolled(graph)
    check(flat)
    assert not flat.bodies and digest(flat) != digest(graph)
    prove(lower(flat), flat)
    feed = fed(graph)
    want = execute(graph, feed)
    for found in (execute(flat, feed), Compiled(lower(flat))(feed), Compiled(lower(graph))(feed, 3)):
        for v, array in want.items():
            assert_same_bits(found[v], array, v, graph)


def collatz(limit: int, condition: bool = True) -> onnx.ModelProto:
    """x and its sum double until the sum is 50 or more."""
    values = [h.make_tensor_value_info(n, t, s) for n, t, s in (("i", T.INT64, []), ("c", T.BOOL, []), ("a", T.FLOAT, [4]))]
    results = [h.make_tensor_value_info(n, t, s) for n, t, s in (("c2", T.BOOL, []), ("a2", T.FLOAT, [4]), ("row", T.FLOAT, [4]))]
    nodes = [
        N("Mul", ["a", "x"], ["m"]),
        N("Add", ["m", "x"], ["a2"]),
        N("ReduceSum", ["a2"], ["sum"], keepdims=0),
        N("Less", ["sum", "fifty"], ["c2"]),
        N("Neg", ["a2"], ["row"]),
    ]
    body = h.make_graph(nodes, "body", values, results)
    return model([N("Loop", ["most", "go" if condition else "", "x"], ["y", "rows"], body=body)], {"x": (T.FLOAT, [4])}, ["y", "rows"], {"most": np.array(limit), "fifty": np.array(50, np.float32), "go": np.array(True)})  # fmt: skip


@pytest.mark.parametrize("condition", [False, True])
def test_a_loop_may_end_early(condition: bool, tmp_path: Path) -> None:
    """As ONNX Runtime ends it, in Python and in C, at its first turn, later, and not at all."""
    ort = pytest.importorskip("onnxruntime")
    proto = collatz(20, condition)
    onnx.save(proto, tmp_path / "m.onnx")
    made = mlcc.build(tmp_path / "m.onnx", ["native", "c99"], out=tmp_path / "out")
    assert {a["conformance"] for a in made["artifacts"]} == {"passed"}
    m, session = (
        mlcc.load(made["artifacts"][0]["path"]),
        ort.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"]),
    )
    turns = set()
    for size in (0.1, 0.5, 1.0, 1.5, 30.0):
        x = np.full(4, size, np.float32)
        found, want = m(x=x), session.run(None, {"x": x})
        np.testing.assert_allclose(found["y"], want[0], rtol=1e-6)
        np.testing.assert_allclose(found["rows"], want[1], rtol=1e-6)
        turns.add(len(want[1]))
    assert {1, 20} < turns


def counted_loop(how: str) -> Any:
    """y doubled as often as a run says: n, cut to 7 (or, by bytes, to 255), or how many elements are positive; each turn's y is stacked."""
    body = h.make_graph(
        [N("Identity", ["c"], ["more"]), N("Add", ["v", "v"], ["w"]), N("Identity", ["w"], ["row"])],
        "body",
        [h.make_tensor_value_info(n, t, s) for n, t, s in (("i", T.INT64, []), ("c", T.BOOL, []), ("v", T.FLOAT, [4]))],
        [h.make_tensor_value_info(n, t, s) for n, t, s in (("more", T.BOOL, []), ("w", T.FLOAT, [4]), ("row", T.FLOAT, [4]))],
    )
    count = {
        "cut": [N("Min", ["n", "seven"], ["trips"])],
        "bytes": [N("Cast", ["n"], ["trips"], to=T.INT64)],
        "positive": [N("Greater", ["x", "zero"], ["p"]), N("Cast", ["p"], ["q"], to=T.INT64), N("ReduceSum", ["q"], ["trips"], keepdims=0)],
        "unknown": [N("Identity", ["n"], ["trips"])],
    }[how]
    stored = [h.make_tensor("seven", T.INT64, [], [7]), h.make_tensor("zero", T.FLOAT, [], [0.0])]
    given = [h.make_tensor_value_info("x", T.FLOAT, [4])]
    if how != "positive":
        given.append(h.make_tensor_value_info("n", T.UINT8 if how == "bytes" else T.INT64, []))
    results = [h.make_tensor_value_info("y", T.FLOAT, [4]), h.make_tensor_value_info("rows", T.FLOAT, [None, 4])]
    graph = h.make_graph([*count, N("Loop", ["trips", "", "x"], ["y", "rows"], body=body)], "g", given, results, stored)
    return h.make_model(graph, opset_imports=[h.make_opsetid("", 17)], ir_version=8)


@pytest.mark.parametrize("how", ["cut", "bytes", "positive"])
def test_a_run_may_say_how_often(how: str, tmp_path: Path) -> None:
    """As ONNX Runtime repeats it: not at all, once, and as often as can be."""
    ort = pytest.importorskip("onnxruntime")
    proto = counted_loop(how)
    onnx.save(proto, tmp_path / "m.onnx")
    made = mlcc.build(tmp_path / "m.onnx", ["native"], out=tmp_path / "out")
    assert made["artifacts"][0]["conformance"] == "passed"
    m = mlcc.load(made["artifacts"][0]["path"])
    session = ort.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    for n in (0, 1, 3, 4) if how == "positive" else (0, 1, 6, 7, 8, 100) if how == "bytes" else (-9, 0, 1, 7, 9, 1 << 40):
        x = np.where(np.arange(4) < n, 1.5, -0.5).astype(np.float32)
        feed = {"x": x} if how == "positive" else {"x": x, "n": np.array(n, np.uint8 if how == "bytes" else np.int64)}
        for name, want in zip(("y", "rows"), session.run(None, feed)):
            np.testing.assert_array_equal(m(**feed)[name], want)


def test_a_trip_count_without_a_bound_is_refused() -> None:
    with pytest.raises(Error, match="the trip count depends on the model's inputs") as e:
        graph_of(counted_loop("unknown"))
    assert e.value.code == "unsupported"


def test_what_nobody_reads_is_not_stacked() -> None:
    made = recurrent("LSTM", "forward")[0]
    del made.graph.output[0]
    graph = graph_of(made, x=(9, 2, 5))
    (node,) = (n for n in graph.nodes if n.op == "Repeat")
    assert len(node.outputs) == node["carried"] == 2
    feed = fed(graph)
    assert_same_bits(
        execute(graph, feed)["last"], execute(graph_of(recurrent("LSTM", "forward")[0], x=(9, 2, 5)), feed)["last"], "last", graph
    )
    prove(lower(graph), graph)


def test_what_is_written_out_and_what_is_refused() -> None:
    """A body whose shapes change from turn to turn; a loop within a loop; too many turns in all."""
    values = [h.make_tensor_value_info(n, t, s) for n, t, s in (("i", T.INT64, []), ("c", T.BOOL, []), ("a", T.FLOAT, None))]
    results = [h.make_tensor_value_info("c2", T.BOOL, []), h.make_tensor_value_info("a2", T.FLOAT, None)]
    grows = h.make_graph([N("Identity", ["c"], ["c2"]), N("Concat", ["a", "x"], ["a2"], axis=0)], "body", values, results)
    graph = graph_of(model([N("Loop", ["n", "", "x"], ["y"], body=grows)], {"x": (T.FLOAT, [2])}, ["y"], {"n": np.array(5)}))
    assert not graph.bodies and graph.types["y"].shape == (12,)
    inner = h.make_graph([N("Identity", ["d"], ["d2"]), N("Tanh", ["b"], ["b2"])], "inner",
                         [h.make_tensor_value_info("j", T.INT64, []), h.make_tensor_value_info("d", T.BOOL, []), h.make_tensor_value_info("b", T.FLOAT, [2])],
                         [h.make_tensor_value_info("d2", T.BOOL, []), h.make_tensor_value_info("b2", T.FLOAT, [2])])  # fmt: skip
    nested = h.make_graph([N("Identity", ["c"], ["c2"]), N("Loop", ["k", "", "a"], ["a2"], body=inner)], "body", values, results)
    graph = graph_of(
        model([N("Loop", ["n", "", "x"], ["y"], body=nested)], {"x": (T.FLOAT, [2])}, ["y"], {"n": np.array(5), "k": np.array(3)})
    )
    (body,) = graph.bodies  # the inner one is written out
    assert sum(n.op == "Tanh" for n in body.graph.nodes) == 3
    validate(graph)
    prove(lower(graph), graph)
    with pytest.raises(mlcc.Error, match="operators in all turns"):
        graph_of(recurrent("LSTM", "forward")[0], x=(100_000, 2, 5))
