"""Tensors without elements: what is computed over none of them is known.

1. A value without elements is a constant.
2. A product over no element is what its chains start from, + 0; or 0.
3. A reduction over no element is its kind's identity: 0, 1, the lowest or the highest number.
4. A Concat leaves parts without elements out.
Never changes a bit.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from mlcc.core.graph import DTYPES, CoreGraph, Node, TensorType, fresh
from mlcc.reference.execute import evaluate


def run(graph: CoreGraph) -> CoreGraph:
    if not any(t.size == 0 for t in graph.types.values()):
        return graph
    types, constants = dict(graph.types), dict(graph.constants)
    kept: list[Node] = []

    def constant(name: str, array: np.ndarray, t: TensorType) -> str:
        name = fresh(name, types)
        types[name], constants[name] = TensorType(t.dtype, array.shape), array
        return name

    def spread(node: Node, number: np.ndarray) -> None:
        """The node's result as one number."""
        value = node.outputs[0]
        t = types[value]
        kept.append(Node("Expand", (constant(f"{value}.none", number, t),), (value,), (("shape", t.shape),), node.origin))

    for node in graph.nodes:
        value = node.outputs[0]
        t, sources = types[value], [types[v] for v in node.inputs]
        if all(types[v].size == 0 for v in node.outputs):
            for v in node.outputs:
                least = tuple(n if isinstance(n, int) else 1 for n in types[v].shape)
                empty = constant(f"{v}.empty", np.zeros(least, DTYPES[types[v].dtype]), types[v])
                whole = () if types[v].static else (("shape", types[v].shape),)
                kept.append(Node("Expand" if whole else "Identity", (empty,), (v,), whole, node.origin))
        elif node.op in ("MatMul", "Conv", "ConvTranspose") and any(s.size == 0 for s in sources[:2]):
            zero = np.zeros((), DTYPES[t.dtype])
            if len(node.inputs) < 3:
                spread(node, zero)
                continue
            start = node.inputs[2]
            if node.op != "MatMul":
                shape = (types[start].shape[0], *(1,) * (len(t.shape) - 2))
                column = fresh(f"{value}.start", types)
                types[column] = TensorType(t.dtype, shape)
                kept.append(Node("Reshape", (start,), (column,), (("shape", shape),), node.origin))
                start = column
            wide = fresh(f"{value}.wide", types)
            types[wide] = t
            kept.append(Node("Expand", (start,), (wide,), (("shape", t.shape),), node.origin))
            kept.append(Node("Add", (wide, constant(f"{value}.zero", zero, t)), (value,), (), node.origin))
        elif node.op.startswith("Reduce") and sources[0].size == 0:
            one = tuple(1 if n else 0 for n in sources[0].shape)
            spread(node, np.asarray(evaluate(node, [np.zeros(one, DTYPES[sources[0].dtype])])[0]).reshape(-1)[0])
        elif node.op == "Concat" and any(s.size == 0 for s in sources):
            kept.append(replace(node, inputs=tuple(v for v, s in zip(node.inputs, sources) if s.size != 0)))
        else:
            kept.append(node)
    return graph.with_nodes(kept, types=types, constants=constants)
