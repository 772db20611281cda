"""Stages against what Pillow, SciPy and NumPy compute, and several models as one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import mlcc
from mlcc.error import Error
from mlcc.graph.normalise import normalise
from mlcc.graph.passes import optimise
from mlcc.importers import composed, load
from mlcc.model_file import digest_model
from mlcc.reference.execute import execute
from tests.conftest import Mlcc

R = np.random.default_rng(0)


def toml(place: Path, **values: Any) -> Path:
    """A stage's file."""
    place.write_text("".join(f"{k} = {json.dumps(v)}\n" for k, v in values.items()))
    return place


def computed(path: Path, feed: dict[str, np.ndarray]) -> list[np.ndarray]:
    shapes = {n: a.shape for n, a in feed.items() if a.dtype.kind != "U"}
    graph = optimise(normalise(load(path), "stage", shapes, str(path)), check=True)
    return list(execute(graph, {n: feed[n] for n in graph.inputs}).values())


# ---- images ----


@pytest.mark.parametrize(("mode", "size"), [("linear", (9, 23)), ("linear", (40, 31)), ("cubic", (9, 23)), ("nearest", (9, 23))])
def test_resize_is_pillow_s(mode: str, size: tuple[int, int], tmp_path: Path) -> None:
    from PIL import Image

    x = R.random((17, 29)).astype(np.float32)
    path = toml(
        tmp_path / "s.toml", kind="resize", height=size[0], width=size[1], mode=mode, antialias=mode != "nearest", shape=[1, "h", "w", 1]
    )
    filters = {"linear": Image.Resampling.BILINEAR, "cubic": Image.Resampling.BICUBIC, "nearest": Image.Resampling.NEAREST}
    wanted = np.asarray(Image.fromarray(x).resize(size[::-1], filters[mode]))
    (found,) = computed(path, {"image": x[None, :, :, None]})
    np.testing.assert_allclose(found[0, :, :, 0], wanted, atol=0 if mode == "nearest" else 2e-5)


@pytest.mark.parametrize(("height", "width"), [(20, 40), (40, 20), (30, 30), (17, 41)])
def test_letterbox(height: int, width: int, tmp_path: Path) -> None:
    """The image keeps its proportions, in the middle; around it lie bars."""
    x = np.full((1, height, width, 3), 200, np.uint8)
    (found,) = computed(toml(tmp_path / "s.toml", kind="letterbox", height=32, width=32, dtype="uint8"), {"image": x})
    assert found.shape == (1, 32, 32, 3) and found.dtype == np.float32
    inside = (found == 200).all(3)[0]
    rows, columns = inside.any(1), inside.any(0)
    scale = 32 / max(height, width)
    assert (rows.sum(), columns.sum()) == (round(height * scale), round(width * scale))
    assert inside.sum() == rows.sum() * columns.sum() and (found[0][~inside] == 114).all()
    assert abs(int(np.argmax(rows)) - int(np.argmax(rows[::-1]))) <= 1 and abs(int(np.argmax(columns)) - int(np.argmax(columns[::-1]))) <= 1


def test_colours_normalise_layout(tmp_path: Path) -> None:
    x = R.integers(0, 256, (1, 4, 5, 3)).astype(np.uint8)
    (found,) = computed(toml(tmp_path / "a.toml", kind="colours", dtype="uint8"), {"image": x})
    assert (found == x[..., ::-1]).all()
    mean, deviation = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
    (found,) = computed(
        toml(tmp_path / "b.toml", kind="normalise", dtype="uint8", scale=1 / 255, mean=mean, deviation=deviation), {"image": x}
    )
    np.testing.assert_allclose(found, (x / 255 - mean) / deviation, rtol=1e-5)
    (found,) = computed(toml(tmp_path / "c.toml", kind="layout", dtype="uint8", to="NCHW"), {"image": x})
    assert (found == x.transpose(0, 3, 1, 2)).all()


# ---- sounds ----


