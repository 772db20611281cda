"""Loops of the program: a body that is built once and repeated."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from mlcc.core.graph import Body, CoreGraph, Node, TensorType
from mlcc.core.terms import most
from mlcc.core.types import infer
from mlcc.error import Error
from mlcc.graph.builder import Builder, Value

Turn = Callable[[Builder, list[Value], list[Value]], tuple[list[Value], list[Value]]]
Results = tuple[list[Value], list[Value]]


def repeat(
    b: Builder,
    count: int,
    carried: Sequence[Value],
    scanned: Sequence[Value],
    turn: Turn,
    reverse: bool = False,
    while_first: bool = False,
) -> Results:
    """`turn` done `count` times: (builder, what the turn before handed on, its index of the first axis of each scanned value) → (what
    it hands on, what is stacked along a new first axis). Returns the same after the last turn. One loop of the program; a single turn
    is none. while_first: once the first carried value, a truth value, is false, turns change nothing and what they stack is 0. Raises
    Error(model) where a turn changes the type of what it hands on."""
    if count == 1:
        after, made = turn(b, list(carried), [b.reshape(v, v.shape[1:]) for v in scanned])
        return after, [b.reshape(v, (1, *v.shape)) for v in made]
    if isinstance(b, Inner):
        raise Error("unsupported", "a loop within a loop", b.origin)
    carried, scanned = [b.at_run_time(v) for v in carried], [b.at_run_time(v) for v in scanned]
    b.bodies += 1
    inner = Inner(b, f"{b.prefix}b{b.bodies}.")
    states = [inner.input(inner.name("in"), v.type, v.element) for v in carried]
    parts = [inner.input(inner.name("in"), TensorType(v.dtype, v.shape[1:]), v.element) for v in scanned]
    after, made = turn(inner, states, parts)
    after, made = [inner.own(v) for v in after], [inner.own(v) for v in made]
    for before, now in zip(carried, after):
        if (before.type, before.element, before.counts) != (now.type, now.element, now.counts):
            raise Error("model", f"a turn of the loop makes {now.dtype}{list(now.shape)} of {before.dtype}{list(before.shape)}", b.origin)
    body = Body(inner.graph([v.name for v in (*after, *made)]))
    b.work += inner.work * most(count)
    b.turns += len(inner.nodes) * most(count)
    if b.turns > b.limits.operators:
        raise b.limits.over("operators", f"{b.turns:,} operators in all turns of loops", b.origin)
    if b.work > b.limits.work:
        raise b.limits.over("work", f"about {b.work:,} operations up to here", b.origin)
    operands = [*carried, *scanned, *inner.captured]
    attributes = {"body": body, "carried": len(carried), "count": count, "reverse": int(reverse), "scanned": len(scanned)}
    if while_first:
        attributes["while"] = 1
    node = Node("Repeat", tuple(v.name for v in operands), (), tuple(attributes.items()), b.origin)
    types = infer(node, [v.type for v in operands])
    b.count(node, types)
    results = b.folded(node, operands, types) or b.emitted(node, types)
    named = [replace(r, element=v.element) for r, v in zip(results, (*after, *made))]
    return named[: len(carried)], named[len(carried) :]


class Inner(Builder):
    """Builds a loop's body. Values from outside become its inputs, known ones constants of its own."""

    def __init__(self, outer: Builder, prefix: str) -> None:
        super().__init__(outer.public, outer.limits)
        self.outer, self.prefix, self.origin = outer, prefix, outer.origin
        self.captured: list[Value] = []  # from outside, in the order of the inputs that they became
        self.rewrites, self.vocabulary, self.letters = outer.rewrites, outer.vocabulary, tuple(outer.letters)
        self._adopted: dict[str, Value] = {}

    def own(self, value: Value) -> Value:
        """A value as the body has it."""
        if value.name in self.types:
            return self.at_run_time(value)
        if value.name not in self._adopted:
            self._adopted[value.name] = self._adopt(value)
        return replace(self._adopted[value.name], element=value.element, counts=value.counts)

    def _adopt(self, value: Value) -> Value:
        array, sizes = self.outer.array(value), self.outer.symbolic.get(value.name)
        if array is not None:
            return self.constant(array)
        if sizes is not None:
            return self.sizes(sizes, value.dtype)
        self.captured.append(value)
        return self.input(self.name("in"), value.type)

    def array(self, value: Value | None) -> np.ndarray | None:
        found = super().array(value)
        return self.outer.array(value) if found is None and value is not None and value.name not in self.types else found

    def known(self, value: Value | None, what: str) -> np.ndarray:
        return super().known(self.own(value), what) if value is not None else super().known(value, what)

    def depends(self, value: Value | None) -> tuple[str, ...]:
        """Of what a turn gets from the one before, or of its own part, nothing is known."""
        named = dict(zip(self.inputs[len(self.inputs) - len(self.captured) :], self.captured))
        return tuple(dict.fromkeys(v for name in super().depends(value) if name in named for v in self.outer.depends(named[name])))

    def many(self, op: str, inputs: Iterable[Value], **attributes: Any) -> tuple[Value, ...]:
        return super().many(op, [v if v.name in self.types else self.own(v) for v in inputs], **attributes)

    def graph(self, outputs: Sequence[str]) -> CoreGraph:
        whole = CoreGraph("body", tuple(self.inputs), tuple(outputs), tuple(self.nodes), self.types, self.constants)
        return whole.with_nodes(whole.nodes)
