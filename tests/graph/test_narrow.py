"""Types of eight bits and fewer, and text: every number against ml_dtypes, and through a finished artifact."""

from __future__ import annotations

from pathlib import Path

import ml_dtypes
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

import mlcc
from mlcc.core.graph import TensorType
from mlcc.core.narrow import FLOATS, INTEGERS, coded, meant, numpy_type
from mlcc.graph.builder import Builder
from mlcc.graph.narrow import decoded, encoded
from mlcc.reference.execute import execute

HALVES = np.arange(1 << 16, dtype=np.uint16).view(np.float16)


def cast(x: np.ndarray, element: str, saturate: bool) -> np.ndarray:
    b = Builder()
    y = encoded(b, b.input("x", TensorType(str(x.dtype), x.shape)), element, saturate)
    return meant(execute(b.finish("cast", [("y", y)]), {"x": x})["y"], element)


def nearest(x: np.ndarray, element: str) -> np.ndarray:
    """The code of the nearest number, ties to even codes, for sizes within the range: the differences are exact."""
    table = np.arange(1 << (FLOATS[element] - 1), dtype=np.uint8).view(numpy_type(element)).astype(np.float64)
    table = table[np.isfinite(table)]
    size = np.abs(x).astype(np.float64)
    above = np.clip(np.searchsorted(table, size), 1, table.size - 1)
    down, up = size - table[above - 1], table[above] - size
    code = np.where((down < up) | (down == up) & (above % 2 == 1), above - 1, above)
    signed = np.signbit(x) & ((code > 0) if element.endswith("fnuz") else True)
    return np.where(signed, code + (1 << (FLOATS[element] - 1)), code).astype(np.uint8)


@pytest.mark.parametrize("element", [e for e in FLOATS if e != "float8_e8m0fnu"])
@pytest.mark.parametrize("dtype", ["float32", "float64", "float16"])
def test_floats_round_half_to_even(element: str, dtype: str) -> None:
    """All half-width numbers, and their neighbours in the wider types, which lie beside every tie. Beyond the range: as ml_dtypes has it (which
    itself rounds binary64 twice)."""
    with np.errstate(all="ignore"):
        x = HALVES.astype(dtype)
        x = np.concatenate([x, np.nextafter(x, np.inf), np.nextafter(x, -np.inf)]) if dtype != "float16" else x
        theirs = x.astype(numpy_type(element)).view(np.uint8)
    found = cast(x, element, saturate=False).view(np.uint8)
    inside = np.abs(x.astype(np.float64)) <= float(ml_dtypes.finfo(numpy_type(element)).max)
    assert (found[inside] == nearest(x[inside], element)).all()
    numbers = ~np.isnan(theirs.view(numpy_type(element)).astype(np.float32)) & ~np.isnan(x.astype(np.float64))
    if dtype != "float64":
        assert (found[numbers & ~inside] == theirs[numbers & ~inside]).all()
        assert (found[numbers & inside] == theirs[numbers & inside]).all()
        assert np.isnan(found[~numbers & ~np.isnan(x)].view(numpy_type(element)).astype(np.float32)).all()


@pytest.mark.parametrize("element", ["float8_e4m3fn", "float8_e4m3fnuz", "float8_e5m2", "float8_e5m2fnuz"])
def test_saturation_stops_at_the_largest_number(element: str) -> None:
    x, most = np.array([np.inf, -np.inf, 1e30, -1e30, np.nan], np.float32), float(ml_dtypes.finfo(numpy_type(element)).max)
    assert np.array_equal(cast(x, element, True).astype(np.float32), [most, -most, most, -most, np.nan], equal_nan=True)


@pytest.mark.parametrize("element", FLOATS)
def test_every_code_is_read(element: str) -> None:
    b, n = Builder(), 1 << FLOATS[element]
    y = decoded(b, b.input("x", TensorType("uint8", (n,)), element))
    found = execute(b.finish("read", [("y", y)]), {"x": np.arange(n, dtype=np.uint8)})["y"]
    assert np.array_equal(found, np.arange(n, dtype=np.uint8).view(numpy_type(element)).astype(np.float32), equal_nan=True)


