"""Sequences and optionals: how many items there are is known at build time, and so they leave nothing behind but their items.

At a model's interface the items of a sequence `x` are tensors `x[0]`, `x[1]`, …; an optional that is there is what it holds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from mlcc.error import Error, Undecided
from mlcc.graph.builder import Builder, Value
from mlcc.graph.source import normal_axis


@dataclass(frozen=True)
class Sequence:
    """Tensors, one after the other."""

    items: tuple[Value, ...] = ()


@dataclass(frozen=True)
class Nothing:
    """An optional without a value."""


NOTHING = Nothing()
Anything = Value | Sequence | Nothing | None
Rule = Callable[[Builder, tuple[Any, ...], Mapping[str, Any]], Any]


def listed(b: Builder, inputs: tuple[Any, ...], index: int = 0) -> tuple[Value, ...]:
    if index >= len(inputs) or not isinstance(inputs[index], Sequence):
        raise Error("model", "a sequence is wanted", b.origin)
    items: tuple[Value, ...] = inputs[index].items
    return items


def place(b: Builder, position: Value, length: int, end: bool = False) -> int:
    """A known position in a sequence; the end, too, where something is put in."""
    i = int(b.known(position, "the position in a sequence").reshape(-1)[0])
    if not -length <= i < length + end:
        raise Error("model", f"position {i} in a sequence of {length}", b.origin)
    return i + length if i < 0 else i


def at(b: Builder, inputs: tuple[Any, ...], given: Mapping[str, Any]) -> Value:
    """An item; where only a run knows which, one of items of the same shape."""
    items, position = listed(b, inputs), inputs[1]
    if b.array(position) is None and len({v.type for v in items}) == 1:
        stacked = b.many("Concat", [b.reshape(v, (1, *v.shape)) for v in items], axis=0)[0]
        return b.reshape(b("Gather", stacked, b.reshape(position, (1,)), axis=0), items[0].shape)
    return items[place(b, position, len(items))]


def insert(b: Builder, inputs: tuple[Any, ...], given: Mapping[str, Any]) -> Sequence:
    items = listed(b, inputs)
    i = place(b, inputs[2], len(items), True) if len(inputs) > 2 and inputs[2] is not None else len(items)
    return Sequence((*items[:i], inputs[1], *items[i:]))


def erase(b: Builder, inputs: tuple[Any, ...], given: Mapping[str, Any]) -> Sequence:
    items = listed(b, inputs)
    i = place(b, inputs[1], len(items)) if len(inputs) > 1 and inputs[1] is not None else len(items) - 1
    return Sequence((*items[:i], *items[i + 1 :]))


def concat_from(b: Builder, inputs: tuple[Any, ...], given: Mapping[str, Any]) -> Value:
    items, new = listed(b, inputs), int(given.get("new_axis", 0))
    if not items:
        raise Error("model", "an empty sequence has no tensor to join", b.origin)
    axis = normal_axis(int(given["axis"]), items[0].rank + new, b.origin)
    if new:
        items = tuple(b.reshape(v, (*v.shape[:axis], 1, *v.shape[axis:])) for v in items)
    return b.many("Concat", items, axis=axis)[0]


def split_to(b: Builder, inputs: tuple[Any, ...], given: Mapping[str, Any]) -> Sequence:
    """Parts of a size or of sizes; without them, single rows, without their axis unless `keepdims`."""
    x = inputs[0]
    axis = normal_axis(int(given.get("axis", 0)), x.rank, b.origin)
    extent, sizes = x.shape[axis], [1] * x.shape[axis]
    split = inputs[1] if len(inputs) > 1 else None
    if split is not None:
        known = b.known(split, "split")
        step = int(known.reshape(-1)[0]) if known.ndim == 0 else 0
        if known.ndim == 0 and step < 1:
            raise Error("model", f"parts of {step}", b.origin)
        sizes = [min(step, extent - i) for i in range(0, extent, step)] if known.ndim == 0 else [int(v) for v in known]
    if sum(sizes) != extent or min(sizes, default=0) < 0:
        raise Error("model", f"{extent} does not split into {sizes}", b.origin)
    parts = [b.slice(x, axis, sum(sizes[:i]) if n else 0, n) for i, n in enumerate(sizes)]
    if split is None and not int(given.get("keepdims", 1)):
        parts = [b.reshape(v, [n for i, n in enumerate(v.shape) if i != axis]) for v in parts]
    return Sequence(tuple(parts))


def truth(b: Builder, value: bool) -> Value:
    return b.constant(np.array(value))


def get_element(b: Builder, inputs: tuple[Any, ...], given: Mapping[str, Any]) -> Any:
    if not inputs or inputs[0] is NOTHING or inputs[0] is None:
        raise Error("model", "an optional without a value", b.origin)
    return inputs[0]


TABLE: dict[str, Rule] = {
    "SequenceEmpty": lambda b, inputs, given: Sequence(),
    "SequenceConstruct": lambda b, inputs, given: Sequence(tuple(inputs)),
    "SequenceInsert": insert,
    "SequenceErase": erase,
    "SequenceAt": at,
    "SequenceLength": lambda b, inputs, given: b.constant(np.array(len(listed(b, inputs)), np.int64)),
    "ConcatFromSequence": concat_from,
    "SplitToSequence": split_to,
    "Optional": lambda b, inputs, given: inputs[0] if inputs and inputs[0] is not None else NOTHING,
    "OptionalGetElement": get_element,
    "OptionalHasElement": lambda b, inputs, given: truth(b, bool(inputs) and inputs[0] is not NOTHING and inputs[0] is not None),
}


def selected(b: Builder, flag: Value, yes: Any, no: Any, where: str) -> Any:
    """What a branch gives that only a run chooses: both must be of one kind, type and rank."""
    if isinstance(yes, Sequence) and isinstance(no, Sequence) and len(yes.items) == len(no.items):
        return Sequence(tuple(selected(b, flag, a, c, where) for a, c in zip(yes.items, no.items)))
    if yes is NOTHING and no is NOTHING:
        return NOTHING
    if not isinstance(yes, Value) or not isinstance(no, Value):
        raise Undecided("the branches of If give different things", where, b.depends(flag))
    if yes.dtype != no.dtype or yes.element != no.element or yes.rank != no.rank:
        what = f"{yes.element or yes.dtype}{list(yes.shape)} and {no.element or no.dtype}{list(no.shape)}"
        raise Undecided(f"the branches of If give {what}", where, b.depends(flag))
    return either(b, flag, yes, no)


def either(b: Builder, flag: Value, yes: Value, no: Value) -> Value:
    """One of two values whose extents may differ: along such axes it lies in the larger, and a count says how much is meant."""
    most = [max(n, m) for n, m in zip(yes.shape, no.shape)]
    known = [dict(v.counts) for v in (yes, no)]
    counts = []
    for axis, (n, m) in enumerate(zip(yes.shape, no.shape)):
        if n != m or any(axis in k for k in known):
            one, other = (b.value(k[axis]) if axis in k else b.constant(np.int64(e)) for k, e in zip(known, (n, m)))
            counts.append((axis, b("Where", flag, one, other).name))
    whole = []
    for v in (yes, no):
        more = tuple(n - m for n, m in zip(most, v.shape))
        bare = replace(v, counts=())
        whole.append(b("Pad", bare, before=(0,) * v.rank, after=more, value=0) if any(more) else bare)
    return replace(b("Where", flag, *whole), counts=tuple(counts))
