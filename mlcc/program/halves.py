"""Which float32 values of a bf16 program lie in memory as bfloat16: those that every reader rounds anyway. Exact, and half the traffic."""

from __future__ import annotations

from mlcc.core.graph import CoreGraph
from mlcc.core.operators import family
from mlcc.program.fusion import Group


def bfloat16_values(graph: CoreGraph, groups: list[Group], kept: set[str]) -> frozenset[str]:
    """Values made by one kernel (or joined from such) that only block dots read, perhaps reshaped; `kept` stay as they are."""
    readers: dict[str, list[Group]] = {}
    for g in groups:
        for v in g.reads:
            readers.setdefault(v, []).append(g)
    maker = {v: g for g in groups for v in g.sink.outputs}
    found: set[str] = set()

    def fits(v: str) -> bool:
        return graph.types[v].dtype == "float32" and v not in graph.outputs and v not in kept

    def made(v: str) -> bool:
        g = maker.get(v)
        if g is None:
            return False
        if g.anchor is None and g.sink.op == "Gather":
            return True
        return family(g.sink.op) == "elementwise" if g.anchor is None else g.anchor.op != "ConvTranspose"

    def rounded(v: str) -> bool:
        """Whether all that is done with a value is to round it."""
        return fits(v) and bool(readers.get(v)) and all(_rounds(g, v) or (_passes(g) and rounded(g.sink.outputs[0])) for g in readers[v])

    for g in groups:
        value = g.sink.outputs[0]
        if g.sink.op == "Concat" and g.anchor is None and rounded(value):
            parts = g.sink.inputs
            alone = all(fits(v) and made(v) and readers[v] == [g] for v in parts)
            if alone and len(set(parts)) == len(parts):
                found |= {value, *parts}
        elif made(value) and rounded(value):
            found.add(value)
    return frozenset(found)


def _rounds(group: Group, value: str) -> bool:
    """A block dot's left operand, and nothing else in its group."""
    anchor = group.anchor
    if anchor is None or not anchor.get("bf16") or anchor.inputs[0] != value:
        return False
    return sum(v == value for n in group.nodes for v in n.inputs) == 1


def _passes(group: Group) -> bool:
    """What commutes with rounding: mere movement, and the largest of some numbers, since rounding is monotone."""
    return len(group.nodes) == 1 and group.sink.op in ("Reshape", "Transpose", "PoolMax")
