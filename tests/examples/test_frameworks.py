"""examples/frameworks: models that are trained, saved, built and asked; those whose framework is here."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

FAST = "scikit_learn"  # the others take minutes of training: `make test-frameworks`
EXAMPLES = Path(__file__).resolve().parents[2] / "examples" / "frameworks"
NEEDS = {
    "scikit_learn": ("skops",), "boosted": ("catboost", "lightgbm", "xgboost"), "jax_mlp": ("jax",), "flax_cnn": ("flax", "optax"),
    "pytorch": ("torch", "onnxscript"), "keras_cnn": ("keras", "jax2onnx"), "tensorflow_lite": ("tensorflow", "tf2onnx", "tflite"),
    "composed": ("torch", "onnxscript", "skops", "skl2onnx"),
}  # fmt: skip


def test_every_example_is_known() -> None:
    assert {p.stem for p in EXAMPLES.glob("*.py")} == {*NEEDS, "digits"}


@pytest.mark.parametrize("name", NEEDS)
def test_it_reads_digits(name: str, tmp_path: Path) -> None:
    if name != FAST and "MLCC_TEST_FRAMEWORKS" not in os.environ:
        pytest.skip("make test-frameworks runs it")
    for package in ("sklearn", *NEEDS[name]):
        if find_spec(package) is None:
            pytest.skip(f"{package} is not installed")
    environment = {**os.environ, "TMPDIR": str(tmp_path), "JAX_PLATFORMS": "cpu", "TF_CPP_MIN_LOG_LEVEL": "3"}
    done = subprocess.run([sys.executable, EXAMPLES / f"{name}.py"], capture_output=True, text=True, env=environment, cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "digits, program" in done.stdout
