"""What counts as rounding between two runtimes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

FACTOR = 64.0  # times the noise: what still counts as rounding
FLOOR = 2.0**-13  # of an output's largest number, where the judge shows no noise: other orders of summing than its own
COARSE = 2.0**-4  # the same where our arithmetic is coarser on purpose: bf16 products, requantisation by one rounding
UNITS = {"float16": 2.0**-9, "bfloat16": 2.0**-6}  # what is rounding in them, twice of which is allowed
STEPS = 2  # of a quantised output


def moved(a: np.ndarray, seed: int) -> np.ndarray:
    """Floats each a unit in the last place up, down or as they are."""
    if a.dtype.kind != "f":
        return a
    way = np.random.default_rng(seed).integers(-1, 2, a.shape)
    with np.errstate(all="ignore"):
        return np.where(way == 0, a, np.nextafter(a, np.where(way > 0, np.inf, -np.inf).astype(a.dtype))).astype(a.dtype)


def difference(
    ours: np.ndarray, theirs: np.ndarray, again: Sequence[np.ndarray], coarse: bool, floor: float = FLOOR, step: float = 0.0
) -> tuple[float, str]:
    """(the largest difference that is allowed, what is wrong or '')."""
    if ours.shape != theirs.shape:
        return 0.0, f"has shape {list(ours.shape)}, not {list(theirs.shape)}"
    again = [n for n in again if n.shape == theirs.shape]
    if ours.dtype.kind in "biu" and theirs.dtype.kind in "biu":
        steady = np.ones(theirs.shape, bool)
        for n in again:
            steady &= n == theirs
        gap = np.abs(ours.astype(np.float64) - theirs.astype(np.float64))[steady]
        if coarse and ours.dtype.itemsize == 1 and ours.dtype.kind != "b":
            spread = max((float(np.abs(n.astype(np.float64) - theirs).max(initial=0)) for n in again), default=0.0)
            most = float(gap.max(initial=0))
            limit = STEPS + 2 * spread + 8 * COARSE
            return limit, f"is off by {most:g} steps" if most > limit else ""
        share = float((gap > 0).mean()) if gap.size else 0.0
        loose = 0.02 if coarse or not steady.all() else 0.002 * (gap.size > 500)
        return loose, f"differs in {share:.2%} of its elements" if share > loose else ""
    a, b = ours.astype(np.float64), theirs.astype(np.float64)
    finite, other = np.isfinite(a), np.isfinite(b)
    for n in again:  # what is not finite in every run says nothing
        other &= np.isfinite(n.astype(np.float64)) | ~np.isfinite(b)
    if (finite != np.isfinite(b)).any() and (finite != other).any():
        return 0.0, "is not finite where it should be, or the other way round"
    both = finite & other
    if not both.any():
        return 0.0, ""
    if coarse:  # a requantisation that falls on the other side of a half moves single elements by whole steps
        size, off = (float(np.sqrt(np.mean(np.square(v[both])))) for v in (b, a - b))
        spread = max((float(np.sqrt(np.mean(np.square((n.astype(np.float64) - b)[both])))) for n in again), default=0.0)
        spread = spread if np.isfinite(spread) else 0.0
        allowed = FACTOR * spread + COARSE * size + step
        return allowed, f"is off by {off:.3g} (root of mean square), where {allowed:.3g} would be rounding" if off > allowed else ""
    size = float(np.abs(b[both]).max())
    spread = max(
        (float(np.abs(n.astype(np.float64) - b)[both & np.isfinite(n.astype(np.float64))].max(initial=0)) for n in again), default=0.0
    )
    unit = {2: UNITS["float16" if theirs.dtype == np.float16 else "bfloat16"]}.get(theirs.dtype.itemsize, 0.0)
    allowed = FACTOR * spread + max(floor, 2 * unit) * size
    off = float(np.abs(a - b)[both].max())
    return allowed, f"is off by {off:.3g}, where {allowed:.3g} would be rounding" if off > allowed else ""
