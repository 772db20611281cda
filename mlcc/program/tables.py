"""Tables for small memories: of two that are read at the same place, the wide one becomes bytes that count within the narrow one's entry.

A decision tree's node is a feature and a threshold. Thresholds of one feature are few (histogram training draws 255 lines at most), so a
node needs the number of its threshold among its feature's: four bytes become one, and each comparison stays what it was.

    wide[at]  →  levels[narrow[at] · most + codes[at]]        levels: [entries, most], each entry's distinct numbers

All such pairs of one type share `levels` (the trees' depths have tables of their own). Never changes a bit; one lookup more a step.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass

import numpy as np

from mlcc.core.graph import DTYPES, CoreGraph, Node, TensorType, fresh

WORTH = 4096  # bytes saved


@dataclass(frozen=True)
class Pair:
    """Two lookups at the same place: `near` gives a byte that is used as an index, `far` a wide number."""

    near: Node
    index: Node  # the byte as int32
    far: Node


def coded(graph: CoreGraph) -> CoreGraph:
    """The graph with such tables as bytes, where that saves memory; else itself."""
    nodes, types, constants = list(graph.nodes), dict(graph.types), dict(graph.constants)
    for pairs in _pairs(graph).values():
        near, far = ([constants[n.inputs[0]] for n in ns] for ns in ([p.near for p in pairs], [p.far for p in pairs]))
        of = _levels(near, far)
        most = max(map(len, of.values()))
        saved = sum(a.nbytes - a.size for a in {p.far.inputs[0]: a for p, a in zip(pairs, far)}.values())
        if most > 256 or saved < WORTH + (max(of) + 1) * most * far[0].itemsize:
            continue
        levels = np.zeros((max(of) + 1, most), f"u{far[0].itemsize}")
        for b, bits in of.items():
            levels[b, : len(bits)] = bits
        table = _constant(types, constants, "levels", levels.reshape(-1).view(far[0].dtype))
        stride = _constant(types, constants, "levels.most", np.array(most, np.int32))
        known: dict[tuple[str, str], str] = {}
        for p, bytes_, numbers in zip(pairs, near, far):
            both = p.near.inputs[0], p.far.inputs[0]
            if both not in known:
                known[both] = _constant(types, constants, f"{both[1]}.codes", _codes(of, bytes_, numbers))
            value, shape = p.far.outputs[0], types[p.far.outputs[0]].shape

            def step(op: str, inputs: tuple[str, ...], name: str, dtype: str, attributes: tuple[tuple[str, object], ...] = ()) -> Node:
                out = fresh(f"{value}.{name}", types)
                types[out] = TensorType(dtype, shape)
                return Node(op, inputs, (out,), attributes, p.far.origin)

            code = step("Gather", (known[both], p.far.inputs[1]), "code", "uint8", p.far.attributes)
            wide = step("Cast", code.outputs, "number", "int32", (("to", "int32"),))
            first = step("Mul", (p.index.outputs[0], stride), "first", "int32")
            at = step("Add", (first.outputs[0], wide.outputs[0]), "at", "int32")
            made = [code, wide, first, at, Node("Gather", (table, at.outputs[0]), (value,), (("axis", 0),), p.far.origin)]
            i = nodes.index(p.far)
            nodes[i : i + 1] = made
    return graph.with_nodes(nodes, types=types, constants=constants) if len(nodes) > len(graph.nodes) else graph


def _pairs(graph: CoreGraph) -> dict[str, list[Pair]]:
    """By the wide numbers' type."""
    place = {n.outputs: i for i, n in enumerate(graph.nodes)}
    at: dict[str, list[Node]] = defaultdict(list)
    casts: dict[str, Node] = {}
    readers: dict[str, int] = defaultdict(int)
    for n in graph.nodes:
        for v in n.inputs:
            readers[v] += 1
        if n.op == "Gather" and n.inputs[0] in graph.constants and n["axis"] == 0 and len(graph.types[n.inputs[0]].shape) == 1:
            at[n.inputs[1]].append(n)
        elif n.op == "Cast" and n["to"] == "int32":
            casts[n.inputs[0]] = n
    found: dict[str, list[Pair]] = defaultdict(list)
    for nodes in at.values():
        near = [n for n in nodes if graph.types[n.outputs[0]].dtype == "uint8" and n.outputs[0] in casts]
        for n in nodes:
            dtype, size = graph.types[n.outputs[0]].dtype, graph.types[n.inputs[0]].shape
            same = [m for m in near if graph.types[m.inputs[0]].shape == size and place[casts[m.outputs[0]].outputs] < place[n.outputs]]
            if DTYPES[dtype].itemsize >= 4 and len(same) == 1:
                found[dtype].append(Pair(same[0], casts[same[0].outputs[0]], n))
    read = Counter(p.far.inputs[0] for pairs in found.values() for p in pairs)
    alone = {v for v, n in read.items() if n == readers[v] and v not in graph.outputs}  # the table can go
    kept = {dtype: [p for p in pairs if p.far.inputs[0] in alone] for dtype, pairs in found.items()}
    return {dtype: pairs for dtype, pairs in kept.items() if pairs}


def _bits(numbers: np.ndarray) -> np.ndarray:
    return numbers.view(f"u{numbers.dtype.itemsize}")


def _levels(near: list[np.ndarray], far: list[np.ndarray]) -> dict[int, np.ndarray]:
    """The distinct numbers beside each byte, as bits (−0 and +0 are two), in their order."""
    of: dict[int, np.ndarray] = {}
    for bytes_, numbers in zip(near, far):
        for b in np.unique(bytes_).tolist():
            of[b] = np.union1d(of.get(b, _bits(numbers)[:0]), _bits(numbers)[bytes_ == b])
    return of


def _codes(of: dict[int, np.ndarray], near: np.ndarray, far: np.ndarray) -> np.ndarray:
    """Each number's place among those beside its byte."""
    found = np.zeros(far.size, np.uint8)
    for b in np.unique(near).tolist():
        found[near == b] = np.searchsorted(of[b], _bits(far)[near == b])
    return found


def _constant(types: dict[str, TensorType], constants: dict[str, np.ndarray], name: str, array: np.ndarray) -> str:
    name = fresh(name, types)
    types[name], constants[name] = TensorType(array.dtype.name, array.shape), array
    return name
