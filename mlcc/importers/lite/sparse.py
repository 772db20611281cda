"""TensorFlow Lite's sparse constants, as dense ones.

A tensor's axes, and blocks within them, are walked in an order of their own; each level is dense or compressed (the children of each
position lie in a segment of a list of indices). SparsityParameters in the schema:
https://github.com/google-ai-edge/LiteRT/blob/main/tflite/schema/schema.fbs
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from types import ModuleType
from typing import Any

import numpy as np

DENSE = 0
LARGEST = 1 << 28  # elements


@dataclass(frozen=True)
class Level:
    """size: of a dense level; segments, indices: of a compressed one."""

    size: int
    segments: np.ndarray | None = None
    indices: np.ndarray | None = None


def dense(values: np.ndarray, shape: Sequence[int], schema: ModuleType, sparsity: Any) -> np.ndarray:
    """The tensor with zeros where nothing is said. Raises ValueError where its parts do not fit."""
    order, blocks = (
        a if isinstance(a, np.ndarray) else np.zeros(0, np.int64) for a in (sparsity.TraversalOrderAsNumpy(), sparsity.BlockMapAsNumpy())
    )
    levels = [_level(schema, sparsity.DimMetadata(i)) for i in range(sparsity.DimMetadataLength())]
    rank = len(shape)
    if sorted(order.tolist()) != list(range(rank + len(blocks))) or len(levels) != len(order) or not all(0 <= a < rank for a in blocks):
        raise ValueError("levels that are not the tensor's axes")
    size = prod(shape)
    if size > LARGEST:
        raise ValueError("a sparse constant that is too large")
    places = _places(levels, len(values), size)
    found, index = np.zeros(shape, values.dtype), np.zeros((rank, len(values)), np.int64)
    for level, axis in enumerate(order):
        if axis < rank:
            index[axis] += places[level]
    for level, axis in enumerate(order):
        if axis >= rank:
            into = blocks[axis - rank]
            index[into] = index[into] * levels[level].size + places[level]
    if any((index[a] >= n).any() or (index[a] < 0).any() for a, n in enumerate(shape)):
        raise ValueError("an index outside of the tensor")
    found[tuple(index)] = values
    return found


def _level(schema: ModuleType, about: Any) -> Level:
    if about.Format() == DENSE:
        return Level(int(about.DenseSize()))
    return Level(0, *(_numbers(schema, kind, table) for kind, table in (
        (about.ArraySegmentsType(), about.ArraySegments()), (about.ArrayIndicesType(), about.ArrayIndices()),
    )))  # fmt: skip


def _numbers(schema: ModuleType, kind: int, table: Any) -> np.ndarray:
    """A vector of 32, 16 or 8 bits, as the schema's union has it."""
    vector = {1: schema.Int32Vector, 2: schema.Uint16Vector, 3: schema.Uint8Vector}[kind]()
    vector.Init(table.Bytes, table.Pos)
    held = vector.ValuesAsNumpy()
    return held.astype(np.int64) if isinstance(held, np.ndarray) else np.zeros(0, np.int64)


def _places(levels: Sequence[Level], count: int, most: int) -> list[np.ndarray]:
    """For each level, where each of `count` values lies along it, values in their order. most: positions that there can be."""
    at = np.zeros(1, np.int64)
    places: list[np.ndarray] = []
    for level in levels:
        if level.segments is None or level.indices is None:
            repeats = np.full(len(at), level.size)
            if len(at) * level.size > most:
                raise ValueError("more positions than elements")
            along = np.tile(np.arange(level.size), len(at))
            at = np.repeat(at, level.size) * level.size + along
        else:
            starts, ends = level.segments[at], level.segments[at + 1]
            repeats = ends - starts
            if (repeats < 0).any() or repeats.sum() > len(level.indices):
                raise ValueError("segments that do not rise")
            at = np.repeat(starts - np.concatenate([[0], np.cumsum(repeats)[:-1]]), repeats) + np.arange(repeats.sum())
            along = level.indices[at]
        places = [np.repeat(p, repeats) for p in places] + [along]
    if len(at) != count:
        raise ValueError("another number of values than positions")
    return places
