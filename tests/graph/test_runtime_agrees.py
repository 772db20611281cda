"""Operators that ONNX's node cases lack (ai.onnx.ml, com.microsoft) or hardly touch: the reference agrees with ONNX Runtime."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper, numpy_helper

from mlcc.core.narrow import coded, meant
from mlcc.error import Error
from mlcc.graph.normalise import normalise
from mlcc.graph.passes import optimise
from mlcc.reference.execute import execute

ort = pytest.importorskip("onnxruntime")
ML, MS = "ai.onnx.ml", "com.microsoft"
Operand = tuple[str, np.ndarray] | None
r = np.random.default_rng(20)


def numbers(name: str, *shape: int) -> tuple[str, np.ndarray]:
    return name, r.standard_normal(shape).astype(np.float32)


def model(domain: str, op: str, operands: Sequence[Operand], outputs: int, stored: Sequence[str], attributes: Mapping[str, Any]) -> Any:
    kept = [o for o in operands if o is not None]
    names = [o[0] if o is not None else "" for o in operands]
    types = [TensorProto.STRING if a.dtype == object else helper.np_dtype_to_tensor_dtype(a.dtype) for _, a in kept]
    node = helper.make_node(op, names, [f"o{i}" for i in range(outputs)], domain=domain, **attributes)
    inputs = [helper.make_tensor_value_info(n, t, a.shape) for (n, a), t in zip(kept, types) if n not in stored]
    imports = [helper.make_opsetid("", 20), helper.make_opsetid(ML, 3), helper.make_opsetid(MS, 1)]
    results = [onnx.ValueInfoProto(name=o) for o in node.output]
    graph = helper.make_graph([node], "case", inputs, results, [numpy_helper.from_array(a, n) for n, a in kept if n in stored])
    found = helper.make_model(graph, opset_imports=imports, ir_version=9)
    return found


def agrees(
    domain: str,
    op: str,
    operands: Sequence[Operand],
    outputs: int = 1,
    stored: Sequence[str] = (),
    tolerance: float = 1e-4,
    steps: int = 0,
    **attributes: Any,
) -> None:
    """`steps`: by how many an integer may differ."""
    proto = model(domain, op, operands, outputs, stored, attributes)
    feed = {o[0]: o[1] for o in operands if o is not None and o[0] not in stored}
    options = ort.SessionOptions()
    options.log_severity_level = 4
    wanted = ort.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"]).run(None, feed)
    graph = optimise(normalise(ir.from_proto(proto), "case", {n: a.shape for n, a in feed.items()}, op), "float32", True)
    said, others = graph.described, dict[str, int]()

    def known(n: str) -> bool:
        return n in said and bool(said[n].element)

    inputs = {n: coded(feed[n], said[n].element, said[n].labels, others) if known(n) else feed[n] for n in graph.inputs}
    found = execute(graph, inputs)
    for name, want in zip(graph.outputs, wanted):
        got = meant(found[name], said[name].element, said[name].labels, others) if known(name) else found[name]
        assert got.shape == want.shape and got.dtype == want.dtype, (name, got.dtype, got.shape, want.dtype, want.shape)
        if want.dtype.kind == "f":
            np.testing.assert_allclose(got, want, rtol=tolerance, atol=tolerance)
        elif steps:
            assert abs(got.astype(np.int64) - want).max() <= steps, name
        else:
            assert (got == want).all(), name


X = numbers("x", 50, 6)
GAPS = ("x", np.where(r.random((50, 6)) < 0.2, np.nan, np.where(r.random((50, 6)) < 0.2, 0.5, X[1])).astype(np.float32))
TEXT = ("x", np.array([["a"], ["b"], ["zz"], ["c"]], object))
WHOLE = ("x", r.integers(0, 12, (20, 2)))
POSTS = ("NONE", "LOGISTIC", "SOFTMAX", "SOFTMAX_ZERO", "PROBIT")


@pytest.mark.parametrize(
    "op,more,attributes",
    [("Gelu", 0, {"exact": 2}), ("FusedMatMul", 0, {"beta": 2.0}), ("FusedGemm", 0, {"scale": [1]}), ("QuickGelu", 1, {})],
)
def test_what_a_rule_does_not_look_at_is_refused(op: str, more: int, attributes: dict[str, Any]) -> None:
    """No checker knows these operators' attributes and operands: a new one would pass unseen."""
    y, extra = ("y", np.ones((6, 6), np.float32)), ("extra", np.ones(6, np.float32))
    operands = [X] if "Gelu" in op else [X, y]
    proto = model(MS, op, operands + [extra] * more, 1, [], attributes)
    with pytest.raises(Error, match="attribute (exact|beta|scale) is not known|input 1 is not known") as e:
        normalise(ir.from_proto(proto), "case", {}, op)
    assert e.value.code == "unsupported"


