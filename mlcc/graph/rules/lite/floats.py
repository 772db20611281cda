"""Operators of floats and plain integers alone: the standard ones of the same meaning. Integers with a scale are refused."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from mlcc.graph.builder import Value
from mlcc.graph.rules.lite.pointwise import of_floats, refuse_grids
from mlcc.graph.rules.lite.shapes import ints
from mlcc.graph.rules.standard import run
from mlcc.graph.source import Source

Rule = Callable[[Source], Value | tuple[Value, ...]]


def plain(function: Rule) -> Rule:
    def rule(s: Source) -> Value | tuple[Value, ...]:
        refuse_grids(s)
        return function(s)

    return rule


def add_n(s: Source) -> Value:
    y = s[0]
    for i in range(1, len(s.inputs)):
        y = s.b("Add", y, s[i])
    return y


def dynamic_update_slice(s: Source) -> Value:
    """A block written over a part, wholly within: where it would stick out, its start moves back."""
    b, x, block = s.b, s[0], s[1]
    room = np.array([n - m for n, m in zip(x.shape, block.shape)], np.int32)
    at = b.cast(s[2], "int32")
    at = b("Max", b("Min", at, b.constant(room)), b.constant(np.zeros_like(room)))
    places = np.stack(np.meshgrid(*(np.arange(n) for n in block.shape), indexing="ij"), -1).astype(np.int32)
    where = b("Add", b.constant(places), at)
    return run(s, "ScatterND", x, b.cast(where, "int64"), block)


def matrix_diag(s: Source) -> Value:
    b, x = s.b, s[0]
    n = x.shape[-1]
    wide = b.expand(b.reshape(x, (*x.shape, 1)), (*x.shape, n))
    return b("Where", b.constant(np.eye(n, dtype=bool)), wide, b.like(0, x))


def matrix_set_diag(s: Source) -> Value:
    b, x, d = s.b, s[0], s[1]
    rows, columns = x.shape[-2:]
    least = min(rows, columns)
    if d.shape[-1] != least:
        raise s.bad(f"a diagonal of {d.shape[-1]} numbers for {rows}x{columns}")
    column = b.reshape(d, (*d.shape, 1))
    if rows > least:
        pads = [(0, 0)] * (column.rank - 2) + [(0, rows - least), (0, 0)]
        column = b("Pad", column, before=tuple(p[0] for p in pads), after=tuple(p[1] for p in pads), value=0)
    return b("Where", b.constant(np.eye(rows, columns, dtype=bool)), b.expand(column, x.shape), x)


def rank(s: Source) -> Value:
    return s.b.constant(np.array(s[0].rank, np.int32))


def whether(op: str) -> Rule:
    """Over truth values, as bytes."""

    def rule(s: Source) -> Value:
        b, keep = s.b, int(bool(s.attr("keep_dims", False)))
        axes = sorted({a % s[0].rank for a in ints(s, 1, "axes")})
        y = run(s, op, b.cast(s[0], "int32"), b.constant(np.array(axes, np.int64)), keepdims=keep) if axes else b.cast(s[0], "int32")
        return b("Not", b("Equal", y, b.like(0, y)))

    return rule


def reverse_sequence(s: Source) -> Value:
    axes = {"time_axis": int(s.attr("seq_dim", 0)), "batch_axis": int(s.attr("batch_dim", 0))}
    return run(s, "ReverseSequence", s[0], s.b.cast(s[1], "int64"), **axes)


def scatter_nd(s: Source) -> Value:
    """(places, updates, shape): sums where places are the same."""
    b, shape = s.b, ints(s, 2, "shape")
    zeros = b.expand(b.like(0, s[1]), tuple(shape))
    return run(s, "ScatterND", zeros, b.cast(s[0], "int64"), s[1], reduction="add")


def segments(op: str) -> Rule:
    """Rows of one number are joined; the numbers are known. UNSORTED_SEGMENT_*: (x, numbers, how many); SEGMENT_SUM: sorted ones."""
    empty = {"ReduceSum": 0.0, "ReduceProd": 1.0, "ReduceMax": -np.inf, "ReduceMin": np.inf}[op]

    def rule(s: Source) -> Value:
        b, x = s.b, s[0]
        numbers = np.array(ints(s, 1, "segment_ids"))
        count = ints(s, 2, "num_segments")[0] if s.op.startswith("UNSORTED") else int(numbers.max(initial=-1)) + 1
        if numbers.ndim != 1 or numbers.size != x.shape[0]:
            raise s.unsupported("segments of more than rows", "number the rows")
        dtype = np.dtype(x.dtype)
        fill = empty if dtype.kind == "f" or np.isfinite(empty) else (np.iinfo(dtype).min if empty < 0 else np.iinfo(dtype).max)
        if dtype.kind == "f" and not np.isfinite(fill):
            fill = np.finfo(dtype).min if fill < 0 else np.finfo(dtype).max
        rows = []
        for k in range(count):
            of = np.flatnonzero(numbers == k)
            if of.size:
                some = b("Gather", x, b.constant(of.astype(np.int32)), axis=0)
                rows.append(run(s, op, some, b.constant(np.array([0], np.int64)), keepdims=1))
            else:
                rows.append(b.expand(b.like(fill, x), (1, *x.shape[1:])))
        return b.many("Concat", rows, axis=0)[0]

    return rule


def zeros_like(s: Source) -> Value:
    return s.b.expand(s.b.like(0, s[0]), s[0].shape)


def broadcast_args(s: Source) -> Value:
    shape = np.broadcast_shapes(tuple(ints(s, 0, "shape")), tuple(ints(s, 1, "shape")))
    return s.b.constant(np.array(shape, s[0].dtype))


def bucketize(s: Source) -> Value:
    """How many of the boundaries are not above a number."""
    b, bounds = s.b, np.array(s.attr("boundaries") or [], np.float32)
    x = b.cast(s[0], "float32")
    above = b("LessOrEqual", b.constant(bounds), b.reshape(x, (*x.shape, 1)))
    return run(s, "ReduceSum", b.cast(above, "int32"), b.constant(np.array([-1], np.int64)), keepdims=0)


TABLE: dict[str, Rule] = {
    "ADD_N": plain(add_n),
    "BITWISE_XOR": of_floats("BitwiseXor"),
    "BROADCAST_ARGS": plain(broadcast_args),
    "BUCKETIZE": plain(bucketize),
    "DYNAMIC_UPDATE_SLICE": plain(dynamic_update_slice),
    # not LOCAL_RESPONSE_NORMALIZATION: the reference kernel leaves the last channel of its window out, the others do not
    "MATRIX_DIAG": plain(matrix_diag),
    "MATRIX_SET_DIAG": plain(matrix_set_diag),
    "RANK": rank,
    "REDUCE_ALL": plain(whether("ReduceMin")),
    "REDUCE_ANY": plain(whether("ReduceMax")),
    "REVERSE_SEQUENCE": plain(reverse_sequence),
    "SCATTER_ND": plain(scatter_nd),
    "SEGMENT_SUM": plain(segments("ReduceSum")),
    "UNSORTED_SEGMENT_MAX": plain(segments("ReduceMax")),
    "UNSORTED_SEGMENT_MIN": plain(segments("ReduceMin")),
    "UNSORTED_SEGMENT_PROD": plain(segments("ReduceProd")),
    "UNSORTED_SEGMENT_SUM": plain(segments("ReduceSum")),
    "ZEROS_LIKE": plain(zeros_like),
}
