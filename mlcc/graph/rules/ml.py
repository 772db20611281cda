"""ai.onnx.ml but for trees: what classical models are made of. Text is known by its code in the model's vocabulary (`Builder.text`)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import reduce as fold
from typing import Any

import numpy as np

from mlcc.core.graph import DTYPES
from mlcc.graph.builder import Value
from mlcc.graph.narrow import searched
from mlcc.graph.rules.coupling import coupled
from mlcc.graph.rules.elementwise import clipped
from mlcc.graph.rules.standard import run
from mlcc.graph.source import Source
from mlcc.graph.text import recognised

SMALLEST_NORM = 1e-30
FEW_KEYS = 8  # up to which a table is searched key by key


def floats(s: Source, x: Value) -> Value:
    return x if x.dtype in ("float32", "float64") else s.b.cast(x, "float32")


def numbers(s: Source, name: str, like: Value) -> np.ndarray:
    return np.asarray(s.attr(name, []), np.float64).astype(DTYPES[like.dtype])


# scores and labels


def transformed(s: Source, y: Value) -> Value:
    """post_transform of scores [rows, classes]."""
    b = s.b
    match s.attr("post_transform", "NONE"):
        case "NONE":
            return y
        case "LOGISTIC":
            return b("Sigmoid", y)
        case "SOFTMAX":
            return run(s, "Softmax", y, axis=1)
        case "SOFTMAX_ZERO":  # scores of 0 stay near 0: they are scaled as e^−max, not as e^(0 − max)
            top = b("ReduceMax", y, axes=(1,))
            zero = b("LessOrEqual", b("Abs", y), b.like(1e-7, y))
            e = b("Where", zero, b("Mul", y, b("Exp", b("Neg", top))), b("Exp", b("Sub", y, top)))
            total = b("ReduceSum", e, axes=(1,))
            return b("Where", b("Equal", total, b.like(0, total)), b.like(0.5, e), b("Div", e, total))
        case "PROBIT":
            return _probit(s, y)
    raise s.unsupported(f"post_transform {s.attr('post_transform')}", "NONE, LOGISTIC, SOFTMAX, SOFTMAX_ZERO or PROBIT")


def _probit(s: Source, p: Value) -> Value:
    """√2 · erf⁻¹(2p − 1), by Winitzki's approximation (2008), which ONNX Runtime takes as well."""
    b = s.b
    x = b("Sub", b("Mul", p, b.like(2, p)), b.like(1, p))
    log = b("Log", b("Mul", b("Sub", b.like(1, x), x), b("Add", b.like(1, x), x)))
    v = b("Add", b.like(2 / (np.pi * 0.147), x), b("Mul", log, b.like(0.5, x)))
    root = b("Sqrt", b("Sub", b("Mul", v, v), b("Mul", log, b.like(1 / 0.147, x))))
    size = b("Mul", b("Sqrt", b("Sub", root, v)), b.like(1.41421356, x))
    return b("Where", b("Less", x, b.like(0, x)), b("Neg", size), size)


def labels(s: Source, *names: str) -> Value | None:
    """The classes' labels, numbers or text; None where there are none."""
    for name in names:
        if given := s.attr(name):
            text = any(isinstance(v, str | bytes) for v in given)
            return s.b.text(given) if text else s.b.constant(np.asarray(given, np.int64))
    return None


def best(s: Source, scores: Value, classes: Value) -> Value:
    """The label of each row's highest score, the first of equals."""
    at = s.b.reshape(s.b("ArgMax", scores, axis=1, last=0), (scores.shape[0],))
    return s.b("Gather", classes, at, axis=0)


def _rows(s: Source) -> Value:
    x = floats(s, s[0])
    return s.b.reshape(x, (1, *x.shape)) if x.rank == 1 else x


