"""Control flow: branches chosen or both computed, loops as loops of the program, or written out where turns differ."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx_ir as ir

from mlcc.core.dim import Dim, whole
from mlcc.core.graph import DTYPES, TensorType
from mlcc.core.terms import Size
from mlcc.error import Error
from mlcc.graph.bounds import range_of
from mlcc.graph.builder import Builder, Value
from mlcc.graph.interface import tensor_array
from mlcc.graph.repeat import repeat
from mlcc.graph.rules.elementwise import ONNX_DTYPES
from mlcc.graph.sequences import Sequence, listed, selected
from mlcc.graph.source import normal_axis
from mlcc.graph.symbolic import counting

if TYPE_CHECKING:
    from mlcc.graph.normalise import Walk

Scope = dict[str, Any]  # values, sequences, optionals; None where an operand is left out
UNROLL_LIMIT = 4096
POISON = Value("", TensorType("bool", ()))


class EndsEarly(Error):
    """A loop whose condition only a run knows."""

    def __init__(self, where: str) -> None:
        super().__init__("unsupported", "a loop that ends early", where)


class Unsupported(Exception):
    """A value of an operator that is not supported; its consumers are skipped quietly."""


def subgraph(walk: Walk, graph: ir.Graph, scope: Scope) -> list[Any]:
    inner = dict(scope)
    for value in graph.initializers.values():
        inner[str(value.name)] = walk.b.constant(tensor_array(value.const_value, f"initializer {value.name}"))
    walk.run(graph, inner)
    results = []
    for v in graph.outputs:
        found = inner.get(str(v.name))
        if found is POISON:
            raise Unsupported
        if found is None:
            raise Error("model", f"{v.name} is never computed", f"a subgraph of {walk.b.origin}")
        results.append(found)
    return results


def branch(walk: Walk, given: Mapping[str, ir.Attr], inputs: tuple[Value | None, ...], scope: Scope) -> tuple[Value, ...]:
    """If: the branch taken where the condition is known, else both and a selection."""
    condition = inputs[0]
    assert condition is not None
    known = walk.b.array(condition)
    branches = {k: given[k].as_graph() for k in ("then_branch", "else_branch")}
    if known is not None:
        return tuple(subgraph(walk, branches["then_branch" if bool(known.reshape(-1)[0]) else "else_branch"], scope))
    origin = walk.b.origin
    results, problems = {}, {}
    for key, graph in branches.items():
        before = dict(walk.unsupported)
        try:
            results[key] = subgraph(walk, graph, scope)
        except Error as e:
            if e.code != "model":
                raise
            walk.unsupported, problems[key] = before, e
    walk.b.origin = origin
    if len(problems) == 2:
        raise problems["then_branch"]
    if problems:  # with these shapes it is an error to take that branch, so the other one is what the model means
        walk.b.record("branch-impossible-for-these-shapes")
        return tuple(next(iter(results.values())))
    flag = walk.b.reshape(condition, ())
    return tuple(selected(walk.b, flag, a, c, origin) for a, c in zip(results["then_branch"], results["else_branch"]))


def loop(walk: Walk, given: Mapping[str, ir.Attr], inputs: tuple[Value | None, ...], scope: Scope) -> tuple[Value, ...]:
    """Loop: one loop of the program, or written out where turns differ in more than numbers. A trip count that only a run knows must have
    a bound."""
    b = walk.b
    body = given["body"].as_graph()
    if (limit := inputs[0]) is not None and b.array(limit) is None and limit.name not in b.symbolic:
        bound = range_of(b, limit)
        if bound is not None and bound[1] <= UNROLL_LIMIT:
            return _masked(walk, body, inputs, scope, max(1, bound[1]), b.reshape(limit, ()))
    trips = whole(b.known(inputs[0], "the trip count").reshape(-1)[0]) if inputs[0] is not None else UNROLL_LIMIT
    if inputs[0] is not None and (isinstance(trips, Dim) or trips > 1):
        early = False
        try:
            return _repeated(walk, body, inputs, scope, trips)
        except (Error, Unsupported) as e:
            early = isinstance(e, EndsEarly)
            if isinstance(trips, Dim) and not early:
                raise
        if early:
            try:
                return _written_out(walk, body, inputs, scope, trips)
            except (Error, Unsupported) as e:
                try:
                    return _masked(walk, body, inputs, scope, trips)
                except (Error, Unsupported):
                    raise e from None
    return _written_out(walk, body, inputs, scope, trips)


def _written_out(walk: Walk, body: ir.Graph, inputs: tuple[Value | None, ...], scope: Scope, trips: Size) -> tuple[Value, ...]:
    """Loop turn by turn, each with what it knows. Raises Undecided where a condition is not known."""
    b = walk.b
    if isinstance(trips, Dim):
        raise Error("unsupported", "a loop of a size that a run decides, whose turns differ", b.origin)
    carried = [v for v in inputs[2:]]
    condition = inputs[1]
    scans: list[list[Value]] = []
    for step in range(trips + 1):
        alive = condition is None or bool(b.known(condition, "the loop's condition").reshape(-1)[0])
        if step == trips or not alive:
            break
        if step == UNROLL_LIMIT:
            raise Error("unsupported", f"a loop of more than {UNROLL_LIMIT} steps", walk.b.origin)
        inner = dict(scope)
        keep = b.constant(np.array(True)) if condition is None else condition
        for v, value in zip(body.inputs, [b.constant(np.array(step, np.int64)), keep, *carried]):
            inner[str(v.name)] = value
        results = subgraph(walk, body, inner)
        condition, carried, rest = results[0], list(results[1 : 1 + len(carried)]), results[1 + len(carried) :]
        scans = scans or [[] for _ in rest]
        for collected, value in zip(scans, rest):
            collected.append(b.reshape(value, (1, *value.shape)))
    if not scans and len(body.outputs) > 1 + len(carried):
        return (*(v for v in carried if v is not None), *_never(walk, body, len(carried)))
    stacked = [b.many("Concat", parts, axis=0)[0] for parts in scans]
    return tuple(v for v in (*carried, *stacked) if v is not None)


def _repeated(walk: Walk, body: ir.Graph, inputs: tuple[Value | None, ...], scope: Scope, trips: Size) -> tuple[Value, ...]:
    """Loop as one loop of the program. Raises Error where it ends early, or where a turn is unlike another."""
    b, carried = walk.b, _tensors(walk, inputs[2:])
    if inputs[1] is not None and (b.array(inputs[1]) is None or not bool(b.known(inputs[1], "the loop's condition").reshape(-1)[0])):
        raise EndsEarly(b.origin)

    def turn(inner: Builder, states: list[Value], parts: list[Value]) -> tuple[list[Value], list[Value]]:
        keep = inner.constant(np.array(True))
        results = _within(walk, inner, body, scope, [parts[0], keep, *states])
        if inner.array(results[0]) is None or not bool(inner.known(results[0], "the loop's condition").reshape(-1)[0]):
            raise EndsEarly(inner.origin)
        return results[1 : 1 + len(states)], results[1 + len(states) :]

    last, stacked = repeat(b, trips, carried, [counting(b, trips)], turn)
    return (*last, *stacked)


def _masked(
    walk: Walk, body: ir.Graph, inputs: tuple[Value | None, ...], scope: Scope, trips: Size, limit: Value | None = None
) -> tuple[Value, ...]:
    """Loop whose condition, or whose trip count `limit`, only a run knows: once it has ended, turns change nothing, and the program leaves
    them out. Of what is stacked, as many rows are meant as there were turns."""
    b, carried = walk.b, _tensors(walk, inputs[2:])
    going = b.constant(np.array(True)) if inputs[1] is None else b.reshape(inputs[1], ())
    none = b.constant(np.int64(0))
    if limit is not None:
        going = b("And", going, b("Less", none, limit))

    def turn(inner: Builder, states: list[Value], parts: list[Value]) -> tuple[list[Value], list[Value]]:
        alive, count, *old = states
        results = _within(walk, inner, body, scope, [parts[0], inner.constant(np.array(True)), *old])
        new = [inner("Where", alive, n, o) for n, o in zip(results[1 : 1 + len(old)], old)]
        rows = [inner("Where", alive, row, inner.like(0, row)) for row in results[1 + len(old) :]]
        more = inner("Where", alive, inner("Add", count, inner.constant(np.int64(1))), count)
        going = inner("And", alive, inner.reshape(results[0], ()))
        if limit is not None:
            going = inner("And", going, inner("Less", more, limit))
        return [going, more, *new], rows

    (_, count, *last), stacked = repeat(b, trips, [going, none, *carried], [counting(b, trips)], turn, while_first=True)
    return (*last, *(replace(v, counts=((0, count.name),)) for v in stacked))


def _tensors(walk: Walk, values: tuple[Any, ...]) -> list[Value]:
    if not all(isinstance(v, Value) for v in values):
        raise Error("unsupported", "a loop that hands on what is no tensor", walk.b.origin)
    return list(values)


def _within(walk: Walk, inner: Builder, body: ir.Graph, scope: Scope, given: list[Value]) -> list[Value]:
    """A body's results, written by another builder. Raises Error where one is no tensor, or something in it is not supported."""
    outer, unsupported = walk.b, dict(walk.unsupported)
    walk.b = inner
    try:
        results = subgraph(walk, body, {**scope, **{str(v.name): value for v, value in zip(body.inputs, given)}})
    finally:
        walk.b = outer
    if not all(isinstance(v, Value) for v in results):
        walk.unsupported = unsupported
        raise Error("unsupported", "a loop that hands on what is no tensor", inner.origin)
    return results


