"""Run a core graph by the reference."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from mlcc.core.graph import DTYPES, CoreGraph, Node
from mlcc.error import Error, explained
from mlcc.reference import dot, elementwise, move, reduce

Array = np.ndarray
TABLE: dict[str, Callable[..., Array | tuple[Array, ...]]] = {
    **{op: (lambda f: lambda node, *a: f(*a))(f) for op, f in elementwise.TABLE.items()},
    "Requantize": lambda node, x, scale: elementwise.requantize(x, scale, node["to"], node["zero"], node["low"], node["high"]),
    "Cast": lambda node, a: elementwise.cast(a, node["to"]),
    "BitCast": lambda node, a: elementwise.bit_cast(a, node["to"]),
    **move.TABLE,
    **reduce.TABLE,
    **dot.TABLE,
}


def repeat(node: Node, *operands: Array) -> tuple[Array, ...]:
    """A body's turns, one after the other."""
    body, c, m, count = node["body"].graph, node["carried"], node["scanned"], node["count"]
    carried, scanned, fixed = list(operands[:c]), operands[c : c + m], operands[c + m :]
    made = [np.zeros((count, *body.types[v].shape), DTYPES[body.types[v].dtype]) for v in body.outputs[c:]]
    for turn in reversed(range(count)) if node["reverse"] else range(count):
        if node.get("while") and not carried[0]:
            break
        inputs = dict(zip(body.inputs, [*carried, *(x[turn] for x in scanned), *fixed]))
        found = execute(body, inputs)
        results = [found[v] for v in body.outputs]
        carried = results[:c]
        for all_turns, one in zip(made, results[c:]):
            all_turns[turn] = one
    return (*carried, *made)


TABLE["Repeat"] = repeat


def evaluate(node: Node, inputs: list[Array]) -> tuple[Array, ...]:
    """The outputs of one node. Raises Error(unsupported) for a dtype that the operator has no contract for."""
    with np.errstate(all="ignore"):
        result = TABLE[node.op](node, *inputs)
    return tuple(np.asarray(r) for r in result) if isinstance(result, tuple) else (np.asarray(result),)


def execute(
    graph: CoreGraph, inputs: Mapping[str, Array], watch: Callable[[Node, tuple[Array, ...]], None] | None = None
) -> dict[str, Array]:
    """Output name → array. `watch` sees every node's outputs; a value is dropped after its last use."""
    values: dict[str, Array] = dict(graph.constants)
    for name in graph.inputs:
        t = graph.types[name]
        array = np.asarray(inputs[name])
        if array.dtype != DTYPES[t.dtype] or array.shape != t.shape:
            raise Error("usage", f"{array.dtype}{list(array.shape)} given, {t.dtype}{list(t.shape)} wanted", f"input {name}")
        values[name] = array
    last = {v: i for i, n in enumerate(graph.nodes) for v in n.inputs}
    keep = set(graph.outputs)
    for i, node in enumerate(graph.nodes):
        with explained("computing", f"{node.op} ({node.origin})"):
            results = evaluate(node, [values[v] for v in node.inputs])
        if any(r.shape != graph.types[v].shape for v, r in zip(node.outputs, results)):
            shapes = [list(r.shape) for r in results]
            raise Error("conformance", f"the reference gives {shapes} where the graph says otherwise", f"{node.op} ({node.origin})")
        if watch:
            watch(node, results)
        values.update(zip(node.outputs, results))
        for v in set(node.inputs):
            if last[v] == i and v not in keep and v not in graph.constants:
                del values[v]
    return {v: np.asarray(values[v], order="C") for v in graph.outputs}