def spectrum(x: np.ndarray, n: int, hop: int, length: int) -> np.ndarray:
    from scipy import signal

    window = np.pad(signal.get_window("hann", length), ((n - length) // 2, n - length - (n - length) // 2))
    frames = np.lib.stride_tricks.sliding_window_view(x, n)[::hop]
    return np.abs(np.fft.rfft(frames * window)) ** 2


@pytest.mark.parametrize("centred", [False, True])
def test_spectrogram(centred: bool, tmp_path: Path) -> None:
    x = R.standard_normal(700).astype(np.float32)
    path = toml(tmp_path / "s.toml", kind="spectrogram", n_fft=128, window=100, hop=50, centred=centred)
    (found,) = computed(path, {"audio": x[None]})
    wanted = spectrum(np.pad(x, 64, mode="reflect") if centred else x, 128, 50, 100)
    np.testing.assert_allclose(found[0], wanted, rtol=1e-4, atol=1e-3)


def test_cepstra(tmp_path: Path) -> None:
    from scipy.fft import dct

    x = R.standard_normal(4000).astype(np.float32)
    options = {"n_fft": 512, "hop": 160, "mels": 20, "low": 20, "high": 4000, "log": "ln"}
    (bands,) = computed(toml(tmp_path / "a.toml", kind="mel_spectrogram", **options), {"audio": x[None]})
    mel = np.linspace(2595 * np.log10(1 + 20 / 700), 2595 * np.log10(1 + 4000 / 700), 22)
    edges = 700 * (10 ** (mel / 2595) - 1)
    f = np.fft.rfftfreq(512, 1 / 16000)
    filters = np.array([np.interp(f, edges[i : i + 3], [0, 1, 0], 0, 0) for i in range(20)])
    wanted = np.log(spectrum(x, 512, 160, 512) @ filters.T)
    np.testing.assert_allclose(bands[0], wanted, rtol=1e-4, atol=1e-4)
    (found,) = computed(toml(tmp_path / "b.toml", kind="mel_spectrogram", **options, coefficients=13), {"audio": x[None]})
    np.testing.assert_allclose(found[0], dct(wanted, norm="ortho")[:, :13], rtol=1e-3, atol=1e-3)


def test_slaney_s_scale() -> None:
    """Figures from the documentation of librosa.mel_frequencies(n_mels=40, fmax=11025); bands have an area of 1."""
    from mlcc.importers.stages.sounds import MelSpectrogram

    stage = MelSpectrogram(mels=3, high=8000.0, scale="slaney", area=True, n_fft=2048)
    found = stage.hertz(np.linspace(0, stage.mel(np.array([11025.0]))[0], 40))
    np.testing.assert_allclose(found[[1, 11, 12, 13, 30, 39]], [85.317, 938.49, 1024.856, 1119.114, 4994.285, 11025], rtol=1e-5)
    assert abs(stage.bands().sum(0) * 16000 / 2048 - 1).max() < 0.02  # each band's area


# ---- values ----


def test_values(tmp_path: Path) -> None:
    x = R.standard_normal((3, 6)).astype(np.float32)
    (found,) = computed(toml(tmp_path / "a.toml", kind="scaler", offset=[1.0], scale=[2.0, 1.0, 3.0, 1.0, 1.0, 1.0]), {"x": x})
    np.testing.assert_allclose(found, (x - 1) * np.float32([2, 1, 3, 1, 1, 1]), rtol=1e-6)
    (found,) = computed(toml(tmp_path / "b.toml", kind="softmax"), {"scores": x[:1]})
    np.testing.assert_allclose(found.sum(), 1, rtol=1e-6)
    (found,) = computed(toml(tmp_path / "c.toml", kind="argmax"), {"scores": x[:1]})
    assert found.tolist() == [int(np.argmax(x[0]))]
    values, classes = computed(toml(tmp_path / "d.toml", kind="top_k", k=2), {"scores": x[:1]})
    assert classes.tolist() == [np.argsort(-x[0])[:2].tolist()] and (values[0] == x[0][classes[0]]).all()


def test_lookup(tmp_path: Path) -> None:
    (tmp_path / "words.txt").write_text("the\ncat\nsat\n")
    path = toml(tmp_path / "s.toml", kind="lookup", vocabulary="words.txt", unknown=99, shape=[1, 4])
    assert tmp_path / "words.txt" in [file for _, file in composed.inputs(path, b"")]
    found = mlcc.stage(path)(np.array([["cat", "the", "dog", "sat"]]))
    assert found.tolist() == [[1, 0, 99, 2]]


# ---- several as one ----


def net(place: Path, opset: int = 11) -> Path:
    """Frames of 20 bands → scores of four classes."""
    axes = {"axes": [1]} if opset < 18 else {}
    nodes = [helper.make_node("ReduceMean", ["x"], ["m"], keepdims=0, **axes), helper.make_node("MatMul", ["m", "w"], ["scores"])]
    weights = [numpy_helper.from_array(R.standard_normal((20, 4)).astype(np.float32), "w")]
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, "frames", 20])]
    graph = helper.make_graph(nodes, "net", inputs, [helper.make_tensor_value_info("scores", TensorProto.FLOAT, [1, 4])], weights)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8), place)
    return place