def _never(walk: Walk, body: ir.Graph, carried: int) -> list[Value]:
    """The scan outputs of a loop that never runs: no rows, of the shape that the file declares."""
    found = []
    for v in list(body.outputs)[1 + carried :]:
        dims = None if v.shape is None else [d if isinstance(d, int) else None for d in v.shape]
        dtype = None if v.dtype is None else ONNX_DTYPES.get(int(v.dtype))
        if dims is None or dtype is None or None in dims:
            raise Error("unsupported", f"a loop that never runs, whose output {v.name} has no declared shape", walk.b.origin)
        found.append(walk.b.constant(np.zeros((0, *dims), DTYPES[dtype])))
    return found


def scan(walk: Walk, given: Mapping[str, ir.Attr], inputs: tuple[Value | None, ...], scope: Scope) -> tuple[Value, ...]:
    """Scan, unrolled over the axis that is scanned; before opset 9 over the batch as well, whose lengths must be the whole."""
    b, body, count = walk.b, given["body"].as_graph(), int(given["num_scan_inputs"].as_int())
    operands = [v for v in inputs[1 if walk.opset < 9 else 0 :] if v is not None]
    states, scanned = operands[: len(operands) - count], operands[len(operands) - count :]

    def listed(name: str, length: int, otherwise: int = 0) -> list[int]:
        return [int(v) for v in given[name].as_ints()] if name in given else [otherwise] * length

    outs = len(body.outputs) - len(states)
    if walk.opset >= 9:
        axes = [normal_axis(a, v.rank, b.origin) for a, v in zip(listed("scan_input_axes", count), scanned)]
        return _scanned(walk, body, scope, states, scanned, axes, listed("scan_input_directions", count),
                        listed("scan_output_axes", outs), listed("scan_output_directions", outs))  # fmt: skip
    if inputs[0] is not None:
        lengths = b.known(inputs[0], "sequence_lens")
        if (lengths != scanned[0].shape[1]).any():
            raise Error("unsupported", "sequences of different lengths in Scan-8", b.origin, "convert the model to opset 9 or newer")
    rows = []
    for i in range(scanned[0].shape[0]):
        state, parts = ([b.reshape(b.slice(v, 0, i, 1), v.shape[1:]) for v in group] for group in (states, scanned))
        found = _scanned(walk, body, scope, state, parts, [0] * count, listed("directions", count), [0] * outs, [0] * outs)
        rows.append([b.reshape(v, (1, *v.shape)) for v in found])
    return tuple(b.many("Concat", parts, axis=0)[0] for parts in zip(*rows))