@pytest.mark.parametrize("opset,axis", [(11, None), (11, 2), (13, None), (13, 1)])
def test_quantised_softmax_means_what_its_opset_says(opset: int, axis: int | None) -> None:
    x = ("x", r.integers(0, 255, (2, 3, 4), np.uint8))
    scale, zero = ("s", np.array(0.05, np.float32)), ("z", np.array(7, np.uint8))
    to = ("t", np.array(1 / 256, np.float32)), ("u", np.array(0, np.uint8))
    stored = ["s", "z", "t", "u"]
    more = {} if axis is None else {"axis": axis}
    agrees(MS, "QLinearSoftmax", [x, scale, zero, *to], 1, stored, opset=opset, **more)


@pytest.mark.parametrize("post,rows", [(p, n) for p in POSTS for n in (1, 2, 3) if n > 1 or p == "LOGISTIC"])
def test_linear_classifiers(post: str, rows: int) -> None:
    labels = {"classlabels_strings": ["a", "b", "c"][: max(2, rows)]} if rows % 2 else {"classlabels_ints": [5, 7, 9][: max(2, rows)]}
    x = ("x", abs(X[1]) / 20) if post == "PROBIT" else X
    weights = (r.standard_normal(rows * 6) / 5).tolist()
    agrees(
        ML, "LinearClassifier", [x], 2, coefficients=weights, intercepts=(r.random(rows) / 5 + 0.3).tolist(), post_transform=post, **labels
    )


def test_what_runtimes_disagree_on_is_refused() -> None:
    for op, attributes in (
        ("LinearClassifier", {"coefficients": [0.1] * 6, "intercepts": [0.1], "classlabels_ints": [0, 1]}),
        ("Normalizer", {"norm": "MAX"}),
    ):
        with pytest.raises(Error) as e:
            agrees(ML, op, [X], 2 if op == "LinearClassifier" else 1, **attributes)
        assert e.value.code == "unsupported"


def ensemble(kind: str, modes: Sequence[str], missing: bool, outputs: Sequence[int], positive: bool = False) -> dict[str, Any]:
    """Four complete trees of depth three."""
    own = "class" if kind == "TreeEnsembleClassifier" else "target"
    found: dict[str, list[Any]] = {}

    def add(**values: Any) -> None:
        for k, v in values.items():
            found.setdefault(k, []).append(v)

    for t, n in product(range(4), range(15)):
        leaf = n >= 7
        add(
            nodes_treeids=t, nodes_nodeids=n, nodes_featureids=0 if leaf else int(r.integers(6)),
            nodes_values=0.0 if leaf else float(np.float32(r.choice([-0.5, 0, 0.3, 0.5]))), nodes_modes="LEAF" if leaf else str(r.choice(modes)),
            nodes_truenodeids=0 if leaf else 2 * n + 1, nodes_falsenodeids=0 if leaf else 2 * n + 2,
            nodes_missing_value_tracks_true=int(missing and not leaf and r.random() < 0.5),
        )  # fmt: skip
        for o in outputs if leaf else ():
            weight = float(r.standard_normal()) / 4
            add(**{f"{own}_treeids": t, f"{own}_nodeids": n, f"{own}_ids": o, f"{own}_weights": abs(weight) if positive else weight})
    return found


BRANCHES = [["LEQ"], ["LT"], ["GTE"], ["GT"], ["EQ"], ["NEQ"], ["LEQ", "EQ", "GT"]]