PROJECT = """name = "kws"
targets = ["native", "cortex-m7"]
[[stage]]
file = "mel.toml"
[[stage]]
name = "net"
model = "net.onnx"
[[stage]]
kind = "softmax"
name = "last"
[dims]
samples = 800
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    toml(tmp_path / "mel.toml", kind="mel_spectrogram", n_fft=128, hop=64, mels=20, log="ln")
    net(tmp_path / "net.onnx")
    (tmp_path / "mlcc.toml").write_text(PROJECT)
    return tmp_path


def test_a_project_of_stages_is_one_program(project: Path, mlcc: Mlcc) -> None:
    """Operator sets of 11 and 21 in one; the judge runs each part by itself; what training computes has the artifact's bits."""
    import mlcc as m

    done = mlcc("build", "--json", "--no-cache", cwd=project)
    assert done.returncode == 0, done.stderr
    made = json.loads(done.stdout)
    assert made["model"] == "kws" and [a["class"] for a in made["artifacts"]] == ["exact", "exact"]
    assert all(a["conformance"] in ("passed", "not-run") for a in made["artifacts"])
    place = project / "dist" / "kws" / "native"
    assert json.loads((place / "conformance.json").read_text())["judge"]["verdict"] == "agrees"
    artifact = m.load(place)
    assert [t.name for t in artifact.inputs] == ["audio"] and [t.name for t in artifact.outputs] == ["probabilities"]
    audio = R.standard_normal((1, 800)).astype(np.float32)
    features = m.stage(project / "mel.toml")(audio)
    assert features.shape == (1, 11, 20)
    (whole,) = artifact(audio=audio).values()
    scores = m.stage(project / "net.onnx")(features)
    assert m.stage(toml(project / "last.toml", kind="softmax"))(scores).tobytes() == whole.tobytes()


def test_a_stage_with_bounded_sizes_is_built_once(tmp_path: Path) -> None:
    (tmp_path / "s.toml").write_text('kind = "scaler"\noffset = [1.0]\nshape = ["rows", 3]\ndims = { rows = "1..9" }\n')
    stage = mlcc.stage(tmp_path / "s.toml")
    for rows in (1, 9):
        assert (stage(np.ones((rows, 3), np.float32)) == 0).all()
    assert len(stage._built) == 1
    with pytest.raises(Error, match="rows"):
        stage(np.ones((10, 3), np.float32))
    with pytest.raises(Error, match="inputs are x"):
        stage()


def test_every_file_is_part_of_the_model(project: Path) -> None:
    path = project / "mlcc.toml"
    before = digest_model(path)
    for file in ("mel.toml", "net.onnx", "mlcc.toml"):
        held = (project / file).read_bytes()
        (project / file).write_bytes(held + b"\n")
        assert digest_model(path) != before, file
        (project / file).write_bytes(held)
    assert digest_model(path) == before


