"""Values whose size along an axis is known only at run time: how many detections, how many that are not zero.

Such a value lies in a tensor of the largest size that it may have, and beside it a count says how much of it is meant (`Value.counts`).
What lies behind is a number like any other, the same on every target, and nobody is shown it. Operators take such values only as the rules
below say, since any other would take the bound for the size.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from math import prod

import numpy as np

from mlcc.core.graph import DTYPES, fresh
from mlcc.graph.builder import Builder, Value
from mlcc.graph.rules.elementwise import TABLE
from mlcc.graph.source import Source, normal_axis

Counts = tuple[tuple[int, str], ...]
Rule = Callable[[Source], Value | tuple[Value, ...]]


def bare(v: Value) -> Value:
    """The tensor that a value lies in."""
    return replace(v, counts=())


def with_counts(v: Value, counts: Counts) -> Value:
    return replace(v, counts=tuple(sorted(counts)))


def stripped(s: Source) -> Source:
    return replace(s, inputs=tuple(None if v is None else bare(v) for v in s.inputs))


def refused(s: Source, why: str = "") -> Exception:
    return s.unsupported(f"{s.op} of a value whose size is known only at run time{why}", "see docs/operators.md for what takes one")


def first(result: Value | tuple[Value, ...]) -> Value:
    return result[0] if isinstance(result, tuple) else result


def meant(b: Builder, x: Value, otherwise: float | int) -> Value:
    """x with what lies behind its counts set to a number."""
    for axis, name in x.counts:
        at = np.arange(x.shape[axis], dtype=np.int64).reshape([-1 if i == axis else 1 for i in range(x.rank)])
        x = with_counts(b("Where", b("Less", b.constant(at), b.value(name)), bare(x), b.like(otherwise, bare(x))), x.counts)
    return bare(x)


# elementwise


def broadcast(s: Source, rank: int, operands: Sequence[Value]) -> Counts:
    """The counts of a result that its operands broadcast to."""
    found: dict[int, str] = {}
    for v in operands:
        for axis, name in v.counts:
            if found.setdefault(axis + rank - v.rank, name) != name:
                raise refused(s, ", beside one of another size")
    for axis in found:
        for v in operands:
            own = axis - (rank - v.rank)
            if own >= 0 and v.shape[own] != 1 and own not in dict(v.counts):
                raise refused(s, ", beside one of a fixed size")
    return tuple(found.items())


def elementwise(rule: Rule) -> Rule:
    def run(s: Source) -> Value:
        operands = [v for v in s.inputs if v is not None]
        y = first(rule(stripped(s)))
        return with_counts(y, broadcast(s, y.rank, operands))

    return run


# movement


def transpose(s: Source, rule: Rule) -> Value:
    perm = [int(p) for p in s.attr("perm", list(reversed(range(s[0].rank))))]
    return with_counts(first(rule(stripped(s))), tuple((perm.index(a), n) for a, n in s[0].counts))


def squeeze(s: Source, rule: Rule) -> Value:
    axes = s.ints("axes", 1)
    drop = {i for i, n in enumerate(s[0].shape) if n == 1} if axes is None else {normal_axis(a, s[0].rank, s.where) for a in axes}
    if drop & dict(s[0].counts).keys():
        raise refused(s)
    y = first(rule(replace(stripped(s), attributes={"axes": sorted(drop)}, inputs=(bare(s[0]),))))
    return with_counts(y, tuple((a - sum(d < a for d in drop), n) for a, n in s[0].counts))


def unsqueeze(s: Source, rule: Rule) -> Value:
    y = first(rule(stripped(s)))
    new = {normal_axis(a, y.rank, s.where) for a in s.ints("axes", 1) or []}
    kept = [i for i in range(y.rank) if i not in new]
    return with_counts(y, tuple((kept[a], n) for a, n in s[0].counts))


def reshape(s: Source, rule: Rule) -> Value:
    """Where the axis stays one: as many numbers before it, and behind it."""
    wanted, x = s.ints("shape", 1) or [], s[0]
    if len(x.counts) != 1:
        raise refused(s)
    axis, name = x.counts[0]
    before, behind = prod(x.shape[:axis]), prod(x.shape[axis + 1 :])
    y = first(rule(stripped(s)))
    for i, n in enumerate(wanted):
        copied = n == 0 and i == axis and not s.attr("allowzero", 0)
        if (n == -1 or copied) and prod(y.shape[:i]) == before and prod(y.shape[i + 1 :]) == behind:
            return with_counts(y, ((i, name),))
    raise refused(s, f" to {wanted}")


def flatten(s: Source, rule: Rule) -> Value:
    """Where what the axis is flattened with has size 1."""
    x, cut = s[0], s.axis(1) if s.attr("axis", 1) != s[0].rank else s[0].rank
    y = first(rule(stripped(s)))
    places = tuple((0 if axis < cut else 1, name) for axis, name in x.counts)
    if any(y.shape[place] != x.shape[axis] for (place, _), (axis, _) in zip(places, x.counts)) or len(dict(places)) < len(places):
        raise refused(s)
    return with_counts(y, places)


def gather(s: Source, rule: Rule) -> Value:
    data, at, axis = s[0], s[1], s.axis()
    if axis in dict(data.counts):
        raise refused(s, " along that axis")
    y = first(rule(stripped(s)))
    return with_counts(y, (*((axis + a, n) for a, n in at.counts), *((a if a < axis else a + at.rank - 1, n) for a, n in data.counts)))


def gather_nd(s: Source, rule: Rule) -> Value:
    if s[0].counts or s.attr("batch_dims", 0) or any(a == s[1].rank - 1 for a, _ in s[1].counts):
        raise refused(s)
    return with_counts(first(rule(stripped(s))), s[1].counts)


def slice_(s: Source, rule: Rule) -> Value:
    starts, axes = s.ints("starts", 1) or [], s.ints("axes", 3)
    touched = {normal_axis(a, s[0].rank, s.where) for a in (axes or range(len(starts)))}
    if touched & dict(s[0].counts).keys():
        raise refused(s, " along that axis")
    return with_counts(first(rule(stripped(s))), s[0].counts)


def concat(s: Source, rule: Rule) -> Value:
    parts, axis = [v for v in s.inputs if v is not None], s.axis()
    if any(v.counts != parts[0].counts for v in parts) or axis in dict(parts[0].counts):
        raise refused(s, ", or of several such")
    return with_counts(first(rule(stripped(s))), parts[0].counts)


def shape(s: Source, rule: Rule) -> Value:
    b, counts = s.b, dict(s[0].counts)
    dims = [b.reshape(b.value(counts[i]), (1,)) if i in counts else b.constant(np.array([n], np.int64)) for i, n in enumerate(s[0].shape)]
    chosen = dims[slice(int(s.attr("start", 0)), s.attr("end"))]
    return b.many("Concat", chosen, axis=0)[0] if chosen else b.constant(np.zeros(0, np.int64))


# rows


def reduced_axes(s: Source) -> set[int]:
    axes = s.ints("axes", 1)
    if axes:
        return {normal_axis(a, s[0].rank, s.where) for a in axes}
    return set() if s.attr("noop_with_empty_axes", 0) else set(range(s[0].rank))


def _left(s: Source, over: set[int]) -> Counts:
    """The counts of a reduction's result."""
    dropped = set() if s.attr("keepdims", 1) else over
    return tuple((a - sum(d < a for d in dropped), n) for a, n in s[0].counts if a not in over)


