"""Small models whose sizes a run decides, one for each way in which sizes reach a kernel."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import onnx
from onnx import TensorProto as T
from onnx import helper as h
from onnx import numpy_helper as nh

Dims = Sequence[int | str]
Made = tuple[onnx.ModelProto, dict[str, str]]  # and what each input may be, as --shape has it
N = h.make_node


def weights(seed: int, *shape: int) -> np.ndarray:
    r = np.random.default_rng(seed)
    return (r.standard_normal(shape) / max(1, shape[0]) ** 0.5).astype(np.float32)


def model(
    nodes: Sequence[onnx.NodeProto],
    inputs: dict[str, tuple[int, Dims]],
    outputs: Sequence[str],
    constants: dict[str, object],
    opset: int = 18,
) -> onnx.ModelProto:
    initial = [nh.from_array(np.asarray(a, np.int64) if not isinstance(a, np.ndarray) else a, n) for n, a in constants.items()]
    ins = [h.make_tensor_value_info(n, t, d) for n, (t, d) in inputs.items()]
    outs = [h.make_tensor_value_info(n.split(":")[0], T.INT64 if n.endswith(":i") else T.FLOAT, None) for n in outputs]
    return h.make_model(h.make_graph(nodes, "open", ins, outs, initial), opset_imports=[h.make_opsetid("", opset)], ir_version=9)


def attention() -> Made:
    d, heads = 24, 3
    nodes = [
        N("Gather", ["e", "ids"], ["x"]),
        N("Shape", ["ids"], ["s"]),
        N("Concat", ["s", "hd"], ["s4"], axis=0),
        N("Concat", ["s", "full"], ["s3"], axis=0),
    ]
    for c in "qkv":
        nodes += [N("MatMul", ["x", f"w{c}"], [c]), N("Reshape", [c, "s4"], [f"{c}4"])]
    nodes += [
        N("Transpose", ["q4"], ["qt"], perm=[0, 2, 1, 3]), N("Transpose", ["k4"], ["kt"], perm=[0, 2, 3, 1]), N("Transpose", ["v4"], ["vt"], perm=[0, 2, 1, 3]),
        N("MatMul", ["qt", "kt"], ["sc"]), N("Mul", ["sc", "scale"], ["sd"]), N("Softmax", ["sd"], ["p"], axis=-1), N("MatMul", ["p", "vt"], ["c"]),
        N("Transpose", ["c"], ["ct"], perm=[0, 2, 1, 3]), N("Reshape", ["ct", "s3"], ["cr"]), N("MatMul", ["cr", "wo"], ["o"]), N("Add", ["o", "x"], ["y"]),
    ]  # fmt: skip
    constants = {
        "e": weights(1, 50, d),
        **{f"w{c}": weights(i, d, d) for i, c in enumerate("qkvo")},
        "scale": np.array(0.35, np.float32),
        "hd": [heads, d // heads],
        "full": [d],
    }
    return model(nodes, {"ids": (T.INT64, ["batch", "seq"])}, ["y"], constants), {"ids": "1..3x1..20"}


def causal() -> Made:
    nodes = [
        N("Shape", ["x"], ["s"], start=1, end=2), N("Concat", ["s", "s"], ["tt"], axis=0), N("ConstantOfShape", ["tt"], ["ones"], value=h.make_tensor("v", T.FLOAT, [1], [1.0])),
        N("Trilu", ["ones"], ["low"], upper=0), N("Squeeze", ["s"], ["n"]), N("Range", ["zero", "n", "one"], ["pos"]), N("Gather", ["table", "pos"], ["pe"]),
        N("Add", ["x", "pe"], ["a"]), N("LayerNormalization", ["a", "g", "b"], ["l"], axis=-1), N("MatMul", ["low", "l"], ["m"]), N("ReduceMean", ["m", "one1"], ["r"], keepdims=1), N("Sub", ["m", "r"], ["y"]),
    ]  # fmt: skip
    constants = {"zero": np.array(0), "one": np.array(1), "one1": [1], "table": weights(1, 64, 8), "g": weights(2, 8), "b": weights(3, 8)}
    return model(nodes, {"x": (T.FLOAT, ["batch", "time", 8])}, ["y"], constants), {"x": "1..2x1..18x8"}


def segmentation() -> Made:
    nodes = [
        N("Conv", ["x", "a"], ["c"], pads=[1] * 4, strides=[2, 2]), N("Relu", ["c"], ["d"]), N("MaxPool", ["d"], ["m"], kernel_shape=[3, 3], pads=[1] * 4, strides=[2, 2]),
        N("Conv", ["m", "dw"], ["dwo"], group=8, pads=[1] * 4), N("Conv", ["dwo", "b"], ["e"]), N("Shape", ["x"], ["s"]), N("Slice", ["s", "two", "four"], ["hw"]), N("Shape", ["e"], ["es"]),
        N("Slice", ["es", "zero", "two"], ["nc"]), N("Concat", ["nc", "hw"], ["size"], axis=0), N("Resize", ["e", "", "", "size"], ["u"], mode="linear"),
        N("GlobalAveragePool", ["u"], ["g"]), N("Sub", ["u", "g"], ["y"]), N("AveragePool", ["d"], ["z"], kernel_shape=[2, 2], strides=[2, 2], pads=[0, 0, 1, 1]),
    ]  # fmt: skip
    constants = {
        "a": weights(1, 8, 3, 3, 3),
        "dw": weights(2, 8, 1, 3, 3),
        "b": weights(3, 5, 8, 1, 1),
        "zero": [0],
        "two": [2],
        "four": [4],
    }
    return model(nodes, {"x": (T.FLOAT, [1, 3, "height", "width"])}, ["y", "z"], constants), {"x": "1x3x(8..40:8)x(8..32:8)"}


def any_pixels() -> Made:
    """Heights and widths that no window divides."""
    nodes = [
        N("Conv", ["x", "a"], ["c"], pads=[1, 1, 1, 1], strides=[2, 2]),
        N("MaxPool", ["c"], ["m"], kernel_shape=[2, 2], strides=[2, 2], ceil_mode=0),
        N("Flatten", ["m"], ["f"], axis=2),
        N("Softmax", ["f"], ["y"], axis=1),
    ]
    return model(nodes, {"x": (T.FLOAT, ["n", 2, "h", "w"])}, ["y"], {"a": weights(1, 4, 2, 3, 3)}), {"x": "1..2x2x5..11x6..9"}


def resized(mode: str, transform: str, nearest: str = "round_prefer_floor") -> Made:
    nodes = [N("Shape", ["like"], ["s"], start=2), N("Shape", ["x"], ["nc"], end=2), N("Concat", ["nc", "s"], ["size"], axis=0),
             N("Resize", ["x", "", "", "size"], ["y"], mode=mode, coordinate_transformation_mode=transform, nearest_mode=nearest)]  # fmt: skip
    return model(nodes, {"x": (T.FLOAT, [1, 2, "h", 4]), "like": (T.FLOAT, [1, 1, "H", "W"])}, ["y"], {}), {
        "x": "1x2x2..4x4",
        "like": "1x1x2..7x5..6",
    }


def recurrent(kind: str, direction: str, lengths: bool = False) -> Made:
    gates, dirs = {"LSTM": 4, "GRU": 3, "RNN": 1}[kind], 2 if direction == "bidirectional" else 1
    operands = ["x", "w", "r", "b", "len" if lengths else ""]
    nodes = [N(kind, operands, ["h", "last"], hidden_size=7, direction=direction), N("Shape", ["h"], ["s"], start=0, end=1), N("Concat", ["s", "rest"], ["to"], axis=0),
             N("Transpose", ["h"], ["t"], perm=[0, 2, 1, 3]), N("Reshape", ["t", "to"], ["y"])]  # fmt: skip
    constants = {
        "w": weights(1, dirs, gates * 7, 5),
        "r": weights(2, dirs, gates * 7, 7),
        "b": weights(3, dirs, 2 * gates * 7),
        "rest": [2, dirs * 7],
    }
    inputs: dict[str, tuple[int, Dims]] = {"x": (T.FLOAT, ["time", 2, 5]), **({"len": (T.INT32, [2])} if lengths else {})}
    return model(nodes, inputs, ["y", "last"], constants), {"x": "1..12x2x5"}


def looped() -> Made:
    """A Loop whose trip count is a size, and a Scan over an open axis."""
    body = h.make_graph(
        [N("Gather", ["x", "i"], ["row"]), N("Add", ["a", "row"], ["t"]), N("Tanh", ["t"], ["a2"]), N("Identity", ["c"], ["c2"]), N("Mul", ["a2", "row"], ["o"])], "body",
        [h.make_tensor_value_info("i", T.INT64, []), h.make_tensor_value_info("c", T.BOOL, []), h.make_tensor_value_info("a", T.FLOAT, [4])],
        [h.make_tensor_value_info("c2", T.BOOL, []), h.make_tensor_value_info("a2", T.FLOAT, [4]), h.make_tensor_value_info("o", T.FLOAT, [4])],
    )  # fmt: skip
    scan = h.make_graph(
        [N("Mul", ["s", "p"], ["m"]), N("Add", ["m", "p"], ["s2"]), N("Relu", ["s2"], ["q"])], "scan",
        [h.make_tensor_value_info("s", T.FLOAT, [4]), h.make_tensor_value_info("p", T.FLOAT, [4])], [h.make_tensor_value_info("s2", T.FLOAT, [4]), h.make_tensor_value_info("q", T.FLOAT, [4])],
    )  # fmt: skip
    nodes = [N("Shape", ["x"], ["s1"], end=1), N("Squeeze", ["s1"], ["n"]), N("Loop", ["n", "", "zero"], ["a", "rows"], body=body),
             N("Scan", ["a", "rows"], ["state", "y"], body=scan, num_scan_inputs=1, scan_input_directions=[1])]  # fmt: skip
    return model(nodes, {"x": (T.FLOAT, ["time", 4])}, ["y", "state"], {"zero": np.zeros(4, np.float32)}), {"x": "1..9x4"}


def cut_and_joined() -> Made:
    nodes = [
        N("Slice", ["x", "one", "big", "one"], ["tail"]), N("Slice", ["x", "zero", "minus", "one"], ["head"]), N("Sub", ["tail", "head"], ["d"]), N("Concat", ["d", "x"], ["j"], axis=1),
        N("Pad", ["j", "pads", "", "one"], ["p"]), N("Split", ["p"], ["p1", "p2"], axis=2, num_outputs=2), N("Tile", ["p1", "reps"], ["t"]), N("ReduceMax", ["t", "one"], ["top"], keepdims=1),
        N("ReduceSum", ["p", "one"], ["sum"], keepdims=1), N("Add", ["top", "sum"], ["y"]), N("CumSum", ["p2", "axis"], ["c"]), N("ArgMax", ["c"], ["best"], axis=1, keepdims=0),
        N("Shape", ["j"], ["js"]), N("ReduceProd", ["js"], ["all"], keepdims=0), N("Cast", ["all"], ["f"], to=T.FLOAT), N("Div", ["c", "f"], ["z"]),
    ]  # fmt: skip
    constants = {"one": [1], "zero": [0], "minus": [-1], "big": [2**62], "pads": [2, 1], "reps": [1, 1, 2], "axis": np.array(1)}
    return model(nodes, {"x": (T.FLOAT, ["batch", "time", 6])}, ["y", "best:i", "z"], constants), {"x": "1..3x2..9x6"}


def reshaped() -> Made:
    nodes = [
        N("Reshape", ["x", "flat"], ["f"]), N("Gemm", ["f", "w", "b"], ["g"], transB=1), N("Shape", ["x"], ["s"], end=2), N("Concat", ["s", "four"], ["to"], axis=0), N("Reshape", ["g", "to"], ["r"]),
        N("Transpose", ["r"], ["t"], perm=[1, 0, 2]), N("Reshape", ["t", "zeros"], ["q"]), N("Softmax", ["q"], ["p"], axis=0), N("Einsum", ["p", "p"], ["y"], equation="tk,sk->ts"), N("TopK", ["p", "two"], ["v", "vi"], axis=1),
    ]  # fmt: skip
    constants = {"flat": [-1, 6], "w": weights(1, 4, 6), "b": weights(2, 4), "four": [4], "zeros": [0, -1], "two": [2]}
    return model(nodes, {"x": (T.FLOAT, ["batch", "time", 6])}, ["y", "v"], constants), {"x": "1..4x1..9x6"}


def sequence_conv() -> Made:
    nodes = [
        N("Conv", ["x", "a"], ["c"], pads=[2, 2], dilations=[2]), N("InstanceNormalization", ["c", "s", "o"], ["i"]), N("ConvTranspose", ["i", "u"], ["t"], strides=[2], pads=[1, 1], output_padding=[1]),
        N("GlobalMaxPool", ["t"], ["g"]), N("Sub", ["t", "g"], ["y"]), N("Transpose", ["y"], ["n"], perm=[0, 2, 1]), N("ReduceL2", ["n", "two"], ["z"], keepdims=0),
    ]  # fmt: skip
    constants = {"a": weights(1, 6, 3, 3), "s": weights(2, 6), "o": weights(3, 6), "u": weights(4, 6, 5, 4), "two": [2]}
    return model(nodes, {"x": (T.FLOAT, [1, 3, "samples"])}, ["y", "z"], constants), {"x": "1x3x3..24"}


def chosen() -> Made:
    """An If on a size, a slice that may be shorter than asked, a window from behind."""
    small = h.make_graph([N("Relu", ["x"], ["s"])], "then", [], [h.make_tensor_value_info("s", T.FLOAT, None)])
    large = h.make_graph([N("Neg", ["x"], ["l"])], "else", [], [h.make_tensor_value_info("l", T.FLOAT, None)])
    nodes = [
        N("Shape", ["x"], ["n"], end=1), N("Squeeze", ["n"], ["n0"]), N("Less", ["n0", "five"], ["c"]), N("If", ["c"], ["b"], then_branch=small, else_branch=large),
        N("Slice", ["b", "zero", "four", "zero"], ["head"]), N("Slice", ["b", "last", "least", "zero", "back"], ["turned"]), N("ReduceSum", ["head", "zero"], ["hs"], keepdims=1), N("Add", ["turned", "hs"], ["y"]),
        N("Slice", ["x", "minus3", "big", "zero"], ["tail"]), N("ReduceMax", ["tail", "zero"], ["z"], keepdims=1),
    ]  # fmt: skip
    constants = {
        "five": np.array(5),
        "zero": [0],
        "four": [4],
        "last": [-1],
        "least": [-(2**63)],
        "back": [-2],
        "minus3": [-3],
        "big": [2**62],
    }
    return model(nodes, {"x": (T.FLOAT, ["n", 3])}, ["y", "z"], constants), {"x": "1..9x3"}


MODELS: dict[str, Callable[[], Made]] = {
    "attention": attention,
    "causal": causal,
    "segmentation": segmentation,
    "any pixels": any_pixels,
    "cut and joined": cut_and_joined,
    "reshaped": reshaped,
    "sequence conv": sequence_conv,
    "looped": looped,
    "chosen": chosen,
    "resized linear": lambda: resized("linear", "half_pixel"),
    "resized cubic": lambda: resized("cubic", "align_corners"),
    "resized nearest": lambda: resized("nearest", "asymmetric", "floor"),
    "resized nearest, ceil": lambda: resized("nearest", "half_pixel", "round_prefer_ceil"),
    "LSTM": lambda: recurrent("LSTM", "bidirectional"),
    "LSTM, lengths": lambda: recurrent("LSTM", "forward", lengths=True),
    "GRU": lambda: recurrent("GRU", "reverse"),
    "RNN": lambda: recurrent("RNN", "bidirectional", lengths=True),
}
