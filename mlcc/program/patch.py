"""The early, large layers a strip of rows at a time: less memory for some rows computed twice. Never changes a bit.

Patch-based inference (Lin et al., "MCUNetV2: Memory-Efficient Patch-based Inference for Tiny Deep Learning", 2021), as a rewriting of
the core graph: each strip of the last layer's rows is computed from just the rows that it depends on.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import takewhile
from math import prod

import numpy as np

from mlcc.core.graph import CoreGraph, Node, TensorType
from mlcc.core.operators import family
from mlcc.core.types import infer
from mlcc.program.budget import ram_bytes
from mlcc.program.fusion import is_elementwise
from mlcc.program.lower import lower
from mlcc.program.program import Program

AXIS = 2  # rows of (batch, channels, rows, …)
MOST_STRIPS = 16
MOST_WORK = 2.0  # times the multiply-adds of the layers in strips

Rows = tuple[int, int]  # from, below


@dataclass(frozen=True)
class Patch:
    """Layers first … last of a graph's nodes in `strips` strips of the last one's rows; work: operations, relative to those of the same
    layers whole."""

    first: int
    last: int
    strips: int
    work: float


def patches(graph: CoreGraph) -> list[Patch]:
    """What may be computed in strips, those that repeat least first."""
    found = []
    for first, last in _regions(graph):
        nodes = graph.nodes[first : last + 1]
        rows = graph.types[nodes[-1].outputs[0]].shape[AXIS]
        whole = sum(_work(graph, n, graph.types[n.outputs[0]].shape[AXIS]) for n in nodes)
        for strips in range(2, min(rows, MOST_STRIPS) + 1):
            needs = [_needs(graph, nodes, strip) for strip in _strips(rows, strips)]
            if len(needs) < strips or any(n is None for n in needs):
                continue
            done = sum(_work(graph, n, b - a) for need in needs if need for n in nodes for a, b in [need[n.outputs[0]]])
            if done <= MOST_WORK * whole:
                found.append(Patch(first, last, strips, done / whole))
    return sorted(found, key=lambda p: (p.work, p.strips, p.last))


def within(graph: CoreGraph, ram: int, vectors: bool) -> tuple[Program, Patch] | None:
    """The compact program that fits `ram` bytes and repeats least; where none does, the one that needs fewest bytes. None: nothing can be
    cut."""
    least: tuple[Program, Patch] | None = None
    for patch in patches(graph):
        program = lower(patched(graph, patch), compact=True, vectors=vectors)
        if ram_bytes(program) <= ram:
            return program, patch
        if least is None or program.arena_bytes < least[0].arena_bytes:
            least = program, patch
    return least


def patched(graph: CoreGraph, patch: Patch) -> CoreGraph:
    """The graph with these layers in strips, one strip after the other."""
    nodes = graph.nodes[patch.first : patch.last + 1]
    end = nodes[-1].outputs[0]
    types, constants = dict(graph.types), dict(graph.constants)
    computed = {v for n in nodes for v in n.outputs}
    mark = "strip"
    while any(f".{mark}" in v for v in graph.types):  # a model's own names may look like ours
        mark += "'"
    made: list[Node] = []
    parts = []

    def slice_of(name: str, value: str, rows: Rows, within: Rows, axis: int, origin: str) -> str:
        """The rows of a value whose own rows are `within`."""
        if rows == within:
            return value
        shape = list(types[value].shape)
        shape[axis] = rows[1] - rows[0]
        if name not in types:
            types[name] = TensorType(types[value].dtype, tuple(shape))
            if value in constants:
                constants[name] = np.ascontiguousarray(np.take(constants[value], range(rows[0] - within[0], rows[1] - within[0]), axis))
            else:
                starts = tuple(rows[0] - within[0] if i == axis else 0 for i in range(len(shape)))
                attributes = (("shape", tuple(shape)), ("starts", starts), ("steps", (1,) * len(shape)))
                made.append(Node("Slice", (value,), (name,), attributes, origin))
        return name

    for number, strip in enumerate(_strips(graph.types[end].shape[AXIS], patch.strips)):
        needs = _needs(graph, nodes, strip)
        assert needs is not None, "patches() offers only what can be cut"
        for node in nodes:
            out = needs[node.outputs[0]]
            operands = []
            for v, rows in zip(node.inputs, _reads(graph, node, out) or ()):
                if rows is None:
                    operands.append(v)
                    continue
                axis = AXIS - (len(graph.types[node.outputs[0]].shape) - len(graph.types[v].shape))
                within = needs[v] if v in computed else (0, graph.types[v].shape[axis])
                source = f"{v}.{mark}{number}" if v in computed else v
                operands.append(slice_of(f"{v}.rows{rows[0]}to{rows[1]}.{mark}{number}", source, rows, within, axis, node.origin))
            name = f"{node.outputs[0]}.{mark}{number}"
            new = replace(_cut(graph, node, out), inputs=tuple(operands), outputs=(name,))
            types[name] = infer(new, [types[v] for v in operands])[0]
            made.append(new)
        parts.append(f"{end}.{mark}{number}")
    made.append(Node("Concat", tuple(parts), (end,), (("axis", AXIS),), nodes[-1].origin))
    return graph.with_nodes((*graph.nodes[: patch.first], *made, *graph.nodes[patch.last + 1 :]), types=types, constants=constants)


def _regions(graph: CoreGraph) -> Iterator[tuple[int, int]]:
    """The runs of nodes, from the first that work by rows, whose last value is all that the rest reads."""
    first = next((i for i, n in enumerate(graph.nodes) if n.op == "Conv" and _by_rows(graph, n)), None)
    if first is None:
        return
    while first and _by_rows(graph, graph.nodes[first - 1]):
        first -= 1
    last_read = {v: i for i, n in enumerate(graph.nodes) for v in n.inputs} | dict.fromkeys(graph.outputs, len(graph.nodes))
    live: set[str] = set()
    run = takewhile(lambda i: _by_rows(graph, graph.nodes[i]), range(first, len(graph.nodes)))
    for i in run:
        value = graph.nodes[i].outputs[0]
        read = {v for v in graph.nodes[i].inputs if v not in graph.constants}
        live = {v for v in live | read | {value} if last_read.get(v, 0) > i}
        fused = all(is_elementwise(n) for n in graph.nodes[i + 1 :] if value in n.inputs)
        if live == {value} and value not in graph.outputs and not fused:
            yield first, i


def _by_rows(graph: CoreGraph, node: Node) -> bool:
    """Whether a row of the node's result needs just some rows of its operands."""
    shape = graph.types[node.outputs[0]].shape
    if len(shape) <= AXIS or len(node.outputs) != 1 or shape[AXIS] < 2:
        return False
    if family(node.op) == "elementwise":
        return True
    return node.op in ("Conv", "PoolMax", "PoolSum") and node.inputs[0] not in graph.constants


