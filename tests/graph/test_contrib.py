"""com.microsoft's mixtures of experts and images with channels last: the reference agrees with ONNX Runtime."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

from mlcc.error import Error
from mlcc.graph.normalise import normalise
from mlcc.graph.passes import optimise
from mlcc.reference.execute import execute
from tests.graph.test_runtime_agrees import MS, Operand, agrees, model, numbers, r

ROWS, FEATURES, HIDDEN, EXPERTS = 5, 32, 64, 4
X = numbers("x", ROWS, FEATURES)
ROUTER = numbers("p", ROWS, EXPERTS)
SWIGLU = {"activation_type": "swiglu", "swiglu_fusion": 1, "activation_alpha": 1.702, "activation_beta": 1.0, "swiglu_limit": 1.5}


@pytest.mark.parametrize("k,normal", [(1, 0), (1, 1), (2, 0), (2, 1), (4, 1)])
@pytest.mark.parametrize("how", [{}, {"activation_type": "gelu"}, {"activation_type": "silu"}, {"activation_type": "identity"}, SWIGLU])
def test_mixture_of_experts(k: int, normal: int, how: dict[str, Any]) -> None:
    width = HIDDEN * (2 if "swiglu_fusion" in how else 1)
    first = [numbers("w1", EXPERTS, width, FEATURES), numbers("b1", EXPERTS, width)]
    second = [numbers("w2", EXPERTS, FEATURES, HIDDEN), numbers("b2", EXPERTS, FEATURES)]
    names = ("w1", "b1", "w2", "b2")
    agrees(MS, "MoE", [X, ROUTER, *first, *second], stored=names, tolerance=1e-3, k=k, normalize_routing_weights=normal, **how)


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("block", [0, 16])
@pytest.mark.parametrize("zeros", [False, True])
def test_quantised_mixture_of_experts(bits: int, block: int, zeros: bool) -> None:
    def layer(i: int, results: int, features: int) -> tuple[list[Operand], Operand]:
        blocks = features // block if block else 0
        rows = (EXPERTS, results, blocks) if block else (EXPERTS, results)
        packed = r.integers(0, 256, (EXPERTS, results, features * bits // 8), np.uint8)
        scales = (r.random(rows) / 40).astype(np.float32)
        points = r.integers(0, 256, (*rows[:-1], -(-rows[-1] * bits // 8)), np.uint8)
        return [(f"w{i}", packed), (f"s{i}", scales), numbers(f"b{i}", EXPERTS, results)], (f"z{i}", points) if zeros else None

    (first, one), (second, two) = layer(1, 2 * HIDDEN, FEATURES), layer(2, FEATURES, HIDDEN)
    operands = [X, ROUTER, *first, *second, None, None, None, one, two]
    stored = [f"{n}{i}" for n in "wsbz" for i in (1, 2)]
    blocks = {"block_size": block} if block else {}
    how = {"k": 2, "normalize_routing_weights": 1, "expert_weight_bits": bits, "weights_prepacked": 0, **SWIGLU, **blocks}
    # blocks of bytes are multiplied by activations that ONNX Runtime rounds to bytes
    agrees(MS, "QMoE", operands, stored=stored, tolerance=0.3 if block and bits == 8 else 5e-3, **how)


def test_experts_in_a_provider_s_own_layout_are_refused() -> None:
    w = [("w1", np.zeros((EXPERTS, 8, 16), np.uint8)), ("s1", np.ones((EXPERTS, 8), np.float32)), None]
    v = [("w2", np.zeros((EXPERTS, FEATURES, 4), np.uint8)), ("s2", np.ones((EXPERTS, FEATURES), np.float32))]
    proto = model(MS, "QMoE", [X, ROUTER, *w, *v], 1, ["w1", "s1", "w2", "s2"], {"weights_prepacked": 1})
    with pytest.raises(Error, match="weights_prepacked=1") as e:
        normalise(ir.from_proto(proto), "case", {}, "case")
    assert e.value.code == "unsupported"


S, Z = ("s", np.array(0.05, np.float32)), ("z", np.array(120, np.uint8))
T, U = ("t", np.array(0.11, np.float32)), ("u", np.array(99, np.uint8))
IMAGE = ("x", r.integers(0, 255, (2, 6, 7, 3), np.uint8))


def test_images_of_bytes_with_channels_last() -> None:
    w, b = ("w", r.integers(-60, 60, (4, 3, 3, 3), np.int8)), ("b", r.integers(-99, 99, 4, np.int32))
    ws, wz = ("ws", np.array(0.01, np.float32)), ("wz", np.array(0, np.int8))
    stored = ["s", "z", "t", "u", "w", "ws", "wz", "b"]
    agrees(MS, "QLinearConv", [IMAGE, S, Z, w, ws, wz, T, U, b], stored=stored, channels_last=1, pads=[1] * 4, strides=[2, 1])
    pool = {"kernel_shape": [3, 2], "pads": [1, 0, 1, 1], "channels_last": 1}
    agrees(MS, "QLinearAveragePool", [IMAGE, S, Z, T, U], stored=stored, steps=1, **pool)
    agrees(MS, "QLinearGlobalAveragePool", [IMAGE, S, Z, T, U], stored=stored, steps=1, channels_last=1)
    agrees(MS, "NhwcMaxPool", [IMAGE], kernel_shape=[3, 2], strides=[2, 2])


def test_choices_of_bytes() -> None:
    x, y = ("x", r.integers(0, 255, (3, 4), np.uint8)), ("y", r.integers(0, 255, (4,), np.uint8))
    flag = ("c", r.random((3, 1)) < 0.5)
    v, w = ("v", np.array(0.07, np.float32)), ("w", np.array(30, np.uint8))
    agrees(MS, "QLinearWhere", [flag, x, S, Z, y, T, U, v, w], stored="sztuvw")


@pytest.mark.parametrize("op", ["NhwcConv", "NhwcFusedConv"])
def test_images_with_channels_last_are_convolved_as_others(op: str) -> None:
    """Neither has a kernel for binary32 in ONNX Runtime: against Conv of the same image with its channels first."""
    x, w, b, z = (numbers(n, *shape) for n, shape in (("x", (2, 6, 7, 4)), ("w", (6, 2, 3, 3)), ("b", (6,)), ("z", (2, 6, 7, 6))))
    more: list[Operand] = [z] if op == "NhwcFusedConv" else []
    feed = {n: a for n, a in (x, w, b, *more)}
    attributes = {"group": 2, "pads": [1] * 4}
    got = _run(model(MS, op, [x, w, b, *more], 1, [], attributes), feed)
    wanted = _run(model("", "Conv", [("x", x[1].transpose(0, 3, 1, 2).copy()), w, b], 1, [], attributes), feed)
    np.testing.assert_allclose(got, wanted.transpose(0, 2, 3, 1) + (z[1] if more else 0), rtol=1e-5, atol=1e-5)


def _run(proto: Any, feed: dict[str, np.ndarray]) -> np.ndarray:
    graph = optimise(normalise(ir.from_proto(proto), "case", {}, "case"), "float32", True)
    given = {n: feed[n] if feed[n].shape == graph.types[n].shape else feed[n].transpose(0, 3, 1, 2).copy() for n in graph.inputs}
    return execute(graph, given)["o0"]
