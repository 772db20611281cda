"""Rewrites of the core graph, one a file, each a pure function CoreGraph → CoreGraph with numbered rules."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import Any

from mlcc.core.graph import Body, CoreGraph
from mlcc.core.types import check as check_graph
from mlcc.error import Error
from mlcc.graph.passes import compose_movement, dead_code, empty, flush_tiny, fold_scale, narrow_tables, to_bf16


def optimise(graph: CoreGraph, precision: str = "float32", check: bool | None = None) -> CoreGraph:
    """The passes of the normalise stage, in order. precision: "float32" or "bf16"; check: whether the graph is validated after each, its
    types inferred again (None: where MLCC_CHECK is set, as in tests)."""
    check = bool(os.environ.get("MLCC_CHECK")) if check is None else check
    inner = [
        replace(n, attributes=tuple((k, _body(v, precision, check)) for k, v in n.attributes)) if n.op == "Repeat" else n
        for n in graph.nodes
    ]
    graph = replace(graph, nodes=tuple(inner))
    profile = (to_bf16,) if precision == "bf16" else ()
    for one in (empty, fold_scale, flush_tiny, compose_movement, *profile, narrow_tables, dead_code):
        graph = one.run(graph)
        if check:
            checked(graph, one.__name__.rpartition(".")[2])
    return graph


def _body(value: Any, precision: str, check: bool) -> Any:
    return Body(optimise(value.graph, precision, check)) if isinstance(value, Body) else value


def checked(graph: CoreGraph, name: str) -> None:
    """Raise Error(model) that names the pass which left an illegal graph."""
    try:
        check_graph(graph)
    except Error as e:
        raise Error(e.code, f"after the pass {name}: {e.what}", e.where, "this is a bug in mlcc, please report it with the model") from None
