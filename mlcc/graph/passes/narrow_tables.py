"""Tables whose numbers are float16, or bytes times a scale, lie as such.

1. Gather(table) where every number of a known float32 table is a float16 → Cast(Gather(table as float16)).
2. Gather(table) where every number is (q − z)·s, rounded once, for bytes q → (Cast(Gather(q)) − z)·s. Never changes a bit: the number is
the same whether it is widened before or after it is chosen. Quantised language models hold most of their weights in such tables, and files
keep them narrow.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mlcc.arithmetic.narrow import half, scales
from mlcc.core.graph import CoreGraph, Node, TensorType, fresh

WORTH = 4096  # elements from which a table is looked at
SAMPLE = 4096  # elements that a scale is first tried on


@dataclass(frozen=True)
class Narrow:
    """stored: float16, or int8 that stand for (stored − zero)·scale."""

    stored: np.ndarray
    scale: np.float32 | None = None
    zero: int = 0


def run(graph: CoreGraph) -> CoreGraph:
    readers: dict[str, list[Node]] = {}
    for node in graph.nodes:
        for v in node.inputs:
            readers.setdefault(v, []).append(node)
    found: dict[str, Narrow] = {}
    for v, array in graph.constants.items():
        if (
            array.size >= WORTH
            and v not in graph.outputs
            and all(n.op == "Gather" and n.inputs[0] == v != n.inputs[1] for n in readers.get(v, []))
        ):
            narrow = narrowed(array)
            if narrow is not None:
                found[v] = narrow
    if not found:
        return graph
    types, constants = dict(graph.types), dict(graph.constants)
    nodes: list[Node] = []

    def number(name: str, value: float | np.float32) -> str:
        name = fresh(name, types)
        types[name], constants[name] = TensorType("float32", ()), np.array(value, np.float32)
        return name

    def step(op: str, inputs: tuple[str, ...], to: str, like: Node, attributes: tuple[tuple[str, str], ...] = ()) -> str:
        """A further node on the way to `like`'s result, which the last one, named so, makes."""
        name = to if to in like.outputs else fresh(to, types)
        types[name] = graph.types[like.outputs[0]]
        nodes.append(Node(op, inputs, (name,), attributes, like.origin))
        return name

    tables: dict[str, str] = {}
    for node in graph.nodes:
        narrow = found.get(node.inputs[0]) if node.op == "Gather" else None
        if narrow is None:
            nodes.append(node)
            continue
        table, value = node.inputs[0], node.outputs[0]
        if table not in tables:
            tables[table] = name = fresh(f"{table}.narrow", types)
            types[name], constants[name] = TensorType(narrow.stored.dtype.name, narrow.stored.shape), narrow.stored
        chosen = fresh(f"{value}.narrow", types)
        types[chosen] = TensorType(narrow.stored.dtype.name, graph.types[value].shape)
        nodes.append(Node("Gather", (tables[table], node.inputs[1]), (chosen,), node.attributes, node.origin))
        wide = (("to", "float32"),)
        if narrow.scale is None:
            step("Cast", (chosen,), value, node, wide)
            continue
        x = step("Cast", (chosen,), f"{value}.bytes", node, wide)
        if narrow.zero:
            x = step("Sub", (x, number(f"{value}.zero", narrow.zero)), f"{value}.level", node)
        step("Mul", (x, number(f"{value}.scale", narrow.scale)), value, node)
    return graph.with_nodes(nodes, types=types, constants=constants)


def narrowed(table: np.ndarray) -> Narrow | None:
    """The table in fewer bytes that stand for the same bits, or None."""
    if table.dtype != np.float32 or not np.isfinite(table).all():
        return None
    levels = _levels(table)
    if levels is not None:
        return levels
    stored = half(table)
    return None if stored is None else Narrow(stored)


def _levels(table: np.ndarray) -> Narrow | None:
    """As bytes: the scale is the largest number divided by one of the 255 multiples that it may be."""
    flat = table.reshape(-1)
    low, high = float(flat.min()), float(flat.max())
    largest = np.float32(max(-low, high))
    sample = flat[:: max(1, flat.size // SAMPLE)]
    if largest == 0 or len(np.unique(sample)) > 256:
        return None
    for scale in scales(largest, 255):
        if not _multiples(sample, scale):
            continue
        least, most = round(low / float(scale)), round(high / float(scale))
        zero = 0 if least >= -128 and most <= 127 else -128 - least
        if most - least <= 255 and _multiples(flat, scale):
            return Narrow((np.rint(table / scale) + np.float32(zero)).astype(np.int8), scale, zero)
    return None


def _multiples(numbers: np.ndarray, scale: np.float32) -> bool:
    """Whether each number, sign of zero included, is a whole multiple of the scale, rounded once."""
    return ((np.rint(numbers / scale) + np.float32(0)) * scale).tobytes() == numbers.tobytes()