def linear(s: Source, x: Value, rows: int) -> Value:
    """X · coefficientsᵀ + intercepts."""
    weights = numbers(s, "coefficients", x)
    if x.rank != 2 or weights.size != rows * x.shape[1]:
        raise s.bad(f"{weights.size} coefficients for {list(x.shape)}")
    bias = numbers(s, "intercepts", x)
    if bias.size not in (0, rows):
        raise s.bad(f"{bias.size} intercepts for {rows} rows of coefficients")
    operands = [x, s.b.constant(np.ascontiguousarray(weights.reshape(rows, -1).T)), *([s.b.constant(bias)] if bias.size else [])]
    return s.b.many("MatMul", operands)[0]


def linear_regressor(s: Source) -> Value:
    x = _rows(s)
    return transformed(s, linear(s, x, int(s.attr("targets", 1))))


def linear_classifier(s: Source) -> tuple[Value, Value]:
    b, x = s.b, _rows(s)
    classes = labels(s, "classlabels_ints", "classlabels_strings")
    count = len(s.attr("coefficients", [])) // max(1, x.shape[1])
    y = linear(s, x, count)
    if count == 1 and (classes is None or classes.type.size == 2):
        if s.attr("post_transform", "NONE") != "LOGISTIC":  # what the first class's score is, ONNX does not say, and runtimes differ
            raise s.unsupported("one row of coefficients for two classes without LOGISTIC", "give each class its own coefficients")
        y = b.many("Concat", [b("Neg", y), y], axis=1)[0]
    y = transformed(s, y)
    if classes is None:
        classes = b.constant(np.arange(y.shape[1], dtype=np.int64))
    if classes.type.size == 1:
        limit = b.like(0 if s.attr("post_transform", "NONE") == "NONE" else 0.5, y)
        none = b.like(0, classes) if not classes.element else b.text([""])
        flag = b.reshape(b("LessOrEqual", limit, b.slice(y, 1, 0, 1)), (y.shape[0],))
        return b("Where", flag, b.reshape(classes, ()), b.reshape(none, ())), y
    return best(s, y, classes), b.cast(y, "float32")


# support vectors


def kernels(s: Source, x: Value, vectors: np.ndarray) -> Value:
    """[rows, vectors]: the kernel function of each pair."""
    b = s.b
    gamma, shift, degree = (list(s.attr("kernel_params", [])) + [0.0] * 3)[:3]
    kind = s.attr("kernel_type", "LINEAR").upper()
    if vectors.shape[1] != x.shape[1]:
        raise s.bad(f"support vectors of {vectors.shape[1]} numbers for {list(x.shape)}")
    if kind == "RBF":
        far = b("Sub", b.reshape(x, (x.shape[0], 1, x.shape[1])), b.constant(vectors[None]))
        total = b.reshape(b("ReduceSum", b("Mul", far, far), axes=(2,)), (x.shape[0], vectors.shape[0]))
        return b("Exp", b("Mul", total, b.like(-gamma, x)))
    y = b("MatMul", x, b.constant(np.ascontiguousarray(vectors.T)))
    if kind == "LINEAR":
        return y
    y = b("Add", b("Mul", y, b.like(gamma, y)), b.like(shift, y))
    if kind == "SIGMOID":
        return b("Tanh", y)
    if kind != "POLY" or degree != int(degree) or not 0 <= degree <= 64:
        raise s.unsupported(f"kernel {kind} of degree {degree}", "LINEAR, RBF, SIGMOID, or POLY of a whole degree")
    return fold(lambda a, _: b("Mul", a, y), range(int(degree)), b.expand(b.like(1, y), y.shape))


def svm_regressor(s: Source) -> Value:
    b, x = s.b, _rows(s)
    count, weights = int(s.attr("n_supports", 0)), numbers(s, "coefficients", x)
    rho = b.constant(numbers(s, "rho", x)[:1])
    if count:
        y = b("MatMul", kernels(s, x, numbers(s, "support_vectors", x).reshape(count, -1)), b.constant(weights.reshape(count, 1)), rho)
    else:
        y = b("MatMul", x, b.constant(weights.reshape(-1, 1)), rho)
    if s.attr("one_class", 0):
        return b("Where", b("Less", b.like(0, y), y), b.like(1, y), b.like(-1, y))
    return transformed(s, y)


