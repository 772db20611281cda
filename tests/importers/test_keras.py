"""Keras' files, by its own exporter: what Keras says, within rounding (`make test-frameworks`)."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from mlcc.error import Error
from mlcc.graph.normalise import normalise
from mlcc.graph.passes import optimise
from mlcc.importers.keras import load
from mlcc.reference.execute import execute

TRAIN = """
import sys, keras, numpy as np
from keras import layers as L
keras.utils.set_random_seed(0)
i = keras.Input((12, 12, 3)); x = L.ReLU()(L.BatchNormalization()(L.Conv2D(8, 3, strides=2, padding="same")(i)))
x = L.Add()([x, L.DepthwiseConv2D(3, padding="same")(x)]); functional = keras.Model(i, L.Dense(5, activation="softmax")(L.GlobalAveragePooling2D()(x)))
recurrent = keras.Sequential([keras.Input((10, 6)), L.LSTM(7), L.Dense(2)])
for name, model, shape in (("functional.keras", functional, (3, 12, 12, 3)), ("recurrent.keras", recurrent, (3, 10, 6)), ("recurrent.h5", recurrent, (3, 10, 6))):
    x = np.random.default_rng(0).standard_normal(shape).astype("f4")
    model.save(f"{sys.argv[1]}/{name}"); np.save(f"{sys.argv[1]}/{name}.x.npy", x); np.save(f"{sys.argv[1]}/{name}.y.npy", np.asarray(model(x)))
keras.Sequential([keras.Input((4,)), L.Lambda(lambda t: t * 2)]).save(f"{sys.argv[1]}/code.keras")
"""


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("keras")
    pytest.importorskip("jax2onnx")
    folder = tmp_path_factory.mktemp("keras")
    subprocess.run([sys.executable, "-c", TRAIN, folder], check=True, capture_output=True, env={**os.environ, "KERAS_BACKEND": "jax"})
    return folder


@pytest.mark.parametrize("name", ["functional.keras", "recurrent.keras", "recurrent.h5"])
def test_models(name: str, saved: Path) -> None:
    x, wanted = (np.load(saved / f"{name}.{k}.npy") for k in "xy")
    source = load(saved / name)
    graph = optimise(normalise(source, "keras", {str(source.graph.inputs[0].name): x.shape}, name), check=True)
    (found,) = execute(graph, {graph.inputs[0]: x}).values()
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-6)


def test_code_in_a_model_is_not_run(saved: Path) -> None:
    with pytest.raises(Error, match="Python code") as e:
        load(saved / "code.keras")
    assert e.value.code == "unsupported"


def test_what_is_no_keras_file_is_said(tmp_path: Path) -> None:
    for content in (b"", b"hello", b"PK\x03\x04 no archive"):
        path = tmp_path / "m.keras"
        path.write_bytes(content)
        with pytest.raises(Error) as e:
            load(path)
        assert e.value.code in ("model", "usage")
