"""Caches hold nothing that is believed: stale, foreign and altered entries are never shipped."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

import mlcc
from mlcc import finished
from mlcc.cache import store
from mlcc.error import Error
from tests.conftest import Mlcc


def external(name: str, location: str, folder: Path, values: list[float]) -> onnx.TensorProto:
    (folder / location).parent.mkdir(exist_ok=True)
    (folder / location).write_bytes(np.asarray(values, np.float32).tobytes())
    t = onnx.TensorProto(name=name, data_type=TensorProto.FLOAT, dims=[len(values)], data_location=TensorProto.EXTERNAL)
    t.external_data.add(key="location", value=location)
    return t


def model(folder: Path, kind: str) -> Path:
    """y = x + w, the weights in a file below, named by an initializer, a Constant, a branch or a function."""
    x, y = (helper.make_tensor_value_info(n, TensorProto.FLOAT, [4]) for n in "xy")
    w = external("w", "sub/w.bin", folder, [1, 2, 3, 4])
    functions, nodes, initial = [], [helper.make_node("Add", ["x", "w"], ["y"])], [w]
    if kind == "constant":
        nodes, initial = [helper.make_node("Constant", [], ["w"], value=w), *nodes], []
    if kind == "branch":
        there = helper.make_graph(
            [helper.make_node("Identity", ["w"], ["a"])], "a", [], [helper.make_tensor_value_info("a", TensorProto.FLOAT, [4])], [w]
        )
        other = helper.make_graph(
            [helper.make_node("Neg", ["x"], ["b"])], "b", [], [helper.make_tensor_value_info("b", TensorProto.FLOAT, [4])]
        )
        less = [
            helper.make_node("ReduceSum", ["x"], ["t"], keepdims=0),
            helper.make_node("IsNaN", ["t"], ["c"]),
            helper.make_node("Not", ["c"], ["d"]),
        ]
        nodes, initial = (
            [*less, helper.make_node("If", ["d"], ["z"], then_branch=there, else_branch=other), helper.make_node("Add", ["x", "z"], ["y"])],
            [],
        )
    if kind == "function":
        body = [helper.make_node("Constant", [], ["w"], value=w), helper.make_node("Add", ["x", "w"], ["y"])]
        functions = [helper.make_function("own", "F", ["x"], ["y"], body, [helper.make_opsetid("", 17)])]
        nodes, initial = [helper.make_node("F", ["x"], ["y"], domain="own")], []
    graph = helper.make_graph(nodes, "g", [x], [y], initial)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17), helper.make_opsetid("own", 1)], functions=functions)
    made.ir_version = 9
    (folder / "m.onnx").write_bytes(made.SerializeToString())
    return folder / "m.onnx"


def cached(path: Path, out: Path, **options: object) -> dict[str, object]:
    return mlcc.build(path, target="native", out=out, judge=False, **options)


@pytest.mark.parametrize("kind", ["initializer", "constant", "branch", "function"])
def test_external_data_counts_wherever_it_is_named(kind: str, tmp_path: Path) -> None:
    path = model(tmp_path, kind)
    first = cached(path, tmp_path / "o")
    assert cached(path, tmp_path / "o")["output_digest"] == first["output_digest"]
    (tmp_path / "sub/w.bin").write_bytes(np.full(4, 9, np.float32).tobytes())
    second = cached(path, tmp_path / "o")
    assert second["output_digest"] != first["output_digest"]
    assert np.array_equal(mlcc.load(second["artifacts"][0]["path"])(x=np.zeros(4, np.float32))["y"], np.full(4, 9))  # type: ignore[index]


def test_data_beside_a_link_or_beside_what_it_points_to(tmp_path: Path) -> None:
    """The Hugging Face cache: snapshots are links into a folder of blobs."""
    repository = tmp_path / "models--a--b"
    blobs, snapshot = repository / "blobs", repository / "snapshots" / "1"
    for f in (blobs, snapshot):
        f.mkdir(parents=True)
    path = model(tmp_path, "initializer")
    shutil.move(path, blobs / "aa")
    shutil.move(tmp_path / "sub" / "w.bin", blobs / "bb")
    (snapshot / "sub").mkdir()
    os.symlink("../../blobs/aa", snapshot / "m.onnx")
    os.symlink("../../../blobs/bb", snapshot / "sub" / "w.bin")
    assert cached(snapshot / "m.onnx", tmp_path / "o")
    (snapshot / "sub" / "w.bin").unlink()
    (blobs / "sub").mkdir()
    shutil.move(blobs / "bb", blobs / "sub" / "w.bin")
    assert cached(snapshot / "m.onnx", tmp_path / "o2")
    (blobs / "sub" / "w.bin").unlink()
    os.symlink("/etc/hostname", snapshot / "sub" / "w.bin")
    with pytest.raises(mlcc.Error, match="outside the model's folder"):
        cached(snapshot / "m.onnx", tmp_path / "o3")


@pytest.fixture
def entries(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, list[Path]]:
    """Finished artifacts of two models, each under its key."""
    shared = store.cache_folder()
    own = tmp_path / "cache"
    own.mkdir()
    for helper_ in ("zig", "reference", "translation"):
        if (shared / helper_).exists():
            os.symlink(shared / helper_, own / helper_)
    monkeypatch.setenv("MLCC_CACHE", str(own))
    found = []
    for i in (1, 2):
        folder = tmp_path / str(i)
        folder.mkdir()
        path = model(folder, "initializer")
        (folder / "sub/w.bin").write_bytes(np.full(4, i, np.float32).tobytes())
        before = set((own / "actions").rglob("*"))
        cached(path, folder / "o")
        # the artifact is the one entry that holds a layout
        new = [p for p in set((own / "actions").rglob("*")) - before if p.is_file() and b'"layout/' in p.read_bytes()[:200_000]]
        assert len(new) == 1
        found += new
    return tmp_path, found


def key(path: Path) -> str:
    return path.parent.name + path.name


def test_another_models_artifact_is_not_shipped(entries: tuple[Path, list[Path]]) -> None:
    folder, (first, second) = entries
    body = second.read_bytes()
    first.write_bytes(body)  # as it is
    made = cached(folder / "1" / "m.onnx", folder / "again")
    assert json.loads((Path(made["artifacts"][0]["path"]) / "manifest.json").read_text())["model_digest"] != _digest(second)  # type: ignore[index]
    first.unlink()
    store.Store(first.parents[1]).put(key(first), body[32:])  # under this key, by one who knows how
    made = cached(folder / "1" / "m.onnx", folder / "again")
    root = Path(made["artifacts"][0]["path"])  # type: ignore[index]
    assert np.array_equal(mlcc.load(root)(x=np.zeros(4, np.float32))["y"], np.full(4, 1))
    assert made["output_digest"] == json.loads((root / "manifest.json").read_text())["output_digest"]


def _digest(entry: Path) -> str:
    return str(json.loads(bytes(finished.thaw(memoryview(entry.read_bytes()[32:])).files["manifest.json"]))["model_digest"])


@pytest.mark.parametrize("part", ["library", "layout", "summary", "cut"])
def test_an_altered_entry_is_not_shipped(part: str, entries: tuple[Path, list[Path]]) -> None:
    """With its digest made to fit, too."""
    folder, (first, _) = entries
    want = cached(folder / "1" / "m.onnx", folder / "before")
    built = finished.thaw(memoryview(first.read_bytes()[32:]))
    files, layout, summary = dict(built.files), dict(built.layout), json.loads(json.dumps(built.summary))
    if part == "library":
        name = next(n for n in files if n.endswith(".so"))
        body = bytearray(files[name])
        body[len(body) // 2] ^= 1
        files[name] = bytes(body)
    elif part == "layout":
        name = max(layout, key=lambda n: len(layout[n]))
        layout[name] = bytes(layout[name])[:-1] + b"!"
    elif part == "summary":
        summary["output_digest"] = "0" * 64
    altered = finished.freeze(type(built)(summary, files, layout))
    store.Store(first.parents[1]).put(key(first), altered if part != "cut" else altered[:100])
    assert cached(folder / "1" / "m.onnx", folder / "after") | {"seconds": 0, "artifacts": 0} == want | {"seconds": 0, "artifacts": 0}
    for name in ("libm.so",):
        assert (folder / "after/m/native/lib" / name).read_bytes() == (folder / "before/m/native/lib" / name).read_bytes()


def test_a_full_cache_leaves_no_litter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    found = store.Store(tmp_path)
    assert found.put("ab" * 32, b"body") == b"body" and found.get("ab" * 32) is None
    assert not [p for p in tmp_path.rglob("*") if p.is_file()]


def test_the_store_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was used longest ago goes first; what killed processes left behind goes after a day."""
    from mlcc.cache import bound

    folder = tmp_path / "actions"
    kept, keys = store.Store(folder), [store.key_of(str(i)) for i in range(6)]
    for i, key in enumerate(keys):
        kept.put(key, bytes(1000))
        os.utime(kept._path(key), (1_000_000 + i, 1_000_000 + i))
    assert kept.get(keys[0]) is not None  # used again
    left = kept._path(keys[1]).with_name("tmpleft")
    left.write_bytes(b"x")
    os.utime(left, (1, 1))
    monkeypatch.setenv("MLCC_CACHE_LIMIT", "3K")
    bound.keep(folder)
    assert not left.exists() and sum(e.bytes for e in bound.entries(folder)) <= 3072
    assert [kept.get(k) is not None for k in keys] == [True, False, False, False, False, True]
    monkeypatch.setenv("MLCC_CACHE_LIMIT", "much")
    with pytest.raises(Error, match="is no size"):
        bound.limit()


def test_the_cache_command(tmp_path: Path, mlcc: Mlcc) -> None:
    kept, key = store.Store(tmp_path / "actions"), store.key_of("x")
    kept.put(key, b"body")
    said = json.loads(mlcc("cache", "--json", MLCC_CACHE=str(tmp_path)).stdout)
    assert said["entries"] == 1 and said["bytes"] == 36
    assert mlcc("cache", "verify", MLCC_CACHE=str(tmp_path)).returncode == 0
    path = kept._path(key)
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    done = mlcc("cache", "verify", MLCC_CACHE=str(tmp_path))
    assert done.returncode == 5 and "1 damaged" in done.stderr and not path.exists()
    kept.put(key, b"body")
    assert mlcc("cache", "clear", MLCC_CACHE=str(tmp_path)).returncode == 0 and kept.get(key) is None
