"""Arrays in .npy files."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mlcc.core.graph import DTYPES
from mlcc.core.narrow import LETTERS, TEXTS, coded, meant, shown
from mlcc.error import Error


def npy(array: np.ndarray) -> bytes:
    """An array as a .npy file; bfloat16 as its bits."""
    out = io.BytesIO()
    np.save(out, array.view(np.uint16) if array.dtype.itemsize == 2 and array.dtype.kind == "V" else array, allow_pickle=False)
    return out.getvalue()


def readable(outputs: Mapping[str, np.ndarray], declared: Sequence[Any]) -> dict[str, np.ndarray]:
    """An artifact's outputs as people want them: cut to what is meant, text as text; narrow types stay codes, which .npy files can hold."""
    about = {t["name"]: t for t in declared}
    kept = shown({n: [(axis, size) for axis, size in t.get("counts", ())] for n, t in about.items()}, outputs)
    return {n: _text(a, about[n]) if about[n].get("element") in TEXTS else a for n, a in kept.items()}


def _text(array: np.ndarray, about: Mapping[str, Any]) -> np.ndarray:
    return meant(array, about["element"], about.get("labels", ())).astype(str)


def read_npy(path: Path, dtype: str, shape: tuple[int | None, ...], element: str = "") -> np.ndarray:
    """A file's array in the wanted type (shape: None where any extent will do; text where letters are wanted). Raises Error(usage) where
    the file is none or has another shape, or numbers that the type lacks."""
    try:
        array = np.load(path, allow_pickle=False)
    except OSError as e:
        raise Error("usage", f"cannot read: {e.strerror or e}", str(path)) from None
    except (Exception, MemoryError) as e:  # headers are Python expressions: anything may be wrong with them
        raise Error("usage", f"not a .npy file: {e}", str(path)) from None
    if isinstance(array, np.ndarray) and array.dtype.kind == "U" and element == LETTERS:
        array = coded(array, element, width=shape[-1] or 0)
    fits = isinstance(array, np.ndarray) and len(array.shape) == len(shape) and all(n in (None, m) for n, m in zip(shape, array.shape))
    if not fits or array.dtype.kind not in "fiub":
        given = f"{array.dtype}{list(array.shape)}" if isinstance(array, np.ndarray) else "no array"
        raise Error("usage", f"{given} given, {dtype}{['?' if n is None else n for n in shape]} wanted", str(path))
    with np.errstate(all="ignore"):
        found = array.astype(DTYPES[dtype])
        if array.dtype.kind in "iub" and DTYPES[dtype].kind in "iu" and not np.array_equal(found.astype(array.dtype), array):
            raise Error("usage", f"numbers that {dtype} cannot hold", str(path))
    return found
