"""How a product's weights lie in memory."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import numpy as np

PANEL = 16


def panels(columns: int) -> tuple[int, ...]:
    """Widths of the packed panels of a matrix with `columns` columns."""
    full, rest = divmod(columns, PANEL)
    return (PANEL,) * full + ((next(w for w in (4, 8, 16) if w >= rest),) if rest else ())


def packed_columns(columns: int) -> int:
    return sum(panels(columns))


@dataclass(frozen=True)
class Packing:
    """[k, n] in groups of `columns` columns, `depth` k of a column side by side: [n / columns][k / depth][columns][depth], zero-filled; the
    last group of PANELS is only as wide as need be, but where they are `even`. columns 0: as it is, [k][n]. Named as XNNPACK names them."""

    columns: int
    depth: int = 1
    even: bool = False

    @property
    def name(self) -> str:
        return f"{self.columns}x{self.depth}" if self.columns else "plain"

    def rows(self, k: int) -> int:
        """k with what fills it up."""
        return (k + self.depth - 1) // self.depth * self.depth

    def widths(self, n: int) -> tuple[int, ...]:
        """The columns of each group."""
        if not self.columns:
            return (n,)
        return panels(n) if self == PANELS else (self.columns,) * -(-n // self.columns)

    def elements(self, k: int, n: int) -> int:
        return self.rows(k) * self.across(n)

    def across(self, n: int) -> int:
        """n with what fills it up."""
        return (n + self.columns - 1) // self.columns * self.columns if self.columns and self != PANELS else sum(self.widths(n))

    def pack(self, matrices: np.ndarray) -> np.ndarray:
        """[batch, k, n], flat."""
        batch, k, n = matrices.shape
        wide = np.zeros((batch, self.rows(k), sum(self.widths(n))), matrices.dtype)
        wide[:, :k, :n] = matrices
        groups, at = [], 0
        for width in self.widths(n):
            part = wide[:, :, at : at + width].reshape(batch, -1, self.depth, width)
            groups.append(part.transpose(0, 1, 3, 2).reshape(batch, prod(part.shape[1:])))
            at += width
        return np.concatenate(groups, axis=1).reshape(-1) if groups else np.zeros(0, matrices.dtype)


PANELS = Packing(16)  # wide vectors
EVEN = Packing(16, even=True)  # the same, of as many columns as a run says
FOURS = Packing(4)  # binary32 on small cores
WORDS = Packing(2, 4)  # bytes, a register's four at once
VECTORS = Packing(2, 16)  # bytes, a vector's sixteen at once
PLAIN = Packing(0)
PAIRS = Packing(16, 2)  # bfloat16, two k to a word
