"""A monotone function from sums to small integers, as the cheapest integer formula that equals it everywhere.

A monotone step function is known by where it steps: `steps[c, i]`, the smallest sum whose result is low + i + 1 or more. A formula (sum ·
factor + offset) >> shift is monotone too, so it equals the function on the whole range if and only if it steps at the same places: for
every step x, it is at least the level at x and below it at x − 1. That is two linear conditions on (factor, offset) a step, and no more.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TypeVar

import numpy as np

from mlcc_backends.hls.network import Rounding

MOST_SHIFT = 40
MOST_EVEN = 20
EXCEPTIONS = 8  # a channel
MOVED = 3  # steps that are tried one off
Function = Callable[[np.ndarray], np.ndarray]  # [samples, channels] of int64 → the same shape
NEVER = np.iinfo(np.int64).max // 4


def steps_of(function: Function, low: np.ndarray, high: np.ndarray, least: int, most: int) -> np.ndarray:
    """[channels, most − least]: the smallest sum in low[c] … high[c] whose result is at least least + 1 + i; high[c] + 1 where there is
    none.

    By bisection of all levels of all channels at once; `function` must not decrease.
    """
    levels = np.arange(least + 1, most + 1)
    below = np.broadcast_to(low[:, None] - 1, (low.size, levels.size)).copy()
    above = np.broadcast_to(high[:, None] + 1, (low.size, levels.size)).copy()
    while (open_ := above - below > 1).any():
        middle = (below + above) // 2
        inside = np.clip(middle, low[:, None], high[:, None])
        reached = levels <= function(inside.T).T
        above = np.where(open_ & reached, middle, above)
        below = np.where(open_ & ~reached, middle, below)
    return above


def formula(steps: np.ndarray, low: np.ndarray, high: np.ndarray, least: int, most: int) -> Rounding | None:
    """The formula with the smallest shift for a function that steps so, the same shift for every channel; None where there is none.

    A product of floats is rounded before it is rounded to an integer, so that a step may be one off the line: such sums are `exceptions`.
    """
    asked = [_conditions(steps[c], int(low[c]), int(high[c]), least) for c in range(len(steps))]
    if (found := _first_even(asked)) is not None:
        return _rounding(found[0], least, most, found[1], True)
    fitted = [_fit(c, MOVED) for c in asked]
    least_shift = max((_least_shift(f[1]) for f in fitted if f is not None), default=MOST_SHIFT - 8)
    for shift in range(least_shift, min(least_shift + 4, MOST_SHIFT)):
        lines = [None if f is None else _offset(*f, shift) for f in fitted]
        if any(line is None and f is not None for line, f in zip(lines, fitted)):
            continue
        ties = [_doubled(_even(c, shift)) if line is None else _without_ties(line, shift) for line, c in zip(lines, asked)]
        if None in lines and all(t is not None for t in ties):
            return _rounding(ties, least, most, shift + 1, True)
        lines = [_nearest(c, shift) if line is None else line for line, c in zip(lines, asked)]
        return _with_exceptions(_rounding(lines, least, most, shift, False), steps, low, high)
    return None


def _doubled(line: tuple[int, int] | None) -> tuple[int, int] | None:
    return None if line is None else (2 * line[0], 2 * line[1])


def _without_ties(line: tuple[int, int], shift: int) -> tuple[int, int]:
    """A formula that rounds down, as one twice as fine that rounds to the nearest and never meets a half."""
    return 2 * line[0], 2 * line[1] + 1 - (1 << shift)


def _nearest(c: Conditions, shift: int) -> tuple[int, int]:
    """A line that meets as many conditions as one can: for channels with many ties."""
    slopes = _slopes(c)
    middle = (slopes[0] + min(slopes[1], 2 * slopes[0])) / 2
    best = (len(c.reach[0]) + len(c.below[0]) + 1, 0, 0)
    for factor in {int(np.floor(middle * 2.0**shift)), int(np.ceil(middle * 2.0**shift))}:
        lower = np.array([(int(q) << shift) - factor * int(x) for x, q in zip(*c.reach)])
        upper = np.array([(int(q) << shift) - factor * int(x) for x, q in zip(*c.below)])
        for offset in np.unique(np.concatenate([lower, upper - 1])):
            best = min(best, (int((lower > offset).sum() + (upper <= offset).sum()), factor, int(offset)))
    return best[1], best[2]


def _first_even(asked: Sequence[Conditions]) -> tuple[list[tuple[int, int] | None], int] | None:
    """Half-to-even formulas, for functions with ties that no other form fits."""
    if all(a < b for a, b in (_slopes(c) for c in asked[:1])):
        return None
    for shift in range(1, MOST_EVEN):
        found = []
        for c in asked:
            found.append(_even(c, shift))
            if found[-1] is None:
                break
        else:
            return found, shift
    return None


def _fit(c: Conditions, spare: int) -> tuple[Conditions, tuple[float, float]] | None:
    """Conditions that a line can meet, and its slopes: those asked for, less at most `spare` steps moved by one."""
    slopes = _slopes(c)
    if slopes[0] < slopes[1]:
        return c, slopes
    if not spare:
        return None
    for kind, i in _binding(c):
        x, q = getattr(c, kind)
        moved = x.copy()
        moved[i] += 1 if kind == "reach" else -1
        if (found := _fit(replace(c, **{kind: (moved, q)}), spare - 1)) is not None:
            return found
    return None


def _least_shift(slopes: tuple[float, float]) -> int:
    """The smallest shift with a whole factor between two slopes."""
    return next((s for s in range(MOST_SHIFT) if np.floor(slopes[0] * 2.0**s) + 1 < slopes[1] * 2.0**s), MOST_SHIFT - 1)


def _with_exceptions(made: Rounding, steps: np.ndarray, low: np.ndarray, high: np.ndarray) -> Rounding | None:
    """With the sums at which a formula is wrong; None where it is wrong at too many."""
    assert made.factor is not None
    channels = len(steps)
    at = np.concatenate([steps + d for d in (-2, -1, 0, 1)] + [low[:, None], high[:, None]], axis=1)
    at = np.clip(at, low[:, None], high[:, None])
    got = apply(made, at.T).T
    want = np.stack([made.low + np.searchsorted(steps[c], at[c], "right") for c in range(channels)])
    wrong = [sorted({(int(at[c, i]), int(want[c, i] - got[c, i])) for i in np.flatnonzero(want[c] != got[c])}) for c in range(channels)]
    most = max(len(w) for w in wrong)
    if most > EXCEPTIONS or any(abs(d) != 1 for w in wrong for _, d in w):
        return None
    if not most:
        return made
    table = np.full((channels, most, 2), 0, np.int64)
    table[:, :, 0] = NEVER
    for c, each in enumerate(wrong):
        for k, pair in enumerate(each):
            table[c, k] = pair
    return replace(made, exceptions=table)


@dataclass(frozen=True)
class Conditions:
    """value(x) ≥ q for each of `reach`, value(x) < q for each of `below`: pairs (x, q), in order of x."""

    reach: tuple[np.ndarray, np.ndarray]
    below: tuple[np.ndarray, np.ndarray]

    @cached_property
    def hulls(self) -> tuple[list[int], list[int]]:
        """Which of them bind a line: above what it must reach, below what it must not."""
        return _hull(*self.reach, 1), _hull(*self.below, -1)

    def corners(self) -> tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]:
        (x, q), (y, p), (i, j) = self.reach, self.below, self.hulls
        return (x[i], q[i]), (y[j], p[j])


def _hull(x: np.ndarray, q: np.ndarray, side: int) -> list[int]:
    """Indices of the upper (side 1) or lower (−1) convex hull of points in order of x (Andrew, "Another efficient algorithm for convex
    hulls", 1979)."""
    kept: list[tuple[int, int, int]] = []
    for i, (a, b) in enumerate(zip(x.tolist(), q.tolist())):
        while len(kept) > 1:
            (u, v, _), (m, n, _) = kept[-2:]
            if side * ((m - u) * (b - v) - (n - v) * (a - u)) < 0:
                break
            kept.pop()
        kept.append((a, b, i))
    return [i for _, _, i in kept]


def _conditions(steps: np.ndarray, low: int, high: int, least: int) -> Conditions:
    inside = (steps > low) & (steps <= high)
    x, q = steps[inside], least + 1 + np.flatnonzero(inside)
    first, last = least + int((steps <= low).sum()), least + int((steps <= high).sum()) + 1
    # a channel's own first and last level count only where the clamp does not see to them
    reach = (np.concatenate([[low], x]), np.concatenate([[first], q])) if first > least else (x, q)
    below = (np.concatenate([x - 1, [high]]), np.concatenate([q, [last]])) if last <= least + len(steps) else (x - 1, q)
    return Conditions(reach, below)


def _slopes(c: Conditions) -> tuple[float, float]:
    """factor / 2^shift lies between these: offset eliminated from every pair of conditions (Fourier and Motzkin)."""
    if not len(c.reach[0]) or not len(c.below[0]):
        return 0.0, np.inf
    lower, upper = _pairs(c)
    return max(0.0, float(lower.max(initial=0.0))), float(upper.min(initial=np.inf))


def _pairs(c: Conditions) -> tuple[np.ndarray, np.ndarray]:
    """What each pair of conditions on the hulls says of the slope: at least, and at most."""
    (x, q), (y, p) = c.corners()
    run, rise = (y[None, :] - x[:, None]).astype(np.float64), (p[None, :] - q[:, None]).astype(np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        slope = rise / run
    return np.where(run < 0, slope, np.where((run == 0) & (rise <= 0), np.inf, -np.inf)), np.where(run > 0, slope, np.inf)


def _binding(c: Conditions) -> list[tuple[str, int]]:
    """The conditions that contradict each other most."""
    lower, upper = _pairs(c)
    (i, j), (k, m) = (np.unravel_index(a, lower.shape) for a in (lower.argmax(), upper.argmin()))
    reach, below = c.hulls
    return [("reach", int(reach[i])), ("below", int(below[j])), ("reach", int(reach[k])), ("below", int(below[m]))]


def _offset(c: Conditions, slopes: tuple[float, float], shift: int) -> tuple[int, int] | None:
    """(factor, offset) of one channel for a shift; checked in integers."""
    reach, below = c.corners()
    first = int(np.floor(slopes[0] * 2.0**shift))
    last = int(min(np.ceil(slopes[1] * 2.0**shift), first + 4))
    for factor in range(max(0, first), max(last, first) + 1):
        lower = max(((int(q) << shift) - factor * int(x) for x, q in zip(*reach)), default=None)
        upper = min(((int(q) << shift) - factor * int(x) for x, q in zip(*below)), default=None)  # exclusive
        if lower is None:
            lower = 0 if upper is None else upper - (1 << shift)
        if upper is None:
            upper = lower + (1 << shift)
        if lower < upper:
            return factor, _roundest(lower, upper)
    return None


def _even(c: Conditions, shift: int) -> tuple[int, int] | None:
    """The same where halves go to the even neighbour: slopes of a power of two have no other form."""
    (x, q), (y, p) = c.reach, c.below
    if not len(x) or not len(y):
        return None
    slope = (int(q[-1] - q[0]) << shift) / max(1, int(x[-1] - x[0]))
    if max(1, round(slope)) * (int(max(abs(x).max(), abs(y).max())) + 1) >= 1 << 61:
        return None
    for factor in dict.fromkeys((round(slope), 1)):
        centre = round(float(np.mean((q << shift) - (1 << shift - 1) - factor * x)))
        for offset in dict.fromkeys((centre, centre + 1, centre - 1, centre >> shift << shift, (centre >> shift) + 1 << shift, 0)):
            if (half_even(x * factor + offset, shift) >= q).all() and (half_even(y * factor + offset, shift) < p).all():
                return factor, offset
    return None


def _rounding(found: Sequence[tuple[int, int] | None], least: int, most: int, shift: int, even: bool) -> Rounding:
    factor, offset = (np.array([f[k] for f in found if f is not None], object) for k in (0, 1))
    return Rounding(least, most, factor, offset, shift, even)


def _roundest(lower: int, upper: int) -> int:
    """The number in lower … upper − 1 with the most trailing zeros: cheap constants."""
    for k in range((upper - lower).bit_length() + 1, -1, -1):
        candidate = -(-lower >> k) << k
        if lower <= candidate < upper:
            return candidate
    return lower


Whole = TypeVar("Whole", int, np.ndarray)


def half_even(x: Whole, shift: int) -> Whole:
    if not shift:
        return x
    return (x + (1 << (shift - 1)) - 1 + ((x >> shift) & 1)) >> shift


def apply(rounding: Rounding, sums: np.ndarray) -> np.ndarray:
    """What the hardware computes: sums [samples, channels] → the same shape. For tests and tables."""
    if rounding.levels is not None:
        return np.minimum(rounding.low + (sums[:, :, None] >= rounding.levels[None]).sum(2), rounding.high)
    assert rounding.factor is not None and rounding.offset is not None
    x = sums.astype(object) * rounding.factor + rounding.offset
    x = half_even(x, rounding.shift) if rounding.even else x >> rounding.shift
    rounded = np.clip(x.astype(np.int64), rounding.low, rounding.high)
    if rounding.exceptions is not None:
        for k in range(rounding.exceptions.shape[1]):
            rounded = rounded + np.where(sums == rounding.exceptions[:, k, 0], rounding.exceptions[:, k, 1], 0)
    return rounded


def solve(function: Function, low: np.ndarray, high: np.ndarray) -> Rounding:
    """The cheapest rounding that equals a non-decreasing function on low[c] … high[c]; by levels where no formula does."""
    ends = [function(np.stack([low, high]))]
    least, most = int(ends[0].min()), int(ends[0].max())
    steps = steps_of(function, low, high, least, most)
    if most > least + 1 and (found := formula(steps, low, high, least, most)) is not None:
        return found
    return by_levels(steps, least, most)


def by_levels(steps: np.ndarray, least: int, most: int) -> Rounding:
    depth = max(1, int(most - least).bit_length())
    levels = np.full((len(steps), (1 << depth) - 1), NEVER, np.int64)
    levels[:, : steps.shape[1]] = steps
    return Rounding(least, most, levels=levels)
