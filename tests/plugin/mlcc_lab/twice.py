"""A pass: two negations in a row are none."""

from __future__ import annotations

from dataclasses import replace

from mlcc.core.graph import CoreGraph

changes_rounding = False


def run(graph: CoreGraph) -> CoreGraph:
    made = {v: n for n in graph.nodes for v in n.outputs}

    def source(value: str) -> str:
        node = made.get(value)
        inner = made.get(node.inputs[0]) if node is not None and node.op == "Neg" else None
        return source(inner.inputs[0]) if inner is not None and inner.op == "Neg" else value

    nodes = [replace(n, inputs=tuple(source(v) for v in n.inputs)) for n in graph.nodes]
    live, kept = set(graph.outputs), []
    for n in reversed(nodes):
        if live & set(n.outputs):
            kept.append(n)
            live |= set(n.inputs)
    return graph.with_nodes(reversed(kept))