def _scanned(
    walk: Walk, body: ir.Graph, scope: Scope, states: list[Value], scanned: list[Value], axes: list[int], backwards: list[int],
    out_axes: list[int], out_backwards: list[int],
) -> tuple[Value, ...]:  # fmt: skip
    b = walk.b
    steps = scanned[0].shape[axes[0]]
    if any(v.shape[a] != steps for v, a in zip(scanned, axes)):
        raise Error("model", "the scanned inputs are of different lengths", b.origin)
    if isinstance(steps, Dim) or steps > 1:
        try:
            return _scan_repeated(walk, body, scope, states, scanned, axes, backwards, out_axes, out_backwards)
        except (Error, Unsupported):
            if isinstance(steps, Dim):
                raise
    if not 0 < steps <= UNROLL_LIMIT:
        raise Error("unsupported", f"a Scan of {steps} steps", b.origin, f"1 to {UNROLL_LIMIT} steps are supported")
    collected: list[list[Value]] = []
    for step in range(steps):
        parts = []
        for v, a, back in zip(scanned, axes, backwards):
            part = b.slice(v, a, steps - 1 - step if back else step, 1)
            parts.append(b.reshape(part, [n for i, n in enumerate(v.shape) if i != a]))
        inner = {**scope, **{str(v.name): value for v, value in zip(body.inputs, [*states, *parts])}}
        results = subgraph(walk, body, inner)
        states = results[: len(states)]
        collected.append(results[len(states) :])
    stacked = []
    for values, a, back in zip(zip(*collected), out_axes, out_backwards):
        axis = normal_axis(a, values[0].rank + 1, b.origin)
        rows = [b.reshape(v, (*v.shape[:axis], 1, *v.shape[axis:])) for v in values]
        stacked.append(b.many("Concat", rows[::-1] if back else rows, axis=axis)[0])
    return (*states, *stacked)