def test_names_join(tmp_path: Path) -> None:
    """By name, by an only input, and as `inputs` says; outputs that nobody reads are the whole's, or those that are named."""
    for name, (a, b) in {"one": ("x", "y"), "two": ("y", "z")}.items():
        graph = helper.make_graph(
            [helper.make_node("Neg" if name == "one" else "Abs", [a], [b])], "g", [helper.make_tensor_value_info(a, 1, [2])], [helper.make_tensor_value_info(b, 1, [2])],
        )  # fmt: skip
        onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), tmp_path / f"{name}.onnx")
    add = helper.make_graph(
        [helper.make_node("Sub", ["p", "q"], ["d"])], "g", [helper.make_tensor_value_info(n, 1, [2]) for n in "pq"], [helper.make_tensor_value_info("d", 1, [2])],
    )  # fmt: skip
    onnx.save(helper.make_model(add, opset_imports=[helper.make_opsetid("", 7)], ir_version=8), tmp_path / "sub.onnx")
    stages = '[[stage]]\nmodel = "one.onnx"\n[[stage]]\nmodel = "two.onnx"\n[[stage]]\nmodel = "sub.onnx"\ninputs = {{ p = "one.y", q = "{q}" }}\n'
    x = np.array([3, -4], np.float32)
    for q, feed, wanted in (("two.z", {"x": x}, -x - np.abs(x)), ("x", {"x": x}, -2 * x), ("other", {"x": x, "other": x * 0}, -x)):
        (tmp_path / "m.toml").write_text(stages.format(q=q))
        found = dict(zip([str(o.name) for o in load(tmp_path / "m.toml").graph.outputs], computed(tmp_path / "m.toml", feed)))
        assert (found["d"] == wanted).all() and set(found) == ({"d"} if q == "two.z" else {"d", "z"})
    (tmp_path / "m.toml").write_text('outputs = ["two.z", "y"]\n' + stages.format(q="x"))
    assert [str(o.name) for o in load(tmp_path / "m.toml").graph.outputs] == ["z", "y"]


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ('[[stage]]\nkind = "nothing"\n', "no stage is called nothing"),
        ('[[stage]]\nkind = "softmax"\nmodel = "net.onnx"\n', "one of kind, model"),
        ('[[stage]]\nkind = "softmax"\nheight = 3\n', "unknown key height"),
        ('[[stage]]\nkind = "resize"\n', "height and width missing"),
        ('[[stage]]\nmodel = "net.onnx"\n[[stage]]\nmodel = "net.onnx"\n', "two stages are called net"),
        ('[[stage]]\nmodel = "net.onnx"\ninputs = { x = "mel.y" }\n', "nothing gives mel.y"),
        ('[[stage]]\nmodel = "net.onnx"\ninputs = { q = "x" }\n', "net has no input q"),
        ('[[stage]]\nkind = "mel_spectrogram"\n[[stage]]\nkind = "argmax"\n[[stage]]\nmodel = "net.onnx"\n', "takes float"),
        ('[[stage]]\nkind = "layout"\nshape = [1, 2, 2, 3]\n[[stage]]\nmodel = "net.onnx"\ninputs = { x = "image" }\n', "takes 1 x frames x 20"),
        ('outputs = ["q"]\n[[stage]]\nmodel = "net.onnx"\n', "no stage gives the output q"),
        ('[[stage]]\nfile = "self.toml"\n', "names itself"),
        ('[[stage]]\npython = "code.py:f"\n', "not trusted"),
        ("x = 1\n", "no stages in it"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_said(text: str, what: str, tmp_path: Path) -> None:
    net(tmp_path / "net.onnx")
    toml(tmp_path / "self.toml", file="self.toml")
    (tmp_path / "code.py").write_text("raise SystemExit")
    (tmp_path / "m.toml").write_text(text)
    with pytest.raises(Error, match=what):
        load(tmp_path / "m.toml")


def test_pickles_among_stages_need_their_word(tmp_path: Path) -> None:
    (tmp_path / "p.joblib").write_bytes(b"no pickle")
    (tmp_path / "m.toml").write_text('[[stage]]\nmodel = "p.joblib"\n')
    with pytest.raises(Error, match="is a pickle"):
        load(tmp_path / "m.toml")
    with pytest.raises(Error, match="not a pickle"):
        load(tmp_path / "m.toml", trust_pickle=True)


def test_python_is_traced_where_it_is_trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("onnxscript")
    from mlcc import trust

    code = tmp_path / "prepare.py"
    code.write_text(
        "from onnxscript import FLOAT, script\nfrom onnxscript import opset18 as op\n\n\n@script()\n"
        "def halved(x: FLOAT[2, 3]) -> FLOAT[2, 3]:\n    return op.Mul(x, op.Constant(value_float=0.5))\n"
    )
    (tmp_path / "m.toml").write_text('[[stage]]\npython = "prepare.py:halved"\n')
    monkeypatch.setattr(trust, "_known", lambda: {trust.digest(code.read_text()): str(code)})
    (found,) = computed(tmp_path / "m.toml", {"x": np.ones((2, 3), np.float32)})
    assert (found == 0.5).all()
