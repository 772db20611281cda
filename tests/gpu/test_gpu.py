"""On a real GPU: the answers are the CPU's. Skipped where there is none; the kernels are proven on the host by
tests/backends/test_cuda.py."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import mlcc
from benchmarks.corpus import MODELS, fetch
from mlcc_backends.cuda.run import has_gpu
from tests.backends.models import small

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not has_gpu(), reason="no NVIDIA GPU here")]


def same_everywhere(model: Path, out: Path, **options: object) -> None:
    """The build compares golden vectors on the GPU with the reference's; here, the runtime's outputs too."""
    result = mlcc.build(model, target=["cuda", "native"], out=out, **options)  # type: ignore[arg-type]
    gpu, cpu = result["artifacts"]
    assert gpu["conformance"] == "passed" and gpu["environment"] == "GPU and host"
    models = [mlcc.load(a["path"]) for a in (gpu, cpu)]
    feed = {t.name: np.ones(t.shape, t.numpy) for t in models[1].inputs}
    found, want = (m(feed) for m in models)
    assert all(found[n].tobytes() == want[n].tobytes() for n in want)


@pytest.mark.parametrize("bytes", [np.int8, np.uint8])
def test_small(bytes: type, tmp_path: Path) -> None:
    same_everywhere(small(tmp_path / "small.onnx", 8, bytes), tmp_path)


@pytest.mark.parametrize("model", sorted(MODELS))
def test_real_models(model: str, tmp_path: Path) -> None:
    same_everywhere(fetch(model), tmp_path, shapes=MODELS[model].shapes)


@pytest.mark.parametrize("model", ["kws_ref_model", "pretrainedResnet_quant", "vww_96_int8", "ad01_fp32"])
def test_tiny_models(model: str, tiny: Callable[[str], Path], tmp_path: Path) -> None:
    same_everywhere(tiny(model), tmp_path)


def test_streams_and_graphs(tmp_path: Path) -> None:
    result = mlcc.build(small(tmp_path / "small.onnx"), target=["cuda", "native"], out=tmp_path)
    gpu, cpu = (mlcc.load(a["path"]) for a in result["artifacts"])
    x = np.random.default_rng(1).standard_normal((1, 3, 9, 11)).astype(np.float32)
    ins, outs = gpu.upload({"x": x}), gpu.empty()  # type: ignore[attr-defined]
    for _ in range(4):
        gpu.run_on_stream(ins, outs)  # type: ignore[attr-defined]
    assert outs["y"].numpy().tobytes() == cpu(x=x)["y"].tobytes()
