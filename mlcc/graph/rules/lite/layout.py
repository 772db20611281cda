"""Images with channels last, computed with channels first: what is turned once is not turned back and forth."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from mlcc.graph.builder import Builder, Value

LAST = (0, 2, 3, 1)  # from channels first
FIRST = (0, 3, 1, 2)  # from channels last


def first(b: Builder, x: Value) -> Value:
    """[batch, height, width, channels] with its channels first."""
    turned = _turned(b, x)
    return b.transpose(x, FIRST) if turned is None else turned


def last(b: Builder, x: Value) -> Value:
    return b.transpose(x, LAST)


def _turned(b: Builder, x: Value) -> Value | None:
    """What `last` was made of."""
    node = b.producer(x)
    return b.value(node.inputs[0]) if node is not None and node.op == "Transpose" and node["perm"] == LAST else None


def pointwise(b: Builder, function: Callable[..., Value], operands: Sequence[Value]) -> Value:
    """A function of each element, on images as they lie: constants and single numbers are turned with them."""
    turned = [_turned(b, x) for x in operands]
    if not any(turned) or any(t is None and x.rank and b.array(x) is None for t, x in zip(turned, operands)):
        return function(*operands)
    if any(t is None and x.rank not in (0, 1, 4) and x.type.size != 1 for t, x in zip(turned, operands)):
        return function(*operands)

    def as_it_lies(t: Value | None, x: Value) -> Value:
        if t is not None:
            return t
        if x.rank == 1:  # one for each channel
            return b.reshape(x, (x.shape[0], 1, 1))
        return b.transpose(x, FIRST) if x.rank == 4 else b.reshape(x, ())

    return last(b, function(*(as_it_lies(t, x) for t, x in zip(turned, operands))))
