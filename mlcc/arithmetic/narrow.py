"""Numbers of binary32 that are float16, or whole multiples of a scale."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np


def half(a: np.ndarray) -> np.ndarray | None:
    """A finite float32 array as the float16 numbers that it holds; None where it holds others."""
    if a.dtype != np.float32 or not np.isfinite(a).all():
        return None
    with np.errstate(over="ignore"):
        found = a.astype(np.float16)
    return found if found.astype(np.float32).tobytes() == a.tobytes() else None


def scales(largest: np.float32, most: int) -> Iterator[np.float32]:
    """Normal numbers of which `largest`, a positive one, is the k-th multiple, rounded once: k from `most` down to 1."""
    for k in range(most, 0, -1):
        near = np.float32(largest / np.float32(k))
        for scale in (near, np.nextafter(near, np.float32(0)), np.nextafter(near, largest)):
            if scale >= 2.0**-126 and np.float32(k) * scale == largest:
                yield scale
