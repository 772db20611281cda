"""A graph as mapping asks about it: which nodes are a function of small integers, what that function is, whether it is monotone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from mlcc.core.graph import DTYPES, CoreGraph, Node
from mlcc.core.operators import family
from mlcc.error import Error
from mlcc.reference.execute import evaluate

SMALL = ("int8", "uint8", "bool", "int16", "uint16")
WHOLE = ("int8", "uint8", "int16", "uint16", "int32")
CASTS = {(a, b) for a in WHOLE for b in ("float32", "int32")} | {("float32", t) for t in WHOLE}


@dataclass(frozen=True)
class Region:
    """Elementwise nodes that make one value, and the values that they read."""

    nodes: tuple[Node, ...]
    sources: tuple[str, ...]


class Model:
    """A graph, and who makes and reads each of its values."""

    def __init__(self, graph: CoreGraph) -> None:
        self.graph = graph
        self.producers = {v: n for n in graph.nodes for v in n.outputs}
        self.consumers: dict[str, list[Node]] = {}
        for n in graph.nodes:
            for v in dict.fromkeys(n.inputs):
                self.consumers.setdefault(v, []).append(n)

    def refuse(self, what: str, where: str, hint: str = "") -> Error:
        node = self.producers.get(where)
        name = (node.origin if node else "") or where
        return Error("unsupported", f"no dataflow hardware for {what}", name, hint)

    def small(self, value: str) -> bool:
        return self.graph.types[value].dtype in SMALL

    def moved(self, node: Node) -> np.ndarray:
        """Flat index of the source for each element of a movement's result; −1 where it is filled in."""
        g = self.graph
        index = np.arange(g.types[node.inputs[0]].size, dtype=np.int64).reshape(g.types[node.inputs[0]].shape)
        if node.op == "Pad":
            node = replace(node, attributes=tuple((k, -1 if k == "value" else v) for k, v in node.attributes))
        rest = [g.constants[v] for v in node.inputs[1:]]
        return evaluate(node, [index, *rest])[0].reshape(-1)

    def region(self, value: str) -> Region:
        """The elementwise nodes behind a value, back to small integers and to what is not elementwise."""
        nodes: dict[int, Node] = {}
        sources: dict[str, None] = {}
        todo = [value]
        seen = set()
        while todo:
            v = todo.pop()
            if v in seen or v in self.graph.constants:
                continue
            seen.add(v)
            node = self.producers.get(v)
            if node is None or family(node.op) != "elementwise" or (v != value and self.small(v) and not self.inside(v)):
                sources[v] = None
                continue
            nodes[id(node)] = node
            todo += node.inputs
        ordered = tuple(n for n in self.graph.nodes if id(n) in nodes)
        return Region(ordered, tuple(v for v in (*self.graph.inputs, *(o for n in self.graph.nodes for o in n.outputs)) if v in sources))

    def inside(self, value: str) -> bool:
        """Whether a small value is but a truth value on the way to another."""
        return self.graph.types[value].dtype == "bool" and value not in self.graph.outputs

    def compute(self, region: Region, feed: Mapping[str, np.ndarray], value: str) -> np.ndarray:
        """A region's value by the reference."""
        known: dict[str, np.ndarray] = dict(feed)
        for n in region.nodes:
            known[n.outputs[0]] = evaluate(n, [known[v] if v in known else self.graph.constants[v] for v in n.inputs])[0]
        return known[value]

    def only_use(self, source: str, value: str, region: Region) -> bool:
        """Whether nothing else reads a sum, or what is between it and a value."""
        inner = {id(n) for n in region.nodes}
        between = {source, *(n.outputs[0] for n in region.nodes if n.outputs[0] != value)}
        return not between & set(self.graph.outputs) and all(id(n) in inner for v in between for n in self.consumers.get(v, []))

    def uniform(self, region: Region) -> bool:
        """Whether every constant of a region is one number."""
        return all(self.graph.constants[v].size == 1 for n in region.nodes for v in n.inputs if v in self.graph.constants)

    def monotone(self, region: Region, source: str, axis: int = 0, rank: int = 1) -> np.ndarray | None:
        """+1 or −1, for each channel where they differ, if the operators say that the region never decreases or never increases."""
        g = self.graph
        known: dict[str, np.ndarray] = {source: np.ones(1)}
        for n in region.nodes:
            live = [v for v in n.inputs if v in known]
            fixed = [g.constants[v] for v in n.inputs if v in g.constants]
            x = known[live[0]] if live else None
            match n.op:
                case "Add" | "Min" | "Max" if x is not None and len(fixed) == 1:
                    known[n.outputs[0]] = x
                case "Sub" if x is not None and len(fixed) == 1:
                    known[n.outputs[0]] = x if n.inputs[0] in known else -x
                case "Mul" if x is not None and len(fixed) == 1 and g.types[n.inputs[0]].dtype == "float32":
                    known[n.outputs[0]] = x * np.where(fixed[0].reshape(-1) < 0, -1, 1)
                case "Div" if x is not None and len(fixed) == 1 and n.inputs[0] in known and g.types[n.inputs[0]].dtype == "float32":
                    known[n.outputs[0]] = x * np.where(np.signbit(fixed[0]).reshape(-1), -1, 1)
                case "Requantize" if x is not None:
                    known[n.outputs[0]] = x * np.where(fixed[0].reshape(-1) < 0, -1, 1)
                case "Cast" if x is not None and (g.types[n.inputs[0]].dtype, n["to"]) in CASTS:
                    known[n.outputs[0]] = x
                case "Round" | "Floor" | "Ceil" | "Relu" | "Identity" if x is not None:
                    known[n.outputs[0]] = x
                case "Less" if len(live) == 1 and len(fixed) == 1:
                    continue  # part of a clamp
                case "Where" if self.is_clamp(n) and n.inputs[2] in known:
                    known[n.outputs[0]] = known[n.inputs[2]]
                case _:
                    return None
        return known.get(region.nodes[-1].outputs[0])

    def is_clamp(self, node: Node) -> bool:
        """Where(x < c, c, x) or Where(c < x, c, x)."""
        test = self.producers.get(node.inputs[0])
        return (
            test is not None
            and test.op == "Less"
            and set(test.inputs) == {node.inputs[1], node.inputs[2]}
            and node.inputs[1] in self.graph.constants
        )


def limits(dtype: str) -> tuple[int, int]:
    if dtype == "float32":
        return 0, 2**32 - 1
    if dtype == "bool":
        return 0, 1
    info = np.iinfo(DTYPES[dtype])
    return int(info.min), int(info.max)
