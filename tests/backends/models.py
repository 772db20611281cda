"""Small ONNX models for the backends' tests."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


def scalar(name: str, value: float, dtype: type = np.float32) -> onnx.TensorProto:
    return numpy_helper.from_array(np.array(value, dtype), name)


def small(path: Path, outputs: int = 5, bytes: type = np.int8) -> Path:
    """Convolutions of bytes and floats, a depthwise one, pooling, softmax: float input [1, 3, 9, 11] → [1, outputs]."""
    r = np.random.default_rng(0)

    def weights(name: str, *shape: int) -> onnx.TensorProto:
        return numpy_helper.from_array(r.standard_normal(shape).astype(np.float32), name)

    nodes = [
        helper.make_node("Conv", ["x", "w0", "b0"], ["c0"], pads=[1, 1, 1, 1], strides=[2, 2]),
        helper.make_node("Relu", ["c0"], ["r0"]),
        helper.make_node("Conv", ["r0", "w1"], ["c1"], pads=[1, 1, 1, 1], group=6),
        helper.make_node("QuantizeLinear", ["c1", "s", "z"], ["q1"]),
        helper.make_node("DequantizeLinear", ["q1", "s", "z"], ["d1"]),
        helper.make_node("DequantizeLinear", ["w2q", "s", "z0"], ["w2"]),
        helper.make_node("Conv", ["d1", "w2"], ["c2"], pads=[0, 1, 1, 0]),
        helper.make_node("QuantizeLinear", ["c2", "s", "z"], ["q2"]),
        helper.make_node("DequantizeLinear", ["q2", "s", "z"], ["d2"]),
        helper.make_node("DequantizeLinear", ["w3q", "s", "z0"], ["w3"]),
        helper.make_node("Conv", ["d2", "w3"], ["c3"], pads=[1, 1, 1, 1], group=outputs),
        helper.make_node("QuantizeLinear", ["c3", "s", "z"], ["q3"]),
        helper.make_node("DequantizeLinear", ["q3", "s", "z"], ["d3"]),
        helper.make_node("GlobalAveragePool", ["d3"], ["g"]),
        helper.make_node("Flatten", ["g"], ["f"]),
        helper.make_node("Softmax", ["f"], ["y"], axis=1),
    ]
    tensors = [weights("w0", 6, 3, 3, 3), weights("b0", 6), weights("w1", 6, 1, 3, 3)]
    tensors += [
        numpy_helper.from_array(r.integers(-50, 50, shape).astype(np.int8), name)
        for name, shape in (("w2q", (outputs, 6, 2, 2)), ("w3q", (outputs, 1, 3, 3)))
    ]
    tensors += [scalar("s", 0.05), scalar("z", 121 if bytes is np.uint8 else -7, bytes), scalar("z0", 0, np.int8)]
    x, y = (helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in (("x", [1, 3, 9, 11]), ("y", [1, outputs])))
    model = helper.make_model(helper.make_graph(nodes, "small", [x], [y], tensors), opset_imports=[helper.make_opsetid("", 17)])
    onnx.save(model, str(path))
    return path


def dense(path: Path) -> Path:
    """One product and a sigmoid: binary32 in integers takes XLA long to compile."""
    graph = helper.make_graph(
        [helper.make_node("Gemm", ["x", "w"], ["h"]), helper.make_node("Sigmoid", ["h"], ["y"])], "dense",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [2, 8])], [helper.make_tensor_value_info("y", TensorProto.FLOAT, [2, 4])],
        [numpy_helper.from_array(np.random.default_rng(5).standard_normal((8, 4)).astype(np.float32), "w")],
    )  # fmt: skip
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
    return path
