"""Models as they are made for FPGAs: a quantised MLP, a binary and a ternary CNV, boosted trees. Weights are drawn; shapes are the
literature's."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper
from onnx import numpy_helper as nh

QONNX = "qonnx.custom_op.general"


class Writer:
    """Nodes and constants of a model in the making."""

    def __init__(self, seed: int) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []
        self.r = np.random.default_rng(seed)

    def const(self, array: np.ndarray) -> str:
        name = f"c{len(self.constants)}"
        self.constants.append(nh.from_array(np.asarray(array), name))
        return name

    def op(self, kind: str, *inputs: str, domain: str = "", **attributes: object) -> str:
        name = f"t{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [name], name=f"{kind}_{name}", domain=domain, **attributes))
        return name

    def quant(self, x: str, scale: float, bits: int, signed: bool = True, narrow: bool = False) -> str:
        if bits == 1:
            return self.op("BipolarQuant", x, self.const(np.float32(scale)), domain=QONNX)
        return self.op(
            "Quant", x, self.const(np.float32(scale)), self.const(np.float32(0)), self.const(np.float32(bits)),
            domain=QONNX, signed=int(signed), narrow=int(narrow), rounding_mode="ROUND",
        )  # fmt: skip

    def weights(self, shape: tuple[int, ...], bits: int) -> str:
        scale = 2.0 ** (1 - bits)
        return self.quant(self.const(self.r.normal(0, 0.4, shape).astype(np.float32)), scale, bits, narrow=bits > 1)

    def norm(self, x: str, channels: int) -> str:
        mean, var = self.r.normal(0, 2, channels), self.r.uniform(0.5, 4, channels)
        gain, bias = self.r.uniform(0.5, 1.5, channels) * self.r.choice([-1, 1, 1, 1], channels), self.r.normal(0, 0.5, channels)
        parts = [self.const(v.astype(np.float32)) for v in (gain, bias, mean, var)]
        return self.op("BatchNormalization", x, *parts, epsilon=1e-5)

    def model(self, x: tuple[str, int, list[int]], y: str, out: list[int], opset: int = 13) -> onnx.ModelProto:
        graph = helper.make_graph(
            self.nodes, "g", [helper.make_tensor_value_info(x[0], x[1], x[2])], [helper.make_tensor_value_info(y, TensorProto.FLOAT, out)], self.constants
        )  # fmt: skip
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset), helper.make_opsetid(QONNX, 1)], ir_version=9)


def jet_mlp(bits: int = 6, seed: int = 3) -> onnx.ModelProto:
    """Jet tagging, 16-64-32-32-5 (Duarte et al., 2018): int8 in and out, weights and activations of `bits` bits, powers of two for
    scales."""
    w = Writer(seed)
    zero = w.const(np.int8(0))

    def scale(exponent: int) -> str:
        return w.const(np.float32(2.0**exponent))

    x, sizes = w.op("DequantizeLinear", "x", scale(-4), zero), (16, 64, 32, 32, 5)
    high = 2**bits - 1
    for i, (a, b) in enumerate(zip(sizes, sizes[1:])):
        codes = np.clip(np.rint(w.r.normal(0, 2 ** (bits - 3), (a, b))), 1 - 2 ** (bits - 1), 2 ** (bits - 1) - 1).astype(np.int8)
        y = w.op("MatMul", x, w.op("DequantizeLinear", w.const(codes), scale(1 - bits), zero))
        y = w.op("Add", y, w.const((np.rint(w.r.normal(0, 16, b)) * 2.0**-6).astype(np.float32)))
        last = i == 3
        out = -2 if last else 3 - bits
        if not last:
            y = w.op("Clip", y, w.const(np.float32(0)), w.const(np.float32(high * 2.0**out)))
        y = w.op("QuantizeLinear", y, scale(out), zero)
        x = y if last else w.op("DequantizeLinear", y, scale(out), zero)
    graph = helper.make_graph(
        w.nodes, "g", [helper.make_tensor_value_info("x", TensorProto.INT8, [1, 16])], [helper.make_tensor_value_info(x, TensorProto.INT8, [1, 5])], w.constants
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=9)


def fixed_mlp(bits: int, weight_bits: int = 8, sizes: tuple[int, ...] = (16, 24, 5), seed: int = 1) -> onnx.ModelProto:
    """Floats in and out; fixed-point numbers of many bits between, biases on the products' scale (QONNX)."""
    w = Writer(seed)
    x = w.quant("x", 2.0 ** (4 - bits), bits)
    for i, (a, b) in enumerate(zip(sizes, sizes[1:])):
        y = w.op("MatMul", x, w.weights((a, b), weight_bits))
        y = w.op("Add", y, w.quant(w.const(w.r.normal(0, 0.3, b).astype(np.float32)), 2.0 ** (5 - (i > 0) - bits - weight_bits), 16))
        last = i == len(sizes) - 2
        x = w.quant(y, 2.0 ** (4 - bits), bits) if last else w.quant(w.op("Relu", y), 2.0 ** (3 - bits), bits, signed=False)
    return w.model(("x", TensorProto.FLOAT, [1, sizes[0]]), x, [1, sizes[-1]])


