"""TensorFlow Lite: integers are LiteRT's reference kernels' bits, floats agree within rounding, and what is not read is said."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

tflite = pytest.importorskip("tflite")
interpreter = pytest.importorskip("ai_edge_litert.interpreter")

import mlcc  # noqa: E402
import mlcc.importers.tflite as tflite_importer  # noqa: E402
import mlcc.reference.execute as execution  # noqa: E402
from mlcc.core.graph import CoreGraph  # noqa: E402
from mlcc.error import Error  # noqa: E402
from mlcc.graph.normalise import normalise  # noqa: E402
from mlcc.graph.passes import optimise  # noqa: E402
from mlcc.importers.tflite import load  # noqa: E402
from mlcc.program.lower import lower  # noqa: E402
from mlcc.reference.execute import execute  # noqa: E402
from tests.importers.lite import Operator, Tensor, constant, written  # noqa: E402
from tests.support import Compiled, assert_same_bits  # noqa: E402

r = np.random.default_rng(7)
SAME, VALID = 0, 1
I8, U8, I32, F = "int8", "uint8", "int32", "float32"


def q(name: str, shape: tuple[int, ...], scale: float = 0.05, zero: int = -3, dtype: str = I8) -> Tensor:
    return Tensor(name, dtype, shape, None, (scale,), (zero,))


def f(name: str, *shape: int, dtype: str = F) -> Tensor:
    return Tensor(name, dtype, shape)


def numbers(t: Tensor, seed: int) -> np.ndarray:
    g = np.random.default_rng(seed)
    if t.dtype == "bool":
        return g.integers(0, 2, t.shape).astype(bool)
    if np.dtype(t.dtype).kind in "iu":
        info = np.iinfo(t.dtype)
        low, high = (info.min, info.max) if t.scale else (-9, 10)
        return g.integers(low, high, t.shape, endpoint=True).astype(t.dtype)
    return (g.standard_normal(t.shape) * 3).astype(t.dtype)


def graph_of(raw: bytes, path: Path) -> CoreGraph:
    path.write_bytes(raw)
    return optimise(normalise(load(path), "lite", {}, str(path)), check=True)


def judging(raw: bytes) -> Any:
    """LiteRT's reference kernels; of operators that have none, those without a delegate."""
    kinds = interpreter.OpResolverType
    try:
        judge = interpreter.Interpreter(model_content=raw, experimental_op_resolver_type=kinds.BUILTIN_REF)
    except ValueError:
        judge = interpreter.Interpreter(model_content=raw, experimental_op_resolver_type=kinds.BUILTIN_WITHOUT_DEFAULT_DELEGATES)
    judge.allocate_tensors()
    return judge


def agrees(raw: bytes, path: Path, inputs: list[Tensor], kernels: bool = True, tolerance: float = 1e-5) -> None:
    """At random numbers and at each type's ends: LiteRT's reference kernels, mlcc's reference, mlcc's kernels."""
    graph, judge = graph_of(raw, path), judging(raw)
    compiled = Compiled(lower(graph)) if kernels else None
    for seed in range(3):
        feed = {t.name: numbers(t, 10 * seed + i) for i, t in enumerate(inputs)}
        for detail, t in zip(judge.get_input_details(), inputs):
            judge.set_tensor(detail["index"], feed[t.name])
        judge.invoke()
        found = execute(graph, feed)
        for detail, name in zip(judge.get_output_details(), graph.outputs):
            want, got = judge.get_tensor(detail["index"]), found[name]
            assert want.shape == got.shape and want.dtype == got.dtype, (name, want.dtype, want.shape, got.dtype, got.shape)
            if want.dtype.kind == "f":
                np.testing.assert_allclose(got, want, rtol=tolerance, atol=tolerance)
            else:
                np.testing.assert_array_equal(got, want, name)
        if compiled is not None:
            for name, array in compiled(feed).items():
                assert_same_bits(array, found[name], name, graph)


CONV = {"Padding": SAME, "StrideH": 1, "StrideW": 1, "DilationHFactor": 1, "DilationWFactor": 1}


