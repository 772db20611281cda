"""Quantised models as ONNX Runtime's tool writes them: static (QDQ and QOperator) and dynamic, signed and unsigned, per tensor and per
channel."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from mlcc import importers
from mlcc.core.graph import CoreGraph
from mlcc.graph.normalise import normalise
from mlcc.graph.passes import optimise
from mlcc.reference.execute import execute
from tests.backends.support import assert_exact_in_c
from tests.support import assert_exact

quantization = pytest.importorskip("onnxruntime.quantization")
SHAPE = (1, 3, 10, 12)


def network(path: Path) -> Path:
    """Convolutions, a depthwise one, a residual Add, pools, a Gemm, a softmax."""
    r = np.random.default_rng(0)

    def w(name: str, *shape: int) -> onnx.TensorProto:
        return numpy_helper.from_array((r.standard_normal(shape) / np.sqrt(np.prod(shape[1:]) or 1)).astype(np.float32), name)

    nodes = [
        helper.make_node("Conv", ["x", "w0", "b0"], ["c0"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c0"], ["r0"]),
        helper.make_node("Conv", ["r0", "w1", "b1"], ["c1"], pads=[1, 1, 1, 1], group=8),
        helper.make_node("Clip", ["c1", "low", "high"], ["r1"]),
        helper.make_node("Conv", ["r1", "w2", "b2"], ["c2"]),
        helper.make_node("Add", ["c2", "r0"], ["a2"]),
        helper.make_node("MaxPool", ["a2"], ["m2"], kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Sigmoid", ["m2"], ["s2"]),
        helper.make_node("GlobalAveragePool", ["s2"], ["g"]),
        helper.make_node("Flatten", ["g"], ["f"]),
        helper.make_node("Gemm", ["f", "w3", "b3"], ["l"], transB=1),
        helper.make_node("Softmax", ["l"], ["y"], axis=1),
    ]
    limits = [numpy_helper.from_array(np.array(v, np.float32), n) for n, v in (("low", 0.0), ("high", 6.0))]
    tensors = [
        w("w0", 8, 3, 3, 3),
        w("b0", 8),
        w("w1", 8, 1, 3, 3),
        w("b1", 8),
        w("w2", 8, 8, 1, 1),
        w("b2", 8),
        w("w3", 5, 8),
        w("b3", 5),
        *limits,
    ]
    x, y = (helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in (("x", SHAPE), ("y", (1, 5))))
    model = helper.make_model(helper.make_graph(nodes, "q", [x], [y], tensors), opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(model, str(path))
    return path


def feed(seed: int) -> dict[str, np.ndarray]:
    return {"x": np.random.default_rng(seed).uniform(-1, 1, SHAPE).astype(np.float32)}


class Calibration(quantization.CalibrationDataReader):  # type: ignore[misc,name-defined]
    def __init__(self) -> None:
        self.left = iter([feed(i) for i in range(4)])

    def get_next(self) -> dict[str, np.ndarray] | None:
        return next(self.left, None)


def quantised(kind: str, folder: Path) -> Path:
    source, target = network(folder / "float.onnx"), folder / f"{kind}.onnx"
    signed, unsigned = quantization.QuantType.QInt8, quantization.QuantType.QUInt8
    if kind == "dynamic":
        quantization.quantize_dynamic(source, target, weight_type=signed, reduce_range=True)
    else:
        form = quantization.QuantFormat.QOperator if "qoperator" in kind else quantization.QuantFormat.QDQ
        types = {"activation_type": unsigned if "unsigned" in kind else signed, "weight_type": signed}
        quantization.quantize_static(
            source, target, Calibration(), quant_format=form, reduce_range=True, per_channel="channel" in kind, **types
        )
    return target


@pytest.mark.parametrize("kind", ["qdq", "qdq-channel", "qdq-unsigned", "qoperator", "qoperator-unsigned", "dynamic"])
def test_agrees_with_onnx_runtime(kind: str, tmp_path: Path) -> None:
    """Within two steps of the outputs' quantisation (dynamic: within 1 %), and every kernel has the reference's bits.
    Weights of seven bits: with eight, ONNX Runtime's pairs of products saturate on processors without VNNI."""
    path = quantised(kind, tmp_path)
    graph: CoreGraph = optimise(normalise(importers.load(path), "q", {}, str(path)))
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    for seed in (11, 12):
        mine, theirs = execute(graph, feed(seed))["y"], session.run(None, feed(seed))[0]
        assert np.abs(mine - theirs).max() <= (0.01 if kind == "dynamic" else 2 / 255 + 1e-6), kind
    assert_exact(graph, feed(13))
    assert_exact_in_c(graph, feed(13))


@pytest.mark.parametrize("kind", ["qdq", "qdq-channel", "qoperator"])
def test_convolutions_and_products_run_in_integers(kind: str, tmp_path: Path) -> None:
    path = quantised(kind, tmp_path)
    graph = optimise(normalise(importers.load(path), "q", {}, str(path)))
    for node in graph.nodes:
        if node.op in ("Conv", "MatMul"):
            assert graph.types[node.inputs[0]].dtype == "int8" and graph.types[node.outputs[0]].dtype == "int32", node
    if kind != "qoperator":
        assert any(r.rule == "integer-requantisation" for r in graph.rewrites)
