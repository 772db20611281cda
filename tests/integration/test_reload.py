"""Artifacts built again where others lay, in one process."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import onnx
import onnx.helper
import onnx.numpy_helper
import pytest

import mlcc


def test_what_is_built_again_in_the_same_place_is_what_is_loaded(tmp_path: Path) -> None:
    """In one process, as in a notebook: the dynamic linker would give the library that lay there before."""

    def built(factor: float) -> mlcc.Model:
        weights = [onnx.numpy_helper.from_array(np.full(4, factor, np.float32), "w")]
        ends = [onnx.helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, [4]) for n in "xy"]
        graph = onnx.helper.make_graph([onnx.helper.make_node("Mul", ["x", "w"], ["y"])], "g", ends[:1], ends[1:], weights)
        onnx.save(onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=9), tmp_path / "m.onnx")
        return mlcc.load(mlcc.build(tmp_path / "m.onnx", out=tmp_path)["artifacts"][0]["path"])

    one = np.ones(4, np.float32)
    models = {factor: built(factor) for factor in (2.0, 3.0, 5.0)}
    assert {factor: model(x=one)["y"].tolist() for factor, model in models.items()} == {f: [f] * 4 for f in models}
    again = mlcc.load(tmp_path / "m" / "native")
    assert again(x=one)["y"].tolist() == [5.0] * 4
    library = tmp_path / "m" / "native" / "lib" / "libm.so"
    library.chmod(0o644)
    with open(library, "r+b") as f:
        os.utime(f.fileno(), ns=(1, 1))
    with pytest.raises(mlcc.Error, match="written over"):
        mlcc.load(tmp_path / "m" / "native")
