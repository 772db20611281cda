"""A function of two small integers as the rounding of a sum, or product, of a table of each."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from mlcc.reference.execute import evaluate
from mlcc_backends.hls import rounding as rounds
from mlcc_backends.hls.network import Rounding
from mlcc_backends.hls.regions import Model, Region


def decompose(
    m: Model, region: Region, sources: tuple[str, str], feed: Mapping[str, np.ndarray], wanted: np.ndarray
) -> tuple[tuple[np.ndarray, ...], Rounding, bool] | None:
    """Tables of integers whose sums (or products) decide the result."""
    known: dict[str, np.ndarray] = dict(feed)
    reads: dict[str, frozenset[str]] = {s: frozenset([s]) for s in sources}
    for n in region.nodes:
        known[n.outputs[0]] = evaluate(n, [known[v] if v in known else m.graph.constants[v] for v in n.inputs])[0]
        reads[n.outputs[0]] = frozenset().union(*(reads.get(v, frozenset()) for v in n.inputs))
    for n in region.nodes:
        parts = [reads.get(v, frozenset()) for v in n.inputs]
        if n.op not in ("Add", "Sub", "Mul") or len(parts) != 2 or not all(len(p) == 1 for p in parts) or parts[0] == parts[1]:
            continue
        first, second = n.inputs if parts[0] == frozenset([sources[0]]) else n.inputs[::-1]
        x, y = (known[v].astype(np.float64).reshape(-1) for v in (first, second))
        if n.op == "Sub":
            x, y = (x, -y) if first == n.inputs[0] else (-x, y)
        if not (np.isfinite(x).all() and np.isfinite(y).all()):
            continue
        for bits in range(2, 31):
            found = _scaled(x, y, bits, wanted, n.op == "Mul")
            if found is not None:
                return found
    return None


def _scaled(
    x: np.ndarray, y: np.ndarray, bits: int, wanted: np.ndarray, multiply: bool
) -> tuple[tuple[np.ndarray, ...], Rounding, bool] | None:
    """With tables of so many bits, if that is enough."""
    largest = [float(np.abs(v).max()) or 1.0 for v in (x, y)]
    units = [m / (1 << bits) for m in largest] if multiply else [max(largest) / (1 << bits)] * 2
    u, v = (np.rint(a / s).astype(np.int64) for a, s in zip((x, y), units))
    sums = combine(u[:, None], v[None, :], multiply)
    order = np.argsort(sums, axis=None, kind="stable")
    s, t = sums.reshape(-1)[order], wanted.reshape(-1)[order]
    same = np.diff(s) == 0
    if (np.diff(t) < 0).any():
        if (np.diff(t[::-1]) < 0).any():
            return None
        return _scaled(-x, -y if not multiply else y, bits, wanted, multiply)
    if (np.diff(t)[same] != 0).any():
        return None
    keys, first = np.unique(s, return_index=True)
    values = t[first]

    def function(x: np.ndarray) -> np.ndarray:  # between known sums: the lower one's
        return values[np.clip(np.searchsorted(keys, x, "right") - 1, 0, None)]

    low, high = np.array([keys[0]]), np.array([keys[-1]])
    least, most = int(values[0]), int(values[-1])
    # only the known sums count: a step may be anywhere between the last sum below it and the first above
    gaps = [(int(keys[i]), int(keys[i + 1])) for i in range(len(keys) - 1) if values[i + 1] != values[i]]
    how = _between(gaps, values, keys, least, most) or rounds.by_levels(rounds.steps_of(function, low, high, least, most), least, most)
    return ((u, v), how, multiply) if np.array_equal(rounds.apply(how, s[:, None])[:, 0], t) else None


def combine(a: np.ndarray, b: np.ndarray, multiply: bool) -> np.ndarray:
    return a * b if multiply else a + b


def _between(gaps: list[tuple[int, int]], values: np.ndarray, keys: np.ndarray, least: int, most: int) -> Rounding | None:
    """A formula whose every step lies in the gap of known sums where the function steps."""
    if not gaps or any(b - a != 1 for a, b in zip(np.unique(values), np.unique(values)[1:])):
        return None
    middle = np.array([[(a + b + 1) // 2 for a, b in gaps]])
    levels = list(range(least + 1, most + 1))
    if len(levels) != len(gaps):
        return None
    for shift in range(rounds.MOST_SHIFT):
        slope = ((levels[-1] - levels[0]) << shift) // max(1, int(middle[0, -1] - middle[0, 0]))
        for factor in (slope, slope + 1, slope - 1):
            if factor <= 0:
                continue
            lower = max((q << shift) - factor * b for q, (a, b) in zip(levels, gaps))
            upper = min((q << shift) - factor * a for q, (a, b) in zip(levels, gaps))
            if lower < upper:
                return Rounding(least, most, np.array([factor], object), np.array([rounds._roundest(lower, upper)], object), shift)
    return None
