"""Ensembles of trees, found again in the core graph that mlcc/graph/rules/trees.py writes."""

from __future__ import annotations

from collections.abc import Mapping
from math import frexp

import numpy as np

from mlcc.core.graph import CoreGraph, Node
from mlcc_backends.hls.network import Forest

MOST_SUM = 1 << 24  # units: every partial sum is exact in binary32 then, whatever its order


def find(graph: CoreGraph, producers: Mapping[str, Node], node: Node) -> tuple[str, Forest] | None:
    """(the features' value, the forest) that a sum over leaves belongs to; None where it is no such sum or one that rounds."""
    gather = producers.get(node.inputs[0])
    if gather is None or gather.op != "Gather" or gather.inputs[0] not in graph.constants or tuple(node["axes"]) != (1,):
        return None
    tables: dict[str, np.ndarray] = {}
    steps = 0
    at = gather.inputs[1]
    while True:
        where = producers.get(at)
        if where is None or where.op != "Where":
            return None
        test = producers.get(where.inputs[0])
        if test is None or test.op not in ("LessOrEqual", "Less"):
            return None
        value = producers.get(test.inputs[0])
        if value is None or value.op != "GatherElements":
            return None
        steps += 1
        parts = dict(zip(("feature", "threshold", "yes", "no"), (value.inputs[1], test.inputs[1], where.inputs[1], where.inputs[2])))
        if all(v in graph.constants for v in parts.values()):
            break
        nodes = {k: producers.get(v) for k, v in parts.items()}
        if any(n is None or n.op != "Gather" or n.inputs[0] not in graph.constants for n in nodes.values()):
            return None
        found = {k: graph.constants[n.inputs[0]] for k, n in nodes.items() if n is not None}
        if tables and any(not np.array_equal(tables[k], found[k]) for k in found):
            return None
        tables = found
        nexts = {n.inputs[1] for n in nodes.values() if n is not None}
        if len(nexts) != 1:
            return None
        at = nexts.pop()
    leaves = graph.constants[gather.inputs[0]].astype(np.float32)
    return _forest(value.inputs[0], {k: graph.constants[v].reshape(-1) for k, v in parts.items()}, tables, leaves, test.op == "Less", steps)


def _forest(
    source: str, first: dict[str, np.ndarray], tables: dict[str, np.ndarray], leaves: np.ndarray, strict: bool, steps: int
) -> tuple[str, Forest] | None:
    """Roots are nodes of their own behind the others: the graph knows them only by what they say."""
    count, trees = len(leaves), len(first["feature"])
    itself = np.arange(count)
    known = {k: tables.get(k, np.zeros(count) if k in ("feature", "threshold") else itself) for k in first}
    joined = {k: np.concatenate([known[k], first[k]]) for k in first}
    values = np.concatenate([leaves, np.zeros((trees, leaves.shape[1]), np.float32)])
    for t in range(trees):  # a tree that is one leaf
        if first["yes"][t] == first["no"][t]:
            values[count + t] = leaves[int(first["yes"][t])]
            joined["yes"][count + t] = joined["no"][count + t] = count + t
    exponent = max((_exponent(float(v)) for v in np.unique(np.abs(values)) if v), default=0)
    units = values.astype(np.float64) * 2.0**exponent
    if not np.isfinite(units).all() or np.abs(units).max() * trees >= MOST_SUM:
        return None
    keys = np.array([_key(np.float32(v), strict) for v in joined["threshold"]])
    return source, Forest(
        joined["feature"].astype(np.int64), keys, joined["yes"].astype(np.int64), joined["no"].astype(np.int64),
        np.arange(count, count + trees), units.astype(np.int64), exponent, steps,
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
