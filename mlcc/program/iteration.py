"""The dimensions that a kernel walks, and what they are to each of its operands."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Iteration:
    """`dims` to walk; each was made of original dimensions, the innermost of which is in `axes` (−1: of none)."""

    dims: tuple[int, ...]
    axes: tuple[int, ...]

    def over(self, strides: Sequence[int]) -> tuple[int, ...]:
        """An operand's strides over the original dimensions, over these."""
        return tuple(strides[a] if a >= 0 else 0 for a in self.axes)


def iterate(dims: Sequence[int], operands: Iterable[Sequence[int]], order: Sequence[int] | None = None) -> Iteration:
    """Dimensions in `order`, without those of extent 1, neighbours merged that every operand walks as one; where nothing is left, one of
    extent 1. operands: the strides of each."""
    tables = list(operands)
    found: list[tuple[int, int]] = []
    for axis in range(len(dims)) if order is None else order:
        n = dims[axis]
        if n == 1:
            continue
        if found and all(t[found[-1][1]] == t[axis] * n for t in tables):
            found[-1] = (found[-1][0] * n, axis)
        else:
            found.append((n, axis))
    found = found or [(1, -1)]
    return Iteration(tuple(n for n, _ in found), tuple(a for _, a in found))


def as_given(dims: Sequence[int], order: Sequence[int] | None = None) -> Iteration:
    """Dimensions as they are, none left out: bounds name them by their numbers."""
    axes = tuple(range(len(dims)) if order is None else order)
    return Iteration(tuple(dims[a] for a in axes), axes)