def products() -> Iterator[tuple[str, Operator, list[Tensor]]]:
    for dtype, zero in ((I8, -3), (U8, 120)):
        x = q("x", (2, 7, 6, 4), 0.05, zero, dtype)
        for n, more in enumerate(
            (
                {},
                {"Padding": VALID, "StrideH": 2},
                {"StrideW": 2, "FusedActivationFunction": 1},
                {"DilationHFactor": 2, "DilationWFactor": 2, "FusedActivationFunction": 3},
            )
        ):
            scales = (r.random(5) / 50 + 0.001) if dtype == I8 else np.array([0.02])
            w = constant(
                "w",
                r.integers(-127, 128, (5, 3, 2, 4)).astype(I8) if dtype == I8 else r.integers(0, 256, (5, 3, 2, 4)).astype(U8),
                scales,
                [0] * len(scales) if dtype == I8 else [99],
            )
            b = constant("b", r.integers(-3000, 3000, 5).astype(I32), 0.05 * scales, [0] * len(scales))
            yield (
                f"conv {dtype} {n}",
                Operator(
                    "CONV_2D",
                    [x, w, b],
                    [q("y", _conv_shape(x, 3, 2, {**CONV, **more}, 5), 0.11, zero + 5, dtype)],
                    "Conv2DOptions",
                    {**CONV, **more},
                ),
                [x],
            )
    for multiplier in (1, 3):
        x = q("x", (1, 6, 6, 4))
        scales = r.random(4 * multiplier) / 40 + 0.001
        w = constant("w", r.integers(-127, 128, (1, 3, 3, 4 * multiplier)).astype(I8), scales, [0] * len(scales), 3)
        b = constant("b", r.integers(-900, 900, 4 * multiplier).astype(I32), 0.05 * scales, [0] * len(scales))
        more = {**CONV, "DepthMultiplier": multiplier, "StrideH": 2, "StrideW": 2, "FusedActivationFunction": 1}
        yield (
            f"depthwise {multiplier}",
            Operator("DEPTHWISE_CONV_2D", [x, w, b], [q("y", (1, 3, 3, 4 * multiplier), 0.1, -128)], "DepthwiseConv2DOptions", more),
            [x],
        )
    x, w = q("x", (3, 40)), constant("w", r.integers(-127, 128, (9, 40)).astype(I8), [0.01], [0])
    for n, bias in enumerate((None, constant("b", r.integers(-999, 999, 9).astype(I32), [0.0005], [0]))):
        yield (
            f"dense {n}",
            Operator("FULLY_CONNECTED", [x, w, bias], [q("y", (3, 9), 0.2, 4)], "FullyConnectedOptions", {"FusedActivationFunction": n}),
            [x],
        )
    scales = r.random(9) / 50 + 0.001
    w = constant("w", r.integers(-127, 128, (9, 40)).astype(I8), scales, [0] * 9)
    yield (
        "dense, a scale a row",
        Operator("FULLY_CONNECTED", [q("x", (3, 40)), w, None], [q("y", (3, 9), 0.2, 4)], "FullyConnectedOptions", {}),
        [q("x", (3, 40))],
    )
    x = f("x", 1, 5, 6, 3)
    fw, fb = constant("w", r.standard_normal((4, 3, 3, 3)).astype(F)), constant("b", r.standard_normal(4).astype(F))
    yield "conv float", Operator("CONV_2D", [x, fw, fb], [f("y", 1, 5, 6, 4)], "Conv2DOptions", {**CONV, "FusedActivationFunction": 3}), [x]
    fw = constant("w", r.standard_normal((1, 3, 3, 6)).astype(F))
    yield (
        "depthwise float",
        Operator(
            "DEPTHWISE_CONV_2D",
            [x, fw, constant("b", r.standard_normal(6).astype(F))],
            [f("y", 1, 5, 6, 6)],
            "DepthwiseConv2DOptions",
            {**CONV, "DepthMultiplier": 2},
        ),
        [x],
    )
    x = f("x", 2, 3, 4)
    yield (
        "dense float, dimensions kept",
        Operator(
            "FULLY_CONNECTED",
            [x, constant("w", r.standard_normal((5, 4)).astype(F)), None],
            [f("y", 2, 3, 5)],
            "FullyConnectedOptions",
            {"KeepNumDims": True},
        ),
        [x],
    )
    x = f("x", 1, 4, 5, 2)
    shape, tw = constant("s", np.array([1, 8, 10, 3], I32)), constant("w", r.standard_normal((3, 3, 3, 2)).astype(F))
    yield (
        "transposed conv",
        Operator(
            "TRANSPOSE_CONV", [shape, tw, x], [f("y", 1, 8, 10, 3)], "TransposeConvOptions", {"Padding": SAME, "StrideH": 2, "StrideW": 2}
        ),
        [x],
    )
    a, c = f("a", 2, 3, 4), f("c", 2, 5, 4)
    yield "batch matmul", Operator("BATCH_MATMUL", [a, c], [f("y", 2, 3, 5)], "BatchMatMulOptions", {"AdjY": True}), [a, c]


