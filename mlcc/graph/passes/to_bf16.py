"""The bf16 profile (`--precision bf16`): products with weights are taken in bfloat16, sums in binary32.

1. MatMul and Conv of float32 whose right operand is known become block dots (docs/arithmetic.md); their bias is added afterwards.
2. Depthwise convolutions, transposed ones and products of two computed values stay as they are: memory or their shape binds them, not
arithmetic. Changes roundings: recorded. The choice depends on the graph alone.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from mlcc.core.graph import CoreGraph, Node, Rewrite, TensorType, fresh


def run(graph: CoreGraph) -> CoreGraph:
    constants: dict[str, np.ndarray] = {}
    types: dict[str, TensorType] = {}
    rewrites: list[Rewrite] = []
    nodes: list[Node] = []
    for node in graph.nodes:
        if not _applies(graph, node):
            nodes.append(node)
            continue
        rewrites.append(Rewrite("precision-bf16", node.origin))
        result = node.outputs[0]
        attributes = (*node.attributes, ("bf16", 1))
        if len(node.inputs) == 2:
            nodes.append(replace(node, attributes=attributes))
            continue
        product, bias = fresh(f"{result}.product", graph.types), node.inputs[2]
        types[product] = graph.types[result]
        nodes.append(replace(node, inputs=node.inputs[:2], outputs=(product,), attributes=attributes))
        if node.op == "Conv":
            shape = (-1, *(1,) * (len(graph.types[result].shape) - 2))
            aligned = fresh(f"{result}.bias", graph.types)
            if bias in graph.constants:
                constants[aligned] = graph.constants[bias].reshape(shape)
            else:
                nodes.append(Node("Reshape", (bias,), (aligned,), (("shape", (graph.types[bias].shape[0], *shape[1:])),), node.origin))
            types[aligned] = TensorType(graph.types[bias].dtype, (graph.types[bias].shape[0], *shape[1:]))
            bias = aligned
        nodes.append(Node("Add", (product, bias), (result,), (), node.origin))
    return graph.with_nodes(nodes, constants=constants, types=types, rewrites=(*graph.rewrites, *rewrites))


def _applies(graph: CoreGraph, node: Node) -> bool:
    if node.op not in ("MatMul", "Conv") or node.inputs[1] not in graph.constants or graph.types[node.inputs[0]].dtype != "float32":
        return False
    shape = graph.types[node.inputs[1]].shape
    if node.op == "MatMul":
        return all(n == 1 for n in shape[:-2])
    return node["group"] == 1 or shape[1] > 1
