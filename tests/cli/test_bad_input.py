"""Bad input: one or two lines that say what, where and what to do; the right exit code; nothing half-written."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import mlcc as package
from mlcc import pipeline
from mlcc.cache import store
from tests.conftest import Mlcc

F = TensorProto.FLOAT


def save(
    path: Path,
    nodes: list[onnx.NodeProto],
    initializers: list[onnx.TensorProto] | None = None,
    shape: list[int | str] | None = None,
    dtype: int = F,
) -> Path:
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", dtype, shape or [2, 3])],
        [helper.make_tensor_value_info("y", dtype, None)],
        initializers or [],
    )
    path.write_bytes(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9).SerializeToString())
    return path


def refused(mlcc: Mlcc, out: Path, code: int, *words: str, arguments: tuple[object, ...], **environment: str) -> None:
    done = mlcc("build", *arguments, "-o", out, **environment)
    assert done.returncode == code, (done.returncode, done.stderr)
    lines = done.stderr.strip().splitlines()
    assert len([line for line in lines if not line.startswith("mlcc: made a signing key")]) <= 2 and "Traceback" not in done.stderr, (
        done.stderr
    )
    for word in words:
        assert word in done.stderr, (word, done.stderr)
    assert not out.exists() or not [p for p in out.rglob("*") if p.is_file()]


RELU = helper.make_node("Relu", ["x"], ["y"], name="r")


def test_random_and_truncated_bytes(tmp_path: Path, mlcc: Mlcc, small_model: Path) -> None:
    r = random.Random(0)
    good = small_model.read_bytes()
    for i, body in enumerate([b"", b"hello", r.randbytes(1000), good[: len(good) // 2], good[:50]]):
        path = tmp_path / f"bad{i}.onnx"
        path.write_bytes(body)
        refused(mlcc, tmp_path / "o", 3, f"bad{i}.onnx", arguments=(path, "-t", "x86_64-v3", "--shape", "x=1x3x8x8"))


def test_wrong_file_type_and_missing_file(tmp_path: Path, mlcc: Mlcc) -> None:
    for name, what in (("m.xyz", ".onnx"), ("m.txt", "not a model of LightGBM")):
        (tmp_path / name).write_text("x")
        refused(mlcc, tmp_path / "o", 3, what, arguments=(tmp_path / name, "-t", "native"))
    refused(mlcc, tmp_path / "o", 2, "no such file", arguments=(tmp_path / "none.onnx", "-t", "native"))
    refused(mlcc, tmp_path / "o", 2, "folder", arguments=(tmp_path, "-t", "native"))


def test_a_cycle(tmp_path: Path, mlcc: Mlcc) -> None:
    nodes = [
        helper.make_node("Add", ["x", "b"], ["a"], name="one"),
        helper.make_node("Relu", ["a"], ["b"], name="two"),
        helper.make_node("Relu", ["b"], ["y"]),
    ]
    refused(mlcc, tmp_path / "o", 3, "cycle", arguments=(save(tmp_path / "m.onnx", nodes), "-t", "native"))


def test_a_missing_initializer(tmp_path: Path, mlcc: Mlcc) -> None:
    refused(
        mlcc,
        tmp_path / "o",
        3,
        "w is used",
        "add",
        arguments=(save(tmp_path / "m.onnx", [helper.make_node("Add", ["x", "w"], ["y"], name="add")]), "-t", "native"),
    )


def test_wrong_dtypes(tmp_path: Path, mlcc: Mlcc) -> None:
    w = numpy_helper.from_array(np.ones(3, np.int64), "w")
    refused(
        mlcc,
        tmp_path / "o",
        3,
        "float32",
        "int64",
        "add",
        arguments=(save(tmp_path / "m.onnx", [helper.make_node("Add", ["x", "w"], ["y"], name="add")], [w]), "-t", "native"),
    )


@pytest.mark.parametrize("shape", [[-5, 3], [2, -3], [2**31, 2**31], [1, 2**40]])
def test_negative_and_huge_dims(tmp_path: Path, mlcc: Mlcc, shape: list[int]) -> None:
    path = save(tmp_path / "m.onnx", [RELU], shape=shape)
    done = mlcc("build", path, "-t", "native", "-o", tmp_path / "o")
    assert done.returncode in (0, 2, 3) if shape[0] == -5 else done.returncode in (2, 3), done.stderr
    assert "Traceback" not in done.stderr


def test_a_tensor_that_lies_about_its_size(tmp_path: Path, mlcc: Mlcc) -> None:
    w = numpy_helper.from_array(np.ones(6, np.float32), "w")
    w.dims[0] = 1000000
    refused(
        mlcc,
        tmp_path / "o",
        3,
        "w",
        arguments=(save(tmp_path / "m.onnx", [helper.make_node("Add", ["x", "w"], ["y"], name="add")], [w]), "-t", "native"),
    )


@pytest.mark.parametrize("location", ["../secret.bin", "/etc/passwd", "missing.bin", "short.bin"])
def test_external_data_stays_inside(tmp_path: Path, mlcc: Mlcc, location: str) -> None:
    (tmp_path / "secret.bin").write_bytes(bytes(24))
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "short.bin").write_bytes(bytes(8))
    w = TensorProto(name="w", data_type=F, dims=[2, 3], data_location=TensorProto.EXTERNAL)
    w.external_data.add(key="location", value=location)
    refused(
        mlcc,
        tmp_path / "o",
        3,
        "external data",
        arguments=(save(folder / "m.onnx", [helper.make_node("Add", ["x", "w"], ["y"], name="add")], [w]), "-t", "native"),
    )


def test_external_data_beside_the_model_is_read(tmp_path: Path, mlcc: Mlcc) -> None:
    w = TensorProto(name="w", data_type=F, dims=[2, 3], data_location=TensorProto.EXTERNAL)
    w.external_data.add(key="location", value="w.bin")
    (tmp_path / "w.bin").write_bytes(np.arange(6, dtype=np.float32).tobytes())
    path = save(tmp_path / "m.onnx", [helper.make_node("Add", ["x", "w"], ["y"], name="add")], [w])
    assert mlcc("build", path, "-t", "x86_64-v3", "-o", tmp_path / "o").returncode == 0


def test_unknown_operators_all_at_once(tmp_path: Path, mlcc: Mlcc) -> None:
    nodes = [
        helper.make_node("Reluu", ["x"], ["a"], name="first"),
        helper.make_node("FancyThing", ["a"], ["b"], domain="com.example"),
        helper.make_node("ImageDecoder", ["b"], ["y"]),
    ]
    refused(
        mlcc,
        tmp_path / "o",
        4,
        "Reluu",
        "nearest supported is Relu",
        "com.example::FancyThing",
        "ImageDecoder",
        arguments=(save(tmp_path / "m.onnx", nodes), "-t", "native"),
    )


def test_missing_shape_proposes_the_flag(tmp_path: Path, mlcc: Mlcc) -> None:
    path = save(tmp_path / "m.onnx", [RELU], shape=["N", "T", 4])
    refused(mlcc, tmp_path / "o", 2, "--shape x=1x1..512x4", arguments=(path, "-t", "native"))
    refused(mlcc, tmp_path / "o", 2, "no input is called z", "x", arguments=(path, "-t", "native", "--shape", "z=1x2"))
    refused(mlcc, tmp_path / "o", 2, "declares", arguments=(path, "-t", "native", "--shape", "x=1x2"))
    other = mlcc("build", path, "-t", "native", "--shape", "x=1x2x5", "-o", tmp_path / "other")
    assert other.returncode == 0 and "built as 1x2x5, where the file declares [N, T, 4]" in other.stdout
    refused(mlcc, tmp_path / "o", 2, "NAME=1x3x320x320", arguments=(path, "-t", "native", "--shape", "x=axb"))


def test_unknown_target_suggests(tmp_path: Path, mlcc: Mlcc, small_model: Path) -> None:
    refused(mlcc, tmp_path / "o", 2, "did you mean aarch64-linux", arguments=(small_model, "-t", "aarch64-linx"))
    (tmp_path / "t.toml").write_text('description = "x"\nbackend = "cpu"\n[kernel]\nmtriple = 5\n')
    refused(mlcc, tmp_path / "o", 2, "mtriple must be a str", "line 4", arguments=(small_model, "-t", tmp_path / "t.toml"))


def test_unwritable_output(tmp_path: Path, mlcc: Mlcc, small_model: Path) -> None:
    (tmp_path / "file").write_text("x")
    refused(mlcc, tmp_path / "file" / "below", 2, "cannot write", arguments=(small_model, "-t", "x86_64-v3", "--shape", "x=1x3x8x8"))


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small file system needs root")
def test_full_disk(tmp_path: Path, mlcc: Mlcc, small_model: Path) -> None:
    place = tmp_path / "small"
    place.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", place], capture_output=True).returncode:
        pytest.skip("cannot mount here")
    try:
        done = mlcc("build", small_model, "-t", "x86_64-linux", "--shape", "x=1x3x8x8", "-o", place / "o")
        assert done.returncode == 2 and "No space left" in done.stderr and "free some space" in done.stderr, done.stderr
        assert not [p for p in place.rglob("*") if p.is_file()]
    finally:
        subprocess.run(["umount", place], check=True)


def test_a_damaged_cache_is_a_miss(tmp_path: Path, small_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Damaged entries of every kind are made again, and nothing of them reaches an artifact."""
    cache, made = tmp_path / "cache", []
    (cache / "zig").parent.mkdir(parents=True)
    os.symlink(store.cache_folder() / "zig", cache / "zig")
    shutil.copytree(store.cache_folder() / "reference", cache / "reference")
    monkeypatch.setenv("MLCC_CACHE", str(cache))
    real = pipeline._build

    def counted(*arguments: object) -> object:
        made.append("built")
        return real(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(pipeline, "_build", counted)

    def build(out: str) -> dict[str, bytes]:
        made.clear()
        package.build(small_model, "x86_64-v3", {"x": (1, 3, 8, 8)}, tmp_path / out)
        return {p.name: p.read_bytes() for p in (tmp_path / out / "small/x86_64-v3/lib").iterdir() if p.is_file()}

    first = build("1")
    assert made == ["built"]
    assert build("2") == first and made == []
    entries = [p for p in (cache / "actions").rglob("*") if p.is_file()]
    assert len(entries) > 2  # the artifact, and kernels
    for p in entries:
        p.write_bytes(p.read_bytes()[:-3] + b"xyz")
    assert build("3") == first and made == ["built"]


def test_bad_keys(tmp_path: Path, mlcc: Mlcc, small_model: Path) -> None:
    (tmp_path / "k.pem").write_text("not a key")
    refused(
        mlcc, tmp_path / "o", 2, "not an unencrypted PEM private key", arguments=(small_model, "-t", "native", "--key", tmp_path / "k.pem")
    )
    refused(mlcc, tmp_path / "o", 2, "cannot read the signing key", arguments=(small_model, "-t", "native", "--key", tmp_path / "none.pem"))


def test_bad_project_files(tmp_path: Path, mlcc: Mlcc) -> None:
    assert "no mlcc.toml" in mlcc("build", cwd=tmp_path).stderr
    for text, word in (
        ("model = 3\ntargets = []", "must be a str"),
        ('model = "m.onnx"\ntargets = []', "list of names"),
        ("nonsense", "not valid TOML"),
        ('modle = "x"', "unknown key modle"),
        ('model = "m.onnx"\ntargets = ["native"]\n[shapes]\nx = [1.5]', "is no size"),
    ):
        (tmp_path / "mlcc.toml").write_text(text)
        done = mlcc("build", cwd=tmp_path)
        assert done.returncode == 2 and word in done.stderr, done.stderr


def test_bad_run_inputs(tmp_path: Path, mlcc: Mlcc, small_model: Path) -> None:
    import json

    path = json.loads(mlcc("build", small_model, "-t", "x86_64-v3", "--shape", "x=1x3x8x8", "-o", tmp_path / "o", "--json").stdout)[
        "artifacts"
    ][0]["path"]
    np.save(tmp_path / "wrong.npy", np.zeros((1, 2), np.float32))
    (tmp_path / "junk.npy").write_bytes(b"junk")
    for text, word in (
        (f"x={tmp_path / 'wrong.npy'}", "wanted"),
        (f"x={tmp_path / 'junk.npy'}", "not a .npy file"),
        ("z=random", "names no input"),
        (f"x={tmp_path / 'none.npy'}", "cannot read"),
    ):
        done = mlcc("run", path, "--input", text)
        assert done.returncode == 2 and word in done.stderr and "Traceback" not in done.stderr
    assert mlcc("run", tmp_path / "nowhere").returncode == 2
    assert mlcc("verify", tmp_path).returncode == 5


def test_a_compiler_that_is_not_there(tmp_path: Path, mlcc: Mlcc, small_model: Path) -> None:
    refused(
        mlcc,
        tmp_path / "o",
        6,
        "no such compiler",
        arguments=(small_model, "-t", "x86_64-v3", "--shape", "x=1x3x8x8", "--compiler", "no-such-cc"),
    )


def test_the_system_compiler_works_when_asked(tmp_path: Path, mlcc: Mlcc, small_model: Path) -> None:
    if shutil.which("gcc") is None:
        pytest.skip("no gcc here")
    assert mlcc("build", small_model, "-t", "native", "--shape", "x=1x3x8x8", "-o", tmp_path / "o", "--compiler", "gcc").returncode == 0


def test_python_calls_raise_the_same_errors(tmp_path: Path, small_model: Path) -> None:
    import mlcc

    with pytest.raises(mlcc.Error) as e:
        mlcc.build(small_model, target="nonsense", out=tmp_path)
    assert e.value.exit_code == 2
    with pytest.raises(mlcc.Error):
        mlcc.load(tmp_path)
    assert sys.modules["mlcc"] is mlcc


def test_names_that_no_depfile_can_hold(tmp_path: Path, mlcc: Mlcc) -> None:
    path = save(tmp_path / "a\nb.onnx", [RELU])
    done = mlcc("build", path, "-t", "c99", "-o", tmp_path / "d", "--depfile", tmp_path / "m.d")
    assert done.returncode == 2 and "no way to write" in done.stderr


def test_models_that_ask_for_too_much(tmp_path: Path, mlcc: Mlcc) -> None:
    """A few hundred bytes: refused before anything is allocated, with the option that allows it."""
    from benchmarks.bombs import cases

    made = dict(cases())
    small = "CumSum over 2^16"

    for_each = (
        ("Tile to 2^30", "value"), ("Expand to 2^31", "value"), ("Range to 2^40", "value"), ("Pad, mirrored, by 2^31", "value"), ("OneHot of depth 2^40", "value"),
        ("Resize by 2^20, cubic", "value"), ("MatMul of 10000² constants", "work"), ("functions, 60 deep", "operators"), ("functions of nothing, 60 deep", "operators"),
        ("loops, 3 deep, 4096 times", "operators"), ("LSTM of 200000 steps, 1 wide", "operators"), ("MaxPool of 1073741824", "value"), ("TopK of 2^16", "work"),
        ("ConvTranspose with stride 256", "work"),
    )  # fmt: skip
    for name, limit in for_each:
        onnx.save(made[name](), tmp_path / "large.onnx")
        done = mlcc("build", tmp_path / "large.onnx", "-t", "c99", "-o", tmp_path / "d", memory=6 << 30)
        assert done.returncode == 4 and (f"--limit {limit}=" in done.stderr or "2^31" in done.stderr), (name, done.stderr)
    onnx.save(made[small](), tmp_path / "m.onnx")
    refused(mlcc, tmp_path / "d", 4, "--limit value=", arguments=(tmp_path / "m.onnx", "-t", "c99", "--limit", "value=64K"))
    refused(mlcc, tmp_path / "d", 2, "is no limit", arguments=(tmp_path / "m.onnx", "-t", "c99", "--limit", "time=1"))
    assert (
        mlcc("build", tmp_path / "m.onnx", "-t", "c99", "--limit", "value=1M", "--limit", "work=1G", "-o", tmp_path / "d").returncode == 0
    )


def test_functions_that_call_themselves(tmp_path: Path, mlcc: Mlcc) -> None:
    body = helper.make_function("f", "R", ["a"], ["b"], [helper.make_node("R", ["a"], ["b"], domain="f")], [helper.make_opsetid("f", 1)])
    ends = [helper.make_tensor_value_info(n, F, [2]) for n in "xy"]
    graph = helper.make_graph([helper.make_node("R", ["x"], ["y"], domain="f")], "g", ends[:1], ends[1:])
    imports = [helper.make_opsetid("", 17), helper.make_opsetid("f", 1)]
    onnx.save(helper.make_model(graph, opset_imports=imports, functions=[body], ir_version=9), tmp_path / "m.onnx")
    refused(mlcc, tmp_path / "d", 3, "calls itself", arguments=(tmp_path / "m.onnx", "-t", "c99"))
