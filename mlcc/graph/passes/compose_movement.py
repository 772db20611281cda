"""Compose data movement.

1. Transpose of a Transpose is one Transpose; where it is the identity, none.
2. Reshape of a Reshape is one Reshape.
Never changes a rounding.
"""

from __future__ import annotations

from dataclasses import replace

from mlcc.core.graph import CoreGraph, Node


def run(graph: CoreGraph) -> CoreGraph:
    producers: dict[str, Node] = {}
    alias: dict[str, str] = {}
    kept: list[Node] = []
    for original in graph.nodes:
        node = replace(original, inputs=tuple(alias.get(v, v) for v in original.inputs))
        before = producers.get(node.inputs[0]) if node.inputs else None
        if before is not None and node.op == before.op == "Transpose":
            perm = tuple(before["perm"][p] for p in node["perm"])
            node = replace(node, inputs=before.inputs, attributes=(("perm", perm),))
        elif before is not None and node.op == before.op == "Reshape":
            node = replace(node, inputs=before.inputs)
        identity = (
            node.op == "Transpose"
            and node["perm"] == tuple(range(len(node["perm"])))
            or node.op == "Reshape"
            and graph.types[node.inputs[0]] == graph.types[node.outputs[0]]
        )
        if identity and node.outputs[0] not in graph.outputs:
            alias[node.outputs[0]] = node.inputs[0]
            continue
        if identity:
            node = replace(node, op="Identity", attributes=())
        producers[node.outputs[0]] = node
        kept.append(node)
    return graph.with_nodes(kept)
