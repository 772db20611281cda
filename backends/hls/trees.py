"""Ensembles of trees, found again in the core graph that mlcc/graph/rules/trees.py writes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import frexp

import numpy as np

from mlcc.core.graph import CoreGraph, Node
from mlcc_backends.hls.network import Forest

MOST_SUM = 1 << 24  # units: every partial sum is exact in binary32 then, whatever its order


def find(graph: CoreGraph, producers: Mapping[str, Node], node: Node) -> tuple[str, Forest] | None:
    """(the features' value, the forest) that a sum over leaves belongs to; None where it is no such sum or one that rounds."""
    gather = producers.get(node.inputs[0])
    if gather is None or gather.op != "Gather" or gather.inputs[0] not in graph.constants or tuple(node["axes"]) != (0,):
        return None
    leaves = graph.constants[gather.inputs[0]].astype(np.float32)
    steps: list[_Step] = []
    at: str | None = gather.inputs[1]
    while at is not None:
        step = _step(graph, producers, at)
        if step is None or steps and (step.source, step.strict) != (steps[-1].source, steps[-1].strict):
            return None
        steps.append(step)
        at = step.before
    steps.reverse()
    source = producers.get(steps[0].source)
    if source is None or source.op not in ("Transpose", "Reshape"):
        return None
    return _forest(source.inputs[0], steps, leaves.reshape(len(leaves), -1))


@dataclass(frozen=True)
class _Step:
    """One step down: where from (None: the roots), which table of children (None: those of node n are 2n and 2n + 1 of the next level)."""

    before: str | None
    source: str
    strict: bool
    feature: np.ndarray
    threshold: np.ndarray
    no: np.ndarray | None


def _step(graph: CoreGraph, producers: Mapping[str, Node], at: str) -> _Step | None:
    constants = graph.constants

    def made(v: str, *ops: str) -> Node | None:
        n = producers.get(v)
        return n if n is not None and n.op in ops else None

    def table(v: str) -> tuple[np.ndarray, str | None] | None:
        """(numbers, by what they are looked up; None: by nothing)."""
        n = made(v, "Gather")
        if v in constants:
            return constants[v].reshape(-1), None
        return (constants[n.inputs[0]], n.inputs[1]) if n is not None and n.inputs[0] in constants else None

    add = made(at, "Add")
    goes = made(add.inputs[1], "Cast") if add is not None else None
    test = made(goes.inputs[0], "LessOrEqual", "Less") if goes is not None else None
    value = made(test.inputs[0], "GatherElements", "Gather") if test is not None else None
    if add is None or test is None or value is None:
        return None
    chosen = made(value.inputs[1], "Cast")
    feature, threshold = table(chosen.inputs[0] if chosen is not None else value.inputs[1]), table(test.inputs[1])
    twice, no = made(add.inputs[0], "Add"), table(add.inputs[0])
    if feature is None or threshold is None or feature[1] != threshold[1]:
        return None
    before, strict = feature[1], test.op == "Less"
    doubled = (twice is not None and set(twice.inputs) == {before}) or (
        before is None and no is not None and np.array_equal(no[0], 2 * np.arange(len(feature[0])))
    )
    if not doubled and (no is None or no[1] != before):
        return None
    return _Step(before, value.inputs[0], strict, feature[0], threshold[0], None if doubled or no is None else no[0])


def _forest(source: str, steps: list[_Step], leaves: np.ndarray) -> tuple[str, Forest] | None:
    """Nodes of all steps that have a table of their own, one after the other. The graph knows roots only by what they say, so these are nodes
    of their own; where all others are in one table, they lie behind it."""
    trees, first, rest = len(steps[0].feature), steps[0], steps[1:]
    if all(s.no is None for s in steps):  # a level each
        starts = np.cumsum([0, *(len(s.feature) for s in steps)])
        feature, threshold = (np.concatenate([getattr(s, n) for s in steps] + [np.zeros(len(leaves))]) for n in ("feature", "threshold"))
        no = np.concatenate([starts[d + 1] + 2 * np.arange(len(s.feature)) for d, s in enumerate(steps)])
        itself = np.arange(starts[-1], starts[-1] + len(leaves))
        yes, no = np.concatenate([no + 1, itself]), np.concatenate([no, itself])
        roots, values = np.arange(trees), np.concatenate([np.zeros((starts[-1], leaves.shape[1]), np.float32), leaves])
    else:
        tables = [s.no for s in rest if s.no is not None]
        if first.no is None or len(tables) < len(rest) or any(not np.array_equal(t, tables[0]) for t in tables):
            return None
        count = len(leaves)
        known = rest[0] if rest else replace(first, feature=np.zeros(count), threshold=np.full(count, np.nan), no=np.arange(count))
        feature, threshold = (np.concatenate([getattr(known, n), getattr(first, n)]) for n in ("feature", "threshold"))
        assert known.no is not None
        no = np.concatenate([known.no, first.no])
        leaf = np.isnan(threshold)
        yes = np.where(leaf, no, no + 1)
        roots, values = np.arange(count, count + trees), np.concatenate([leaves, np.zeros((trees, leaves.shape[1]), np.float32)])
        alone = leaf[roots]
        values[roots[alone]], yes[roots[alone]], no[roots[alone]] = values[no[roots[alone]]], roots[alone], roots[alone]
        feature, threshold = np.where(leaf, 0, feature), np.where(leaf, 0, threshold)
    exponent = max((_exponent(float(v)) for v in np.unique(np.abs(values)) if v), default=0)
    units = values.astype(np.float64) * 2.0**exponent
    if not np.isfinite(units).all() or np.abs(units).max() * trees >= MOST_SUM:
        return None
    keys = np.array([_key(np.float32(v), first.strict) for v in threshold])
    return source, Forest(
        feature.astype(np.int64), keys, yes.astype(np.int64), no.astype(np.int64), roots, units.astype(np.int64), exponent, len(steps)
    )  # fmt: skip


def _exponent(value: float) -> int:
    """The smallest e for which value · 2^e is whole."""
    mantissa, e = frexp(value)
    whole = int(mantissa * 2**53)
    return 53 - e - ((whole & -whole).bit_length() - 1)


def _key(threshold: np.float32, strict: bool) -> int:
    """The last place in the order of floats that satisfies x ≤ threshold, or x < threshold."""
    bits = int((threshold + np.float32(0)).view(np.uint32))  # −0 becomes +0
    place = -(bits & 0x7FFFFFFF) - 1 if bits >> 31 else bits
    if not strict:
        return place
    return -2 if bits == 0 else place - 1
