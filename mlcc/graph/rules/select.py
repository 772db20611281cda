"""Operators that choose how much they give by what they see: the result has a bound and a count (`mlcc.graph.counted`)."""

from __future__ import annotations

from collections.abc import Callable
from math import prod

import numpy as np

from mlcc.graph.builder import Builder, Value
from mlcc.graph.counted import with_counts
from mlcc.graph.source import Source

MOST_BOXES = 1024  # of one class: each is a step of the program
MOST_KEYS = 64  # numbers of a subtensor that Unique sorts by, one after the other


def compacted(b: Builder, chosen: Value, most: int | None = None) -> tuple[Value, Value]:
    """(int64 [most], count): the places where a vector of truth values is true, ascending; behind them, 0."""
    n = chosen.shape[0]
    most = n if most is None else most
    flags = b.cast(chosen, "int64")
    count = b.reshape(b("ReduceSum", flags, axes=(0,)), ())
    rank = b("Sub", b("CumSum", flags, axis=0, exclusive=0, reverse=0), b.constant(np.int64(1)))
    rank = b("Where", chosen, rank, b.constant(np.int64(most)))  # the others go to a place that nobody reads
    empty = b.constant(np.zeros(most + 1, np.int64))
    found = b("ScatterElements", empty, rank, b.constant(np.arange(n, dtype=np.int64)), axis=0, reduction="none")
    return b.slice(found, 0, 0, most), count


def truth(b: Builder, x: Value) -> Value:
    return x if x.dtype == "bool" else b("Not", b("Equal", x, b.like(0, x)))


def non_zero(s: Source) -> Value:
    b, x = s.b, s[0]
    if (known := b.array(x)) is not None:
        return b.constant(np.array(np.nonzero(np.atleast_1d(known)), np.int64))
    dims = x.shape or (1,)
    at, count = compacted(b, truth(b, b.reshape(x, (prod(dims),))))
    rows = []
    for i, n in enumerate(dims):
        along = b("Div", at, b.like(max(1, prod(dims[i + 1 :])), at))
        rows.append(b.reshape(b("Mod", along, b.like(max(1, n), along)), (1, at.shape[0])))
    return with_counts(b.many("Concat", rows, axis=0)[0], ((1, count.name),))


def compress(s: Source) -> Value:
    b, x = s.b, s[0]
    if s.has("axis"):
        axis = s.axis()
    else:
        x, axis = b.reshape(x, (x.type.size,)), 0
    if (known := b.array(s[1])) is not None:
        return b("Gather", x, b.constant(np.flatnonzero(known).astype(np.int64)), axis=axis)
    condition = b.slice(s[1], 0, 0, min(s[1].shape[0], x.shape[axis]))
    at, count = compacted(b, condition)
    return with_counts(b("Gather", x, at, axis=axis), ((axis, count.name),))


def top_k(s: Source) -> tuple[Value, ...]:
    b, x, axis, largest = s.b, s[0], s.axis(-1), int(s.attr("largest", 1))
    given = s.optional(1)
    if s.has("k") or b.array(given) is not None:
        return b.many("TopK", [x], axis=axis, k=(s.ints("k", 1) or [0])[0], largest=largest)
    assert given is not None
    count = b.reshape(b("Max", b("Min", b.cast(given, "int64"), b.constant(np.int64(x.shape[axis]))), b.constant(np.int64(0))), ())
    found = b.many("TopK", [x], axis=axis, k=x.shape[axis], largest=largest)
    return tuple(with_counts(v, ((axis, count.name),)) for v in found)


# Unique


def _sorted_rows(b: Builder, keys: Value) -> tuple[Value, Value]:
    """(rows in ascending order, where each was) of [rows, numbers]: sorted by the last number first, each time stably."""
    rows, width = keys.shape
    order = b.constant(np.arange(rows, dtype=np.int64))
    for column in reversed(range(width)):
        now = b("Gather", b.reshape(b.slice(keys, 1, column, 1), (rows,)), order, axis=0)
        order = b("Gather", order, b.many("TopK", [now], axis=0, k=rows, largest=0)[1], axis=0)
    return b("Gather", keys, order, axis=0), order


