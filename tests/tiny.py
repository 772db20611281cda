"""The architectures of MLPerf Tiny (Banbury et al., "MLPerf Tiny Benchmark", 2021) with seeded weights, in float and quantised by ONNX
Runtime: limits on instructions, flash and RAM hold in any clone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


class Net:
    """Layers one after the other; weights are drawn as He et al. do, so that values neither die out nor explode."""

    def __init__(self, shape: tuple[int, ...], seed: int) -> None:
        self.shape, self.random = shape, np.random.default_rng(seed)
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []
        self.last = "x"

    def node(self, op: str, *others: str, **attributes: object) -> str:
        name = f"v{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, [self.last, *others], [name], name=f"{op}_{len(self.nodes)}", **attributes))
        self.last = name
        return name

    def weight(self, *shape: int, scale: float) -> str:
        name = f"w{len(self.weights)}"
        self.weights.append(numpy_helper.from_array((self.random.standard_normal(shape) * scale).astype(np.float32), name))
        return name

    def dense(self, inputs: int, outputs: int, relu: bool = True) -> None:
        self.node("Gemm", self.weight(inputs, outputs, scale=(2 / inputs) ** 0.5), self.weight(outputs, scale=0.1))
        if relu:
            self.node("Relu")

    def conv(
        self, inputs: int, outputs: int, kernel: tuple[int, int], stride: tuple[int, int] = (1, 1), group: int = 1, relu: bool = True
    ) -> None:
        fan = inputs // group * kernel[0] * kernel[1]
        w, b = self.weight(outputs, inputs // group, *kernel, scale=(2 / fan) ** 0.5), self.weight(outputs, scale=0.1)
        self.node("Conv", w, b, kernel_shape=kernel, strides=stride, group=group, auto_pad="SAME_UPPER")
        if relu:
            self.node("Relu")

    def separable(self, inputs: int, outputs: int, stride: int = 1) -> None:
        self.conv(inputs, inputs, (3, 3), (stride, stride), group=inputs)
        self.conv(inputs, outputs, (1, 1))

    def head(self, channels: int, classes: int) -> None:
        self.node("GlobalAveragePool")
        self.node("Flatten")
        self.dense(channels, classes, relu=False)
        self.node("Softmax")

    def model(self) -> onnx.ModelProto:
        x = helper.make_tensor_value_info("x", TensorProto.FLOAT, self.shape)
        y = helper.make_tensor_value_info(self.last, TensorProto.FLOAT, None)
        graph = helper.make_graph(self.nodes, "tiny", [x], [y], self.weights)
        made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        return onnx.shape_inference.infer_shapes(made)


def anomaly() -> onnx.ModelProto:
    """The autoencoder of machine sounds: 640-128-128-128-128-8-128-128-128-128-640."""
    net, sizes = Net((1, 640), 1), [640, 128, 128, 128, 128, 8, 128, 128, 128, 128, 640]
    for i, (a, b) in enumerate(zip(sizes, sizes[1:])):
        net.dense(a, b, relu=i < len(sizes) - 2)
    return net.model()


def keywords() -> onnx.ModelProto:
    """DS-CNN: a convolution of 10 by 4, four separable ones of 64 channels, twelve words."""
    net = Net((1, 1, 49, 10), 2)
    net.conv(1, 64, (10, 4), (2, 2))
    for _ in range(4):
        net.separable(64, 64)
    net.head(64, 12)
    return net.model()


def images() -> onnx.ModelProto:
    """ResNet of eight layers on 32 by 32 pixels."""
    net = Net((1, 3, 32, 32), 3)
    net.conv(3, 16, (3, 3))
    channels = 16
    for outputs, stride in ((16, 1), (32, 2), (64, 2)):
        start = net.last
        net.conv(channels, outputs, (3, 3), (stride, stride))
        net.conv(outputs, outputs, (3, 3), relu=False)
        main = net.last
        if stride > 1:
            net.last = start
            net.conv(channels, outputs, (1, 1), (stride, stride), relu=False)
            start = net.last
        net.last = main
        net.node("Add", start)
        net.node("Relu")
        channels = outputs
    net.head(64, 10)
    return net.model()


def persons() -> onnx.ModelProto:
    """MobileNet v1, a quarter as wide, on 96 by 96 pixels."""
    net, channels = Net((1, 3, 96, 96), 4), 8
    net.conv(3, 8, (3, 3), (2, 2))
    for outputs, stride in ((16, 1), (32, 2), (32, 1), (64, 2), (64, 1), (128, 2), *[(128, 1)] * 5, (256, 2), (256, 1)):
        net.separable(channels, outputs, stride)
        channels = outputs
    net.head(256, 2)
    return net.model()


MODELS = {"anomaly": anomaly, "keywords": keywords, "images": images, "persons": persons}


def save(name: str, quantised: bool, folder: Path) -> Path:
    """NAME.onnx, or NAME_int8.onnx: quantised with a scale for each channel, on seeded inputs."""
    model = MODELS[name]()
    plain = folder / f"{name}.onnx"
    onnx.save(model, plain)
    if not quantised:
        return plain
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    shape = [d.dim_value for d in model.graph.input[0].type.tensor_type.shape.dim]
    feeds = iter([{"x": np.random.default_rng(i).standard_normal(shape).astype(np.float32)} for i in range(8)])

    class Seeded(CalibrationDataReader):
        def get_next(self):  # type: ignore[no-untyped-def]
            return next(feeds, None)

    out = folder / f"{name}_int8.onnx"
    kinds = {"activation_type": QuantType.QInt8, "weight_type": QuantType.QInt8}
    quantize_static(str(plain), str(out), Seeded(), quant_format=QuantFormat.QDQ, per_channel=True, **kinds)
    return out
