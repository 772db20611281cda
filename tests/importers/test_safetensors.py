"""Weights in .safetensors beside a graph."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from safetensors.numpy import save_file

import mlcc
from mlcc.error import Error
from mlcc.model_file import digest_model, neighbours

F = TensorProto.FLOAT


def weights(seed: int) -> dict[str, np.ndarray]:
    r = np.random.default_rng(seed)
    return {"fc.weight": r.standard_normal((4, 3)).astype(np.float32), "fc.bias": r.standard_normal(4).astype(np.float32)}


def graph(path: Path, given: dict[str, np.ndarray], as_inputs: bool = False, **further: Any) -> Path:
    """y = x·wᵀ + b, with other weights, or with none: the weights are inputs."""
    node = helper.make_node("Gemm", ["x", "fc.weight", "fc.bias"], ["y"], transB=1)
    ends = [helper.make_tensor_value_info("x", F, [2, 3])]
    if as_inputs:
        ends += [helper.make_tensor_value_info(n, F, a.shape) for n, a in given.items()]
    held = [] if as_inputs else [numpy_helper.from_array(a, n) for n, a in given.items()]
    g = helper.make_graph([node], "g", ends, [helper.make_tensor_value_info("y", F, [2, 4])], held)
    onnx.save(helper.make_model(g, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path, **further)
    return path


@pytest.mark.parametrize("kind", ["other weights", "inputs", "external"])
def test_weights_take_their_places(kind: str, tmp_path: Path) -> None:
    outside = {"save_as_external_data": True, "location": "g.data", "size_threshold": 0} if kind == "external" else {}
    graph(tmp_path / "m.onnx", weights(1), kind == "inputs", **outside)
    w = weights(2)
    save_file(
        {**w, "bn.num_batches_tracked": np.array(7)}, tmp_path / "m.safetensors", {"format": "pt", "license": "MIT", "mlcc.notes": "no"}
    )
    result = mlcc.build(tmp_path / "m.safetensors", ["native", "c99"], out=tmp_path / "d", cache=False)
    native, c = (Path(a["path"]) for a in result["artifacts"])
    about = [json.loads((p / "manifest.json").read_text()) for p in (native, c)]
    assert {a["conformance"] for a in about} == {"passed"} and about[0]["output_digest"] == about[1]["output_digest"]
    assert about[0]["about"]["licence"] == "MIT" and [t["name"] for t in about[0]["inputs"]] == ["x"]
    judged = json.loads((native / "conformance.json").read_text())["judge"]
    assert judged["verdict"] == "agrees" and judged["engine"].startswith("onnxruntime"), judged
    x = np.random.default_rng(3).standard_normal((2, 3)).astype(np.float32)
    np.testing.assert_allclose(mlcc.load(native)(x=x)["y"], x @ w["fc.weight"].T + w["fc.bias"], rtol=1e-5)
    named = [name for name, _ in neighbours(tmp_path / "m.safetensors", b"")]
    assert named == (["m.onnx", "g.data"] if kind == "external" else ["m.onnx"])


def test_the_digest_is_over_weights_and_graph(tmp_path: Path) -> None:
    graph(tmp_path / "m.onnx", weights(1))
    save_file(weights(2), tmp_path / "m.safetensors")
    first = digest_model(tmp_path / "m.safetensors")
    save_file(weights(3), tmp_path / "m.safetensors")
    second = digest_model(tmp_path / "m.safetensors")
    graph(tmp_path / "m.onnx", weights(4))
    assert len({first, second, digest_model(tmp_path / "m.safetensors")}) == 3


def test_half_precision_lies_as_it_is(tmp_path: Path) -> None:
    w = np.arange(6).reshape(2, 3).astype(ml_dtypes.bfloat16)
    nodes = [helper.make_node("Cast", ["w"], ["c"], to=F), helper.make_node("Add", ["x", "c"], ["y"])]
    ends = [helper.make_tensor_value_info("x", F, [2, 3]), helper.make_tensor_value_info("w", TensorProto.BFLOAT16, [2, 3])]
    g = helper.make_graph(nodes, "g", ends, [helper.make_tensor_value_info("y", F, [2, 3])])
    onnx.save(helper.make_model(g, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), tmp_path / "m.onnx")
    save_file({"w": w}, tmp_path / "m.safetensors")
    result = mlcc.build(tmp_path / "m.safetensors", "native", out=tmp_path / "d")
    assert (mlcc.load(result["artifacts"][0]["path"])(x=np.zeros((2, 3), np.float32))["y"] == np.arange(6).reshape(2, 3)).all()


def refused(code: str, what: str, path: Path) -> None:
    with pytest.raises(Error) as e:
        mlcc.build(path, "native", out=path.parent / "d")
    assert e.value.code == code and what in e.value.what and e.value.hint and str(path) == e.value.where, e.value


def test_what_does_not_fit_is_said(tmp_path: Path) -> None:
    m = tmp_path / "m.safetensors"
    save_file(weights(2), m)
    refused("usage", "no m.onnx beside them", m)
    graph(tmp_path / "m.onnx", weights(1))
    save_file({**weights(2), "fc.scale": np.zeros(4, np.float32)}, m)
    refused("model", "does not name: fc.scale", m)
    save_file({**weights(2), "fc.bias": np.zeros(5, np.float32)}, m)
    refused("model", "fc.bias is float[5], the graph's float[4]", m)
    save_file({**weights(2), "fc.bias": np.zeros(4, np.float16)}, m)
    refused("model", "fc.bias is float16[4], the graph's float[4]", m)
    save_file({"fc.bias": np.zeros(4, np.float32)}, m)
    result = mlcc.build(m, "native", out=tmp_path / "d")
    assert any("the graph's own: fc.weight" in n for n in result["notes"])


@pytest.mark.parametrize("damage", ["empty", "cut", "header", "overlap", "beyond"])
def test_damaged_files(damage: str, tmp_path: Path) -> None:
    graph(tmp_path / "m.onnx", weights(1))
    m = tmp_path / "m.safetensors"
    save_file(weights(2), m)
    raw = m.read_bytes()
    size = int.from_bytes(raw[:8], "little")
    header = json.loads(raw[8 : 8 + size])
    if damage in ("overlap", "beyond"):
        begin, end = header["fc.bias"]["data_offsets"]
        header["fc.bias"]["data_offsets"] = [begin + 4, end + 4] if damage == "beyond" else [16, 32]
        text = json.dumps(header).encode()
        raw = len(text).to_bytes(8, "little") + text + raw[8 + size :]
    m.write_bytes({"empty": b"", "cut": raw[:-4], "header": b"\xff" * 8 + raw[8:]}.get(damage, raw))
    refused("model", "not a safetensors file", m)