def _conv_shape(x: Tensor, kh: int, kw: int, how: dict[str, Any], results: int) -> tuple[int, ...]:
    def out(n: int, k: int, stride: int, dilation: int) -> int:
        return -(-n // stride) if how["Padding"] == SAME else (n - (k - 1) * dilation - 1) // stride + 1

    _, h, w, _ = x.shape
    return (x.shape[0], out(h, kh, how["StrideH"], how["DilationHFactor"]), out(w, kw, how["StrideW"], how["DilationWFactor"]), results)


def bytes_() -> Iterator[tuple[str, Operator, list[Tensor]]]:
    """Elements of integers with scales."""
    for dtype, zero in ((I8, -3), (U8, 120)):
        x, y = q("x", (1, 3, 4, 5), 0.05, zero, dtype), q("y", (1, 3, 4, 5), 0.031, zero + 20, dtype)
        for op, table in (("ADD", "AddOptions"), ("SUB", "SubOptions"), ("MUL", "MulOptions")):
            for activation in (0, 1, 3):
                out = q("z", x.shape, 0.07 if op != "MUL" else 0.2, zero - 6, dtype)
                yield f"{op} {dtype} {activation}", Operator(op, [x, y], [out], table, {"FusedActivationFunction": activation}), [x, y]
        row = constant("row", r.integers(0, 100, 5).astype(dtype), [0.031], [zero + 20])
        yield f"ADD {dtype} row", Operator("ADD", [x, row], [q("z", x.shape, 0.07, zero, dtype)], "AddOptions", {}), [x]
        low = -128 if dtype == I8 else 0
        for scale in (0.02, 0.1, 1.3):
            t = q("x", (3, 97), scale, zero, dtype)
            yield f"LOGISTIC {dtype} {scale}", Operator("LOGISTIC", [t], [q("y", t.shape, 1 / 256, low, dtype)]), [t]
            yield f"TANH {dtype} {scale}", Operator("TANH", [t], [q("y", t.shape, 1 / 128, 0 if dtype == I8 else 128, dtype)]), [t]
            for beta in (1.0, 0.4):
                yield (
                    f"SOFTMAX {dtype} {scale} {beta}",
                    Operator("SOFTMAX", [t], [q("y", t.shape, 1 / 256, low, dtype)], "SoftmaxOptions", {"Beta": beta}),
                    [t],
                )
        image = q("x", (1, 7, 6, 4), 0.05, zero, dtype)
        pool = {"FilterHeight": 3, "FilterWidth": 2, "StrideH": 2, "StrideW": 2, "Padding": SAME}
        for op in ("AVERAGE_POOL_2D", "MAX_POOL_2D"):
            for activation in (0, 3):
                yield (
                    f"{op} {dtype} {activation}",
                    Operator(
                        op,
                        [image],
                        [q("y", (1, 4, 3, 4), 0.05, zero, dtype)],
                        "Pool2DOptions",
                        {**pool, "FusedActivationFunction": activation},
                    ),
                    [image],
                )
        for op in ("RELU", "RELU6"):
            yield f"{op} {dtype}", Operator(op, [image], [q("y", image.shape, 0.03, zero + 9, dtype)]), [image]
        yield (
            f"LEAKY_RELU {dtype}",
            Operator("LEAKY_RELU", [image], [q("y", image.shape, 0.04, zero, dtype)], "LeakyReluOptions", {"Alpha": 0.3}),
            [image],
        )
        g = f("x", 5, 40)
        yield f"QUANTIZE {dtype}", Operator("QUANTIZE", [g], [q("y", g.shape, 0.037, zero, dtype)], "QuantizeOptions", {}), [g]
        yield (
            f"QUANTIZE again {dtype}",
            Operator("QUANTIZE", [image], [q("y", image.shape, 0.081, zero + 3, dtype)], "QuantizeOptions", {}),
            [image],
        )
        yield f"DEQUANTIZE {dtype}", Operator("DEQUANTIZE", [image], [f("y", *image.shape)], "DequantizeOptions", {}), [image]
        for op in ("MEAN", "SUM") if dtype == U8 else ("MEAN",):
            for axes, keep, shape in (
                ([1, 2], True, (1, 1, 1, 4)),
                ([1, 2], False, (1, 4)),
                ([3], False, (1, 7, 6)),
                ([0, 1], True, (1, 1, 6, 4)),
            ):
                for scale, place in ((0.05, zero), (0.021 if op == "MEAN" else 1.7, zero + 4)):
                    which = constant("a", np.array(axes, I32))
                    reduced = Operator(op, [image, which], [q("y", shape, scale, place, dtype)], "ReducerOptions", {"KeepDims": keep})
                    yield f"{op} {dtype} {axes} {keep} {scale}", reduced, [image]
        yield from more_bytes(dtype, zero, image)
        same = q("y", x.shape, 0.05, zero, dtype)
        for op in ("MAXIMUM", "MINIMUM"):
            yield f"{op} {dtype}", Operator(op, [x, same], [q("z", x.shape, 0.05, zero, dtype)], "MaximumMinimumOptions", {}), [x, same]
        pads = constant("p", np.array([[0, 0], [1, 2], [0, 1], [0, 0]], I32))
        yield f"PAD {dtype}", Operator("PAD", [image, pads], [q("y", (1, 10, 7, 4), 0.05, zero, dtype)], "PadOptions", {}), [image]


def more_bytes(dtype: str, zero: int, image: Tensor) -> Iterator[tuple[str, Operator, list[Tensor]]]:
    """What segmentation, detection and attention are made of."""
    for corners, half in ((False, False), (True, False), (False, True)):
        for size in ((13, 11), (3, 4), (7, 6)):
            how = {"AlignCorners": corners, "HalfPixelCenters": half}
            to = constant("s", np.array(size, I32))
            done = Operator("RESIZE_BILINEAR", [image, to], [q("y", (1, *size, 4), 0.05, zero, dtype)], "ResizeBilinearOptions", how)
            yield f"RESIZE_BILINEAR {dtype} {corners} {half} {size}", done, [image]
    for scale, to in ((0.05, 0.04), (0.2, 0.3), (0.011, 0.009), (1.1, 0.7)):
        t = q("x", (3, 90), scale, zero, dtype)
        yield f"HARD_SWISH {dtype} {scale}", Operator("HARD_SWISH", [t], [q("y", t.shape, to, zero - 9, dtype)]), [t]
    slope = constant("slope", r.integers(0, 120, (1, 1, 4)).astype(dtype), [0.013], [zero + 7])
    yield f"PRELU {dtype}", Operator("PRELU", [image, slope], [q("y", image.shape, 0.043, zero + 2, dtype)]), [image]
    for padding in (SAME, VALID):
        for stride, taps in (((2, 2), (3, 3)), ((2, 3), (4, 2)), ((1, 1), (3, 2)), ((3, 2), (2, 2))):
            shape = [1, *((n * s if padding == SAME else (n - 1) * s + max(k, s)) for n, s, k in zip((7, 6), stride, taps)), 5]
            scales = (r.random(5) / 50 + 0.001) if dtype == I8 else np.array([0.02])
            w = constant(
                "w",
                r.integers(-127, 128, (5, *taps, 4)).astype(I8) if dtype == I8 else r.integers(0, 256, (5, *taps, 4)).astype(U8),
                scales,
                [0] * len(scales) if dtype == I8 else [99],
            )
            bias = constant("b", r.integers(-3000, 3000, 5).astype(I32), 0.05 * scales, [0] * len(scales))
            how = {"Padding": padding, "StrideH": stride[0], "StrideW": stride[1]}
            inputs = [constant("shape", np.array(shape, I32)), w, image, *([bias] if stride != (1, 1) else [])]
            out = q("y", tuple(shape), 0.11, zero + 5, dtype)
            yield f"TRANSPOSE_CONV {dtype} {how}", Operator("TRANSPOSE_CONV", inputs, [out], "TransposeConvOptions", how), [image]
    if dtype == I8:
        a, c = q("a", (2, 3, 7), 0.05, zero), q("c", (2, 7, 5), 0.021, zero + 9)
        d = q("c", (2, 5, 7), 0.021, zero + 9)
        yield "BATCH_MATMUL int8", Operator("BATCH_MATMUL", [a, c], [q("y", (2, 3, 5), 0.09, 4)], "BatchMatMulOptions", {}), [a, c]
        yield (
            "BATCH_MATMUL int8 y",
            Operator("BATCH_MATMUL", [a, d], [q("y", (2, 3, 5), 0.09, 4)], "BatchMatMulOptions", {"AdjY": True}),
            [a, d],
        )


def moves() -> Iterator[tuple[str, Operator, list[Tensor]]]:
    x = f("x", 2, 3, 4, 6)

    def ints(name: str, *values: Any) -> Tensor:
        return constant(name, np.array(values, I32))

    yield "RESHAPE", Operator("RESHAPE", [x, ints("s", 6, -1)], [f("y", 6, 24)], "ReshapeOptions", {"NewShape": [6, -1]}), [x]
    yield "TRANSPOSE", Operator("TRANSPOSE", [x, ints("s", 3, 0, 2, 1)], [f("y", 6, 2, 4, 3)], "TransposeOptions", {}), [x]
    yield "SLICE", Operator("SLICE", [x, ints("a", 0, 1, 0, 2), ints("n", 2, -1, 3, 3)], [f("y", 2, 2, 3, 3)], "SliceOptions", {}), [x]
    strided = [x, ints("a", 0, -1, 3, 1), ints("e", 1, -4, 0, 6), ints("t", 1, -1, -2, 2)]
    yield (
        "STRIDED_SLICE",
        Operator("STRIDED_SLICE", strided, [f("y", 3, 2, 3)], "StridedSliceOptions", {"ShrinkAxisMask": 1, "EndMask": 4, "BeginMask": 0}),
        [x],
    )
    halves = [f("y", 2, 3, 4, 3), f("z", 2, 3, 4, 3)]
    yield "SPLIT", Operator("SPLIT", [constant("a", np.array(3, I32)), x], halves, "SplitOptions", {"NumSplits": 2}), [x]
    uneven = [f("y", 2, 3, 1, 6), f("z", 2, 3, 3, 6)]
    yield (
        "SPLIT_V",
        Operator("SPLIT_V", [x, ints("n", 1, -1), constant("a", np.array(2, I32))], uneven, "SplitVOptions", {"NumSplits": 2}),
        [x],
    )
    a, c = f("a", 3, 2), f("c", 3, 2)
    yield "PACK", Operator("PACK", [a, c], [f("y", 3, 2, 2)], "PackOptions", {"ValuesCount": 2, "Axis": -1}), [a, c]
    yield "UNPACK", Operator("UNPACK", [a], [f("y", 3), f("z", 3)], "UnpackOptions", {"Num": 2, "Axis": 1}), [a]
    yield (
        "CONCATENATION",
        Operator("CONCATENATION", [a, c], [f("y", 3, 4)], "ConcatenationOptions", {"Axis": 1}),
        [a, c],
    )
    yield "GATHER", Operator("GATHER", [x, ints("i", 2, 0, 1, 1)], [f("y", 2, 4, 4, 6)], "GatherOptions", {"Axis": 1}), [x]
    yield "TILE", Operator("TILE", [a, ints("n", 2, 3)], [f("y", 6, 6)], "TileOptions", {}), [a]
    yield (
        "MIRROR_PAD",
        Operator("MIRROR_PAD", [a, constant("p", np.array([[1, 2], [0, 1]], I32))], [f("y", 6, 3)], "MirrorPadOptions", {"Mode": 0}),
        [a],
    )
    image = f("x", 1, 4, 6, 4)
    yield "SPACE_TO_DEPTH", Operator("SPACE_TO_DEPTH", [image], [f("y", 1, 2, 3, 16)], "SpaceToDepthOptions", {"BlockSize": 2}), [image]
    yield "DEPTH_TO_SPACE", Operator("DEPTH_TO_SPACE", [image], [f("y", 1, 8, 12, 1)], "DepthToSpaceOptions", {"BlockSize": 2}), [image]
    crop = [image, ints("b", 2, 3), constant("p", np.array([[0, 2], [1, 2]], I32))]
    yield "SPACE_TO_BATCH_ND", Operator("SPACE_TO_BATCH_ND", crop, [f("y", 6, 3, 3, 4)], "SpaceToBatchNDOptions", {}), [image]
    batch = f("x", 6, 3, 3, 4)
    uncrop = [batch, ints("b", 2, 3), constant("p", np.array([[0, 2], [1, 2]], I32))]
    yield "BATCH_TO_SPACE_ND", Operator("BATCH_TO_SPACE_ND", uncrop, [f("y", 1, 4, 6, 4)], "BatchToSpaceNDOptions", {}), [batch]
    for op, table in (("RESIZE_BILINEAR", "ResizeBilinearOptions"), ("RESIZE_NEAREST_NEIGHBOR", "ResizeNearestNeighborOptions")):
        for corners, half in ((False, False), (True, False), (False, True)):
            for size in ((9, 5), (2, 3)):
                how = {"AlignCorners": corners, "HalfPixelCenters": half}
                yield f"{op} {corners} {half} {size}", Operator(op, [image, ints("s", *size)], [f("y", 1, *size, 4)], table, how), [image]
    yield (
        "ARG_MAX",
        Operator("ARG_MAX", [x, constant("a", np.array(2, I32))], [f("y", 2, 3, 6, dtype=I32)], "ArgMaxOptions", {"OutputType": 2}),
        [x],
    )
    yield (
        "TOPK_V2",
        Operator("TOPK_V2", [a, constant("k", np.array(1, I32))], [f("y", 3, 1), f("i", 3, 1, dtype=I32)], "TopKV2Options", {}),
        [a],
    )
    for op in ("MEAN", "SUM", "REDUCE_MAX"):
        for axes, keep in (((1, 2), False), ((1, 2), True), ((0, 3), False)):
            shape = tuple(1 if i in axes else n for i, n in enumerate(x.shape) if keep or i not in axes)
            yield f"{op} {axes} {keep}", Operator(op, [x, ints("a", *axes)], [f("y", *shape)], "ReducerOptions", {"KeepDims": keep}), [x]
    for op in (
        "ABS",
        "CEIL",
        "COS",
        "ELU",
        "EXP",
        "FLOOR",
        "HARD_SWISH",
        "LOGISTIC",
        "NEG",
        "RELU",
        "RELU6",
        "ROUND",
        "SIN",
        "SQUARE",
        "TANH",
        "RELU_N1_TO_1",
    ):
        yield op, Operator(op, [x], [f("y", *x.shape)]), [x]
    y = f("z", 4, 6)
    for op, table in (("ADD", "AddOptions"), ("SUB", "SubOptions"), ("MUL", "MulOptions"), ("DIV", "DivOptions")):
        yield op, Operator(op, [x, y], [f("w", *x.shape)], table, {"FusedActivationFunction": 3}), [x, y]
    for op in ("MAXIMUM", "MINIMUM", "SQUARED_DIFFERENCE", "FLOOR_DIV"):
        yield op, Operator(op, [x, y], [f("w", *x.shape)]), [x, y]
    for op in ("EQUAL", "GREATER", "GREATER_EQUAL", "LESS", "LESS_EQUAL", "NOT_EQUAL"):
        yield op, Operator(op, [x, y], [f("w", *x.shape, dtype="bool")]), [x, y]
    yield "SELECT_V2", Operator("SELECT_V2", [f("c", 4, 6, dtype="bool"), x, y], [f("w", *x.shape)]), [f("c", 4, 6, dtype="bool"), x, y]
    yield "CAST", Operator("CAST", [x], [f("y", *x.shape, dtype=I32)], "CastOptions", {"InDataType": 0, "OutDataType": 2}), [x]
    yield "SOFTMAX", Operator("SOFTMAX", [x], [f("y", *x.shape)], "SoftmaxOptions", {"Beta": 0.7}), [x]
    yield "L2_NORMALIZATION", Operator("L2_NORMALIZATION", [a], [f("y", 3, 2)], "L2NormOptions", {}), [a]


CASES = {name: (operator, inputs) for group in (products, bytes_, moves) for name, operator, inputs in group()}


@pytest.mark.parametrize("name", CASES)
def test_operators(name: str, tmp_path: Path) -> None:
    operator, inputs = CASES[name]
    agrees(
        written([operator], inputs, list(operator.outputs)), tmp_path / "m.tflite", inputs, kernels=name.split()[-1] in ("0", "1.3", "int8")
    )


def test_variables_become_inputs_and_outputs(tmp_path: Path) -> None:
    """A running sum: what is read is the input, what is written the output for the next call."""
    handle, now, x, y = Tensor("h", "resource", ()), f("now", 3), f("x", 3), f("y", 3)
    operators = [
        Operator("VAR_HANDLE", [], [handle], "VarHandleOptions", {"SharedName": "total"}),
        Operator("READ_VARIABLE", [handle], [now]),
        Operator("ADD", [x, now], [y], "AddOptions", {}),
        Operator("ASSIGN_VARIABLE", [handle, y], []),
    ]
    graph = graph_of(written(operators, [x], [y]), tmp_path / "m.tflite")
    assert graph.inputs == ("x", "total") and graph.outputs == ("y", "total.next")
    total = np.zeros(3, np.float32)
    for n in range(3):
        found = execute(graph, {"x": np.full(3, n + 1, np.float32), "total": total})
        total = found["total.next"]
        np.testing.assert_array_equal(found["y"], total)
    np.testing.assert_array_equal(total, [6, 6, 6])


def floats() -> Iterator[tuple[str, Operator, list[Tensor]]]:
    """What has no form of integers with a scale."""
    x, y = f("x", 2, 3, 4), f("y", 2, 3, 4)
    i, j = f("i", 5, dtype=I32), f("j", 5, dtype=I32)
    for exact in (False, True):
        yield f"gelu {exact}", Operator("GELU", [x], [y], "GeluOptions", {"Approximate": not exact}), [x]
    yield (
        "add_n",
        Operator("ADD_N", [x, f("x2", 2, 3, 4), f("x3", 2, 3, 4)], [y], "AddNOptions", {}),
        [x, f("x2", 2, 3, 4), f("x3", 2, 3, 4)],
    )
    yield "xor", Operator("BITWISE_XOR", [i, j], [f("k", 5, dtype=I32)], "BitwiseXorOptions", {}), [i, j]
    yield "rank", Operator("RANK", [x], [f("k", dtype=I32)], "RankOptions", {}), [x]
    yield "zeros_like", Operator("ZEROS_LIKE", [x], [y], "ZerosLikeOptions", {}), [x]
    yield "bucketize", Operator("BUCKETIZE", [x], [f("k", 2, 3, 4, dtype=I32)], "BucketizeOptions", {"Boundaries": [-1.0, 0.5, 2.0]}), [x]
    for op in ("REDUCE_ALL", "REDUCE_ANY"):
        flags, axes = f("x", 2, 3, 4, dtype="bool"), constant("axes", np.array([1, -1], np.int32))
        yield op, Operator(op, [flags, axes], [f("y", 2, dtype="bool")], "ReducerOptions", {"KeepDims": False}), [flags]
    v = f("v", 1, 5, 6, 7, 2)
    w, bias = constant("w", r.standard_normal((2, 3, 2, 2, 3)).astype(F)), constant("b", r.standard_normal(3).astype(F))
    more = {"Padding": SAME, "StrideD": 1, "StrideH": 2, "StrideW": 1, "DilationDFactor": 1, "DilationHFactor": 1, "DilationWFactor": 1}
    yield (
        "conv_3d",
        Operator("CONV_3D", [v, w, bias], [f("y", 1, 5, 3, 7, 3)], "Conv3DOptions", {**more, "FusedActivationFunction": 1}),
        [v],
    )
    for at in ([0, 1], [2, 9], [-3, 0]):
        block = f("block", 2, 2)
        start = constant("at", np.array(at, np.int32))
        yield f"update {at}", Operator("DYNAMIC_UPDATE_SLICE", [f("x", 4, 5), block, start], [f("y", 4, 5)]), [f("x", 4, 5), block]
    p = f("x", 1, 6, 7, 3)
    pool = {"Padding": SAME, "StrideH": 2, "StrideW": 2, "FilterHeight": 3, "FilterWidth": 2}
    yield "l2_pool", Operator("L2_POOL_2D", [p], [f("y", 1, 3, 4, 3)], "Pool2DOptions", pool), [p]
    yield "diag", Operator("MATRIX_DIAG", [f("x", 2, 3)], [f("y", 2, 3, 3)], "MatrixDiagOptions", {}), [f("x", 2, 3)]
    for rows, columns in ((3, 5), (5, 3)):
        m, d = f("x", 2, rows, columns), f("d", 2, 3)
        yield f"set_diag {rows}", Operator("MATRIX_SET_DIAG", [m, d], [f("y", 2, rows, columns)], "MatrixSetDiagOptions", {}), [m, d]
    lengths = constant("n", np.array([2, 4, 1], np.int32))
    turned = {"SeqDim": 1, "BatchDim": 0}
    yield (
        "reverse",
        Operator("REVERSE_SEQUENCE", [f("x", 3, 4, 2), lengths], [f("y", 3, 4, 2)], "ReverseSequenceOptions", turned),
        [f("x", 3, 4, 2)],
    )
    places, shape = constant("at", np.array([[1], [3], [1]], np.int32)), constant("shape", np.array([5, 2], np.int32))
    yield "scatter", Operator("SCATTER_ND", [places, f("x", 3, 2), shape], [f("y", 5, 2)], "ScatterNdOptions", {}), [f("x", 3, 2)]
    ids = constant("ids", np.array([0, 0, 1, 2], np.int32))
    yield "segment_sum", Operator("SEGMENT_SUM", [f("x", 4, 3), ids], [f("y", 3, 3)], "SegmentSumOptions", {}), [f("x", 4, 3)]
    for name in ("SUM", "MAX", "MIN", "PROD"):
        mixed, count = constant("ids", np.array([3, 0, 3, 1], np.int32)), constant("n", np.array(4, np.int32))
        table = f"UnsortedSegment{name.title()}Options"
        yield (
            f"unsorted {name}",
            Operator(f"UNSORTED_SEGMENT_{name}", [f("x", 4, 3), mixed, count], [f("y", 4, 3)], table, {}),
            [f("x", 4, 3)],
        )


@pytest.mark.parametrize(
    ("shape", "length"), [((2, 1, 16), (1, 16)), ((1, 1, 12), (1, 16)), ((3, 1, 20), (1, 8)), ((2, 4, 8), (4, 8)), ((4, 8), (2, 8))]
)
def test_spectra(shape: tuple[int, ...], length: tuple[int, int], tmp_path: Path) -> None:
    """Cut and filled up, of one axis and of two; complex numbers moved, cast, and by their parts and lengths."""
    x, size = f("x", *shape), constant("n", np.array(length, np.int32))
    bins = (*shape[:-2], length[0], length[1] // 2 + 1)
    y, z, t = (Tensor(n, "complex64", s) for n, s in (("y", bins), ("z", (1, *bins)), ("t", (int(np.prod(bins)),))))
    outs = [f(n, *s) for n, s in (("re", (1, *bins)), ("im", bins), ("abs", t.shape), ("cast", bins))]
    operators = [
        Operator("RFFT2D", [x, size], [y], "Rfft2dOptions", {}),
        Operator("EXPAND_DIMS", [y, constant("axis", np.array(0, np.int32))], [z], "ExpandDimsOptions", {}),
        Operator("RESHAPE", [y, constant("shape", np.array(t.shape, np.int32))], [t], "ReshapeOptions", {}),
        Operator("REAL", [z], [outs[0]]), Operator("IMAG", [y], [outs[1]]), Operator("COMPLEX_ABS", [t], [outs[2]]),
        Operator("CAST", [y], [outs[3]], "CastOptions", {"InDataType": tflite.TensorType.COMPLEX64, "OutDataType": 0}),
    ]  # fmt: skip
    agrees(written(operators, [x], outs), tmp_path / "m.tflite", [x], tolerance=2e-5)


def test_complex_numbers_where_they_have_no_meaning(tmp_path: Path) -> None:
    x, y, z = f("x", 1, 8), Tensor("y", "complex64", (1, 5)), Tensor("z", "complex64", (1, 5))
    operators = [
        Operator("RFFT2D", [x, constant("n", np.array([1, 8], np.int32))], [y], "Rfft2dOptions", {}),
        Operator("MUL", [y, y], [z], "MulOptions", {}),
    ]
    with pytest.raises(Error, match="MUL of complex numbers"):
        graph_of(written(operators, [x], [z]), tmp_path / "m.tflite")


@pytest.mark.parametrize(("operator", "inputs"), [pytest.param(o, i, id=n) for n, o, i in floats()])
def test_operators_of_floats(operator: Operator, inputs: list[Tensor], tmp_path: Path) -> None:
    agrees(written([operator], inputs, operator.outputs), tmp_path / "m.tflite", inputs)


def sixteen() -> Iterator[tuple[str, Operator, list[Tensor]]]:
    """int16 activations, weights of bytes, biases of 64 bits."""

    def w(name: str, shape: tuple[int, ...], count: int, axis: int = 0) -> Tensor:
        scales = r.random(count) / 50 + 0.001
        return constant(name, r.integers(-127, 128, shape).astype(I8), scales, [0] * count, axis)

    def h(name: str, shape: tuple[int, ...], scale: float) -> Tensor:
        return q(name, shape, scale, 0, "int16")

    x, bias = h("x", (1, 6, 7, 4), 0.0004), constant("b", r.integers(-(2**33), 2**33, 5), [1e-5], [0])
    for n, more in enumerate(({}, {"StrideW": 2, "FusedActivationFunction": 1}, {"Padding": VALID, "FusedActivationFunction": 3})):
        out = h("y", _conv_shape(x, 3, 2, {**CONV, **more}, 5), 0.001)
        yield (
            f"conv {n}",
            Operator("CONV_2D", [x, w("w", (5, 3, 2, 4), 5), bias], [out], "Conv2DOptions", {**CONV, **more}),
            [x],
        )
    more = {**CONV, "DepthMultiplier": 2}
    wide = constant("b", r.integers(-(2**30), 2**30, 8), [1e-5], [0])
    yield (
        "depthwise",
        Operator(
            "DEPTHWISE_CONV_2D", [x, w("w", (1, 3, 3, 8), 8, 3), wide], [h("y", (1, 6, 7, 8), 0.0007)], "DepthwiseConv2DOptions", more
        ),
        [x],
    )
    v = h("x", (3, 40), 0.0003)
    narrow, wide = (constant("b", r.integers(-(2**24), 2**24, 9).astype(t), [1e-5], [0]) for t in (I32, np.int64))
    for n, b in enumerate((None, wide, narrow)):
        yield (
            f"dense {n}",
            Operator(
                "FULLY_CONNECTED",
                [v, w("w", (9, 40), 1), b],
                [h("y", (3, 9), 0.0006)],
                "FullyConnectedOptions",
                {"QuantizedBiasType": 2} if n == 2 else {},
            ),
            [v],
        )
    many, ones = h("x", (2, 3, 4096), 0.0003), constant("w", np.full((2, 4096), 127, np.int8), [0.01], [0])  # sums beyond 2^31
    yield (
        "dense long",
        Operator("FULLY_CONNECTED", [many, ones, None], [h("y", (2, 3, 2), 40.0)], "FullyConnectedOptions", {"KeepNumDims": True}),
        [many],
    )
    a, c = h("a", (2, 9), 0.0007), h("c", (2, 9), 0.0011)
    for op, table in (("ADD", "AddOptions"), ("SUB", "SubOptions")):
        for pot in (False, True):
            how = {"PotScaleInt16": pot, "FusedActivationFunction": int(pot)}
            yield f"{op} {pot}", Operator(op, [a, c], [h("y", (2, 9), 0.0009)], table, how), [a, c]
    yield "MUL", Operator("MUL", [a, c], [h("y", (2, 9), 0.02)], "MulOptions", {}), [a, c]
    yield "leaky", Operator("LEAKY_RELU", [a], [h("y", (2, 9), 0.0009)], "LeakyReluOptions", {"Alpha": 0.3}), [a]
    pool = {"Padding": SAME, "StrideH": 2, "StrideW": 2, "FilterHeight": 3, "FilterWidth": 2}
    yield "average", Operator("AVERAGE_POOL_2D", [x], [h("y", (1, 3, 4, 4), 0.0004)], "Pool2DOptions", pool), [x]
    yield "quantize", Operator("QUANTIZE", [f("x", 2, 9)], [h("y", (2, 9), 0.0005)], "QuantizeOptions", {}), [f("x", 2, 9)]
    yield "requantize", Operator("QUANTIZE", [a], [h("y", (2, 9), 0.0005)], "QuantizeOptions", {}), [a]
    yield "narrow", Operator("QUANTIZE", [a], [q("y", (2, 9), 0.1)], "QuantizeOptions", {}), [a]
    yield "dequantize", Operator("DEQUANTIZE", [a], [f("y", 2, 9)], "DequantizeOptions", {}), [a]
    yield "max", Operator("MAX_POOL_2D", [x], [h("y", (1, 3, 4, 4), 0.0004)], "Pool2DOptions", pool), [x]


@pytest.mark.parametrize(("operator", "inputs"), [pytest.param(o, i, id=n) for n, o, i in sixteen()])
def test_activations_of_sixteen_bits(operator: Operator, inputs: list[Tensor], tmp_path: Path) -> None:
    agrees(written([operator], inputs, operator.outputs), tmp_path / "m.tflite", inputs)


@pytest.mark.parametrize("scale", [2.0**-13, 2.0**-12, 2.0**-11, 0.0003, 0.00021, 0.001, 0.01])
@pytest.mark.parametrize("op", ["LOGISTIC", "TANH"])
def test_functions_of_every_number_of_sixteen_bits(op: str, scale: float, tmp_path: Path) -> None:
    x, y = q("x", (1 << 16,), scale, 0, "int16"), q("y", (1 << 16,), 2.0**-15, 0, "int16")
    raw = written([Operator(op, [x], [y])], [x], [y])
    graph, judge = graph_of(raw, tmp_path / "m.tflite"), judging(raw)
    every = np.arange(-(1 << 15), 1 << 15).astype(np.int16)
    judge.set_tensor(judge.get_input_details()[0]["index"], every)
    judge.invoke()
    found = execute(graph, {"x": every})["y"]
    np.testing.assert_array_equal(found, judge.get_tensor(judge.get_output_details()[0]["index"]))
    np.testing.assert_array_equal(Compiled(lower(graph))({"x": every})["y"], found)


@pytest.mark.parametrize(
    "scales", [(0.05, -3, 0.04, 7), (0.011, -128, 0.02, -128), (0.3, 90, 0.1, -20), (0.0021, -128, 0.15, -128), (1.7, -100, 0.9, 3)]
)
@pytest.mark.parametrize("op", ["GELU", "GELU exact", "ELU", "EXP", "RSQRT"])
def test_tables_of_every_byte(op: str, scales: tuple[float, int, float, int], tmp_path: Path) -> None:
    given, zero, step, place = scales
    x, y = q("x", (256,), given, zero), q("y", (256,), step, place)
    name, exact = op.split()[0], " " in op
    options = ("GeluOptions", {"Approximate": not exact}) if name == "GELU" else ("ExpOptions", {}) if name == "EXP" else ("", None)
    raw = written([Operator(name, [x], [y], *options)], [x], [y])
    graph, judge = graph_of(raw, tmp_path / "m.tflite"), judging(raw)
    every = np.arange(-128, 128).astype(np.int8)
    if name == "RSQRT":
        every = np.maximum(every, np.int8(zero))  # LiteRT stops below zero
    judge.set_tensor(judge.get_input_details()[0]["index"], every)
    judge.invoke()
    np.testing.assert_array_equal(execute(graph, {"x": every})["y"], judge.get_tensor(judge.get_output_details()[0]["index"]))


@pytest.mark.parametrize("scales", [(0.05, -3, 0.02, 9, 0.3), (0.01, 20, 0.04, -100, 0.05), (0.5, 0, 0.5, 0, 12.0)])
def test_squares_of_differences(scales: tuple[float, int, float, int, float], tmp_path: Path) -> None:
    a, b = q("a", (64, 64), scales[0], scales[1]), q("b", (64, 64), scales[2], scales[3])
    y = q("y", (64, 64), scales[4], -128)
    agrees(
        written([Operator("SQUARED_DIFFERENCE", [a, b], [y], "SquaredDifferenceOptions", {})], [a, b], [y]), tmp_path / "m.tflite", [a, b]
    )


def test_a_constant_of_nothing(tmp_path: Path) -> None:
    """A shape of no numbers is stored in no bytes."""
    x, shape, y = f("x", 1, 1), constant("shape", np.zeros(0, np.int32)), f("y")
    agrees(written([Operator("RESHAPE", [x, shape], [y], "ReshapeOptions", {})], [x], [y]), tmp_path / "m.tflite", [x])


def test_operators_of_floats_refuse_integers_with_a_scale(tmp_path: Path) -> None:
    x = q("x", (2, 3))
    with pytest.raises(Error, match="int8 with a scale"):
        graph_of(
            written([Operator("ZEROS_LIKE", [x], [q("y", (2, 3))], "ZerosLikeOptions", {})], [x], [q("y", (2, 3))]), tmp_path / "m.tflite"
        )


def recurrences() -> Iterator[tuple[str, Operator, list[Tensor]]]:
    def w(name: str, *shape: int) -> Tensor:
        return constant(name, (r.standard_normal(shape) * 0.4).astype(F))

    def state(name: str, *shape: int) -> Tensor:
        return Tensor(name, F, shape, variable=True)

    for major in (False, True):
        x = f("x", 2, 5, 3) if not major else f("x", 5, 2, 3)
        y = f("y", *x.shape[:2], 4)
        operands = [x, w("w", 4, 3), w("r", 4, 4), w("b", 4), state("h", 2, 4)]
        table = {"TimeMajor": major, "FusedActivationFunction": 4}
        yield f"rnn {major}", Operator("UNIDIRECTIONAL_SEQUENCE_RNN", operands, [y], "SequenceRNNOptions", table), [x]
        for kind in ("plain", "coupled", "peepholes", "projected", "clipped"):
            cells, out = 4, 3 if kind == "projected" else 4
            gates = range(1 if kind == "coupled" else 0, 4)

            def each(name: str, *shape: int, gates: range = gates) -> list[Tensor | None]:
                return [w(f"{name}{g}", *shape) if g in gates else None for g in range(4)]

            peep = [w(f"p{g}", cells) if kind == "peepholes" else None for g in range(3)]
            projection = [w("pw", out, cells), w("pb", out)] if kind == "projected" else [None, None]
            operands = [
                x, *each("w", cells, 3), *each("r", cells, out), *peep, *each("b", cells), *projection, state("h", 2, out), state("c", 2, cells),
                None, None, None, None,
            ]  # fmt: skip
            table = {"TimeMajor": major, "FusedActivationFunction": 4, "CellClip": 0.1 if kind == "clipped" else 0.0, "ProjClip": 0.0}
            made = [f("y", *x.shape[:2], out)]
            yield (
                f"lstm {kind} {major}",
                Operator("UNIDIRECTIONAL_SEQUENCE_LSTM", operands, made, "UnidirectionalSequenceLSTMOptions", table),
                [x],
            )
    x = f("x", 2, 6)
    for rank in (1, 2):
        operands = [x, w("w", 4 * rank, 6), w("t", 4 * rank, 5), w("b", 4), state("s", 2, 5 * 4 * rank)]
        yield f"svdf {rank}", Operator("SVDF", operands, [f("y", 2, 4)], "SVDFOptions", {"Rank": rank, "FusedActivationFunction": 1}), [x]


@pytest.mark.parametrize(("operator", "inputs"), [pytest.param(o, i, id=n) for n, o, i in recurrences()])
def test_recurrent_layers_hand_on_their_states(operator: Operator, inputs: list[Tensor], tmp_path: Path) -> None:
    """Several calls: LiteRT keeps the states, here they are handed on. From other states than zero, LiteRT as judge agrees."""
    raw = written([operator], inputs, operator.outputs)
    graph = graph_of(raw, tmp_path / "m.tflite")
    compiled = Compiled(lower(graph))
    judge = interpreter.Interpreter(
        model_content=raw, experimental_op_resolver_type=interpreter.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    )
    judge.allocate_tensors()
    states = {n: np.zeros(graph.types[n].shape, np.float32) for n in graph.inputs[1:]}
    for turn in range(3):
        feed = {"x": numbers(inputs[0], turn), **states}
        judge.set_tensor(judge.get_input_details()[0]["index"], feed["x"])
        judge.invoke()
        found = execute(graph, feed)
        np.testing.assert_allclose(found["y"], judge.get_tensor(judge.get_output_details()[0]["index"]), rtol=1e-4, atol=1e-5)
        for name, array in compiled(feed).items():
            assert_same_bits(array, found[name], name, graph)
        states = {n: found[f"{n}.next"] for n in states}
    asked = tflite_importer.runtime[1](tmp_path / "m.tflite")
    feed = {"x": numbers(inputs[0], 9), **{n: numbers(f(n, *a.shape), 8) for n, a in states.items()}}
    for ours, theirs in zip(execute(graph, feed).values(), asked(feed), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)


def small(path: Path) -> bytes:
    """A file of two operators, one of them quantised."""
    x, w = q("x", (1, 8)), constant("w", r.integers(-127, 128, (4, 8)).astype(I8), [0.01], [0])
    y, z = q("y", (1, 4), 0.2, 4), f("z", 1, 4)
    dense = Operator("FULLY_CONNECTED", [x, w, None], [y], "FullyConnectedOptions", {})
    return written([dense, Operator("DEQUANTIZE", [y], [z], "DequantizeOptions", {})], [x], [z])


def test_a_build_is_judged_by_litert(tmp_path: Path) -> None:
    (tmp_path / "m.tflite").write_bytes(small(tmp_path))
    made = mlcc.build(tmp_path / "m.tflite", ["c99"], out=tmp_path / "out")
    said = json.loads((Path(made["artifacts"][0]["path"]) / "conformance.json").read_text())["judge"]
    assert said["engine"].startswith("ai-edge-litert") and said["verdict"] == "agrees"


def test_the_first_layer_that_parts_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of LiteRT's own inner values, integers and floats."""
    x, a, b, y, z = f("x", 1, 9), f("a", 1, 9), f("b", 1, 9), q("y", (1, 9), 0.01, 3), f("z", 1, 9)
    operators = [
        Operator("LOGISTIC", [x], [a]), Operator("TANH", [a], [b]), Operator("QUANTIZE", [b], [y], "QuantizeOptions", {}),
        Operator("DEQUANTIZE", [y], [z], "DequantizeOptions", {}),
    ]  # fmt: skip
    (tmp_path / "m.tflite").write_bytes(written(operators, [x], [z]))
    mlcc.build(tmp_path / "m.tflite", "c99", out=tmp_path / "out", cache=False)
    monkeypatch.setitem(execution.TABLE, "Tanh", lambda node, v: v * np.float32(0.5))
    with pytest.raises(Error, match=r"output z is off by .*; the first operator that parts is TANH \(b\)"):
        mlcc.build(tmp_path / "m.tflite", "c99", out=tmp_path / "out", cache=False)


def test_damaged_files_are_said_to_be_so(tmp_path: Path) -> None:
    """Every cut, and many changed bytes: an error of ours or another model, never a crash and never for long."""
    raw, path = small(tmp_path), tmp_path / "m.tflite"
    g = np.random.default_rng(0)
    damaged = [raw[:n] for n in range(0, len(raw), 7)]
    for _ in range(300):
        changed = bytearray(raw)
        for at in g.integers(8, len(raw), 3):
            changed[at] = g.integers(256)
        damaged.append(bytes(changed))
    refused = 0
    for content in damaged:
        path.write_bytes(content)
        try:
            normalise(load(path), "lite", {}, str(path))
        except Error as e:
            refused += e.code in ("model", "unsupported", "limit")
    assert refused > len(damaged) // 2


def test_what_is_not_read_is_named(tmp_path: Path) -> None:
    x = f("x", 2, 3)
    for operators, what in (
        ([Operator("LSH_PROJECTION", [x], [f("y", 2, 3)])], "tflite::LSH_PROJECTION"),
        ([Operator("SIN", [q("x", (2, 3))], [q("y", (2, 3))])], "int8 with a scale"),
        ([Operator("CONV_2D", [q("x", (1, 3, 3, 2), dtype="int16", zero=0), constant("w", np.ones((1, 1, 1, 2), np.int8), [0.1], [0]), constant("b", np.ones(1, np.int32), [0.1], [0])], [q("y", (1, 3, 3, 1), dtype="int16", zero=0)], "Conv2DOptions", CONV)], "bias of 32 bits"),
        ([Operator("LOGISTIC", [q("x", (1, 3), dtype="int16", zero=0)], [q("y", (1, 3), dtype="int16", zero=0)])], "in steps of"),
        ([Operator("FULLY_CONNECTED", [q("x", (1, 4)), constant("w", np.ones((3, 4), np.int8), [0.1], [0]), None], [q("y", (1, 3), dtype="int16", zero=0)], "FullyConnectedOptions", {})], "int16 and int8 in one operator"),
        ([Operator("ADD", [q("x", (1, 4)), q("w", (1, 4), dtype="uint8", zero=3)], [q("y", (1, 4))], "AddOptions", {})], "int8 and uint8 in one operator"),
        ([Operator("LOGISTIC", [q("x", (1, 3))], [q("y", (1, 3), 1 / 256, 0, "int16")])], "int16 and int8 in one operator"),
        ([Operator("EXP", [q("x", (1, 3), dtype="int16", zero=0)], [q("y", (1, 3), dtype="int16", zero=0)])], "int16 with a scale"),
    ):  # fmt: skip
        given = [t for t in operators[0].inputs if t is not None and t.data is None]
        with pytest.raises(Error, match=what) as e:
            graph_of(written(operators, given, list(operators[0].outputs)), tmp_path / "m.tflite")  # type: ignore[list-item]
        assert e.value.code == "unsupported"
