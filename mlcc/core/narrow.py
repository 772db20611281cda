"""ONNX's types of eight bits and fewer that no processor computes in: float8, float6, float4, int4, int2.

In a core graph their values are codes: floats as bytes, small integers as int8 or uint8 (`mlcc.graph.narrow` reads and writes them); arrays
at the interface and in files are ml_dtypes'. Text is held likewise: as its place in the model's vocabulary.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import ml_dtypes
import numpy as np

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


def numpy_type(element: str) -> np.dtype:
    """The NumPy type of a narrow one."""
    return np.dtype(getattr(ml_dtypes, element))


def held(element: str) -> str:
    """The core type that holds a narrow one."""
    return "int32" if element == TEXT else "int8" if element in ("int4", "int2") else "uint8"


def coded(array: np.ndarray, element: str, labels: Sequence[str] = (), others: dict[str, int] | None = None) -> np.ndarray:
    """A narrow array, or text, as a core graph holds it. Text that `labels` lack gets −1, −2, … in `others`, which one run shares."""
    if element == TEXT:
        known, new = {w: i for i, w in enumerate(labels)}, {} if others is None else others
        found = [known[w] if w in known else new.setdefault(w, -1 - len(new)) for w in map(str, array.ravel().tolist())]
        return np.array(found, np.int32).reshape(array.shape)
    return np.ascontiguousarray(array).view(np.uint8).reshape(array.shape) if element in FLOATS else array.astype(held(element))


def meant(array: np.ndarray, element: str, labels: Sequence[str] = (), others: Mapping[str, int] | None = None) -> np.ndarray:
    """What the codes of a core graph stand for: an array of ml_dtypes' narrow type, or of text."""
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