@pytest.mark.parametrize("modes", BRANCHES, ids="-".join)
@pytest.mark.parametrize("missing", [False, True])
def test_tree_regressors(modes: list[str], missing: bool) -> None:
    kind = "TreeEnsembleRegressor"
    for aggregate in ("SUM", "AVERAGE", "MIN", "MAX"):
        made = ensemble(kind, [f"BRANCH_{m}" for m in modes], missing, [0])
        agrees(ML, kind, [GAPS], aggregate_function=aggregate, n_targets=1, **made)
    agrees(ML, kind, [GAPS], n_targets=3, post_transform="SOFTMAX", **ensemble(kind, ["BRANCH_LEQ"], missing, [0, 1, 2]))


def test_rows_of_doubles_are_compared_as_doubles() -> None:
    kind = "TreeEnsembleRegressor"
    x = (
        "x",
        np.nextafter(np.repeat([[-0.5, 0, 0.3, 0.5, 0.5, 0.3]], 8, 0).astype(np.float32).astype(np.float64), r.choice([-1, 1], (8, 6))),
    )
    agrees(ML, kind, [x], n_targets=1, **ensemble(kind, ["BRANCH_LEQ", "BRANCH_LT"], False, [0]))


@pytest.mark.parametrize("post", ["NONE", "LOGISTIC", "SOFTMAX", "SOFTMAX_ZERO"])
def test_tree_classifiers(post: str) -> None:
    kind = "TreeEnsembleClassifier"
    labels = {"classlabels_strings": ["u", "v", "w"]}
    agrees(ML, kind, [GAPS], 2, post_transform=post, **labels, **ensemble(kind, ["BRANCH_LEQ"], True, [0, 1, 2]))
    if post in ("NONE", "LOGISTIC"):
        made = ensemble(kind, ["BRANCH_LT"], True, [0], positive=post == "NONE")
        agrees(ML, kind, [GAPS], 2, post_transform=post, classlabels_int64s=[3, 8], **made)


KERNELS = ("LINEAR", "RBF", "POLY", "SIGMOID")


@pytest.mark.parametrize("kernel", KERNELS)
def test_support_vector_machines(kernel: str) -> None:
    shared = {"kernel_type": kernel, "kernel_params": [0.3, 0.1, 2.0]}
    weights, vectors = r.standard_normal(5).tolist(), r.standard_normal(30).tolist()
    agrees(ML, "SVMRegressor", [X], coefficients=weights, support_vectors=vectors, n_supports=5, rho=[0.2], **shared)
    for classes in (2, 3, 4):
        per, pairs = [2, 3, 1, 2][:classes], classes * (classes - 1) // 2
        total = sum(per)
        agrees(
            ML, "SVMClassifier", [X], 2, coefficients=r.standard_normal((classes - 1) * total).tolist(), vectors_per_class=per,
            support_vectors=r.standard_normal(total * 6).tolist(), rho=r.standard_normal(pairs).tolist(),
            classlabels_ints=[4, 6, 8, 9][:classes], **shared,
        )  # fmt: skip
        agrees(
            ML, "SVMClassifier", [X], 2, coefficients=r.standard_normal((classes - 1) * total).tolist(), vectors_per_class=per,
            support_vectors=r.standard_normal(total * 6).tolist(), rho=r.standard_normal(pairs).tolist(),
            prob_a=(-1 - r.random(pairs)).tolist(), prob_b=r.standard_normal(pairs).tolist(),
            classlabels_ints=[4, 6, 8, 9][:classes], **shared,
        )  # fmt: skip