def unique(s: Source) -> tuple[Value, ...]:
    """Y, the place of each one's first occurrence, which one each element is, how often each occurs."""
    b, x, ascending = s.b, s[0], bool(s.attr("sorted", 1))
    axis = s.axis() if s.has("axis") else None
    moved = b.reshape(x, (x.type.size, 1)) if axis is None else b.transpose(x, [axis, *(i for i in range(x.rank) if i != axis)])
    rows, inner = moved.shape[0], moved.shape[1:]
    keys = b.reshape(moved, (rows, prod(inner)))
    if keys.dtype in ("float16", "bfloat16"):
        keys = b.cast(keys, "float32")
    if keys.dtype == "bool":
        keys = b.cast(keys, "uint8")
    if keys.shape[1] > MOST_KEYS or not rows:
        raise s.unsupported(f"Unique of {rows} rows of {keys.shape[1]} numbers", f"rows of 1 to {MOST_KEYS} numbers")
    lined, order = _sorted_rows(b, keys)
    before, after = b.slice(lined, 0, 0, rows - 1), b.slice(lined, 0, 1, rows - 1)
    same = b("Equal", before, after)
    if keys.dtype.startswith("float"):
        same = b("Or", same, b("And", b("IsNaN", before), b("IsNaN", after)))
    differs = b.cast(b("Not", b.cast(b("ReduceMin", b.cast(same, "uint8"), axes=(1,)), "bool")), "bool")
    start = b.many("Concat", [b.constant(np.ones(1, bool)), b.reshape(differs, (rows - 1,))], axis=0)[0]
    group = b("Sub", b("CumSum", b.cast(start, "int64"), axis=0, exclusive=0, reverse=0), b.constant(np.int64(1)))
    zeros = b.constant(np.zeros(rows, np.int64))

    def put(places: Value, values: Value, reduction: str = "none") -> Value:
        return b("ScatterElements", zeros, places, values, axis=0, reduction=reduction)

    where, count = compacted(b, start)  # of each group's first row among the sorted
    firsts, inverse = b("Gather", order, where, axis=0), put(order, group)
    if not ascending:  # groups in the order of their first occurrence
        leads = b.cast(put(order, b.cast(start, "int64")), "bool")
        firsts = compacted(b, leads)[0]
        rank = b("Sub", b("CumSum", b.cast(leads, "int64"), axis=0, exclusive=0, reverse=0), b.constant(np.int64(1)))
        number = b("Gather", rank, b("Gather", order, where, axis=0), axis=0)
        inverse = b("Gather", number, inverse, axis=0)
    y = b("Gather", moved, firsts, axis=0)
    if axis is None:
        y, at = b.reshape(y, (rows,)), 0
    else:
        back = list(range(1, y.rank))
        y, at = b.transpose(y, [*back[:axis], 0, *back[axis:]]), axis
    occurs = put(inverse, b.constant(np.ones(rows, np.int64)), "add")
    size = ((0, count.name),)
    return (with_counts(y, ((at, count.name),)), with_counts(firsts, size), inverse, with_counts(occurs, size))[: max(1, s.output_count)]


# NonMaxSuppression


