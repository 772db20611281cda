"""Rewrites of the core graph, one a file, each a pure function CoreGraph → CoreGraph with numbered rules."""

from __future__ import annotations

from mlcc.graph.core import CoreGraph
from mlcc.graph.passes import compose_movement, dead_code, flush_tiny, fold_scale


def optimise(graph: CoreGraph) -> CoreGraph:
    """The passes of the normalise stage, in order."""
    for run in (fold_scale.run, flush_tiny.run, compose_movement.run, dead_code.run):
        graph = run(graph)
    return graph
