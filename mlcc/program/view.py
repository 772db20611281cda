"""Strided views: most data movement is a change of strides, not a copy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import prod

from mlcc.core.terms import least, most


@dataclass(frozen=True)
class View:
    """A tensor inside a buffer: element (i…) lies at offset + Σ i·stride, and in a loop's next turn `advance` further."""

    buffer: str
    dtype: str
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    offset: int = 0
    advance: int = 0

    @property
    def size(self) -> int:
        return prod(self.shape)

    @property
    def row_major(self) -> bool:
        return self.strides == row_major(self.shape) or all(
            s == t or n == 1 for n, s, t in zip(self.shape, self.strides, row_major(self.shape))
        )

    def laid(self, shape: Sequence[int], strides: Sequence[int], offset: int | None = None) -> View:
        """The same memory read in another way."""
        return replace(self, shape=tuple(shape), strides=tuple(strides), offset=self.offset if offset is None else offset)

    def transpose(self, perm: Sequence[int]) -> View:
        return replace(self, shape=tuple(self.shape[p] for p in perm), strides=tuple(self.strides[p] for p in perm))

    def slice(self, starts: Sequence[int], steps: Sequence[int], shape: Sequence[int]) -> View:
        return replace(
            self,
            shape=tuple(shape),
            strides=tuple(s * t for s, t in zip(self.strides, steps)),
            offset=self.offset + sum(a * s for a, s in zip(starts, self.strides)),
        )

    def expand(self, shape: Sequence[int]) -> View:
        lead = len(shape) - len(self.shape)
        strides = (0,) * lead + tuple(0 if n == 1 else s for n, s in zip(self.shape, self.strides))
        return replace(self, shape=tuple(shape), strides=strides)

    def reshape(self, shape: Sequence[int]) -> View | None:
        """The same elements in row-major order under another shape, or None where strides cannot say that."""
        if prod(shape) == 0:
            return replace(self, shape=tuple(shape), strides=row_major(shape))
        if self.row_major:
            return replace(self, shape=tuple(shape), strides=row_major(shape))
        old = [(n, s) for n, s in zip(self.shape, self.strides) if n != 1]
        strides: list[int] = []
        at = 0
        new = list(shape)
        i = 0
        while i < len(new):
            if new[i] == 1:
                strides.append(0)
                i += 1
                continue
            if at == len(old):
                return None
            extent, j, k = old[at][0], at + 1, i + 1
            wanted = new[i]
            while extent != wanted:
                if most(extent) < most(wanted):
                    if j == len(old):
                        return None
                    extent *= old[j][0]
                    j += 1
                else:
                    if k == len(new):
                        return None
                    wanted *= new[k]
                    k += 1
            for (_, s), (m, t) in zip(old[at : j - 1], old[at + 1 : j]):
                if s != t * m:
                    return None
            step = old[j - 1][1]
            group: list[int] = []
            for n in reversed(new[i:k]):
                group.append(step if n != 1 else 0)
                step *= n
            strides.extend(reversed(group))
            at, i = j, k
        return replace(self, shape=tuple(shape), strides=tuple(strides))


def row_major(shape: Sequence[int]) -> tuple[int, ...]:
    return tuple(prod(shape[i + 1 :]) for i in range(len(shape)))


def ordered(shape: Sequence[int], order: Sequence[int]) -> tuple[int, ...]:
    """Contiguous strides with the axes laid out in `order`, outermost first."""
    strides, step = [0] * len(shape), 1
    for axis in reversed(order):
        strides[axis] = step
        step *= shape[axis]
    return tuple(strides)


def order_of(view: View) -> tuple[int, ...]:
    """Axes from the largest stride to the smallest; extents of 1 keep their place as well as they can."""
    keyed: list[tuple[int, int]] = []
    for axis, (n, s) in enumerate(zip(view.shape, view.strides)):
        if n == 1:
            s = keyed[-1][0] if keyed else 1 << 62
        keyed.append((max(abs(most(s)), abs(least(s))), axis))
    return tuple(axis for _, axis in sorted(keyed, key=lambda p: (-p[0], p[1])))


def channels_last(rank: int) -> tuple[int, ...]:
    return (0, *range(2, rank), 1)
