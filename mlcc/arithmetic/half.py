"""Numbers of binary32 that are float16."""

from __future__ import annotations

import numpy as np


def half(a: np.ndarray) -> np.ndarray | None:
    """A finite float32 array as the float16 numbers that it holds; None where it holds others."""
    if a.dtype != np.float32 or not np.isfinite(a).all():
        return None
    with np.errstate(over="ignore"):
        found = a.astype(np.float16)
    return found if found.astype(np.float32).tobytes() == a.tobytes() else None
