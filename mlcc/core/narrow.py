"""ONNX's types of eight bits and fewer that no processor computes in: float8, float6, float4, int4, int2.

In a core graph their values are codes: floats as bytes, small integers as int8 or uint8 (`mlcc.graph.narrow` reads and writes them); arrays
at the interface and in files are ml_dtypes'. Text is held likewise: as its place in the model's vocabulary, or, where a model reads
letters, as code points along a last axis.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import ml_dtypes
import numpy as np

from mlcc.error import Error

INTEGERS = {"uint4": 4, "int4": 4, "uint2": 2, "int2": 2}  # bits
FLOATS = {
    "float8_e4m3fn": 8,
    "float8_e4m3fnuz": 8,
    "float8_e5m2": 8,
    "float8_e5m2fnuz": 8,
    "float8_e8m0fnu": 8,
    "float6_e2m3fn": 6,
    "float6_e3m2fn": 6,
    "float4_e2m1fn": 4,
}
ONNX_NARROW = {
    17: "float8_e4m3fn",
    18: "float8_e4m3fnuz",
    19: "float8_e5m2",
    20: "float8_e5m2fnuz",
    21: "uint4",
    22: "int4",
    23: "float4_e2m1fn",
    24: "float8_e8m0fnu",
    25: "uint2",
    26: "int2",
    27: "float6_e2m3fn",
    28: "float6_e3m2fn",
}
NARROW = (*FLOATS, *INTEGERS)
TEXT = "string"  # an int32: the place among the labels of its description, or a negative number that no other text of the same run has

LETTERS = "letters"  # text as int32 code points along one more axis, 0 behind its end
TEXTS = (TEXT, LETTERS)


def numpy_type(element: str) -> np.dtype:
    """The NumPy type of a narrow one."""
    return np.dtype(getattr(ml_dtypes, element))


def held(element: str) -> str:
    """The core type that holds a narrow one."""
    return "int32" if element in TEXTS else "int8" if element in ("int4", "int2") else "uint8"


def spelt(words: Sequence[str], width: int | None = None) -> np.ndarray:
    """int32 [words, width]: code points, 0 behind a text's end; wide enough for all where no width is given. Raises Error(usage) for text
    that does not fit."""
    most = max(map(len, words), default=0)
    if any("\0" in w for w in words):
        raise Error("usage", "text with a character 0 inside")
    if width is not None and most > width:
        long = max(words, key=len)
        raise Error("usage", f"text of {most} characters, {width} at most: {long[:40]!r}", hint="--shape NAME=…x128 builds for longer text")
    width = most if width is None else width
    found = np.zeros((len(words), width), np.int32)
    for row, word in zip(found, words):
        row[: len(word)] = [ord(c) for c in word]
    return found


def _read(row: list[int]) -> str:
    """The text of code points, up to the first 0; what is no character is U+FFFD."""
    points = row[: row.index(0)] if 0 in row else row
    return "".join(chr(c) if 0 < c < 0xD800 or 0xDFFF < c < 0x110000 else "\ufffd" for c in points)


def coded(array: np.ndarray, element: str, labels: Sequence[str] = (), others: dict[str, int] | None = None, width: int = 0) -> np.ndarray:
    """A narrow array, or text, as a core graph holds it. Text that `labels` lack gets −1, −2, … in `others`, which one run shares;
    width: of letters."""
    if element == LETTERS:
        return spelt([str(w) for w in array.ravel().tolist()], width).reshape(*array.shape, width)
    if element == TEXT:
        known, new = {w: i for i, w in enumerate(labels)}, {} if others is None else others
        found = [known[w] if w in known else new.setdefault(w, -1 - len(new)) for w in map(str, array.ravel().tolist())]
        return np.array(found, np.int32).reshape(array.shape)
    return np.ascontiguousarray(array).view(np.uint8).reshape(array.shape) if element in FLOATS else array.astype(held(element))


def meant(array: np.ndarray, element: str, labels: Sequence[str] = (), others: Mapping[str, int] | None = None) -> np.ndarray:
    """What the codes of a core graph stand for: an array of ml_dtypes' narrow type, or of text."""
    if element == LETTERS:
        found = np.empty(array.shape[:-1], object)
        found.ravel()[:] = [_read(row) for row in array.reshape(-1, array.shape[-1]).tolist()] if found.size else []
        return found
    if element == TEXT:
        words = {**{c: w for w, c in (others or {}).items()}, **dict(enumerate(labels))}
        out = np.empty(array.shape, object)
        out.ravel()[:] = [words.get(c, "") for c in array.ravel().tolist()]
        return out
    return array.view(numpy_type(element)) if element in FLOATS else array.astype(numpy_type(element))


BY_TYPE = {numpy_type(e): e for e in NARROW}


def element_of(array: np.ndarray) -> str:
    """The narrow type of an array, or ''."""
    return BY_TYPE.get(array.dtype, "")


def shown(counts: Mapping[str, Sequence[tuple[int, str]]], outputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Outputs cut to what is meant, without those that only say how much that is; counts: output → (axis, the output that says it)."""
    sizes = {size for c in counts.values() for _, size in c}
    found = {}
    for name, array in outputs.items():
        if name not in sizes:
            for axis, size in counts.get(name, ()):
                array = array[(*(slice(None),) * axis, slice(int(outputs[size])))]
            found[name] = array
    return found