def svm_classifier(s: Source) -> tuple[Value, Value]:
    """One against one by votes, or linear scores; Platt's probabilities, coupled."""
    b, x = s.b, _rows(s)
    classes = labels(s, "classlabels_ints", "classlabels_strings")
    if classes is None:
        raise s.bad("no class labels")
    count, per = classes.type.size, [int(n) for n in s.attr("vectors_per_class", [])]
    weights, rho = numbers(s, "coefficients", x), numbers(s, "rho", x)
    if not sum(per):
        y = b("MatMul", x, b.constant(np.ascontiguousarray(weights.reshape(count, -1).T)), b.constant(rho[:1]))
        return best(s, y, classes), transformed(s, y)
    total, first = sum(per), np.cumsum([0, *per])
    table = weights.reshape(-1, total)
    pairs = [(i, j) for i in range(count) for j in range(i + 1, count)]
    if len(per) != count or table.shape[0] != count - 1 or rho.size < len(pairs):
        raise s.bad(f"{weights.size} coefficients and {rho.size} rho for {total} vectors of {count} classes")
    mixed = np.zeros((total, len(pairs)), weights.dtype)
    for n, (i, j) in enumerate(pairs):
        mixed[first[i] : first[i + 1], n] = table[j - 1, first[i] : first[i + 1]]
        mixed[first[j] : first[j + 1], n] = table[i, first[j] : first[j + 1]]
    vectors = numbers(s, "support_vectors", x).reshape(total, -1)
    scores = b("MatMul", kernels(s, x, vectors), b.constant(mixed), b.constant(rho[: len(pairs)]))
    wins = b.cast(b("Less", b.like(0, scores), scores), x.dtype)
    votes = []
    for c in range(count):
        parts = [
            b.slice(wins, 1, n, 1) if i == c else b("Sub", b.like(1, wins), b.slice(wins, 1, n, 1))
            for n, (i, j) in enumerate(pairs)
            if c in (i, j)
        ]
        votes.append(fold(lambda a, v: b("Add", a, v), parts))
    chosen = best(s, b.many("Concat", votes, axis=1)[0], classes)
    if s.attr("prob_a"):
        slope, shift = (b.constant(numbers(s, name, x)[: len(pairs)]) for name in ("prob_a", "prob_b"))
        y = b("Add", b("Mul", scores, slope), shift)
        p = clipped(s, b("Sub", b.like(1, y), b("Sigmoid", y)), 1e-7, 1 - 1e-7)
        both = b.many("Concat", [p, b("Sub", b.like(1, p), p)], axis=1)[0]
        where = np.zeros((count, count), np.int64)
        for n, (i, j) in enumerate(pairs):
            where[i, j], where[j, i] = n, n + len(pairs)
        return chosen, coupled(b, b("Gather", both, b.constant(where), axis=1), count)
    if count == 2:
        scores = b.many("Concat", [b("Neg", scores), scores], axis=1)[0]
    return chosen, transformed(s, scores)


# features


def scaler(s: Source) -> Value:
    x = floats(s, s[0])
    return s.b("Mul", s.b("Sub", x, s.b.constant(_one_or_all(numbers(s, "offset", x)))), s.b.constant(_one_or_all(numbers(s, "scale", x))))


def _one_or_all(a: np.ndarray) -> np.ndarray:
    return a.reshape(()) if a.size == 1 else a


def normalizer(s: Source) -> Value:
    b, x = s.b, floats(s, s[0])
    axes = (x.rank - 1,)
    match s.attr("norm", "MAX"):
        case "MAX":  # of the numbers, or of their sizes? ONNX says the one, its reference and scikit-learn do the other
            raise s.unsupported("norm MAX, on which runtimes differ", "divide by a ReduceMax")
        case "L1":
            size = b("ReduceSum", b("Abs", x), axes=axes)
        case "L2":
            size = b("Sqrt", b("ReduceSum", b("Mul", x, x), axes=axes))
        case other:
            raise s.bad(f"norm {other}")
    return b("Div", x, b("Max", size, b.like(SMALLEST_NORM, x)))


