"""Repeat → calls in a loop: what a turn hands on lies in one place, what it scans and stacks advances."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from mlcc.core.graph import CoreGraph, Node
from mlcc.core.operators import family
from mlcc.error import Error
from mlcc.program.fusion import Group
from mlcc.program.lower.state import Lowering
from mlcc.program.program import Argument, Loop
from mlcc.program.view import View

ALIASES = ("Reshape", "Transpose", "Expand", "Slice")  # results that may lie where their operand does


def repeat(s: Lowering, node: Node, origin: str, lower: Callable[[Lowering, Group], None]) -> None:
    """`lower` lowers one group of the body."""
    if s.targets is not None:
        raise Error("unsupported", "a loop within a loop", origin)
    body, c, m, count, back = node["body"].graph, node["carried"], node["scanned"], node["count"], node["reverse"]
    states = [_begun(s, v, out, origin) for v, out in zip(node.inputs[:c], node.outputs)]
    ending = bool(node.get("while"))
    for v in node.outputs[c:]:
        s.views[v] = s.destination(v, range(len(s.graph.types[v].shape)), origin)
        if ending:  # what no turn writes
            s.fill(s.views[v], 0, f"{v}.first", origin)
    stacked = [_turn(s.views[v], count, back) for v in node.outputs[c:]]
    scanned = [_turn(s.view(v), count, back) for v in node.inputs[c : c + m]]
    own = [*states, *scanned, *(s.view(v) for v in node.inputs[c + m :])]
    inner = s.within(body, dict(zip(body.inputs, own)))
    inner.targets = _targets(body, inner.groups, states, stacked)
    first = len(s.calls)
    for group in inner.groups:
        lower(inner, group)
    _hand_on(inner, body, states, stacked, origin)
    going = Argument(states[0].buffer, states[0].offset) if ending else None
    s.loops.append(Loop(first, len(s.calls), count, going))


def _begun(s: Lowering, value: str, out: str, origin: str) -> View:
    """A carried value's place, with what the first turn gets."""
    t = s.graph.types[value]
    state = s.new_view(out, t.dtype, t.shape, range(len(t.shape)))
    s.copy(s.view(value), state, f"{out}.first", origin)
    s.views[out] = state
    return state


def _turn(view: View, count: int, back: bool) -> View:
    """The first turn's part of a value, and how far it is to the next."""
    step = view.strides[0]
    start = view.offset + (count - 1) * step if back else view.offset
    return replace(view.laid(view.shape[1:], view.strides[1:], start), advance=-step if back else step)


def _targets(body: CoreGraph, groups: Sequence[Group], states: Sequence[View], stacked: Sequence[View]) -> dict[str, View]:
    """Where results may be written as soon as they are computed: their turn's part of what is stacked, or a carried value's own place where
    nobody needs the old one any more."""
    found: dict[str, View] = {}
    for v, view in zip(body.outputs[len(states) :], stacked):
        found.setdefault(v, view)
    for i, (v, state) in enumerate(zip(body.outputs, states)):
        if v not in found and body.outputs.count(v) == 1 and _free(body, groups, body.inputs[i], v):
            found[v] = state
    return {v: view for v, view in found.items() if v not in body.inputs and v not in body.constants}


def _free(body: CoreGraph, groups: Sequence[Group], old: str, new: str) -> bool:
    """Whether an old value is not read after the new one is written, and by that kernel only element for element."""
    lying = {old}
    for g in groups:
        if g.anchor is None and g.sink.op in ALIASES and g.sink.inputs[0] in lying:
            lying |= set(g.sink.outputs)
    maker = next((i for i, g in enumerate(groups) if new in g.sink.outputs), None)
    if maker is None or any(lying & set(g.reads) for g in groups[maker + 1 :]):
        return False
    group = groups[maker]
    elementwise = group.anchor is None and family(group.sink.op) == "elementwise"
    same = body.types[old].shape == body.types[new].shape
    return not lying & set(group.reads) or (elementwise and same and lying & set(group.reads) == {old})


def _hand_on(inner: Lowering, body: CoreGraph, states: Sequence[View], stacked: Sequence[View], origin: str) -> None:
    """Copies of results that could not be written where they belong; what a turn hands on last, and from a place of its own where that is
    another's."""
    for v, target in zip(body.outputs[len(states) :], stacked):
        if not _lies(inner.view(v), target):
            inner.copy(inner.view(v), target, v, origin)
    moves: list[tuple[str, View, View]] = []
    for v, state in zip(body.outputs, states):
        source = inner.view(v)
        if _lies(source, state):
            continue
        if any(source.buffer == other.buffer for other in states):
            source = inner.materialise(source, range(len(source.shape)), v, origin)
        moves.append((v, source, state))
    for v, source, state in moves:
        inner.copy(source, state, v, origin)


def _lies(view: View, place: View) -> bool:
    same = (view.buffer, view.offset, view.advance, view.dtype) == (place.buffer, place.offset, place.advance, place.dtype)
    return same and (view.strides == place.strides or all(n == 1 or a == b for n, a, b in zip(view.shape, view.strides, place.strides)))
