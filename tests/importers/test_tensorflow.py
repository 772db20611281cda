"""TensorFlow's SavedModels, by tf2onnx: what TensorFlow says, within rounding (`make test-frameworks`)."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from mlcc.error import Error
from mlcc.graph.normalise import normalise
from mlcc.graph.passes import optimise
from mlcc.importers.tensorflow import load
from mlcc.model_file import digest_model, entered, model_name
from mlcc.reference.execute import execute
from tests.conftest import Mlcc

SAVE = """
import sys, numpy as np, tensorflow as tf
folder, random = sys.argv[1], np.random.default_rng(0)
number = lambda *s: random.standard_normal(s).astype("f4")
class Net(tf.Module):
    def __init__(self):
        self.w, self.k = tf.Variable(number(3, 4)), tf.Variable(number(3, 3, 2, 5))
    @tf.function(input_signature=[tf.TensorSpec([None, 3], tf.float32, name="x"), tf.TensorSpec([1, 8, 8, 2], tf.float32, name="image")])
    def __call__(self, x, image):
        scores = tf.nn.softmax(x @ self.w)
        return {"scores": scores, "best": tf.argmax(scores, -1), "features": tf.nn.relu(tf.nn.conv2d(image, self.k, 2, "SAME"))}
net = Net(); tf.saved_model.save(net, folder + "/net", signatures=net.__call__)
x, image = number(4, 3), number(1, 8, 8, 2)
np.savez(folder + "/net.npz", x=x, image=image, **{"y_" + k: v.numpy() for k, v in net(x, image).items()})
class Steps(tf.Module):
    @tf.function(input_signature=[tf.TensorSpec([6, 3], tf.float32, name="x")])
    def __call__(self, x):
        return tf.scan(lambda c, row: tf.tanh(c + row), x, initializer=tf.zeros(3))
steps = Steps(); tf.saved_model.save(steps, folder + "/steps", signatures=steps.__call__)
x = number(6, 3); np.savez(folder + "/steps.npz", x=x, y=steps(x).numpy())
class Text(tf.Module):
    @tf.function(input_signature=[tf.TensorSpec([2], tf.string, name="s")])
    def __call__(self, s):
        return {"n": tf.strings.length(s), "u": tf.strings.unicode_script(tf.strings.unicode_decode(s, "UTF-8").to_tensor())}
text = Text(); tf.saved_model.save(text, folder + "/text", signatures=text.__call__)
class Two(tf.Module):
    @tf.function(input_signature=[tf.TensorSpec([2], tf.float32)])
    def __call__(self, s): return s
two = Two(); tf.saved_model.save(two, folder + "/two", signatures={"a": two.__call__, "b": two.__call__})
class Writes(tf.Module):
    @tf.function(input_signature=[tf.TensorSpec([2], tf.float32, name="x")])
    def __call__(self, x):
        tf.io.write_file(folder + "/written", "by a model"); return x + 1
writes = Writes(); tf.saved_model.save(writes, folder + "/writes", signatures=writes.__call__)
"""


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("tensorflow")
    pytest.importorskip("tf2onnx")
    folder = tmp_path_factory.mktemp("tensorflow")
    subprocess.run([sys.executable, "-c", SAVE, folder], check=True, capture_output=True)
    return folder


@pytest.mark.parametrize("name", ["net", "steps"])
def test_models(name: str, saved: Path) -> None:
    held = np.load(saved / f"{name}.npz")
    feed = {n: held[n] for n in held.files if not n.startswith("y")}
    source = load(entered(saved / name))
    graph = optimise(normalise(source, name, {n: a.shape for n, a in feed.items()}, name), check=True)
    found = execute(graph, {n: feed[n] for n in graph.inputs})
    for n in graph.outputs:
        wanted = held[f"y_{n}"] if f"y_{n}" in held.files else held["y"]
        np.testing.assert_allclose(found[n], wanted, rtol=1e-5, atol=1e-6)


def test_a_folder_is_built_and_judged_by_tensorflow(saved: Path, tmp_path: Path, mlcc: Mlcc) -> None:
    done = mlcc("build", saved / "net", "-t", "native", "--shape", "x=2x3", "-o", tmp_path, "--no-cache", "--depfile", tmp_path / "d")
    assert done.returncode == 0, done.stderr
    about = json.loads((tmp_path / "net" / "native" / "conformance.json").read_text())
    assert about["judge"]["engine"].startswith("tensorflow") and about["judge"]["verdict"] == "agrees"
    assert "variables.data" in (tmp_path / "d").read_text()


def test_variables_are_part_of_the_model(saved: Path, tmp_path: Path) -> None:
    model = entered(saved / "net")
    assert model.name == "saved_model.pb" and model_name(model) == "net"
    before = digest_model(model)
    data = next((saved / "net" / "variables").glob("*.data*"))
    held = data.read_bytes()
    try:
        data.write_bytes(bytes([held[0] ^ 1]) + held[1:])
        assert digest_model(model) != before
    finally:
        data.write_bytes(held)


def test_a_model_that_writes_cannot(saved: Path, tmp_path: Path, mlcc: Mlcc) -> None:
    mlcc("build", saved / "writes", "-t", "native", "-o", tmp_path, "--no-cache")
    assert not (saved / "written").exists()


def test_what_is_not_converted_is_said(saved: Path, tmp_path: Path) -> None:
    with pytest.raises(Error, match="StringLength.*UnicodeScript|UnicodeDecode.*StringLength|StringLength") as e:
        load(entered(saved / "text"))
    assert e.value.code == "unsupported"
    with pytest.raises(Error, match="none is serving_default"):
        load(entered(saved / "two"))


def test_what_is_no_saved_model_is_said(tmp_path: Path, mlcc: Mlcc) -> None:
    (tmp_path / "frozen.pb").write_bytes(b"\x0a\x00")
    with pytest.raises(Error, match="not a SavedModel"):
        load(tmp_path / "frozen.pb")
    done = mlcc("build", tmp_path, "-t", "native")
    assert done.returncode == 2 and "no saved_model.pb in it" in done.stderr