def imputer(s: Source) -> Value:
    b, x = s.b, s[0]
    kind = "float" if s.attr("imputed_value_floats") else "int64"
    values = np.asarray(s.attr(f"imputed_value_{kind}s", []))
    missing = s.attr(f"replaced_value_{kind}", 0)
    if not values.size or values.size not in (1, x.shape[-1]):
        raise s.bad(f"{values.size} values for {list(x.shape)}")
    gone = b("IsNaN", x) if kind == "float" and np.isnan(missing) else b("Equal", x, b.like(missing, x))
    return b("Where", gone, b.constant(_one_or_all(values.astype(DTYPES[x.dtype]))), x)


def binarizer(s: Source) -> Value:
    b, x = s.b, s[0]
    return b("Where", b("Less", b.like(s.attr("threshold", 0.0), x), x), b.like(1, x), b.like(0, x))


def feature_vectorizer(s: Source) -> Value:
    b, sizes = s.b, [int(n) for n in s.attr("inputdimensions", [])]
    parts = []
    for i, n in enumerate(sizes):
        x = s[i] if s[i].rank > 1 else b.reshape(s[i], (s[i].type.size, 1))
        have = x.shape[1]
        x = b.slice(x, 1, 0, n) if n < have else b("Pad", x, before=(0, 0), after=(0, n - have), value=0) if n > have else x
        parts.append(floats(s, x))
    return b.many("Concat", parts, axis=1)[0]


def array_feature_extractor(s: Source) -> Value:
    x, at = s[0], s.b.reshape(s[1], (s[1].type.size,))
    x = s.b.reshape(x, (1, *x.shape)) if x.rank == 1 else x
    return s.b("Gather", x, at, axis=x.rank - 1)


# encoders


def found_at(s: Source, x: Value, keys: np.ndarray) -> tuple[Value, Value]:
    """(int32 place in `keys`, whether it is there) of each element; a NaN is found where a key is NaN, from version 4 on. The first of
    equal keys counts."""
    b = s.b
    order = np.argsort(keys, kind="stable")
    ascending = keys[order]  # NaN last
    first = np.concatenate([[True], ascending[1:] != ascending[:-1]])
    order, ascending = order[first], ascending[first]
    nan = np.isnan(keys) if keys.dtype.kind == "f" and s.opset >= 4 else np.zeros(keys.shape, bool)
    plain = ascending[~np.isnan(ascending)] if keys.dtype.kind == "f" else ascending
    places = order[: plain.size]
    if not plain.size:
        at, hit = b.expand(b.constant(np.int32(0)), x.shape), b.expand(b.constant(np.array(False)), x.shape)
    else:
        slot = searched(b, x, plain)
        at = b("Gather", b.constant(places.astype(np.int32)), slot, axis=0)
        hit = b("Equal", b("Gather", b.constant(plain), slot, axis=0), x)
    if nan.any():
        odd = b("IsNaN", x)
        at, hit = b("Where", odd, b.like(int(np.flatnonzero(nan)[0]), at), at), b("Or", hit, odd)
    return at, hit


def _keyed(s: Source, names: Sequence[str]) -> tuple[Any, str]:
    for name in names:
        given = s.attr(name)
        if given is not None and len(given):
            return given, name
    raise s.bad(f"one of {', '.join(names)} is wanted")


def column(s: Source, given: Any) -> Value:
    """An attribute's list as a constant: numbers, or text."""
    if isinstance(given, np.ndarray):
        return s.b.constant(given) if given.dtype.kind not in "OSU" else s.b.text(given.ravel().tolist())
    if any(isinstance(v, str | bytes) for v in given):
        return s.b.text(given)
    whole = all(isinstance(v, int) for v in given)
    return s.b.constant(np.asarray(given, np.int64 if whole else np.float32))


