"""What golden vectors exercise: of each operator's results, how many are finite, distinct, and off the ends where clips hold them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from mlcc.core.graph import DTYPES, CoreGraph, Node

SAMPLE = 4096  # elements of a result whose values are counted


@dataclass(frozen=True)
class Seen:
    """Of one value over all vectors: elements, how many are finite, up to two numbers that differ, the largest share off its extremes."""

    elements: int = 0
    finite: int = 0
    values: tuple[float, ...] = ()
    distinct: int = 0
    inside: float = 0.0

    @property
    def idle(self) -> str:
        """Why the vectors say nothing of it, or ''."""
        if self.elements == 0 or len(self.values) > 1:
            return ""
        return "no finite value" if not self.values else "all equal"


class Coverage:
    """Grows by watching the reference run."""

    def __init__(self, graph: CoreGraph) -> None:
        self.graph = graph
        depends = set(graph.inputs)
        for node in graph.nodes:
            if any(v in depends for v in node.inputs):
                depends |= set(node.outputs)
        self.depends = depends & {*graph.outputs, *(v for n in graph.nodes for v in n.inputs)}  # what nothing reads need not vary
        self.seen: dict[str, Seen] = {}

    def copy(self) -> Coverage:
        found = Coverage.__new__(Coverage)
        found.graph, found.depends, found.seen = self.graph, self.depends, dict(self.seen)
        return found

    def watch(self, node: Node, results: tuple[np.ndarray, ...]) -> None:
        for v, result in zip(node.outputs, results):
            if v in self.depends and result.size:
                self.seen[v] = _more(self.seen.get(v, Seen()), result)

    def idle(self) -> list[Node]:
        """Operators that no vector exercises."""
        return [n for n in self.graph.nodes if any(v in self.depends and self.seen.get(v, Seen()).idle for v in n.outputs)]

    def _why(self, node: Node) -> str:
        return next(why for v in node.outputs if v in self.depends and (why := self.seen.get(v, Seen()).idle))

    def unseen_outputs(self) -> list[str]:
        """The model's outputs that are nowhere finite though they depend on its inputs."""
        return [v for v in self.graph.outputs if self.seen.get(v, Seen()).idle == "no finite value"]

    def report(self) -> dict[str, Any]:
        """For conformance.json."""
        counted = [n for n in self.graph.nodes if any(v in self.depends for v in n.outputs)]
        idle = self.idle()
        return {
            "operators": len(counted),
            "exercised": len(counted) - len(idle),
            "not_exercised": [{"operator": n.op, "where": n.origin, "why": self._why(n)} for n in idle],
        }

    def rows(self) -> list[dict[str, Any]]:
        """For coverage.json: one entry a value."""
        found = []
        for node in self.graph.nodes:
            for v in node.outputs:
                s = self.seen.get(v)
                if s is not None:
                    counts = {"elements": s.elements, "finite": s.finite, "distinct": s.distinct, "off_extremes": round(s.inside, 4)}
                    found.append({"operator": node.op, "where": node.origin, **counts})
        return found


def _more(before: Seen, result: np.ndarray) -> Seen:
    flat = result.reshape(-1)
    step = max(1, flat.size // SAMPLE)
    sample = flat[::step]
    sample = sample.astype(np.float32) if sample.dtype == DTYPES["bfloat16"] else sample
    floats = sample.dtype.kind == "f"
    finite = np.isfinite(sample) if floats else np.ones(sample.shape, bool)
    values = np.unique(sample[finite])
    whole = int(round(float(finite.mean()) * flat.size))
    if len(values) < 2 and flat.size > len(sample):  # a sample may miss what differs
        every = flat.astype(np.float32) if flat.dtype == DTYPES["bfloat16"] else flat
        good = every[np.isfinite(every)] if floats else every
        values = np.unique(np.array([good.min(), good.max()])) if good.size else values
        whole = int(good.size)
    inside = 0.0
    if len(values) > 2:
        inside = 1 - max(float((sample == values[0]).mean()), float((sample == values[-1]).mean()))
    kept = tuple(dict.fromkeys((*before.values, *(float(v) for v in values[[0, -1]]))))[:2] if len(values) else before.values
    return replace(
        before,
        elements=before.elements + flat.size,
        finite=before.finite + whole,
        values=kept,
        distinct=max(before.distinct, len(values)),
        inside=max(before.inside, inside),
    )