def _scan_repeated(
    walk: Walk, body: ir.Graph, scope: Scope, states: list[Value], scanned: list[Value], axes: list[int], backwards: list[int],
    out_axes: list[int], out_backwards: list[int],
) -> tuple[Value, ...]:  # fmt: skip
    b = walk.b
    steps = scanned[0].shape[axes[0]]
    fronted = []
    for v, a, back in zip(scanned, axes, backwards):
        moved = b.transpose(v, (a, *(i for i in range(v.rank) if i != a)))
        fronted.append(b.slice(moved, 0, steps - 1, steps, -1) if back else moved)

    def turn(inner: Builder, old: list[Value], parts: list[Value]) -> tuple[list[Value], list[Value]]:
        results = _within(walk, inner, body, scope, [*old, *parts])
        return results[: len(old)], results[len(old) :]

    last, stacked = repeat(b, steps, states, fronted, turn)
    found = []
    for v, a, back in zip(stacked, out_axes, out_backwards):
        turned = b.slice(v, 0, steps - 1, steps, -1) if back else v
        axis = normal_axis(a, v.rank, b.origin)
        found.append(b.transpose(turned, (*range(1, axis + 1), 0, *range(axis + 1, v.rank))))
    return (*last, *found)


def sequence_map(walk: Walk, given: Mapping[str, ir.Attr], inputs: tuple[Any, ...], scope: Scope) -> tuple[Sequence, ...]:
    """The body on each item of the first sequence, and of the others' beside it; a tensor is the same for all."""
    body = given["body"].as_graph()
    collected: list[list[Value]] = [[] for _ in body.outputs]
    for i in range(len(listed(walk.b, inputs))):
        row = [v.items[i] if isinstance(v, Sequence) else v for v in inputs]
        results = subgraph(walk, body, {**scope, **{str(v.name): value for v, value in zip(body.inputs, row)}})
        for found, value in zip(collected, results):
            found.append(value)
    return tuple(Sequence(tuple(v)) for v in collected)


CONTROL = {"If": branch, "Loop": loop, "Scan": scan, "SequenceMap": sequence_map}
