"""Fold a per-channel scale and offset (a BatchNormalization, mostly) into the convolution before it.

1. Conv → Mul(known, per output channel): the weights and the bias are multiplied.
2. Conv → Add(known, per output channel): the bias is increased.
Both only where nobody else reads the convolution's result, and where the new weights are finite. Both change roundings: recorded.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from mlcc.core.graph import CoreGraph, Node, Rewrite, TensorType, consumers, fresh


def run(graph: CoreGraph) -> CoreGraph:
    readers = consumers(graph)
    nodes: dict[str, Node] = {}  # by output
    constants: dict[str, np.ndarray] = {}
    types: dict[str, TensorType] = {}
    rewrites: list[Rewrite] = []
    alias: dict[str, str] = {}
    order: list[str] = []

    def known(v: str) -> np.ndarray | None:
        return constants.get(v, graph.constants.get(v))

    def store(v: str, array: np.ndarray) -> str:
        v = fresh(v, {**graph.types, **types})
        constants[v], types[v] = array, TensorType(str(array.dtype), array.shape)
        return v

    for node in graph.nodes:
        folded = None
        if node.op in ("Mul", "Add") and len(node.inputs) == 2:
            for at in (0, 1):
                source = alias.get(node.inputs[at], node.inputs[at])
                conv, vector = nodes.get(source), known(node.inputs[1 - at])
                if (
                    conv is not None
                    and conv.op == "Conv"
                    and vector is not None
                    and len(readers.get(node.inputs[at], [])) == 1
                    and node.inputs[at] not in graph.outputs
                ):
                    folded = _fold(node, conv, vector, graph, known, store)
                    if folded:
                        nodes[source] = folded
                        alias[node.outputs[0]] = source
                        rewrites.append(Rewrite("scale-into-convolution" if node.op == "Mul" else "offset-into-convolution", node.origin))
                        break
        if folded is None:
            key = node.outputs[0]
            nodes[key] = node
            order.append(key)
    final = []
    back = {source: out for out, source in alias.items()}  # the last alias wins: the value readers know
    for key in order:
        node = nodes[key]
        outputs = (back[key], *node.outputs[1:]) if key in back else node.outputs
        final.append(replace(node, outputs=outputs))
    return graph.with_nodes(final, constants=constants, types=types, rewrites=(*graph.rewrites, *rewrites))


def _fold(node: Node, conv: Node, vector: np.ndarray, graph: CoreGraph, known, store) -> Node | None:  # type: ignore[no-untyped-def]
    weights = known(conv.inputs[1])
    bias = known(conv.inputs[2]) if len(conv.inputs) > 2 else None
    if weights is None or weights.dtype != np.float32 or vector.dtype != np.float32 or (len(conv.inputs) > 2 and bias is None):
        return None
    channels, rank = weights.shape[0], weights.ndim
    shape = (1,) * (rank - vector.ndim) + vector.shape if vector.ndim <= rank else vector.shape
    if len(shape) != rank or any(n != 1 for i, n in enumerate(shape) if i != 1) or shape[1] not in (1, channels):
        return None
    v = np.broadcast_to(vector.reshape(-1), (channels,))
    start = np.zeros(channels, np.float32) if bias is None else bias
    inputs = list(conv.inputs[:2])
    with np.errstate(all="ignore"):
        if node.op == "Mul":
            scaled = weights * v.reshape(-1, *(1,) * (rank - 1))
            start = start * v
            if not (np.isfinite(scaled).all() and np.isfinite(start).all()):
                return None
            inputs[1] = store(f"{node.outputs[0]}.weights", scaled)
            if bias is not None:
                inputs.append(store(f"{node.outputs[0]}.bias", start))
        else:
            start = start + v
            if not np.isfinite(start).all():
                return None
            inputs.append(store(f"{node.outputs[0]}.bias", start))
    return replace(conv, inputs=tuple(inputs))
