"""Which nodes run as one kernel: an anchor (a dot, pool or reduction) or nothing, and the elementwise nodes that follow.

Groups grow upwards from a sink: a producer joins when all its readers are inside, so that nothing else needs its result; the group
is then convex and has one output.
"""

from __future__ import annotations

from dataclasses import dataclass

from mlcc.core.graph import CoreGraph, Node, consumers
from mlcc.core.operators import family

ANCHORS = ("Conv", "ConvTranspose", "MatMul", "ReduceSum", "ReduceProd", "ReduceMax", "ReduceMin", "PoolMax", "PoolSum")
MAX_OPERANDS = 12
MAX_MEMBERS = 1000  # compilers' time grows with the square of a function's length


@dataclass(frozen=True)
class Group:
    """Nodes in topological order; the last is the sink. `anchor` is one of them or None."""

    nodes: tuple[Node, ...]
    anchor: Node | None

    @property
    def sink(self) -> Node:
        return self.nodes[-1]

    @property
    def reads(self) -> tuple[str, ...]:
        """Values from outside, each once."""
        inside = {v for n in self.nodes for v in n.outputs}
        return tuple(dict.fromkeys(v for n in self.nodes for v in n.inputs if v not in inside))


def takes_followers(node: Node, graph: CoreGraph) -> bool:
    """Anchors written by one call; grouped and transposed convolutions take several and stay alone."""
    if node.op == "ConvTranspose":
        return False
    return node.op in ANCHORS and not (node.op == "Conv" and node["group"] > 1 and graph.types[node.inputs[1]].shape[1] > 1)


def is_elementwise(node: Node) -> bool:
    return family(node.op) == "elementwise"


def fuse(graph: CoreGraph) -> list[Group]:
    """All nodes in groups, each placed where its sink stood."""
    readers = consumers(graph)
    producer = {v: n for n in graph.nodes for v in n.outputs}
    position = {id(n): i for i, n in enumerate(graph.nodes)}
    outputs = set(graph.outputs)

    def rounds(node: Node) -> bool:
        """Whether a node brings a product's int32 sums back to bytes."""
        source = producer.get(node.inputs[0]) if node.op == "Requantize" else None
        return source is not None and source.op in ANCHORS

    def reads(node: Node) -> set[str]:
        """What a node reads, numbers known to the compiler left out."""
        return {u for u in node.inputs if u not in graph.constants or graph.constants[u].size > 1}

    def makers(node: Node) -> dict[int, Node]:
        """The nodes that make a node's operands and are in no group yet."""
        return {id(p): p for v in node.inputs if (p := producer.get(v)) is not None and id(p) not in taken}

    taken: set[int] = set()
    groups: list[Group] = []
    for sink in reversed(graph.nodes):
        if id(sink) in taken:
            continue
        taken.add(id(sink))
        members = [sink]
        anchor = sink if sink.op in ANCHORS else None
        if is_elementwise(sink):
            shape = graph.types[sink.outputs[0]].shape
            inside, operands, rounded = {id(sink)}, reads(sink), rounds(sink)
            candidates = makers(sink)
            found: Node | None = sink
            while found is not None and len(members) < MAX_MEMBERS:
                found = None
                for p in sorted(candidates.values(), key=lambda n: -position[id(n)]):
                    if not (is_elementwise(p) or (anchor is None and takes_followers(p, graph))):
                        continue
                    if rounds(p) and (anchor is not None or rounded):
                        continue  # else the sums of its own product would have to be kept in int32
                    v = p.outputs[0]
                    if v in outputs or graph.types[v].shape != shape or any(id(r) not in inside or r is anchor for r in readers.get(v, [])):
                        continue
                    if len(operands | reads(p)) > MAX_OPERANDS + len(members):
                        continue
                    found = p
                    break
                if found is not None:
                    members.append(found)
                    taken.add(id(found))
                    inside.add(id(found))
                    operands |= reads(found)
                    rounded |= rounds(found)
                    del candidates[id(found)]
                    if found.op in ANCHORS:
                        anchor = found
                    else:
                        candidates |= makers(found)
        members.sort(key=lambda n: position[id(n)])
        groups.append(Group(tuple(members), anchor))
    return sorted(groups, key=lambda g: position[id(g.sink)])
