"""Every reader on damaged files: an answer in words, never "internal", never for ever."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import mlcc
from mlcc.artifact.arrays import npy
from tests.fuzz.readers import Reader, readers, run

KINDS = ("manifest", "attestation", "npy", "project", "target", "lock", "model")
EVERY_DAY, FULL = 40, 2900
PROJECT = """model = "m.onnx"
targets = ["native", "cortex-m4f"]
out = "dist"
name = "m"
precision = "float32"
[shapes]
x = [1, 3, 4, 4]
[samples]
x = ["a.npy"]
[describe.x]
unit = "dB"
range = [0, 1]
labels = ["a", "b"]
[serving]
batches = [4, 16]
chips = "v5e:2x2"
donate = false
[hardware]
architecture = "dataflow"
interval = 0
share = 0.7
"""
LOCK = """{
  "choices": {"x86_64-v3": {"dot_0123456789abcdef": {"family": "dot", "panels": 2, "rows": 6}}},
  "version": 2
}
"""


@pytest.fixture(scope="session")
def known(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Reader]:
    folder = tmp_path_factory.mktemp("readers")
    r = np.random.default_rng(0)
    weights = {"w": r.standard_normal((2, 3, 3, 3)).astype(np.float32), "s": np.array([1, -1]), "p": np.array([0, 0, 1, 1, 0, 0, 1, 1])}
    nodes = [
        helper.make_node("Pad", ["x", "p"], ["a"], mode="constant"),
        helper.make_node("Conv", ["a", "w"], ["b"], strides=[1, 1], kernel_shape=[3, 3]),
        helper.make_node("MaxPool", ["b"], ["c"], kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Reshape", ["c", "s"], ["d"]),
        helper.make_node("Softmax", ["d"], ["y"], axis=-1),
    ]
    ends = [
        helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 4, 4]),
        helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 8]),
    ]
    constants = [numpy_helper.from_array(a, n) for n, a in weights.items()]
    graph = helper.make_graph(nodes, "g", ends[:1], ends[1:], constants)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), folder / "m.onnx")
    artifact = Path(mlcc.build(folder / "m.onnx", out=folder / "d")["artifacts"][0]["path"])
    target = (Path(__file__).parents[2] / "targets/cortex-m4f.toml").read_text()
    return readers(artifact, folder / "m.onnx", npy(r.standard_normal((1, 3, 4, 4)).astype(np.float32)), PROJECT, target, LOCK)


def several(reader: Reader, kind: str, seeds: range, folder: Path) -> None:
    for seed in seeds:
        run(reader, kind, seed, folder / "one")
        shutil.rmtree(folder / "one")


@pytest.mark.parametrize("kind", KINDS)
def test_readers(kind: str, known: dict[str, Reader], tmp_path: Path) -> None:
    several(known[kind], kind, range(EVERY_DAY), tmp_path)


@pytest.mark.full
@pytest.mark.parametrize("first", range(EVERY_DAY, FULL, 370))
@pytest.mark.parametrize("kind", KINDS)
def test_readers_at_length(kind: str, first: int, known: dict[str, Reader], tmp_path: Path) -> None:
    several(known[kind], kind, range(first, min(FULL, first + 370)), tmp_path)