@pytest.mark.parametrize("element", INTEGERS)
def test_integers_keep_their_lowest_bits(element: str) -> None:
    x = np.arange(-300, 300, dtype=np.int32)
    assert (cast(x, element, True) == x.astype(numpy_type(element))).all()


@pytest.mark.parametrize("element", ["float8_e4m3fn", "int4", "uint2", "float4_e2m1fn"])
def test_an_artifact_takes_and_gives_narrow_types(element: str, tmp_path: Path) -> None:
    """Doubled: read, computed with, written; judged by ONNX's evaluator."""
    number = helper.np_dtype_to_tensor_dtype(numpy_type(element))
    nodes = [
        helper.make_node("Cast", ["x"], ["f"], to=TensorProto.FLOAT),
        helper.make_node("Add", ["f", "f"], ["d"]),
        helper.make_node("Cast", ["d"], ["y"], to=number),
        helper.make_node("Transpose", ["x"], ["z"]),
    ]
    ends = [[helper.make_tensor_value_info(n, number, s)] for n, s in (("x", [4, 3]), ("y", [4, 3]), ("z", [3, 4]))]
    graph = helper.make_graph(nodes, "narrow", ends[0], [*ends[1], *ends[2]])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 25)], ir_version=11), tmp_path / "m.onnx")
    made = mlcc.build(tmp_path / "m.onnx", out=tmp_path / "out")
    model = mlcc.load(made["artifacts"][0]["path"])
    x = np.arange(12).reshape(4, 3).astype(np.float32).astype(numpy_type(element))
    found = model(x=x)
    want = (x.astype(np.float32) * 2).astype(numpy_type(element))
    assert found["y"].dtype == x.dtype and (coded(found["y"], element) == coded(want, element)).all()
    assert (coded(found["z"], element) == coded(x.T, element)).all()
    assert model.inputs[0].element == element


def test_text_goes_in_and_out(tmp_path: Path) -> None:
    """Words that the model does not know are equal to themselves and to nothing else."""
    nodes = [
        helper.make_node(
            "LabelEncoder", ["w"], ["n"], domain="ai.onnx.ml", keys_strings=["cat", "dog"], values_int64s=[5, 7], default_int64=-1
        ),
        helper.make_node("Equal", ["w", "v"], ["same"]),
        helper.make_node("Concat", ["w", "v"], ["all"], axis=0),
    ]
    text = [helper.make_tensor_value_info(n, TensorProto.STRING, [3]) for n in ("w", "v")]
    results = [(n, t, s) for n, t, s in (("n", TensorProto.INT64, [3]), ("same", TensorProto.BOOL, [3]), ("all", TensorProto.STRING, [6]))]
    graph = helper.make_graph(nodes, "words", text, [helper.make_tensor_value_info(*r) for r in results])
    imports = [helper.make_opsetid("", 19), helper.make_opsetid("ai.onnx.ml", 4)]
    onnx.save(helper.make_model(graph, opset_imports=imports, ir_version=9), tmp_path / "m.onnx")
    model = mlcc.load(mlcc.build(tmp_path / "m.onnx", out=tmp_path / "out")["artifacts"][0]["path"])
    found = model(w=np.array(["dog", "emu", "cat"]), v=np.array(["dog", "emu", "yak"], object))
    assert found["n"].tolist() == [7, -1, 5] and found["same"].tolist() == [True, True, False]
    assert found["all"].tolist() == ["dog", "emu", "cat", "dog", "emu", "yak"]


def test_arithmetic_on_text_is_refused() -> None:
    b = Builder()
    with pytest.raises(mlcc.Error) as e:
        decoded(b, b.text(["a"]))
    assert e.value.code == "unsupported"