def reduction(otherwise: Callable[[str], float | int]) -> Callable[[Source, Rule], Value]:
    """Over an axis that is counted, what lies behind the count is set to a number that changes nothing."""

    def run(s: Source, rule: Rule) -> Value:
        b, x = s.b, s[0]
        over = reduced_axes(s)
        inside = tuple((a, n) for a, n in x.counts if a in over)
        plain = replace(stripped(s), inputs=(meant(b, with_counts(x, inside), otherwise(x.dtype)), *map(_bare_or_none, s.inputs[1:])))
        y = first(rule(plain))
        return with_counts(y, _left(s, over))

    return run


def _bare_or_none(v: Value | None) -> Value | None:
    return None if v is None else bare(v)


def lowest(dtype: str) -> float | int:
    return -np.inf if dtype.startswith(("float", "bfloat")) else int(np.iinfo(DTYPES[dtype]).min)


def highest(dtype: str) -> float | int:
    return np.inf if dtype.startswith(("float", "bfloat")) else int(np.iinfo(DTYPES[dtype]).max)


def reduce_mean(s: Source, rule: Rule) -> Value:
    """The sum of what is meant, divided by how many they are."""
    b, x, over = s.b, s[0], reduced_axes(s)
    inside = tuple((a, n) for a, n in x.counts if a in over)
    if not inside:
        return reduction(lambda dtype: 0)(s, rule)
    total = b("ReduceSum", meant(b, with_counts(x, inside), 0), axes=tuple(sorted(over)))
    count = b.constant(np.int64(prod(x.shape[a] for a in over if a not in dict(inside))))
    for _, name in inside:
        count = b("Mul", count, b.value(name))
    y = b("Div", total, b.cast(count, x.dtype))
    if not s.attr("keepdims", 1):
        y = b.reshape(y, [n for i, n in enumerate(y.shape) if i not in over])
    return with_counts(y, _left(s, over))


