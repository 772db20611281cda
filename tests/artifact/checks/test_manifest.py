"""Manifests."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mlcc.artifact import manifest
from mlcc.core.narrow import LETTERS, TEXTS
from tests.artifact.checks.support import refused

LABELS = next(t for t in TEXTS if t != LETTERS)
GOOD: dict[str, Any] = {
    "mlcc": 1, "name": "m", "model": "m", "model_digest": "", "program_digest": "", "output_digest": "", "target": "t", "class": "exact",
    "conformance": "passed", "instruction_sets": ["x"], "workspace_bytes": 0, "arena_bytes": 0, "library_bytes": 0, "constant_bytes": 0,
    "parameters": 0, "kernel_calls": 0, "inputs": [{"name": "x", "dtype": "float32", "shape": [2, 3]}],
    "outputs": [{"name": "y", "dtype": "int8", "shape": []}],
}  # fmt: skip


SIZE = {"name": "n", "least": 1, "most": 8, "step": 1}


def manifested(folder: Path, data: Any) -> Any:
    folder.mkdir(exist_ok=True)
    (folder / "manifest.json").write_bytes(data if isinstance(data, bytes) else json.dumps(data).encode())
    return manifest.read(folder)


def test_good_manifests(tmp_path: Path) -> None:
    assert manifested(tmp_path, GOOD) == GOOD
    for more in ({"instructions": 0}, {"cycles": 5, "architectures": ["sm_80"], "operators": {}}, {"kernels": 2**48 - 1}, {"unknown": [1]}):
        manifested(tmp_path, {**GOOD, **more})
    assert manifest.signature(GOOD) == " float32[2,3] > int8[] > 0"  # type: ignore[arg-type]
    assert manifest.dumps({"b": 1, "a": ["ü"]}) == '{\n  "a": [\n    "ü"\n  ],\n  "b": 1\n}\n'.encode()
    with pytest.raises(ValueError):
        manifest.dumps(float("nan"))
    opened = {**GOOD, "inputs": tensors(shape=[8, 2], open=["n", 2]) + tensors(name="z", shape=[]), "outputs": tensors(open=["n*2"])}
    assert manifest.signature(opened) == " float32[n,2] float32[] > float32[n*2] > 0"  # type: ignore[arg-type]


def tensors(**change: Any) -> list[dict[str, Any]]:
    return [{"name": "x", "dtype": "float32", "shape": [2], **change}]


@pytest.mark.parametrize(
    "change",
    [
        {k: None} for k in GOOD if k != "mlcc"
    ]
    + [
        {"name": "1x"}, {"name": "a b"}, {"name": "x" * 92}, {"name": "a/../b"},
        *({k: v} for k in ("workspace_bytes", "instructions", "stack_bytes", "kernels") for v in (-1, 2**48, True, "1", 1.0)),
        {"instruction_sets": [1]}, {"instruction_sets": "x"}, {"architectures": [1]}, {"operators": []}, {"class": 1},
        *({"inputs": v} for v in (
            {}, [1], tensors(name=1), tensors(dtype="float"), tensors(dtype=1), tensors(shape=2), tensors(shape=[-1]), tensors(shape=[True]),
            tensors(shape=["2"]), tensors(shape=[1] * 65), tensors(shape=[2**16, 2**15]), tensors() * 2,
            tensors(element="float32"), tensors(element="int4"), tensors(element=["int4"]), tensors(dtype="int8", element="uint4"),
            tensors(open="2"), tensors(open={"n": 1}), tensors(open=[]), tensors(open=[1, 2]), tensors(open=[-1]), tensors(open=[["n"]]),
            tensors(open=["n" * 4096]), tensors(counts={}), tensors(counts=1), tensors(counts=["0n"]), tensors(counts=[[0]]),
            tensors(counts=[[0, "n", 1]]), tensors(counts=[["n", 0]]), tensors(counts=[[1, "n"]]), tensors(counts=[[-1, "n"]]),
            tensors(counts=[[0, 1]]), tensors(counts=[[True, "n"]]), tensors(counts=[{0: "n", 1: "m"}]),
        )),
        *({"sizes": v} for v in (
            {}, ["n"], [{}], *([{**SIZE, **change}] for change in (
                {"name": 1}, {"name": "1n"}, {"name": "a b"}, {"least": 0}, {"least": "1"}, {"most": True}, {"step": 0}, {"step": -1},
            )), *([{k: v for k, v in SIZE.items() if k != key}] for key in SIZE),
        )),
        {"outputs": tensors(dtype="complex64")},
    ],
)  # fmt: skip
def test_damaged_manifests(change: dict[str, Any], tmp_path: Path) -> None:
    error = refused("verification", "damaged", manifested, tmp_path, {**GOOD, **change})
    assert next(iter(change)) in error.what or "two inputs of one name" in error.what


def test_shapes_at_the_limits(tmp_path: Path) -> None:
    for shape in ([2**31 - 1], [1] * 64, [0, 2**40]):
        manifested(tmp_path, {**GOOD, "inputs": tensors(shape=shape)})
    for more in (
        {"dtype": "int8", "element": "int4"}, {"dtype": "uint8", "element": "float8_e4m3fn"}, {"open": ["n"]}, {"open": [2**48 - 1]},
        {"counts": []}, {"counts": [[0, "n"]]}, {"shape": [3, 2], "counts": [[0, "n"], [1, "m"]]},
    ):  # fmt: skip
        manifested(tmp_path, {**GOOD, "inputs": tensors(**more), "outputs": tensors(**more), "sizes": [SIZE, {**SIZE, "most": 2**48 - 1}]})
    manifested(tmp_path, {**GOOD, "outputs": tensors(open=["n" * 4095])})
    manifested(tmp_path, {**GOOD, "name": "x" * 91})
    for inputs in (tensors(open=["2*n"]), tensors(open=["m"])):
        refused("verification", "damaged: a size", manifested, tmp_path, {**GOOD, "inputs": inputs, "sizes": [SIZE]})


def test_no_manifest_at_all(tmp_path: Path) -> None:
    for version in ({}, {"mlcc": 2}, {"mlcc": None}):
        data = {k: v for k, v in GOOD.items() if k != "mlcc"} | version
        refused("verification", "another version", manifested, tmp_path, data)
    refused("verification", "another version", manifested, tmp_path, [1])
    refused("verification", "no readable", manifested, tmp_path, b"{")
    for key in GOOD:
        refused("verification", "version" if key == "mlcc" else key, manifested, tmp_path, {k: v for k, v in GOOD.items() if k != key})
    (tmp_path / "manifest.json").unlink()
    refused("verification", "no readable manifest.json", manifest.read, tmp_path)
    refused("usage", "no such artifact", manifest.read, tmp_path / "none")


def test_sizes_that_a_run_decides() -> None:
    inputs = tensors(shape=[8, 64, 3], open=["n", "m", 3]) + tensors(name="z", shape=[8, 5], open=["n", 5]) + tensors(name="w")
    sizes = [SIZE, {"name": "m", "least": 16, "most": 64, "step": 16}]
    data: Any = {**GOOD, "inputs": inputs, "sizes": sizes}
    shapes = {"x": (4, 32, 3), "z": (4, 5), "w": (2,)}
    assert list(manifest.sizes_given(data, shapes).items()) == [("n", 4), ("m", 32)]
    for n, m in ((1, 16), (8, 64)):
        assert manifest.sizes_given(data, {"x": (n, m, 3), "z": (n, 5), "w": (2,)}) == {"n": n, "m": m}
    for n, m in ((0, 16), (9, 16), (1, 15), (1, 65), (1, 80), (1, 24)):
        error = refused("usage", "", manifest.sizes_given, data, {"x": (n, m, 3), "z": (n, 5), "w": (2,)})
        assert data["name"] in str(error)
    assert "input z" in refused("usage", "another input", manifest.sizes_given, data, {**shapes, "z": (8, 5)}).where
    assert manifest.sizes_given(GOOD, {"x": (7, 7)}) == {}  # type: ignore[arg-type]
    assert [manifest.extents(t, {"n": 3, "m": 16}) for t in inputs] == [(3, 16, 3), (3, 5), (2,)]  # type: ignore[arg-type]