def looked_up(s: Source, x: Value, keys: Value, values: Value, otherwise: Value) -> Value:
    """values[i] where x is keys[i], else `otherwise`."""
    b, known = s.b, s.b.array(keys)
    assert known is not None
    if bool(x.element) != bool(keys.element):
        raise s.bad("keys of another kind than the input")
    plain = recognised(b, x) if x.element else x
    wide = "float64" if "float64" in (plain.dtype, str(known.dtype)) else plain.dtype
    at, hit = found_at(s, b.cast(plain, wide), known.astype(DTYPES[wide]))
    return b("Where", hit, b("Gather", values, at, axis=0), otherwise)


def label_encoder(s: Source) -> Value:
    """A table from keys to values. Before version 2: between text and its place in a list."""
    b, x = s.b, s[0]
    if s.attr("classes_strings"):
        classes = s.b.text(s.attr("classes_strings"))
        places = b.constant(np.arange(classes.type.size, dtype=np.int64))
        if x.element:
            return looked_up(s, x, classes, places, b.constant(np.int64(s.attr("default_int64", -1))))
        return looked_up(s, x, places, classes, b.reshape(b.text([s.attr("default_string", "_Unused")]), ()))
    keys, _ = _keyed(s, ("keys_floats", "keys_int64s", "keys_strings", "keys_tensor"))
    values, name = _keyed(s, ("values_floats", "values_int64s", "values_strings", "values_tensor"))
    made = b.constant(np.asarray(values, np.float32)) if name == "values_floats" else column(s, values)
    made = b.reshape(made, (made.type.size,))
    if made.element:
        default = s.attr("default_tensor")
        otherwise = b.text([str(np.ravel(default)[0]) if default is not None else s.attr("default_string", "_Unused")])
    else:
        kind = {"values_floats": ("default_float", -0.0), "values_int64s": ("default_int64", -1)}.get(name, ("default_tensor", 0))
        otherwise = b.like(np.ravel(np.asarray(s.attr(*kind)))[0], made)
    return looked_up(s, x, b.reshape(column(s, keys), (len(np.ravel(keys)),)), made, b.reshape(otherwise, ()))


def category_mapper(s: Source) -> Value:
    b, x = s.b, s[0]
    text, codes = b.text(s.attr("cats_strings", [])), b.constant(np.asarray(s.attr("cats_int64s", []), np.int64))
    if x.element:
        return looked_up(s, x, text, codes, b.constant(np.int64(s.attr("default_int64", -1))))
    return looked_up(s, x, codes, text, b.reshape(b.text([s.attr("default_string", "_Unused")]), ()))


def one_hot_encoder(s: Source) -> Value:
    """[…, categories]; of an unknown category all are 0 (`zeros=0`, which would have the run fail, is refused)."""
    b, x = s.b, s[0]
    if not s.attr("zeros", 1):
        raise s.unsupported("zeros=0: a run would have to fail for a category that is not known", "export with zeros=1")
    cats = labels(s, "cats_int64s", "cats_strings")
    if cats is None:
        raise s.bad("no categories")
    x, cats = b.reshape(recognised(b, x) if x.element else x, (*x.shape, 1)), replace(cats, element="")
    if x.dtype.startswith("float"):
        x = b.cast(x, "int64")
    return b.cast(b("Equal", b.cast(x, cats.dtype), cats), "float32")


def zip_map(s: Source) -> Value:
    """A map from labels to scores, which is the scores: their labels are in the artifact's description."""
    return s[0]


TABLE: dict[str, Callable[[Source], Value | tuple[Value, ...]]] = {
    "ArrayFeatureExtractor": array_feature_extractor,
    "Binarizer": binarizer,
    "CategoryMapper": category_mapper,
    "FeatureVectorizer": feature_vectorizer,
    "Imputer": imputer,
    "LabelEncoder": label_encoder,
    "LinearClassifier": linear_classifier,
    "LinearRegressor": linear_regressor,
    "Normalizer": normalizer,
    "OneHotEncoder": one_hot_encoder,
    "SVMClassifier": svm_classifier,
    "SVMRegressor": svm_regressor,
    "Scaler": scaler,
    "ZipMap": zip_map,
}