def features() -> Iterator[tuple[str, list[Operand], dict[str, Any]]]:
    yield "LinearRegressor", [X], {"coefficients": r.standard_normal(12).tolist(), "intercepts": [0.1, 0.2], "targets": 2}
    yield "Normalizer", [X], {"norm": "L1"}
    yield "Normalizer", [X], {"norm": "L2"}
    yield "Scaler", [X], {"offset": r.random(6).tolist(), "scale": r.random(6).tolist()}
    yield "Imputer", [GAPS], {"imputed_value_floats": r.random(6).tolist(), "replaced_value_float": float("nan")}
    yield "Imputer", [WHOLE], {"imputed_value_int64s": [99], "replaced_value_int64": 3}
    yield "FeatureVectorizer", [X, ("z", X[1][:, :2])], {"inputdimensions": [6, 2]}
    yield "OneHotEncoder", [TEXT], {"cats_strings": ["a", "b", "c"]}
    yield "OneHotEncoder", [WHOLE], {"cats_int64s": [1, 5, 3]}
    yield "CategoryMapper", [TEXT], {"cats_strings": ["a", "b"], "cats_int64s": [4, 5]}
    yield "CategoryMapper", [WHOLE], {"cats_strings": ["a", "b"], "cats_int64s": [4, 5]}
    keys = {"keys_int64s": ([3, 1, 9], WHOLE), "keys_floats": ([0.5, float("nan"), 0.0], GAPS), "keys_strings": (["a", "c", "q"], TEXT)}
    values = {"values_floats": [1.5, 2.5, 3.5], "values_int64s": [7, 8, 9], "values_strings": ["x", "y", "z"]}
    for (k, (given, x)), (v, made) in product(keys.items(), values.items()):
        yield "LabelEncoder", [x], {k: given, v: made}


@pytest.mark.parametrize("op,operands,attributes", list(features()))
def test_features(op: str, operands: list[Operand], attributes: dict[str, Any]) -> None:
    agrees(ML, op, operands, **attributes)


x, bias, gamma, beta = numbers("x", 2, 5, 8), numbers("bias", 8), numbers("g", 8), numbers("be", 8)
image = numbers("x", 1, 4, 6, 6), numbers("w", 5, 4, 3, 3), numbers("b", 5)
mask = ("mask", np.array([[1, 1, 1, 0, 0], [1] * 5], np.int32))
packed = [numbers("x", 2, 5, 8), numbers("w", 8, 24), numbers("b", 24)]
q, k, v = numbers("q", 2, 5, 8), numbers("k", 2, 6, 8), numbers("v", 2, 6, 8)
tables = numbers("cos", 16, 16), numbers("sin", 16, 16)


def fused() -> Iterator[tuple[str, list[Operand], int, dict[str, Any]]]:
    for a, b in product((0, 1), (0, 1)):
        left, right = (7, 5) if a else (5, 7), (6, 7) if b else (7, 6)
        yield "FusedMatMul", [numbers("a", 2, *left), numbers("b", 2, *right)], 1, {"transA": a, "transB": b, "alpha": 0.37}
    for name, parameters in (("Relu", []), ("LeakyRelu", [0.1]), ("Tanh", []), ("Clip", [-0.5, 0.5]), ("HardSigmoid", [0.2, 0.5])):
        given = {"activation_params": parameters} if parameters else {}
        yield "FusedConv", [*image], 1, {"activation": name, "pads": [1] * 4, **given}
    yield "FusedConv", [*image, numbers("z", 1, 5, 6, 6)], 1, {"activation": "Relu", "pads": [1] * 4}
    yield "FusedGemm", [numbers("a", 5, 7), numbers("b", 7, 3), numbers("c", 3)], 1, {"activation": "LeakyRelu", "activation_alpha": 0.2}
    for op, operands in (("Gelu", [x]), ("FastGelu", [x]), ("FastGelu", [x, bias]), ("BiasGelu", [x, bias]), ("QuickGelu", [x])):
        yield op, [*operands], 1, {}
    yield "SkipLayerNormalization", [x, numbers("s", 2, 5, 8), gamma, beta, bias], 1, {}
    yield "SkipLayerNormalization", [x, numbers("s", 5, 8), gamma, beta], 1, {"epsilon": 1e-3}
    yield "SkipSimplifiedLayerNormalization", [x, numbers("s", 2, 5, 8), gamma], 1, {"epsilon": 1e-5}
    ids, segments = ("ids", r.integers(0, 20, (2, 5)).astype(np.int32)), ("seg", r.integers(0, 2, (2, 5)).astype(np.int32))
    embeddings = [numbers("we", 20, 8), numbers("pe", 10, 8), numbers("se", 2, 8), gamma, beta]
    yield "EmbedLayerNormalization", [ids, segments, *embeddings, mask], 2, {}
    for extra, attributes in (
        ([], {}), ([], {"unidirectional": 1}), ([mask], {}), ([mask], {"unidirectional": 1}), ([("m", np.array([3, 5], np.int32))], {}),
        ([("m", r.integers(0, 2, (2, 5, 5)).astype(np.int32))], {}), ([None, None, numbers("rel", 1, 2, 5, 5)], {"scale": 0.3}),
    ):  # fmt: skip
        yield "Attention", [*packed, *extra], 1, {"num_heads": 2, **attributes}
    yield "Attention", [*packed, None, numbers("past", 2, 2, 2, 3, 4)], 2, {"num_heads": 2}
    same = [q, numbers("k", 2, 5, 8), numbers("v", 2, 5, 8)]
    yield "MultiHeadAttention", [q, k, v], 1, {"num_heads": 2}
    yield "MultiHeadAttention", [q, k, v, numbers("bias", 24)], 1, {"num_heads": 2}
    yield "MultiHeadAttention", [q, k, v, None, ("km", np.array([[1, 1, 1, 0, 0, 0], [1] * 6], np.int32))], 1, {"num_heads": 2}
    yield "MultiHeadAttention", [q, k, v, None, None, numbers("rel", 2, 2, 5, 6)], 1, {"num_heads": 2, "scale": 0.4}
    yield "MultiHeadAttention", same, 1, {"num_heads": 2, "unidirectional": 1}
    yield "MultiHeadAttention", [*same, None, None, None, numbers("pk", 2, 2, 3, 4), numbers("pv", 2, 2, 3, 4)], 3, {"num_heads": 2}
    yield "MultiHeadAttention", [q, numbers("k", 2, 2, 6, 4), numbers("v", 2, 2, 6, 4)], 1, {"num_heads": 2}
    for interleaved in (0, 1):
        some = {"interleaved": interleaved}
        short = numbers("cos", 16, 4), numbers("sin", 16, 4)
        yield "RotaryEmbedding", [numbers("x", 2, 5, 16), ("p", np.array([3])), *short], 1, some
        yield "RotaryEmbedding", [numbers("x", 2, 3, 5, 8), ("p", r.integers(0, 16, (2, 5))), *short], 1, some


