"""Control flow: branches chosen or both computed, loops written out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir

from mlcc.core.graph import TensorType
from mlcc.error import Error
from mlcc.graph.builder import Value
from mlcc.graph.interface import tensor_array

if TYPE_CHECKING:
    from mlcc.graph.normalise import Walk

Scope = dict[str, Value | None]
UNROLL_LIMIT = 4096
POISON = Value("", TensorType("bool", ()))


class Unsupported(Exception):
    """A value of an operator that is not supported; its consumers are skipped quietly."""


def subgraph(walk: Walk, graph: ir.Graph, scope: Scope) -> list[Value]:
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
    yes, no = results["then_branch"], results["else_branch"]
    for a, c in zip(yes, no):
        if a.type != c.type:
            raise Error(
                "unsupported",
                f"the branches of If give {list(a.shape)} and {list(c.shape)}",
                walk.b.origin,
                "make the condition known at build time",
            )
    flag = walk.b.reshape(condition, ())
    return tuple(walk.b("Where", flag, a, c) for a, c in zip(yes, no))


def loop(walk: Walk, given: Mapping[str, ir.Attr], inputs: tuple[Value | None, ...], scope: Scope) -> tuple[Value, ...]:
    """Loop with a trip count known at build time, unrolled."""
    b = walk.b
    body = given["body"].as_graph()
    trips = int(b.known(inputs[0], "the trip count").reshape(-1)[0]) if inputs[0] is not None else UNROLL_LIMIT
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
        raise Error("unsupported", "a loop that never runs but has scan outputs", walk.b.origin)
    stacked = [b.many("Concat", parts, axis=0)[0] for parts in scans]
    return tuple(v for v in (*carried, *stacked) if v is not None)
