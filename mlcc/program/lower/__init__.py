"""Core graph → loop program: views instead of copies, fused groups as kernels, channels-last convolutions. Never changes a bit."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from mlcc.core.graph import CoreGraph
from mlcc.core.operators import family
from mlcc.error import explained
from mlcc.program.fusion import Group, fuse
from mlcc.program.lower import move, reduce
from mlcc.program.lower.conv import conv
from mlcc.program.lower.conv_transpose import conv_transpose
from mlcc.program.lower.matmul import matmul
from mlcc.program.lower.repeat import repeat
from mlcc.program.lower.state import Lowering
from mlcc.program.order import orders
from mlcc.program.program import Program

WORTH = 0.95  # of the memory: overwriting costs copies
PRODUCTS: dict[str, Callable[[Lowering, Group, str], None]] = {"MatMul": matmul, "Conv": conv, "ConvTranspose": conv_transpose}


def lower(graph: CoreGraph, compact: bool = False, vectors: bool = False, narrow: bool = False) -> Program:
    """The program of a core graph, memory planned. compact: for small memories, without padded copies, and for kernels in C; vectors: of 16
    bytes; narrow: for kernels that take weights as float16, or as bytes times a scale."""
    if not compact:
        return _lowered(Lowering(graph, narrow=narrow))
    found = []
    for order in orders(fuse(graph), lambda v: graph.types[v].nbytes):
        plain, over = (_lowered(Lowering(graph, compact, vectors, overwrite), order) for overwrite in (False, True))
        found.append(over if over.arena_bytes < WORTH * plain.arena_bytes else plain)
    return min(found, key=lambda p: p.arena_bytes)


def _lowered(state: Lowering, order: Sequence[Group] | None = None) -> Program:
    for group in order or state.groups:
        with explained("lowering", f"{group.sink.op} ({group.sink.origin or group.sink.outputs[0]})"):
            _group(state, group)
    with explained("planning memory", state.graph.name):
        return state.finish()


def _group(state: Lowering, group: Group) -> None:
    node = group.anchor or group.sink
    origin = group.sink.origin or group.sink.outputs[0]
    if group.by_element:
        state.elementwise(group, origin)
    elif node.op == "Repeat":
        repeat(state, node, origin, _group)
    elif node.op in PRODUCTS:
        PRODUCTS[node.op](state, group, origin)
    elif family(node.op) in ("reduce", "pool") and group.anchor is not None:
        reduce.reduce(state, group, origin)
    elif family(node.op) == "reduce":
        move.scan(state, node, origin)
    else:
        move.TABLE[node.op](state, node, origin)
    state.done(group, origin)
