"""Arrays in files."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import ml_dtypes
import numpy as np

from mlcc.artifact.arrays import npy, read_npy, readable
from mlcc.core.narrow import LETTERS, TEXTS, coded
from tests.artifact.checks.support import refused

LABELS = next(t for t in TEXTS if t != LETTERS)


def test_outputs_as_people_want_them(tmp_path: Path) -> None:
    about = [
        {"name": "y", "dtype": "float32", "shape": [4, 2], "counts": [(0, "n")]}, {"name": "n", "dtype": "int64", "shape": []},
        {"name": "label", "dtype": "int32", "shape": [3], "element": LABELS, "labels": ["cat", "dog"]},
        {"name": "t", "dtype": "uint8", "shape": [2, 5], "element": LETTERS}, {"name": "q", "dtype": "int8", "shape": [2], "element": "int4"},
    ]  # fmt: skip
    words = np.array(["ab", "ü"])
    codes = coded(words, LETTERS, width=5)
    outputs = {
        "y": np.arange(8.0).reshape(4, 2),
        "n": np.int64(3),
        "label": np.array([1, 0, 1]),
        "t": codes,
        "q": np.array([-8, 7], np.int8),
    }
    found = readable({k: np.asarray(v) for k, v in outputs.items()}, about)
    assert found["y"].tolist() == [[0, 1], [2, 3], [4, 5]] and found["q"].tolist() == [-8, 7] and "n" not in found
    assert found["label"].tolist() == ["dog", "cat", "dog"] and found["t"].tolist() == ["ab", "ü"]
    assert {found[k].dtype.kind for k in ("label", "t")} == {"U"}
    unknown = readable({"label": outputs["label"]}, [{k: v for k, v in about[2].items() if k != "labels"}])
    assert unknown["label"].tolist() == [""] * 3
    np.save(tmp_path / "w.npy", words.reshape(1, 2))
    assert np.array_equal(read_npy(tmp_path / "w.npy", "uint8", (1, 2, 5), LETTERS), codes[None])
    np.save(tmp_path / "t.npy", words)
    assert np.array_equal(read_npy(tmp_path / "t.npy", "uint8", codes.shape, LETTERS), codes)
    assert "<U2[2] given" in refused("usage", "given", read_npy, tmp_path / "t.npy", "uint8", (2, 5)).what
    np.save(tmp_path / "n.npy", np.ones((2, 5)))
    assert read_npy(tmp_path / "n.npy", "uint8", (2, 5), LETTERS).tolist() == [[1] * 5] * 2
    assert "float64[2, 5] given, int8[2, '?', 1] wanted" in refused("usage", "", read_npy, tmp_path / "n.npy", "int8", (2, None, 1)).what


def test_arrays(tmp_path: Path) -> None:
    def read(array: np.ndarray, dtype: str, shape: tuple[int, ...]) -> np.ndarray:
        (tmp_path / "a.npy").write_bytes(npy(array))
        return read_npy(tmp_path / "a.npy", dtype, shape)

    assert np.array_equal(read(np.arange(6).reshape(2, 3), "float32", (2, 3)), np.arange(6, dtype=np.float32).reshape(2, 3))
    assert read(np.array([-1, 2]), "int8", (2,)).dtype == np.int8 and read(np.array(2.7), "int32", ()) == 2
    halves = np.array([1.5, -2], ml_dtypes.bfloat16)
    assert np.array_equal(np.load(BytesIO(npy(halves))), halves.view(np.uint16))
    for value in (300, -129):
        error = refused("usage", "numbers that int8 cannot hold", read, np.array([value]), "int8", (1,))
        assert error.where.endswith("a.npy")
    refused("usage", "numbers that uint8 cannot hold", read, np.array([-1]), "uint8", (1,))
    assert "float64[2] given, float32[3] wanted" in refused("usage", "given", read, np.zeros(2), "float32", (3,)).what
    refused("usage", "given", read, np.array(["x"]), "float32", (1,))
    (tmp_path / "bad").write_bytes(b"none")
    refused("usage", "not a .npy file", read_npy, tmp_path / "bad", "float32", ())
    refused("usage", "cannot read: No such file", read_npy, tmp_path / "nothing", "float32", ())
    np.savez(tmp_path / "z.npz", a=np.zeros(2))
    refused("usage", "no array given", read_npy, tmp_path / "z.npz", "float32", (2,))
    np.save(tmp_path / "o.npy", np.array([{}]), allow_pickle=True)
    refused("usage", "not a .npy file", read_npy, tmp_path / "o.npy", "float32", (1,))
