"""Results that take the memory of an operand that dies."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlcc.program.fusion import Group, is_lookup
from mlcc.program.view import View, channels_last, ordered

if TYPE_CHECKING:
    from mlcc.program.lower.state import Lowering


def in_place(s: Lowering, group: Group, value: str) -> View | None:
    """An operand that dies here and whose memory the result can take, element for element."""
    t = s.graph.types[value]
    if value in s.graph.outputs or value in s.outlets or value in s.places or value in s.halos:
        return None
    if any(is_lookup(n, s.graph) for n in group.nodes):  # whose results lie otherwise, and which read everywhere
        return None
    views = [(v, s.views[v]) for v in group.reads if v in s.views]
    for v, view in views:
        if (
            v in s.graph.constants
            or v in s.graph.inputs
            or view.dtype != s.dtype(value)
            or view.shape != t.shape
            or s.buffers[view.buffer].place != "arena"
        ):
            continue
        if group.anchor is not None and v in group.anchor.inputs:
            continue
        if view.size != s.buffers[view.buffer].elements or any(n != 1 and st == 0 for n, st in zip(view.shape, view.strides)):
            continue
        shared = [w for w, other in s.views.items() if other.buffer == view.buffer]
        if any(s.uses.get(w, 0) > (1 if w in group.reads else 0) for w in shared) or any(w in s.graph.outputs for w in shared):
            continue
        if any(w in s.graph.inputs for w in shared):
            continue
        if any(other != view for _, other in views if other.buffer == view.buffer):
            continue
        if any(p.buffer == view.buffer for p in s.padded.values()):
            continue
        return view
    return None


def over_input(s: Lowering, group: Group, x: str, value: str) -> View | None:
    """The convolution's input, where its result has the same shape and place for every pixel and nobody needs the input again."""
    if not s.overwrite or x in s.graph.constants or x in s.graph.inputs or x not in s.views or s.uses.get(x) != 1:
        return None
    if any(v in c for v in (x, value) for c in (s.graph.outputs, s.outlets, s.places)):
        return None
    view, t = s.views[x], s.graph.types[value]
    whole = s.buffers[view.buffer].place == "arena" and view.size == s.buffers[view.buffer].elements and view.offset == 0
    alive = [v for v, other in s.views.items() if other.buffer == view.buffer and (s.uses.get(v) or v in s.graph.outputs)]
    alone = alive == [x] and sum(n.inputs.count(x) for n in group.nodes) == 1
    same = view.shape == t.shape and view.dtype == s.dtype(value) and view.shape[0] == 1
    laid = view.strides == ordered(view.shape, channels_last(len(view.shape)))
    return view if whole and alone and same and laid else None
