"""Random operators: Philox as the self-test has it, keyed by an input that is added, and never by the host."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper

from mlcc.core.graph import CoreGraph
from mlcc.graph.builder import Builder
from mlcc.graph.freeze import philox
from mlcc.graph.normalise import normalise
from mlcc.graph.rules.random import words
from mlcc.graph.source import Source
from mlcc.reference.execute import execute
from tests.support import assert_exact


def core(nodes: list[Any], outputs: dict[str, int], inputs: dict[str, tuple[int, list[int]]] | None = None) -> CoreGraph:
    ends = [helper.make_tensor_value_info(n, t, s) for n, (t, s) in (inputs or {}).items()]
    graph = helper.make_graph(nodes, "g", ends, [helper.make_tensor_value_info(n, t, None) for n, t in outputs.items()])
    return normalise(ir.from_proto(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 22)], ir_version=10)), "g", {}, "g")


def test_the_words_are_philox() -> None:
    """Philox4x32-10 of the counter (element, stream, 0, 0) under (seed, "mlcc"), as golden inputs are drawn."""
    b = Builder()
    y = words(Source("RandomUniform", (), {}, 22, 1, b), 22)
    graph = b.finish("words", [("y", y)])
    found = execute(graph, {"seed": np.array(77)})["y"]
    assert (found == philox(6, 0, 77).reshape(-1)[:22]).all()


@pytest.mark.parametrize("dtype", [TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16])
def test_what_is_drawn(dtype: int) -> None:
    nodes = [
        helper.make_node("RandomUniform", [], ["u"], shape=[100, 40], low=-2.0, high=4.0, dtype=dtype),
        helper.make_node("RandomNormal", [], ["n"], shape=[4000], mean=1.0, scale=3.0, dtype=dtype),
        helper.make_node("RandomUniform", [], ["other"], shape=[100, 40], low=-2.0, high=4.0, dtype=dtype),
    ]
    graph = core(nodes, dict.fromkeys(("u", "n", "other"), dtype))
    assert graph.inputs == ("seed",)
    found = {k: v.astype(np.float64) for k, v in execute(graph, {"seed": np.array(5)}).items()}
    again, another = (execute(graph, {"seed": np.array(s)}) for s in (5, 6))
    assert (found["u"] == again["u"]).all() and (found["u"] != another["u"]).mean() > 0.9 and (found["u"] != found["other"]).mean() > 0.9
    assert -2 <= found["u"].min() < -1.9 and 3.9 < found["u"].max() <= 4 and abs(found["u"].mean() - 1) < 0.1
    assert abs(found["n"].mean() - 1) < 0.2 and abs(found["n"].std() - 3) < 0.2


def test_a_seed_of_the_models_own_is_no_input() -> None:
    graph = core([helper.make_node("RandomNormal", [], ["y"], shape=[8], seed=3.0)], {"y": TensorProto.FLOAT})
    assert graph.inputs == () and (execute(graph, {})["y"] == execute(graph, {})["y"]).all()


def test_kernels_draw_the_same() -> None:
    nodes = [
        helper.make_node("RandomNormalLike", ["x"], ["n"]),
        helper.make_node("Multinomial", ["x"], ["m"], sample_size=50, dtype=TensorProto.INT64),
        helper.make_node("Bernoulli", ["p"], ["c"]),
        helper.make_node("Sigmoid", ["x"], ["p"]),
    ]
    nodes = [nodes[3], *nodes[:3]]
    graph = core(nodes, {"n": TensorProto.FLOAT, "m": TensorProto.INT64, "c": TensorProto.FLOAT}, {"x": (TensorProto.FLOAT, [3, 5])})
    x = np.random.default_rng(0).standard_normal((3, 5)).astype(np.float32)
    found = assert_exact(graph, {"x": x, "seed": np.array(123456789)})
    assert found["m"].min() >= 0 and found["m"].max() <= 4 and set(found["c"].ravel()) <= {0.0, 1.0}
