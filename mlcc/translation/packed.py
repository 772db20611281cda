"""Where the elements of packed weights lie, as Packing's docstring says: read anew, nothing of its code is used."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod

from mlcc.program.packing import Packing

PANEL = 16  # columns of a packed panel


def padded_widths(columns: int) -> list[int]:
    """Columns of each panel: 16, the last 4, 8 or 16."""
    full, rest = divmod(columns, PANEL)
    return [PANEL] * full + ([4 if rest <= 4 else 8 if rest <= 8 else 16] if rest else [])


@dataclass(frozen=True)
class PackedLayout:
    """A packed matrix: columns' dims and strides, k's, and how many elements it takes; and a last, narrower panel."""

    columns: tuple[tuple[int, ...], tuple[int, ...]]
    k: tuple[tuple[int, ...], tuple[int, ...]]
    size: int
    rest: tuple[int, int, int] | None = None  # its width, its first element, and the columns in it that exist

    def pieces(self) -> Iterator[tuple[tuple[tuple[int, ...], tuple[int, ...]], tuple[tuple[int, ...], tuple[int, ...]], int]]:
        if prod(self.columns[0]):
            yield self.columns, self.k, 0
        if self.rest is not None:
            width, first, columns = self.rest
            yield ((columns,), (1,)), (self.k[0], (width,)), first


def packed_layout(p: Packing, depth: int, columns: int) -> PackedLayout:
    """How a [depth, columns] matrix lies (Packing's docstring, read anew: nothing of its code is used)."""
    if p.columns == 0:
        return PackedLayout(((columns,), (1,)), ((depth,), (columns,)), depth * columns)
    if p.columns != PANEL:
        groups, blocks, each = -(-columns // p.columns), -(-depth // p.depth), p.columns * p.depth
        across = ((groups, p.columns), (blocks * each, p.depth))
        return PackedLayout(across, ((blocks, p.depth), (each, 1)), groups * blocks * each)
    widths = [PANEL] * -(-columns // PANEL) if p.even else padded_widths(columns)
    full, more = divmod(columns, PANEL)
    rest = (widths[-1], full * depth * PANEL, more) if more else None
    return PackedLayout(((full, PANEL), (depth * PANEL, 1)), ((depth,), (PANEL,)), depth * sum(widths), rest)
