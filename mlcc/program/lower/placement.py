"""Where values are written so that nobody must copy them: straight into a graph's output, into a Concat's buffer, within a border."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mlcc.core.graph import CoreGraph
from mlcc.core.operators import family
from mlcc.program.fusion import Group

Border = tuple[tuple[int, ...], tuple[int, ...]]  # elements before and after, along each spatial axis


@dataclass(frozen=True)
class Place:
    """Part of a larger buffer: a Concat's result."""

    owner: str
    start: tuple[int, ...]


@dataclass(frozen=True)
class Placement:
    """outlets: a value that a graph output is a mere reshaping of → that output; halos: the border that convolutions want around a value;
    borders: what it holds; places: values that are written straight into something larger."""

    outlets: Mapping[str, str]
    halos: Mapping[str, Border]
    borders: Mapping[str, int]
    places: Mapping[str, Place]


def placement(graph: CoreGraph, groups: Sequence[Group], compact: bool) -> Placement:
    """Decided before anything is lowered. compact: nothing gets a border."""
    made = {
        g.sink.outputs[0] for g in groups if g.anchor is not None or family(g.sink.op) == "elementwise" or g.sink.op == "Gather"
    }  # by calls that write where they are told
    made |= {v for g in groups if g.sink.op == "Repeat" for v in g.sink.outputs[g.sink["carried"] :]}
    outlets = _outlets(graph, groups, made)
    halos, borders = ({}, {}) if compact else _halos(graph, groups, made, outlets)
    fixed = {*graph.outputs, *outlets, *halos}
    return Placement(outlets, halos, borders, _places(graph, groups, made - fixed))


def _outlets(graph: CoreGraph, groups: Sequence[Group], made: set[str]) -> dict[str, str]:
    produced = {v: g.sink for g in groups for v in g.sink.outputs}
    found: dict[str, str] = {}
    for v in graph.outputs:
        source = v
        while source in produced and produced[source].op == "Reshape":
            source = produced[source].inputs[0]
        if source != v and source in made and source not in graph.outputs and source not in found:
            found[source] = v
    return found


def _halos(
    graph: CoreGraph, groups: Sequence[Group], made: set[str], outlets: Mapping[str, str]
) -> tuple[dict[str, Border], dict[str, int]]:
    """The widest border that any reader of a value wants, of one number."""
    joined = {g.sink.outputs[0] for g in groups if g.sink.op == "Concat" and all(v in made for v in g.sink.inputs)}
    free = (made | joined) - {*graph.outputs, *outlets}
    halos: dict[str, Border] = {}
    borders: dict[str, int] = {}
    for group in groups:
        node = group.anchor
        if node is None or node.op not in ("Conv", "PoolSum") or not any((*node["before"], *node["after"])):
            continue
        x, number = node.inputs[0], node.get("zero", 0)
        if x in free and borders.setdefault(x, number) == number:
            low, high = halos.get(x, ((0,) * len(node["before"]),) * 2)
            halos[x] = tuple(map(max, low, node["before"])), tuple(map(max, high, node["after"]))
    return halos, borders


def _places(graph: CoreGraph, groups: Sequence[Group], free: set[str]) -> dict[str, Place]:
    """Each value's part in the first Concat that takes it, where that is not an output itself and takes none twice."""
    found: dict[str, Place] = {}
    for group in groups:
        node = group.sink
        if node.op != "Concat" or node.outputs[0] in graph.outputs or len(set(node.inputs)) != len(node.inputs):
            continue
        at = 0
        for v in node.inputs:
            shape = graph.types[v].shape
            if v in free and v not in found:
                found[v] = Place(node.outputs[0], tuple(at if i == node["axis"] else 0 for i in range(len(shape))))
            at += shape[node["axis"]]
    return found
