"""What numbers an index may be, so that a place that is known to lie inside is not looked at again."""

from __future__ import annotations

import numpy as np

from mlcc.core.graph import DTYPES, CoreGraph

Range = tuple[int, int]  # the least and the largest


def ranges(graph: CoreGraph) -> dict[str, Range]:
    """The ranges of a graph's integers that are made of constants."""
    found: dict[str, Range] = {}

    def of(value: str) -> Range | None:
        constant = graph.constants.get(value)
        if value not in found and constant is not None and constant.size and constant.dtype.kind in "iu":
            found[value] = (int(constant.min()), int(constant.max()))
        return found.get(value)

    for node in graph.nodes:
        value = node.outputs[0]
        dtype = DTYPES[graph.types[value].dtype]
        if dtype.kind not in "iu" or node.op not in ("Add", "Cast", "Gather", "GatherElements", "Where"):
            continue
        if node.op == "Cast" and graph.types[node.inputs[0]].dtype == "bool":
            found[value] = (0, 1)
            continue
        parts = {"Add": node.inputs, "Where": node.inputs[1:]}.get(node.op, node.inputs[:1])
        known = [r for v in parts if (r := of(v)) is not None]
        if len(known) < len(parts):
            continue
        low, high = ([r[i] for r in known] for i in (0, 1))
        least, most = (sum(low), sum(high)) if node.op == "Add" else (min(low), max(high))
        if np.iinfo(dtype).min <= least and most <= np.iinfo(dtype).max:  # else it goes round
            found[value] = (least, most)
    return found
