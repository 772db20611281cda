"""A model over 2 GiB, whole: part of `make test-full` (16 GB of memory, two and a half minutes)."""

from __future__ import annotations

from pathlib import Path

import pytest
from onnx import TensorProto, helper


@pytest.mark.full
def test_weights_over_two_gigabytes(tmp_path: Path) -> None:
    import mlcc

    k = n = 24000
    with open(tmp_path / "w.data", "wb") as f:
        f.truncate(k * n * 4)  # a sparse file of zeros
    w = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[k, n], data_location=TensorProto.EXTERNAL)
    w.external_data.add(key="location", value="w.data")
    inputs, outputs = (helper.make_tensor_value_info(v, TensorProto.FLOAT, [1, size]) for v, size in (("x", k), ("y", n)))
    graph = helper.make_graph([helper.make_node("MatMul", ["x", "w"], ["y"], name="mm")], "g", [inputs], [outputs], [w])
    path = tmp_path / "big.onnx"
    path.write_bytes(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9).SerializeToString())
    result = mlcc.build(path, target="x86_64-v3", out=tmp_path / "dist", cache=False)
    assert result["artifacts"][0]["conformance"] == "passed" and result["artifacts"][0]["library_bytes"] > 2**31
