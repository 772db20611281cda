"""The range that an integer which only a run knows must lie in, by what it is made of: interval arithmetic over core operators.

Moore, "Interval Analysis", 1966. A range that an operation could leave is the type's own: integers wrap."""

from __future__ import annotations

import numpy as np

from mlcc.core.graph import DTYPES
from mlcc.core.terms import most
from mlcc.graph.builder import Builder, Value

Range = tuple[int, int]
MOVES = ("Identity", "Reshape", "Transpose", "Expand", "Slice", "Gather", "GatherElements", "Concat", "Pad")
DEEP = 64  # operators on the way


def of_type(dtype: str) -> Range | None:
    kind = DTYPES[dtype]
    if dtype == "bool":
        return 0, 1
    return (int(np.iinfo(kind).min), int(np.iinfo(kind).max)) if kind.kind in "iu" else None


def range_of(b: Builder, value: Value, deep: int = DEEP) -> Range | None:
    """(least, greatest) of a value's numbers; None where it is no integer."""
    whole = of_type(value.dtype)
    known = b.array(value)
    if whole is None:
        return None
    if known is not None:
        return (int(known.min()), int(known.max())) if known.size else whole
    node = b.producer(value)
    if node is None or not deep:
        return whole
    operands = [b.value(n) for n in node.inputs]

    def parts(*which: int) -> list[Range]:
        found = [range_of(b, operands[i], deep - 1) for i in which]
        return [whole if r is None else r for r in found]

    def within(low: int, high: int) -> Range:
        return (low, high) if whole[0] <= low and high <= whole[1] else whole

    match node.op:
        case "Cast":
            source = range_of(b, operands[0], deep - 1)
            return whole if source is None else within(*source)
        case "Min":
            (a, c), (d, e) = parts(0, 1)
            return min(a, d), min(c, e)
        case "Max":
            (a, c), (d, e) = parts(0, 1)
            return max(a, d), max(c, e)
        case "Where":
            (a, c), (d, e) = parts(1, 2)
            return min(a, d), max(c, e)
        case "Add":
            (a, c), (d, e) = parts(0, 1)
            return within(a + d, c + e)
        case "Sub":
            (a, c), (d, e) = parts(0, 1)
            return within(a - e, c - d)
        case "Mul":
            (a, c), (d, e) = parts(0, 1)
            corners = [a * d, a * e, c * d, c * e]
            return within(min(corners), max(corners))
        case "ReduceSum":
            ((a, c),) = parts(0)
            n = most(operands[0].type.size)
            return within(min(a * n, 0), max(c * n, 0))
        case "ReduceMax" | "ReduceMin" if operands[0].type.static and operands[0].type.size:
            return parts(0)[0]
        case "ArgMax":
            return 0, max(0, most(operands[0].shape[node["axis"]]) - 1)
        case op if op in MOVES:
            data = parts(*(range(len(operands)) if op == "Concat" else (0,)))
            fill = [(int(v), int(v)) for v in [node.get("value")] if op == "Pad" and v is not None]
            both = [*data, *fill]
            return min(r[0] for r in both), max(r[1] for r in both)
    return whole
