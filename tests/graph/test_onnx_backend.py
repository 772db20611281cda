"""mlcc as a standard ONNX backend."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import TensorProto, helper
from onnx.backend.test.runner import Runner

from mlcc import onnx_backend
from mlcc.error import Error
from tests.onnx_cases import node_cases

CASES = (
    "test_reduce_sum_keepdims_example", "test_cast_FLOAT_to_FLOAT8E5M2", "test_equal_string", "test_sequence_insert_at_back",
    "test_nonmaxsuppression_two_classes",
)  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_node_cases(name: str) -> None:
    case = node_cases()[name]
    found = onnx_backend.prepare(case.model).run(list(case.inputs))
    Runner.assert_similar_outputs(list(case.outputs), list(found), rtol=max(case.rtol, 1e-3), atol=max(case.atol, 1e-5))


def test_a_value_that_is_built_in_may_change() -> None:
    node = helper.make_node("Reshape", ["x", "shape"], ["y"])
    ends = [helper.make_tensor_value_info("x", TensorProto.FLOAT, None), helper.make_tensor_value_info("shape", TensorProto.INT64, [2])]
    graph = helper.make_graph([node], "g", ends, [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)])
    model = onnx_backend.prepare(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=9))
    x = np.arange(6, dtype=np.float32)
    for shape in ((2, 3), (3, 2), (2, 3)):
        (y,) = model.run([x, np.array(shape)])
        assert (y == x.reshape(shape)).all()


def test_what_it_says_no_to() -> None:
    case = node_cases()["test_relu"]
    assert onnx_backend.supports_device("CPU") and not onnx_backend.supports_device("CUDA")
    with pytest.raises(Error):
        onnx_backend.prepare(case.model, "CUDA")
    with pytest.raises(Error):
        onnx_backend.prepare(case.model).run([])
