"""Loops written out, for what takes no loops."""

from __future__ import annotations

from dataclasses import replace

from mlcc.core.graph import CoreGraph, Node, TensorType


def unrolled(graph: CoreGraph) -> CoreGraph:
    """The graph with each turn of its Repeat nodes as nodes of its own. Never changes a bit."""
    types, constants = dict(graph.types), dict(graph.constants)
    kept: list[Node] = []
    for number, node in enumerate(graph.nodes):
        if node.op == "Repeat":
            kept += _turns(node, types, constants, f"turn{number}")
        else:
            kept.append(node)
    return graph.with_nodes(kept, types=types, constants=constants) if graph.bodies else graph


def _turns(node: Node, types: dict[str, TensorType], constants: dict, prefix: str) -> list[Node]:  # type: ignore[type-arg]
    body, c, m, count = unrolled(node["body"].graph), node["carried"], node["scanned"], node["count"]
    found: list[Node] = []

    def name(text: str, t: TensorType) -> str:
        while text in types:
            text += "'"
        types[text] = t
        return text

    def emit(op: str, inputs: tuple[str, ...], t: TensorType, text: str, **attributes: object) -> str:
        out = name(text, t)
        found.append(Node(op, inputs, (out,), tuple(sorted(attributes.items())), node.origin))
        return out

    shared: dict[str, str] = {}
    for v, array in body.constants.items():
        shared[v] = name(f"{prefix}.{v}", body.types[v])
        constants[shared[v]] = array
    carried, rows = list(node.inputs[:c]), dict[int, list[str]]()
    for turn in reversed(range(count)) if node["reverse"] else range(count):
        here = f"{prefix}.{turn}."
        inside = dict(zip(body.inputs[:c], carried)) | dict(zip(body.inputs[c + m :], node.inputs[c + m :])) | shared
        for v, source in zip(body.inputs[c : c + m], node.inputs[c : c + m]):
            t, whole = body.types[v], types[source].shape
            rank = len(whole)
            starts, shape = (turn, *(0,) * (rank - 1)), (1, *whole[1:])
            part = emit("Slice", (source,), TensorType(t.dtype, shape), f"{here}part", starts=starts, steps=(1,) * rank, shape=shape)
            inside[v] = emit("Reshape", (part,), t, f"{here}{v}", shape=t.shape)
        for n in body.nodes:
            for v in n.outputs:
                inside[v] = name(f"{here}{v}", body.types[v])
            found.append(replace(n, inputs=tuple(inside[v] for v in n.inputs), outputs=tuple(inside[v] for v in n.outputs)))
        results = [inside[v] for v in body.outputs]
        carried = results[:c]
        for v in results[c:]:
            t = types[v]
            shape = (1, *t.shape)
            rows.setdefault(turn, []).append(emit("Reshape", (v,), TensorType(t.dtype, shape), f"{here}row", shape=shape))
    for out, v in zip(node.outputs[:c], carried):
        found.append(Node("Identity", (v,), (out,), (), node.origin))
    for i, out in enumerate(node.outputs[c:]):
        found.append(Node("Concat", tuple(rows[turn][i] for turn in range(count)), (out,), (("axis", 0),), node.origin))
    return found
