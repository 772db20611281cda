"""StableHLO's operations that hold functions (reductions, sorts, branches, loops) in ONNX's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
from onnx import TensorProto, helper

from mlcc.error import Error
from mlcc.importers.nodes import type_of
from mlcc.importers.stablehlo import elementwise, movement, products
from mlcc.importers.stablehlo.movement import turned
from mlcc.importers.stablehlo.products import JOINS, begins, joins, reduced
from mlcc.importers.stablehlo.read import Block, Op, Unknown, Value, constant, direction, evaluate
from mlcc.importers.stablehlo.write import Writer

# ---- reductions and sorts ----


def reduce(w: Writer, op: Op, *given: str) -> list[str]:
    count = len(op.results)
    axes = op.integers("dimensions")
    if count == 2 and len(axes) == 1 and (kind := _finds(op, axes[0])):
        place = w.op(kind, given[0], axis=axes[0], keepdims=0)
        most = reduced(w, "maximum" if kind == "ArgMax" else "minimum", given[0], axes, op.results[0].dtype)
        return [most, w.cast(place, op.results[1].dtype)]
    found = []
    for k in range(count):
        how = joins(op, k)
        x = reduced(w, how, given[k], axes, op.results[k].dtype)
        found.append(x if begins(op.operands[count + k], how) else w.op(JOINS[how], x, given[count + k]))
    return found


def _finds(op: Op, axis: int) -> str:
    """ArgMax or ArgMin, where the function takes of two elements and their places what these would: asked of every pair of some numbers.
    Where that is a NaN, its place (as ONNX, and the frameworks, have it)."""
    (block,), places = op.blocks, op.operands[1]
    if places.maker is None or places.maker.name != "iota" or places.maker.integer("iota_dimension") != axis:
        return ""
    kind = op.operands[0].dtype
    samples = [-2, 0, 1, 5] if kind.kind in "iu" else [-np.inf, -2.0, 0.0, 1.5, np.inf]
    numbers = [np.asarray(abs(s) if kind.kind == "u" else s).astype(kind)[()] for s in samples]
    for name, better in (("ArgMax", np.greater), ("ArgMin", np.less)):
        with np.errstate(all="ignore"):
            try:
                pairs = [(a, i, b, j) for a, b in product(numbers, repeat=2) for i, j in ((1, 2), (2, 1))]
                if all(_taken(block, a, i, b, j) == (j if better(b, a) or (a == b and j < i) else i) for a, i, b, j in pairs):
                    return name
            except Unknown:
                return ""
    return ""


def _taken(block: Block, a: Any, i: int, b: Any, j: int) -> int:
    first, at, second, other = block.arguments
    return int(evaluate(block.returned[1], {first: a, at: at.dtype.type(i), second: b, other: at.dtype.type(j)}))


def sort(w: Writer, op: Op, *given: str) -> list[str]:
    """By the first operand, up or down, the others alongside. TopK keeps the order of equal elements."""
    axis = op.integer("dimension")
    n = op.operands[0].sizes[axis]
    way = _order(op)
    values, places = w.several("TopK", given[0], w.integers(n), outputs=2, axis=axis, largest=int(way == "down"), sorted=1)
    return [values, *(w.op("GatherElements", x, places, axis=axis) for x in given[1:])]


def _order(op: Op) -> str:
    """ "up" or "down", by what the comparison says of pairs of numbers."""
    (block,), kind = op.blocks, op.operands[0].dtype
    numbers = [np.asarray(s).astype(kind)[()] for s in ((0, 1, 3, 7) if kind.kind in "ub" else (-3, -1, 0, 2))]
    others = {v: v.dtype.type(0) for v in block.arguments[2:]}
    for name, better in (("up", np.less), ("down", np.greater)):
        try:
            if all(
                bool(evaluate(block.returned[0], {**others, block.arguments[0]: a, block.arguments[1]: b})) == bool(better(a, b))
                for a, b in product(numbers, repeat=2)
            ):
                return name
        except Unknown:
            break
    raise Error("unsupported", "a sort by more than its first operand, up or down")


def composite(w: Writer, op: Op, x: str) -> str | list[str]:
    if "chlo.erf" in str(op.attributes["name"]):
        return w.op("Erf", x)
    number = int(op.attributes["composite_attributes"]["k"].value)
    return _top(w, op, x, number)


def _top(w: Writer, op: Op, x: str, number: int) -> list[str]:
    values, places = w.several("TopK", x, w.integers(number), outputs=2, axis=-1, largest=1, sorted=1)
    return [values, w.cast(places, op.results[1].dtype)]


HANDED_ON = ("Sharding", "SPMDFullToShardShape", "SPMDShardToFullShape", "annotate_device_placement", "LayoutConstraint")


def custom_call(w: Writer, op: Op, *given: str) -> list[str]:
    name = str(op.attributes["call_target_name"]).strip('"')
    if name == "shape_assertion":  # the interface checks sizes
        return []
    if name in HANDED_ON:
        return list(given)
    if name == "mhlo.erf":
        return [w.op("Erf", given[0])]
    if name == "mhlo.topk":
        return _top(w, op, given[0], int(op.results[0].sizes[-1]))
    raise Error("unsupported", f"the custom call {name}")


# ---- branches and loops ----


def branch(w: Writer, op: Op, *given: str) -> list[str]:
    """Of `case`: the last block also for numbers that none has. Of `if`: the first where it holds."""
    if op.name == "if":
        return _either(w, op, given[0], op.blocks[0], [op.blocks[1]])
    return _case(w, op, given[0], list(op.blocks), 0)


def _case(w: Writer, op: Op, index: str, blocks: list[Block], k: int) -> list[str]:
    if len(blocks) == 1:
        return w.block(blocks[0], RULES)
    return _either(w, op, w.op("Equal", index, w.constant(k, op.operands[0].dtype)), blocks[0], blocks[1:], index, k + 1)


def _either(w: Writer, op: Op, which: str, first: Block, rest: list[Block], index: str = "", k: int = 0) -> list[str]:
    one, other = w.inner(), w.inner()
    then = one.graph(one.block(first, RULES))
    otherwise = other.graph(_case(other, op, index, rest, k))
    return w.several("If", which, outputs=len(op.results), then_branch=then, else_branch=otherwise)


def loop(w: Writer, op: Op, *given: str) -> list[str]:
    """A Loop. One that counts up to a bound has a trip count, and its counter is no state; what is only handed on is none either, and rows
    that are written one after the other are scan outputs (JAX writes its scans so)."""
    test, body = op.blocks
    inner, turn, go = w.inner(), w.fresh(), w.fresh()
    after, carried = list(given), list(range(len(given)))

    def called(k: int, name: str) -> None:
        for block in (test, body):
            w.names[block.arguments[k]] = name

    counter, trips, times, start = _counter(op), "", None, None
    if counter is not None:
        k, limit = counter
        start, end, dtype = constant(op.operands[k]), constant(limit), op.operands[k].dtype
        if start is not None and end is not None:
            times = max(0, int(end) - int(start))
            trips = w.constant(times, np.int64)
        else:
            trips = w.cast(w.op("Max", w.op("Sub", w.names[limit], given[k]), w.constant(0, dtype)), np.int64)
        carried.remove(k)
        after[k] = w.op("Add", given[k], w.cast(trips, dtype))
        called(k, inner.op("Add", given[k], inner.cast(turn, dtype)))
    for k in [k for k in carried if body.returned[k] is body.arguments[k]]:
        carried.remove(k)
        called(k, given[k])
    rows = {}
    if counter is not None and times is not None and start is not None:
        places = [body.arguments[counter[0]].dtype.type(int(start) + i) for i in range(times)]
        rows = {k: row for k in carried if (row := _row(body, k, body.arguments[counter[0]], places)) is not None}
    carried = [k for k in carried if k not in rows]
    inputs = [helper.make_tensor_value_info(turn, TensorProto.INT64, []), helper.make_tensor_value_info(go, TensorProto.BOOL, [])]
    for k in carried:
        name, state = w.fresh(), op.operands[k]
        called(k, name)
        inputs.append(helper.make_tensor_value_info(name, type_of(state.dtype), state.shape))

    writes = {id(body.returned[k].maker) for k in rows}
    for each in body.ops:
        if id(each) not in writes:
            inner.write(each, RULES)
    states = [w.names[body.returned[k]] for k in carried]
    written = [inner.op("Squeeze", w.names[row.value], w.integers(row.axis)) for row in rows.values()]
    if counter is not None:
        begun, again = "", inner.op("Identity", go)
    else:
        turned_to = [w.names[v] for v in body.returned]
        w.names.update(zip(test.arguments, given))
        (begun,) = w.block(test, RULES)
        w.names.update(zip(test.arguments, turned_to))
        (again,) = inner.block(test, RULES)
    if carried or rows:
        graph = inner.graph([again, *states, *written], inputs)
        found = w.several("Loop", trips, begun, *(given[k] for k in carried), outputs=len(carried) + len(rows), body=graph)
        for k, name in zip([*carried, *rows], found):
            after[k] = rows[k].laid(w, name) if k in rows else name
    return after


def _counter(op: Op) -> tuple[int, Value] | None:
    """(which state counts up by one while it is below a limit, the limit as it is outside of the loop)."""
    test, body = op.blocks
    compared = test.returned[0].maker
    if compared is None or compared.name != "compare" or direction(compared) != "LT" or compared.operands[0] not in test.arguments:
        return None
    k, limit = test.arguments.index(compared.operands[0]), compared.operands[1]
    more = body.returned[k].maker
    if more is None or more.name != "add" or body.arguments[k] not in more.operands:
        return None
    step = constant(more.operands[0] if more.operands[1] is body.arguments[k] else more.operands[1])
    if step is None or int(step) != 1:
        return None
    if limit in test.arguments:
        j = test.arguments.index(limit)
        return (k, op.operands[j]) if body.returned[j] is body.arguments[j] else None
    return None if limit.maker in test.ops and constant(limit) is None else (k, limit)


@dataclass(frozen=True)
class Row:
    """A state that is a row longer each turn. value: the row; axis: along which rows lie; backwards: from the end; rank: of the state."""

    value: Value
    axis: int
    backwards: bool
    rank: int

    def laid(self, w: Writer, x: str) -> str:
        """What a scan gave, rows first, as the state lies."""
        x = turned(w, x, [0]) if self.backwards else x
        return w.transpose(x, [*range(1, self.axis + 1), 0, *range(self.axis + 1, self.rank)])


def _row(body: Block, k: int, counter: Value, places: Sequence[Any]) -> Row | None:
    """Where a state is written at each place along an axis once, whatever it was at first, and read by nothing else."""
    op = body.returned[k].maker
    if op is None or op.name != "dynamic_update_slice" or op.operands[0] is not body.arguments[k]:
        return None
    if body.arguments[k].uses != 1 or body.returned[k].uses != 1:
        return None
    whole, part = op.operands[0].sizes, op.operands[1].sizes
    axes = [i for i, (n, m) in enumerate(zip(whole, part)) if n != m]
    axis = axes[0] if axes else next((i for i, n in enumerate(whole) if n == 1), -1)
    if len(axes) > 1 or axis < 0 or part[axis] != 1 or whole[axis] != len(places):
        return None
    try:
        found = [int(evaluate(op.operands[2 + axis], {counter: place})) for place in places]
    except Unknown:
        return None
    forwards = list(range(len(places)))
    return Row(op.operands[1], axis, found != forwards, len(whole)) if found in (forwards, forwards[::-1]) else None


RULES: Mapping[str, Any] = {
    **elementwise.RULES, **movement.RULES, **products.RULES, "reduce": reduce, "sort": sort, "composite": composite,
    "custom_call": custom_call, "case": branch, "if": branch, "while": loop,
}  # fmt: skip
