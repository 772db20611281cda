"""Sparse constants of TensorFlow Lite: what an encoder written for the test made of them, in every order, with and without blocks."""

from __future__ import annotations

from itertools import product
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlcc.importers.lite.sparse import dense


class Vector:
    def Init(self, held: np.ndarray, place: int) -> None:
        self.held = held

    def ValuesAsNumpy(self) -> Any:
        return self.held if len(self.held) else 0  # as FlatBuffers' Python code has it


SCHEMA: Any = SimpleNamespace(Int32Vector=Vector, Uint16Vector=Vector, Uint8Vector=Vector)


def encoded(a: np.ndarray, order: list[int], blocks: list[int], sizes: list[int], compressed: list[bool]) -> tuple[np.ndarray, Any]:
    """(values, parameters): level after level, the positions below which something is not zero."""
    extents = list(a.shape)
    for axis, size in zip(blocks, sizes):
        extents[axis] //= size
    lengths = [*extents, *sizes]

    def element(at: dict[int, int]) -> Any:
        index = [at[i] for i in range(a.ndim)]
        for k, axis in enumerate(blocks):
            index[axis] = index[axis] * sizes[k] + at[a.ndim + k]
        return a[tuple(index)]

    def holds(prefix: tuple[int, ...]) -> bool:
        rest = [range(lengths[axis]) for axis in order[len(prefix) :]]
        return any(element(dict(zip(order, (*prefix, *tail)))) != 0 for tail in product(*rest))

    heads: list[tuple[int, ...]] = [()]
    levels = []
    for level, axis in enumerate(order):
        below = [[(*h, i) for i in range(lengths[axis]) if not compressed[level] or holds((*h, i))] for h in heads]
        segments, indices = np.cumsum([0, *map(len, below)]), np.array([h[-1] for group in below for h in group])
        tables = [SimpleNamespace(Bytes=held, Pos=0) for held in (segments, indices)]
        levels.append(
            SimpleNamespace(
                Format=lambda c=compressed[level]: int(c), DenseSize=lambda n=lengths[axis]: n, ArraySegmentsType=lambda: 1, ArrayIndicesType=lambda: 3,
                ArraySegments=lambda t=tables[0]: t, ArrayIndices=lambda t=tables[1]: t,
            )
        )  # fmt: skip
        heads = [h for group in below for h in group]
    values = np.array([element(dict(zip(order, h))) for h in heads], a.dtype)
    about = SimpleNamespace(
        TraversalOrderAsNumpy=lambda: np.array(order), BlockMapAsNumpy=lambda: np.array(blocks) if blocks else 0,
        DimMetadataLength=lambda: len(levels), DimMetadata=lambda i: levels[i],
    )  # fmt: skip
    return values, about


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_what_was_encoded_comes_back(data: st.DataObject) -> None:
    shape = data.draw(st.lists(st.sampled_from([1, 2, 4, 6]), min_size=1, max_size=3))
    seed = data.draw(st.integers(0, 99))
    r = np.random.default_rng(seed)
    a = r.integers(1, 9, shape).astype(np.int8) * (r.random(shape) < data.draw(st.sampled_from([0.0, 0.2, 0.7, 1.0])))
    blocks = [axis for axis, n in enumerate(shape) if n % 2 == 0 and data.draw(st.booleans())]
    order = [*data.draw(st.permutations(range(len(shape)))), *range(len(shape), len(shape) + len(blocks))]
    compressed = [data.draw(st.booleans()) for _ in shape] + [False] * len(blocks)
    values, about = encoded(a, order, blocks, [2] * len(blocks), compressed)
    np.testing.assert_array_equal(dense(values, shape, SCHEMA, about), a)


def test_parts_that_do_not_fit() -> None:
    a = np.array([[0, 3, 0], [5, 0, 0]], np.int8)
    values, about = encoded(a, [0, 1], [], [], [False, True])
    for wrong_values, shape in ((values[:1], (2, 3)), (values, (2, 1)), (values, (2, 3, 1)), (values, (1, 3))):
        with pytest.raises((ValueError, IndexError)):
            dense(wrong_values, shape, SCHEMA, about)