def softmax(s: Source, rule: Rule) -> Value:
    if s.opset < 13:
        raise refused(s, " before opset 13")
    inside = tuple((a, n) for a, n in s[0].counts if a == s.axis(-1))
    x = meant(s.b, with_counts(s[0], inside), -np.inf)
    return with_counts(first(rule(replace(s, inputs=(x,)))), s[0].counts)


def matmul(s: Source, rule: Rule) -> Value:
    """Rows of the left operand."""
    a, w = s[0], s[1]
    if w.counts or any(axis != a.rank - 2 for axis, _ in a.counts) or s.attr("transA", 0) or w.rank != 2:
        raise refused(s)
    if any(v is not None and (v.rank > 1 and v.shape[0] != 1) for v in s.inputs[2:]):
        raise refused(s)
    return with_counts(first(rule(stripped(s))), a.counts)


def layer_normalization(s: Source, rule: Rule) -> Value:
    if any(a >= s.axis(-1) for a, _ in s[0].counts) or s.output_count > 1:
        raise refused(s)
    return with_counts(first(rule(stripped(s))), s[0].counts)


ELEMENTWISE = frozenset(TABLE) - {"BitShift", "CastLike", "Dropout", "Shrink"}
OTHERS: Mapping[str, Callable[[Source, Rule], Value]] = {
    "Concat": concat,
    "Flatten": flatten,
    "Gather": gather,
    "GatherND": gather_nd,
    "Gemm": matmul,
    "LayerNormalization": layer_normalization,
    "LogSoftmax": softmax,
    "MatMul": matmul,
    "ReduceMax": reduction(lowest),
    "ReduceMean": reduce_mean,
    "ReduceMin": reduction(highest),
    "ReduceProd": reduction(lambda dtype: 1),
    "ReduceSum": reduction(lambda dtype: 0),
    "Reshape": reshape,
    "Shape": shape,
    "Slice": slice_,
    "Softmax": softmax,
    "Squeeze": squeeze,
    "TfIdfVectorizer": lambda s, rule: first(rule(s)),
    "Transpose": transpose,
    "Unsqueeze": unsqueeze,
}


def counted(s: Source, rule: Rule) -> Value | tuple[Value, ...]:
    """An operator on values of which some have counts. Raises Error(unsupported) where it would take a bound for a size."""
    if s.op in ELEMENTWISE:
        return elementwise(rule)(s)
    if s.op not in OTHERS:
        raise refused(s)
    return OTHERS[s.op](s, rule)


def with_sizes(b: Builder, outputs: Sequence[tuple[str, Value]]) -> tuple[list[tuple[str, Value]], dict[str, Counts]]:
    """(a model's outputs and behind them their counts, each once; output → (axis, the output that says how much of it is meant))."""
    found, names, sizes = list(outputs), {n for n, _ in outputs} | b.public, dict[str, Counts]()
    told: dict[str, str] = {}  # a count → the output that says it
    for public, value in outputs:
        for _, count in value.counts:
            if count not in told:
                told[count] = fresh(f"{public}.count", names)
                names.add(told[count])
                found.append((told[count], b.value(count)))
        if value.counts:
            sizes[public] = tuple((axis, told[count]) for axis, count in value.counts)
    return found, sizes