def _strips(rows: int, count: int) -> Sequence[Rows]:
    """Strips of one height, the last maybe lower; fewer than asked where that covers all rows."""
    height = -(-rows // count)
    return [(a, min(a + height, rows)) for a in range(0, rows, height)]


def _window(graph: CoreGraph, node: Node) -> tuple[int, int, int]:
    """Of a convolution or pool, along the rows: taps, their distance, stride."""
    taps = graph.types[node.inputs[1]].shape[AXIS] if node.op == "Conv" else node["kernel"][0]
    return taps, node["dilations"][0], node["strides"][0]


def _reach(graph: CoreGraph, node: Node, rows: Rows) -> Rows:
    """The input rows under the windows of some output rows, with those beyond the edges."""
    taps, distance, stride = _window(graph, node)
    return rows[0] * stride - node["before"][0], (rows[1] - 1) * stride - node["before"][0] + distance * (taps - 1) + 1


def _reads(graph: CoreGraph, node: Node, rows: Rows) -> list[Rows | None] | None:
    """The rows of each operand that some rows of the result need; None for an operand that is needed whole. None: windows beyond the
    edge."""
    if family(node.op) != "elementwise":
        low, high = _reach(graph, node, rows)
        low, high = max(low, 0), min(high, graph.types[node.inputs[0]].shape[AXIS])
        return [(low, high), *[None] * (len(node.inputs) - 1)] if low < high else None
    rank = len(graph.types[node.outputs[0]].shape)
    shapes = [graph.types[v].shape for v in node.inputs]
    axes = [AXIS - (rank - len(s)) for s in shapes]
    return [rows if axis >= 0 and s[axis] > 1 else None for s, axis in zip(shapes, axes)]


def _needs(graph: CoreGraph, nodes: Sequence[Node], strip: Rows) -> dict[str, Rows] | None:
    """The rows of each value that a strip of the last one depends on."""
    needs = {nodes[-1].outputs[0]: strip}
    for node in reversed(nodes):
        reads = _reads(graph, node, needs[node.outputs[0]])
        if reads is None:
            return None
        for v, rows in zip(node.inputs, reads):
            if rows is not None:
                known = needs.get(v, rows)
                needs[v] = min(known[0], rows[0]), max(known[1], rows[1])
    return needs


def _cut(graph: CoreGraph, node: Node, rows: Rows) -> Node:
    """The node for just these rows of its result: less padding where they do not touch an edge."""
    if family(node.op) == "elementwise":
        return node
    low, high = _reach(graph, node, rows)
    beyond = {"before": max(0, -low), "after": max(0, high - graph.types[node.inputs[0]].shape[AXIS])}
    return replace(node, attributes=tuple((k, (beyond[k], *v[1:]) if k in beyond else v) for k, v in node.attributes))


def _work(graph: CoreGraph, node: Node, rows: int) -> int:
    """Operations for some rows of a node's result."""
    shape = graph.types[node.outputs[0]].shape
    each = prod(graph.types[node.inputs[1]].shape[1:]) if node.op == "Conv" else prod(node["kernel"]) if family(node.op) == "pool" else 1
    return prod(shape) // shape[AXIS] * rows * each