def non_max_suppression(s: Source) -> Value:
    """[selected, (batch, class, box)]: of each class the best box that is left, again and again; those that overlap it are dropped."""
    b, boxes, scores = s.b, s[0], s[1]
    n, count, classes = boxes.shape[0], boxes.shape[1], scores.shape[1]
    most, overlap, least = s.optional(2), s.optional(3), s.optional(4)
    known = b.array(most)
    if most is None or known is not None and int(known.reshape(-1)[0]) <= 0:
        return b.constant(np.zeros((0, 3), np.int64))
    steps = min(count, int(known.reshape(-1)[0])) if known is not None else count
    if steps > MOST_BOXES:
        raise s.unsupported(f"up to {steps} boxes of a class", f"max_output_boxes_per_class of at most {MOST_BOXES}")
    lines, limit = n * classes, b.like(0, scores) if overlap is None else b.reshape(overlap, ())
    sides = _corners(s, boxes, bool(s.attr("center_point_box", 0)))  # y1, x1, y2, x2: [n, 1, count]
    left = b("Where", b("IsNaN", scores), b.like(-np.inf, scores), scores)
    if least is not None:
        left = b("Where", b("Less", b.reshape(least, ()), left), left, b.like(-np.inf, left))
    place, none = b.constant(np.arange(count, dtype=np.int64).reshape(1, 1, count)), b.like(-np.inf, scores)
    wide = [b.expand(v, (n, classes, count)) for v in sides]
    area = b("Mul", b("Sub", sides[2], sides[0]), b("Sub", sides[3], sides[1]))
    picked = []
    for _ in range(steps):
        at = b("ArgMax", left, axis=2, last=0)  # [n, classes, 1]
        there = b("Less", none, b("GatherElements", left, at, axis=2))
        picked.append(b("Where", there, at, b.constant(np.int64(-1))))
        y1, x1, y2, x2 = (b("GatherElements", v, at, axis=2) for v in wide)
        over = _overlaps(b, (y1, x1, y2, x2), sides, area, limit)
        left = b("Where", b("Or", over, b("Equal", place, at)), none, left)
    chosen = b.many("Concat", picked, axis=2)[0]  # [n, classes, steps]
    taken = b("LessOrEqual", b.constant(np.int64(0)), chosen)
    if known is None:
        taken = b("And", taken, b("Less", b.constant(np.arange(steps, dtype=np.int64)), b.reshape(b.cast(most, "int64"), ())))
    where, total = compacted(b, b.reshape(taken, (lines * steps,)))
    table = np.stack([np.repeat(np.arange(n), classes * steps), np.tile(np.repeat(np.arange(classes), steps), n)], axis=1).astype(np.int64)
    columns = b("Gather", b.constant(table), where, axis=0)
    box = b("Gather", b.reshape(chosen, (lines * steps, 1)), where, axis=0)
    return with_counts(b.many("Concat", [columns, box], axis=1)[0], ((0, total.name),))


def _corners(s: Source, boxes: Value, centred: bool) -> list[Value]:
    """y1 ≤ y2 and x1 ≤ x2 of each box, [n, 1, count]."""
    b, (n, count, _) = s.b, boxes.shape
    a, c, d, e = (b.reshape(b.slice(boxes, 2, i, 1), (n, 1, count)) for i in range(4))
    if centred:  # x, y, width, height
        half = b.like(0.5, boxes)
        w, h = b("Mul", d, half), b("Mul", e, half)
        return [b("Sub", c, h), b("Sub", a, w), b("Add", c, h), b("Add", a, w)]
    return [b("Min", a, d), b("Min", c, e), b("Max", a, d), b("Max", c, e)]


def _overlaps(b: Builder, one: tuple[Value, ...], sides: list[Value], area: Value, limit: Value) -> Value:
    """Whether boxes share more of their union with one than the limit."""
    low = [b("Max", u, v) for u, v in zip(one[:2], sides[:2])]
    high = [b("Min", u, v) for u, v in zip(one[2:], sides[2:])]
    zero = b.like(0, area)
    common = b("Mul", b("Sub", high[0], low[0]), b("Sub", high[1], low[1]))
    meets = b("And", b("Less", low[0], high[0]), b("Less", low[1], high[1]))
    own = b("Mul", b("Sub", one[2], one[0]), b("Sub", one[3], one[1]))
    union = b("Sub", b("Add", own, area), common)
    solid = b("And", b("And", b("Less", zero, own), b("Less", zero, area)), b("Less", zero, union))
    return b("And", b("And", meets, solid), b("Less", limit, b("Div", common, union)))


TABLE: dict[str, Callable[[Source], Value | tuple[Value, ...]]] = {
    "Compress": compress,
    "NonMaxSuppression": non_max_suppression,
    "NonZero": non_zero,
    "TopK": top_k,
    "Unique": unique,
}
