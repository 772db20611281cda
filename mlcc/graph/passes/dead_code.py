"""Drop what no output needs.

1. A node whose outputs nobody reads is removed.
2. Of a Repeat, what it stacks and nobody reads is not stacked.
3. An Identity is removed where what it copies can take its place (all but graph inputs, constants and second outputs).
Never changes a rounding.
"""

from __future__ import annotations

from dataclasses import replace

from mlcc.core.graph import Body, CoreGraph, Node


def run(graph: CoreGraph) -> CoreGraph:
    return _live(_identities(graph))


def _live(graph: CoreGraph) -> CoreGraph:
    needed = set(graph.outputs)
    kept: list[Node] = []
    for node in reversed(graph.nodes):
        if any(v in needed for v in node.outputs):
            kept.append(_stacking(node, needed) if node.op == "Repeat" else node)
            needed.update(node.inputs)
    return graph.with_nodes(reversed(kept))


def _stacking(node: Node, needed: set[str]) -> Node:
    body, c = node["body"].graph, node["carried"]
    used = [i for i, v in enumerate(node.outputs) if i < c or v in needed]
    if len(used) == len(node.outputs):
        return node
    fewer = run(body.with_nodes(body.nodes, outputs=tuple(body.outputs[i] for i in used)))
    attributes = tuple((k, Body(fewer) if k == "body" else v) for k, v in node.attributes)
    return replace(node, outputs=tuple(node.outputs[i] for i in used), attributes=attributes)


def _identities(graph: CoreGraph) -> CoreGraph:
    """Rename producers to the output that an Identity stands for; bypass the others."""
    rename: dict[str, str] = {}
    fixed = set(graph.inputs) | set(graph.constants) | set(graph.outputs)
    outputs = set(graph.outputs)
    for node in graph.nodes:
        if node.op == "Identity" and node.outputs[0] in outputs and node.inputs[0] not in fixed and node.inputs[0] not in rename:
            rename[node.inputs[0]] = node.outputs[0]
    kept = []
    for node in graph.nodes:
        inputs = tuple(rename.get(v, v) for v in node.inputs)
        out = tuple(rename.get(v, v) for v in node.outputs)
        if node.op == "Identity" and inputs == out:
            continue
        if node.op == "Identity" and out[0] not in outputs:
            rename[node.outputs[0]] = inputs[0]
            continue
        kept.append(replace(node, inputs=inputs, outputs=out))
    types = {rename.get(k, k): t for k, t in graph.types.items()}
    return graph.with_nodes(kept, types={**graph.types, **types})