def fixed_cnv() -> onnx.ModelProto:
    """A convolution, one of a channel each and a dense layer in numbers of 12, 10 and 12 bits (QONNX)."""
    w = Writer(2)
    y = w.op("Conv", w.quant("x", 2.0**-8, 12), w.weights((6, 3, 3, 3), 8), kernel_shape=[3, 3], pads=[1] * 4)
    y = w.op("Conv", w.quant(w.op("Relu", y), 2.0**-7, 12, signed=False), w.weights((6, 1, 3, 3), 8), kernel_shape=[3, 3], group=6)
    y = w.op("Flatten", w.quant(w.op("Relu", y), 2.0**-7, 10, signed=False), axis=1)
    y = w.quant(w.op("MatMul", y, w.weights((6 * 36, 4), 6)), 2.0**-5, 12)
    return w.model(("x", TensorProto.FLOAT, [1, 3, 8, 8]), y, [1, 4])


def pooled_cnv() -> onnx.ModelProto:
    """A convolution, an average that keeps 8 bits of its sum and a dense layer (QONNX, as Brevitas writes TruncAvgPool2d)."""
    w = Writer(3)
    y = w.op("Conv", w.quant("x", 0.5, 8), w.weights((4, 3, 3, 3), 4), kernel_shape=[3, 3])
    y = w.op("AveragePool", w.quant(w.op("Relu", y), 0.25, 8, signed=False), kernel_shape=[2, 2], strides=[2, 2])
    numbers = [w.const(np.float32(v)) for v in (0.25 / 4, 0, 10, 0.25, 8)]
    y = w.op("Trunc", y, *numbers, domain=QONNX, rounding_mode="FLOOR", signed=0)
    y = w.quant(w.op("MatMul", w.op("Flatten", y, axis=1), w.weights((4 * 9, 5), 4)), 0.5, 8)
    return w.model(("x", TensorProto.FLOAT, [1, 3, 8, 8]), y, [1, 5])


def small_mlp(seed: int = 4) -> onnx.ModelProto:
    """6-8-3, int8 in and out: fits the smallest parts."""
    w = Writer(seed)
    zero, one = w.const(np.int8(0)), w.const(np.float32(0.125))
    x = "x"
    for a, b in ((6, 8), (8, 3)):
        codes = w.r.integers(-7, 8, (a, b)).astype(np.int8)
        y = w.op(
            "MatMul", w.op("DequantizeLinear", x, one, zero), w.op("DequantizeLinear", w.const(codes), w.const(np.float32(0.07)), zero)
        )
        x = w.op("QuantizeLinear", w.op("Relu", y), one, zero)
    graph = helper.make_graph(
        w.nodes, "g", [helper.make_tensor_value_info("x", TensorProto.INT8, [1, 6])], [helper.make_tensor_value_info(x, TensorProto.INT8, [1, 3])], w.constants
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=9)


def cnv(bits: int, width: int = 8, size: int = 32, seed: int = 5) -> onnx.ModelProto:
    """BNN-PYNQ's CNV: six 3x3 convolutions without pads, two pools, three dense layers; `width`: channels of the first (64 in the
    original)."""
    w = Writer(seed)
    x = w.quant("x", 2.0**-7, 8)
    channels, at = 3, size
    for layer, made in enumerate((width, width, 2 * width, 2 * width, 4 * width, 4 * width)):
        x = w.op("Conv", x, w.weights((made, channels, 3, 3), bits), kernel_shape=[3, 3])
        x = w.quant(w.norm(x, made), 1.0 if bits == 1 else 0.5, bits)
        channels, at = made, at - 2
        if layer in (1, 3):
            x = w.op("MaxPool", x, kernel_shape=[2, 2], strides=[2, 2])
            at //= 2
    x = w.op("Flatten", x)
    features = channels * at * at
    for made in (8 * width, 8 * width, 10):
        x = w.op("MatMul", x, w.weights((features, made), bits))
        x = w.norm(x, made)
        if made != 10:
            x = w.quant(x, 1.0 if bits == 1 else 0.5, bits)
        features = made
    return w.model(("x", TensorProto.FLOAT, [1, 3, size, size]), x, [1, 10])


def forest(trees: int = 100, depth: int = 4, features: int = 16, outputs: int = 1, seed: int = 9) -> onnx.ModelProto:
    """Complete trees with drawn features, thresholds and leaves; leaves are multiples of 2^-10, so that their sum is exact in any order."""
    r = np.random.default_rng(seed)
    a: dict[str, list] = {k: [] for k in ("treeids", "nodeids", "featureids", "values", "modes", "truenodeids", "falsenodeids")}
    t: dict[str, list] = {k: [] for k in ("treeids", "nodeids", "ids", "weights")}
    for tree in range(trees):
        for node in range(2 ** (depth + 1) - 1):
            leaf = node >= 2**depth - 1
            row = (tree, node, 0 if leaf else int(r.integers(features)), 0.0 if leaf else float(np.float32(r.normal())), "LEAF" if leaf else "BRANCH_LEQ",
                   0 if leaf else 2 * node + 1, 0 if leaf else 2 * node + 2)  # fmt: skip
            for k, v in zip(a, row):
                a[k].append(v)
            if leaf:
                for k, v in zip(t, (tree, node, tree % outputs, float(np.round(r.normal() * 64) / 1024))):
                    t[k].append(v)
    attributes = {**{f"nodes_{k}": v for k, v in a.items()}, **{f"target_{k}": v for k, v in t.items()}}
    node = helper.make_node(
        "TreeEnsembleRegressor", ["x"], ["y"], name="forest", domain="ai.onnx.ml", n_targets=outputs, post_transform="NONE", **attributes
    )
    graph = helper.make_graph(
        [node], "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, features])], [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, outputs])]
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 3)], ir_version=9)
