"""Rewrites of the core graph, one a file, each a pure function CoreGraph → CoreGraph with numbered rules."""

from __future__ import annotations

from mlcc.core.graph import CoreGraph
from mlcc.graph.passes import compose_movement, dead_code, empty, flush_tiny, fold_scale, narrow_tables, to_bf16


def optimise(graph: CoreGraph, precision: str = "float32") -> CoreGraph:
    """The passes of the normalise stage, in order. precision: "float32" or "bf16"."""
    profile = (to_bf16.run,) if precision == "bf16" else ()
    for run in (empty.run, fold_scale.run, flush_tiny.run, compose_movement.run, *profile, narrow_tables.run, dead_code.run):
        graph = run(graph)
    return graph
