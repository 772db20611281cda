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
MAX_TABLES = 60  # of a walk, which reads a few for each step
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
    def by_element(self) -> bool:
        """Whether it is one kernel that goes element by element: elementwise nodes, and lookups among them."""
        return self.anchor is None and (is_elementwise(self.sink) or len(self.nodes) > 1)

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


# what may stand between the lookups of one kernel, which goes element by element: where a walk goes next
STEERING = frozenset({"Equal", "Less", "LessOrEqual", "And", "Or", "Not", "IsNaN", "Where", "Add", "Sub", "Mul", "Cast"})


def is_lookup(node: Node, graph: CoreGraph) -> bool:
    """A Gather whose result has its index's shape: of a vector, or of elements along the first axis."""
    if node.op == "Gather":
        return len(graph.types[node.inputs[0]].shape) == 1
    return node.op == "GatherElements" and node["axis"] == 0


def looked_up(node: Node, graph: CoreGraph) -> tuple[str, ...]:
    """What a member of a group reads at places that other members compute."""
    return node.inputs[:1] if is_lookup(node, graph) else ()


class _Readers:
    """What growing groups must know of a graph."""

    def __init__(self, graph: CoreGraph) -> None:
        self.graph = graph
        self.outputs = set(graph.outputs)
        self.readers = consumers(graph)
        self.producer = {v: n for n in graph.nodes for v in n.outputs}
        self.position = {id(n): i for i, n in enumerate(graph.nodes)}

    def rounds(self, node: Node) -> bool:
        """Whether a node brings a product's int32 sums back to bytes."""
        source = self.producer.get(node.inputs[0]) if node.op == "Requantize" else None
        return source is not None and source.op in ANCHORS

    def operands(self, node: Node) -> set[str]:
        """What a node reads, numbers known to the compiler left out."""
        return {u for u in node.inputs if u not in self.graph.constants or self.graph.constants[u].size > 1}

    def makers(self, node: Node) -> list[Node]:
        inputs = node.inputs[len(looked_up(node, self.graph)) :]
        return [p for v in inputs if (p := self.producer.get(v)) is not None]


class _Growing:
    """A group that takes producers in, from an elementwise sink upwards."""

    def __init__(self, sink: Node, known: _Readers) -> None:
        self.known, self.members, self.anchor = known, [sink], None if is_elementwise(sink) else sink
        self.shape = known.graph.types[sink.outputs[0]].shape
        self.inside, self.operands, self.rounded = {id(sink)}, known.operands(sink), known.rounds(sink)
        self.looks = is_lookup(sink, known.graph)
        self.anchor = None if self.looks else self.anchor

    def may_join(self, p: Node) -> bool:
        """Whether a producer can be part: its result is needed nowhere else, and a kernel of that many operands is not too much."""
        known, v = self.known, p.outputs[0]
        lookup = is_lookup(p, known.graph)
        if lookup or self.looks:
            if self.anchor is not None or not (lookup or p.op in STEERING) or not (self.looks or (self.steers() and chained(p, known))):
                return False
            if any(v in looked_up(m, known.graph) for m in self.members):
                return False  # it must lie in memory
        elif not (is_elementwise(p) or (self.anchor is None and takes_followers(p, known.graph))):
            return False
        if known.rounds(p) and (self.anchor is not None or self.rounded):
            return False  # else the sums of its own product would have to be kept in int32
        if v in known.outputs or known.graph.types[v].shape != self.shape:
            return False
        if any(id(r) not in self.inside or r is self.anchor for r in known.readers.get(v, [])):
            return False
        return len(self.operands | known.operands(p)) <= (MAX_TABLES if self.looks else MAX_OPERANDS) + len(self.members)

    def steers(self) -> bool:
        """Whether all that is in it may stand between lookups."""
        return all(m.op in STEERING or is_lookup(m, self.known.graph) for m in self.members)

    def join(self, p: Node) -> None:
        self.members.append(p)
        self.inside.add(id(p))
        self.operands |= self.known.operands(p)
        self.rounded |= self.known.rounds(p)
        self.looks |= is_lookup(p, self.known.graph)
        if p.op in ANCHORS:
            self.anchor = p


def fuse(graph: CoreGraph) -> list[Group]:
    """All nodes in groups, each placed where its sink stood."""
    known = _Readers(graph)
    taken: set[int] = set()
    groups: list[Group] = []
    for sink in reversed(graph.nodes):
        if id(sink) in taken:
            continue
        if not (is_elementwise(sink) or chained(sink, known)):
            taken.add(id(sink))
            groups.append(Group((sink,), sink if sink.op in ANCHORS else None))
            continue
        group = _grown(sink, known, taken)
        members = sorted(group.members, key=lambda n: known.position[id(n)])
        groups.append(Group(tuple(members), group.anchor))
    return sorted(groups, key=lambda g: known.position[id(g.sink)])


def chained(node: Node, known: _Readers) -> bool:
    """Whether a lookup goes by what another lookup found."""
    todo, seen = known.makers(node) if is_lookup(node, known.graph) else [], set[int]()
    while todo:
        maker = todo.pop()
        if is_lookup(maker, known.graph):
            return True
        if maker.op in STEERING and id(maker) not in seen:  # x + x has one maker twice, and so on upwards
            seen.add(id(maker))
            todo += known.makers(maker)
    return False


def _grown(sink: Node, known: _Readers, taken: set[int]) -> _Growing:
    """The largest group of a sink, the latest producers first; what it takes is added to `taken`."""
    group = _Growing(sink, known)
    candidates: dict[int, Node] = {}
    found: Node | None = sink
    while found is not None:
        taken.add(id(found))
        candidates.pop(id(found), None)
        if found.op not in ANCHORS:
            candidates |= {id(p): p for p in known.makers(found) if id(p) not in taken}
        if len(group.members) >= MAX_MEMBERS:
            break
        latest = sorted(candidates.values(), key=lambda n: -known.position[id(n)])
        found = next((p for p in latest if group.may_join(p)), None)
        if found is not None:
            group.join(found)
    return group
