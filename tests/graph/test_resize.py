"""Scales that an exporter rounded to binary32 mean the ratio that they were: ties and exact ratios fall where frameworks have them."""

from __future__ import annotations

from fractions import Fraction
from math import floor

import numpy as np
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper, numpy_helper

from mlcc.graph.normalise import normalise
from mlcc.reference.execute import execute

HALF = Fraction(1, 2)
PLACES = {
    ("asymmetric", "floor"): lambda x, ratio: floor(x * ratio),
    ("tf_half_pixel_for_nn", "floor"): lambda x, ratio: floor((x + HALF) * ratio),
    ("half_pixel", "round_prefer_ceil"): lambda x, ratio: floor((x + HALF) * ratio - HALF + HALF),
}


@pytest.mark.parametrize(("transform", "rounding"), PLACES)
def test_the_nearest_by_a_rounded_scale(transform: str, rounding: str) -> None:
    for have, want in ((6, 13), (6, 14), (3, 7), (7, 9), (9, 7), (14, 6), (5, 5), (10, 3), (49, 50), (1, 7), (12, 28)):
        scale = np.float32(want / have)
        nodes = [
            helper.make_node(
                "Resize", ["x", "", "s"], ["y"], mode="nearest", coordinate_transformation_mode=transform, nearest_mode=rounding
            )
        ]
        x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [have])
        graph = helper.make_graph(
            nodes,
            "g",
            [x],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
            [numpy_helper.from_array(np.array([scale]), "s")],
        )
        made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
        core = normalise(ir.from_proto(made), "g", {}, "g")
        (found,) = execute(core, {"x": np.arange(have, dtype=np.float32)}).values()
        size = floor(np.float32(have) * scale)
        ratio = Fraction(have, size) if np.float32(size / have) == scale else 1 / Fraction(float(scale))
        assert found.tolist() == [min(max(PLACES[transform, rounding](k, ratio), 0), have - 1) for k in range(size)], (have, want)
