"""Real models with nodes dropped, doubled, read twice, turned around, or shown."""

from __future__ import annotations

import random
from collections.abc import Mapping

import numpy as np
import onnx
from onnx import TensorProto, helper

UNARY = (
    "Relu",
    "Sigmoid",
    "Tanh",
    "Erf",
    "Add",
    "Mul",
    "Sub",
    "Div",
    "Identity",
    "Clip",
    "HardSigmoid",
    "BatchNormalization",
    "LayerNormalization",
    "Dropout",
)


def mutated(model: onnx.ModelProto, shapes: Mapping[str, tuple[int, ...]], seed: int) -> onnx.ModelProto:
    """The model changed in one to three places; `shapes` of float values that lie inside."""
    r, made = random.Random(seed), onnx.ModelProto()
    made.CopyFrom(model)
    graph = made.graph
    for i in range(r.randint(1, 3)):
        nodes = list(graph.node)
        at = r.randrange(len(nodes))
        node = nodes[at]
        out = node.output[0]
        readers = [n for n in nodes[at + 1 :] if out in n.input]
        kind = r.choice(("drop", "double", "twice", "turn", "show"))
        if kind == "show":
            if out in shapes and out not in {o.name for o in graph.output}:
                graph.output.append(helper.make_tensor_value_info(out, TensorProto.FLOAT, None))
            continue
        if not readers:
            continue
        reader = r.choice(readers)
        if kind == "drop" and node.op_type in UNARY and node.input:
            for n in readers:
                replaced(n, out, node.input[0])
            continue
        new: list[onnx.NodeProto] = []
        name = f"mutant{seed}_{i}"
        if kind == "double":
            copy = onnx.NodeProto()
            copy.CopyFrom(node)
            copy.name = name
            copy.output[:] = [f"{name}_{j}" if o else "" for j, o in enumerate(node.output)]
            new, name = [copy], copy.output[0]
        elif out in shapes and kind == "twice":
            new = [helper.make_node(r.choice(("Add", "Max", "Mul")), [out, out], [name])]
        elif out in shapes and len(shapes[out]) > 1:
            perm = r.sample(range(len(shapes[out])), len(shapes[out]))
            back = [int(p) for p in np.argsort(perm)]
            new = [helper.make_node("Transpose", [out], [f"{name}_t"], perm=perm), helper.make_node("Abs", [f"{name}_t"], [f"{name}_a"])]
            new.append(helper.make_node("Transpose", [f"{name}_a"], [name], perm=back))
        if new:
            replaced(reader, out, name)
            rest = [*nodes[: at + 1], *new, *nodes[at + 1 :]]
            del graph.node[:]
            graph.node.extend(rest)
    return made


def replaced(node: onnx.NodeProto, old: str, new: str) -> None:
    node.input[:] = [new if v == old else v for v in node.input]
