"""Text whose letters a run reads, against Python's own strings and expressions and ONNX Runtime; kernels equal the reference."""

from __future__ import annotations

import random
import re
import unicodedata
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper

from mlcc.core.graph import CoreGraph, canonical_bytes
from mlcc.core.narrow import LETTERS, coded, meant, shown
from mlcc.error import Error
from mlcc.graph.normalise import normalise
from mlcc.graph.passes import optimise
from mlcc.graph.regex import Refused, automaton
from mlcc.program.lower import lower
from mlcc.reference.execute import execute
from tests.support import Compiled

WIDTH = 12


def model_of(op: str, shapes: list[tuple[int, ...]], outputs: int = 1, **attributes: Any) -> onnx.ModelProto:
    names = [f"x{i}" for i in range(len(shapes))]
    results = [f"y{i}" for i in range(outputs)]
    graph = helper.make_graph(
        [helper.make_node(op, names, results, **attributes)],
        "text",
        [helper.make_tensor_value_info(n, TensorProto.STRING, s) for n, s in zip(names, shapes)],
        [onnx.ValueInfoProto(name=n) for n in results],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def graph_of(model: onnx.ModelProto, shapes: list[tuple[int, ...]]) -> CoreGraph:
    return optimise(normalise(ir.from_proto(model), "text", {f"x{i}": (*s, WIDTH) for i, s in enumerate(shapes)}, "text"))


def run(graph: CoreGraph, texts: list[np.ndarray], kernels: bool = True) -> list[np.ndarray]:
    feed = {f"x{i}": coded(t, LETTERS, width=WIDTH) for i, t in enumerate(texts)}
    found = execute(graph, feed)
    if kernels:
        native = Compiled(lower(graph))(feed, 2)
        for n in graph.outputs:
            assert canonical_bytes(native[n]) == canonical_bytes(found[n]), n
    kept = shown({n: d.counts for n, d in graph.described.items()}, found)
    said = graph.described
    return [meant(a, LETTERS) if n in said and said[n].element == LETTERS else a for n, a in kept.items()]


def once(op: str, texts: list[np.ndarray], outputs: int = 1, **attributes: Any) -> list[np.ndarray]:
    shapes = [t.shape for t in texts]
    return run(graph_of(model_of(op, shapes, outputs, **attributes), shapes), texts)


def some(seed: int, shape: tuple[int, ...], alphabet: str = "ab ,\t\u00e9\u4e2d\U0001f600\u2003") -> np.ndarray:
    r = random.Random(seed)
    texts = np.empty(shape, object)
    texts.ravel()[:] = ["".join(r.choices(alphabet, k=r.randint(0, WIDTH))) for _ in range(texts.size)]
    return texts


def padded(parts: list[list[str]]) -> np.ndarray:
    most = max(map(len, parts))
    return np.array([p + [""] * (most - len(p)) for p in parts], object).reshape(len(parts), most)


def test_concat() -> None:
    x, y = some(1, (3, 1)), some(2, (1, 4))
    assert (once("StringConcat", [x, y])[0] == x + y).all()


@pytest.mark.parametrize("limit", [None, 0, 1, 3])
@pytest.mark.parametrize("delimiter", ["", ",", "ab", "aa", "aba", "\u4e2d", "abababababababab"])
def test_split_is_pythons(delimiter: str, limit: int | None) -> None:
    x = some(3, (40,), "ab") if len(delimiter) > 1 else some(3, (40,))
    given = {} if limit is None else {"maxsplit": limit}
    want = [str(w).split(delimiter or None, -1 if limit is None else limit) for w in x]
    parts, counts = once("StringSplit", [x], 2, delimiter=delimiter, **given)
    assert counts.tolist() == list(map(len, want))
    assert (parts == padded(want)).all()


def test_split_of_texts_without_parts() -> None:
    x = np.array(["", "  "], object)
    parts, counts = once("StringSplit", [x], 2)
    assert parts.shape == (2, 0) and counts.tolist() == [0, 0]


def simple(w: str, upper: bool) -> str:
    """Unicode's simple mapping: a character for a character."""
    return "".join(t if len(t := c.upper() if upper else c.lower()) == 1 else c for c in w)


@pytest.mark.parametrize("action", ["NONE", "LOWER", "UPPER"])
@pytest.mark.parametrize("sensitive", [0, 1])
def test_normalizer(action: str, sensitive: int) -> None:
    letters = [c for c in map(chr, range(32, 0x2FFF)) if unicodedata.category(c) in ("Lu", "Ll", "Lt", "Nd")]
    x = np.concatenate([some(5, (30,), "".join(letters)), np.array(["Monday", "monday", "MONDAY", "", "Straße", "İI"], object)])
    stop = ["Monday", "i", "", "Monday"]
    folded = {simple(w, False) for w in stop}
    kept = [w for w in x if (w not in stop if sensitive else simple(w, False) not in folded)]
    want = [w if action == "NONE" else simple(w, action == "UPPER") for w in kept]
    assert once("StringNormalizer", [x], case_change_action=action, is_case_sensitive=sensitive, stopwords=stop)[0].tolist() == want
    found = once("StringNormalizer", [x[None]], case_change_action=action, is_case_sensitive=sensitive)[0]
    assert found.tolist() == [[w if action == "NONE" else simple(w, action == "UPPER") for w in x]]


def test_nothing_left_is_one_empty_text() -> None:
    x = np.array(["monday", "Monday"], object)
    assert once("StringNormalizer", [x], stopwords=["monday"])[0].tolist() == [""]


PATTERNS = [
    "", "a", "a*b?", "(a|ab)(c|bcd)*", "[ab]+,?[^,]{0,3}", r"\w+\b\W*", r"^\w*$", r"a{2,4}b{2}|.*", r"\ba\b.*", r"(a\B.)+", r"(?:a|b)*?,",
    r"[^\w]+|\d", r".*\u4e2d.*", r"a$|b^", r"(\W|^)[ab]{0,5}(\W|$)", r"[\s,]*", r"\S*", "(a*)*b", r"[\-a]+",
]  # fmt: skip


@pytest.mark.parametrize("pattern", PATTERNS)
def test_matching_is_pythons_in_ascii_mode(pattern: str) -> None:
    x = np.concatenate([some(7, (60,), "ab"), some(8, (60,), "ab, ."), some(9, (30,), "ab 9_-,\u4e2d\u00e9")])
    want = [re.fullmatch(pattern, str(w), re.ASCII) is not None for w in x]
    assert once("RegexFullMatch", [x], pattern=pattern)[0].tolist() == want


def test_what_re2_reads_otherwise() -> None:
    """`$` is the end alone, \\s has no vertical tab, a class may hold a line's end and the dot may not."""
    x = np.array(["a", "a\n", "\x0b", "\n"], object)
    assert once("RegexFullMatch", [x], pattern=r"a$\n?")[0].tolist() == [True, False, False, False]
    assert once("RegexFullMatch", [x], pattern=r"\s")[0].tolist() == [False, False, False, True]
    assert once("RegexFullMatch", [x], pattern=r"[^a]")[0].tolist() == [False, False, True, True]
    assert once("RegexFullMatch", [x], pattern=r".")[0].tolist() == [True, False, True, False]


@pytest.mark.parametrize("pattern", ["(?i)a", "[[:alpha:]]", r"(a)\1", "(?=a)a", "a{,3}", "a(", r"a\Z", "(?>a)", "a++", "(a{100}){100}"])
def test_other_patterns_are_refused(pattern: str) -> None:
    with pytest.raises(Refused):
        automaton(pattern)
    with pytest.raises(Error, match="the pattern"):
        graph_of(model_of("RegexFullMatch", [(1,)], pattern=pattern), [(1,)])


def test_matching_is_onnx_runtimes() -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    x = np.concatenate([some(7, (60,), "ab"), some(9, (60,), "ab 9_-,\u4e2d\u00e9\n\x0b")])
    for pattern in PATTERNS:
        if "\\u" not in pattern:  # RE2 has no such escape
            model = model_of("RegexFullMatch", [x.shape], pattern=pattern)
            model.graph.output[0].CopyFrom(helper.make_tensor_value_info("y0", TensorProto.BOOL, x.shape))
            session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
            assert run(graph_of(model, [x.shape]), [x], kernels=False)[0].tolist() == session.run(None, {"x0": x})[0].tolist(), pattern


def test_tables_and_comparison_of_what_was_made() -> None:
    """Text that was made is found in tables, and is equal to text given elsewhere."""
    nodes = [
        helper.make_node("StringNormalizer", ["x0"], ["low"], case_change_action="LOWER"),
        helper.make_node("LabelEncoder", ["low"], ["label"], domain="ai.onnx.ml", keys_strings=["red", "", "green"], values_int64s=[1, 2, 3]),
        helper.make_node("Equal", ["low", "x1"], ["same"]),
        helper.make_node("LabelEncoder", ["label"], ["word"], domain="ai.onnx.ml", keys_int64s=[1, 3], values_strings=["R", "long green"]),
        helper.make_node("StringConcat", ["word", "x1"], ["both"]),
        helper.make_node("TfIdfVectorizer", ["low"], ["counts"], mode="TF", min_gram_length=1, max_gram_length=2, max_skip_count=0,
                         ngram_counts=[0, 2], ngram_indexes=[0, 1, 2], pool_strings=["red", "blue", "blue", "green"]),
    ]  # fmt: skip
    info = [helper.make_tensor_value_info(n, TensorProto.STRING, (5,)) for n in ("x0", "x1")]
    graph = helper.make_graph(nodes, "g", info, [onnx.ValueInfoProto(name=n) for n in ("label", "same", "both", "counts")])
    opsets = [helper.make_opsetid("", 20), helper.make_opsetid("ai.onnx.ml", 4)]
    core = graph_of(helper.make_model(graph, opset_imports=opsets, ir_version=10), [(5,), (5,)])
    label, same, both, counts = run(
        core, [np.array(["Red", "BLUE", "Green", "", "gre"], object), np.array(["red", "blue", "", "", "gren"], object)]
    )
    assert label.tolist() == [1, -1, 3, 2, -1]
    assert same.tolist() == [True, True, False, True, False]
    assert both.tolist() == ["Rred", "_Unusedblue", "long green", "_Unused", "_Unusedgren"]
    assert counts.tolist() == [1, 1, 1]


def test_an_artifact_takes_and_gives_text(tmp_path: Path) -> None:
    import mlcc

    model = model_of("StringSplit", [(2,)], 2, delimiter=",")
    path = tmp_path / "split.onnx"
    model.graph.output[0].CopyFrom(helper.make_tensor_value_info("y0", TensorProto.STRING, (2, None)))
    model.graph.output[1].CopyFrom(helper.make_tensor_value_info("y1", TensorProto.INT64, (2,)))
    path.write_bytes(model.SerializeToString())
    built = mlcc.build(path, shapes={"x0": (2, 20)}, out=tmp_path / "dist")
    loaded = mlcc.load(built["artifacts"][0]["path"])
    found = loaded(x0=np.array(["a,bc,", "d"], object))
    assert found["y0"].tolist() == [["a", "bc", ""], ["d", "", ""]] and found["y1"].tolist() == [3, 1]
    with pytest.raises(Error, match="21 characters, 20 at most"):
        loaded(x0=np.array(["a" * 21, "d"], object))


@pytest.mark.parametrize("given", [
    {"tokenexp": "[a-zA-Z0-9_]+", "mincharnum": 1}, {"tokenexp": r"\w\w+", "mincharnum": 1}, {"tokenexp": "[ab]{3,}", "mincharnum": 2},
    {"separators": [" ", ",", "-"], "mincharnum": 2}, {"separators": ["-"], "mincharnum": 1}, {"separators": [""], "mincharnum": 1}, {"tokenexp": "[^\\n]", "mincharnum": 1},
    {"tokenexp": ".", "mincharnum": 1},
])  # fmt: skip
@pytest.mark.parametrize("mark", [0, 1])
def test_tokens_are_onnx_runtimes(given: dict[str, Any], mark: int) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    x = np.concatenate([some(7, (20,), "ab -"), some(9, (20,), "ab 9_-,\u4e2d\u00e9")]).reshape(8, 5)
    model = model_of("Tokenizer", [x.shape], domain="com.microsoft", mark=mark, pad_value="#", **given)
    model.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    assert run(graph_of(model, [x.shape]), [x])[0].tolist() == session.run(None, {"x0": x})[0].tolist()


def test_words_that_are_left_are_counted() -> None:
    """Padding behind the last token is not a token, even where the pool holds its text."""
    nodes = [
        helper.make_node("StringNormalizer", ["x0"], ["low"], case_change_action="LOWER", stopwords=["the"]),
        helper.make_node("TfIdfVectorizer", ["low"], ["y"], mode="TF", min_gram_length=1, max_gram_length=2, max_skip_count=0,
                         ngram_counts=[0, 2], ngram_indexes=[0, 1, 2], pool_strings=["cat", "sat", "cat", "sat"]),
    ]  # fmt: skip
    graph = helper.make_graph(nodes, "g", [helper.make_tensor_value_info("x0", TensorProto.STRING, (5,))], [onnx.ValueInfoProto(name="y")])
    core = graph_of(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), [(5,)])
    for words, want in (("The cat the sat cat", [2, 1, 1]), ("the the the the the", [0, 0, 0]), ("the the the cat sat", [1, 1, 1])):
        assert run(core, [np.array(words.split(), object)])[0].tolist() == want