@pytest.mark.parametrize("op,operands,outputs,attributes", list(fused()))
def test_fused_operators(op: str, operands: list[Operand], outputs: int, attributes: dict[str, Any]) -> None:
    agrees(MS, op, operands, outputs, **attributes)


@pytest.mark.parametrize("past,length,batch", [(0, 5, 2), (4, 1, 2), (4, 5, 1)])
@pytest.mark.parametrize("window", [-1, 3])
@pytest.mark.parametrize("interleaved", [None, 0, 1])
def test_group_query_attention(past: int, length: int, batch: int, window: int, interleaved: int | None) -> None:
    total = past + length
    before: list[Operand] = [numbers("pk", batch, 2, past, 32), numbers("pv", batch, 2, past, 32)] if past else [None, None]
    lengths = [("last", np.full(batch, total - 1, np.int32)), ("total", np.array([total], np.int32))]
    new = [numbers(n, batch, length, w) for n, w in (("q", 128), ("k", 64), ("v", 64))]
    rotary = {} if interleaved is None else {"do_rotary": 1, "rotary_interleaved": interleaved}
    operands = [*new, *before, *lengths, *(tables if rotary else ())]
    agrees(MS, "GroupQueryAttention", operands, 3, num_heads=4, kv_num_heads=2, local_window_size=window, **rotary)


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("zeros", [False, True])
def test_weights_of_few_bits(bits: int, zeros: bool) -> None:
    n, depth, block = 6, 64, 32
    weights = ("B", r.integers(0, 256, (n, depth // block, block * bits // 8)).astype(np.uint8))
    scales = ("s", (r.random(n * depth // block) / 9).astype(np.float32))
    points: list[Operand] = [("z", r.integers(0, 256, n * ((depth // block * bits + 7) // 8)).astype(np.uint8))] if zeros else []
    operands = [numbers("a", 3, depth), weights, scales, *points]
    agrees(MS, "MatMulNBits", operands, stored="Bsz", tolerance=1e-3, N=n, K=depth, bits=bits, block_size=block)


@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
@pytest.mark.parametrize("columns", [False, True])
@pytest.mark.parametrize("lengths", [None, [6, 2, 4]])
def test_quantised_lstm(direction: str, columns: bool, lengths: list[int] | None) -> None:
    count, hidden, batch = 2 if direction == "bidirectional" else 1, 5, len(lengths or [1])
    w, rec = (
        ("W", r.integers(-64, 65, (count, 7, 20)).astype(np.int8)),
        ("R", r.integers(-64, 65, (count, hidden, 20)).astype(np.int8)),
    )
    shape = (count, 20) if columns else (count,)
    scales = [("ws", (r.random(shape) / 200 + 0.002).astype(np.float32)), ("wz", np.zeros(shape, np.int8))]
    others = [("rs", (r.random(shape) / 200 + 0.002).astype(np.float32)), ("rz", np.zeros(shape, np.int8))]
    ends = None if lengths is None else ("l", np.array(lengths, np.int32))
    operands = [numbers("X", 6, batch, 7), w, rec, numbers("b", count, 40), ends, None, None, None, *scales, *others]
    stored = ("W", "R", "ws", "wz", "rs", "rz")
    agrees(MS, "DynamicQuantizeLSTM", operands, 3, stored, 2e-2, hidden_size=hidden, direction=direction)


def test_quantised_attention() -> None:
    """Weights of seven bits: with eight, ONNX Runtime's pairs of products saturate on processors without VNNI."""
    single = [
        ("xs", np.array(0.02, np.float32)),
        ("ws", np.array(0.01, np.float32)),
        None,
        ("xz", np.array(128, np.uint8)),
        ("wz", np.array(0, np.int8)),
    ]
    operands = [
        ("x", r.integers(0, 255, (1, 4, 8)).astype(np.uint8)),
        ("w", r.integers(-64, 65, (8, 24)).astype(np.int8)),
        numbers("b", 24),
    ]
    agrees(MS, "QAttention", [*operands, *single], stored=("w", "ws", "wz"), num_heads=2)


@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
@pytest.mark.parametrize("op,gates", [("LSTM", 4), ("GRU", 3), ("RNN", 1)])
def test_recurrences_of_different_lengths(op: str, gates: int, direction: str) -> None:
    count = 2 if direction == "bidirectional" else 1
    weights = [numbers("w", count, 4 * gates, 5), numbers("r", count, 4 * gates, 4), numbers("b", count, 8 * gates)]
    operands = [numbers("x", 6, 3, 5), *weights, ("l", np.array([6, 2, 4], np.int32))]
    agrees("", op, operands, 3 if op == "LSTM" else 2, hidden_size=4, direction=direction)


regions = np.array([[0, 1, 1, 9, 7], [1, 0, 0, 3, 3], [0, 4, 2, 15, 11], [1, -3, -2, 30, 40], [0, 12, 8, 12, 8]], np.float32)
pictures = numbers("x", 2, 3, 12, 16)


@pytest.mark.parametrize("scale", [1.0, 0.5])
def test_regions_of_interest(scale: float) -> None:
    agrees("", "MaxRoiPool", [pictures, ("r", regions)], pooled_shape=[3, 2], spatial_scale=scale)
    for mode, corner in product(("avg", "max"), ("half_pixel", "output_half_pixel")):
        given = {"mode": mode, "coordinate_transformation_mode": corner, "output_height": 3, "output_width": 2, "sampling_ratio": 2}
        boxes = [("r", regions[:, 1:].copy()), ("b", regions[:, 0].astype(np.int64))]
        agrees("", "RoiAlign", [pictures, *boxes], spatial_scale=scale, **given)


@pytest.mark.parametrize("mode", ["nearest", "linear", "cubic"])
@pytest.mark.parametrize("padding", ["zeros", "border", "reflection"])
def test_grid_sample(mode: str, padding: str) -> None:
    grid = ("g", (r.random((2, 5, 6, 2)) * 3 - 1.5).astype(np.float32))
    for align in (0, 1):
        given = {"mode": mode, "padding_mode": padding, "align_corners": align}
        if (mode, padding) == ("cubic", "border"):
            with pytest.raises(Error):
                agrees("", "GridSample", [pictures, grid], **given)
        else:
            agrees("", "GridSample", [pictures, grid], **given)
