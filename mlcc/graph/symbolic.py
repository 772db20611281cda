"""Integers that are known but for the sizes that a run decides: what ONNX models compute shapes with, as arrays of `Dim`s.

Evaluated here at build time; what is used as data is computed by the program from the sizes, by operators that every target has.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from mlcc.core.dim import Dim, larger, smaller, symbol
from mlcc.core.terms import Atom, Size, Symbol

if TYPE_CHECKING:
    from mlcc.graph.builder import Builder, Value

Array = np.ndarray


def array_of(sizes: Any) -> Array:
    """Sizes as an array of objects."""
    found = np.empty(np.shape(sizes), object)
    found[...] = sizes
    return found


def open_(a: Array) -> bool:
    return a.dtype == object and any(isinstance(n, Dim) for n in a.ravel())


def _divided(a: Size, b: Size) -> Size:
    """Integers truncate; below zero the quotient of C and of Python differ, so that the sign must be known."""
    if isinstance(a, int) and isinstance(b, int):
        return int(abs(a) // abs(b)) * (1 if (a < 0) == (b < 0) else -1) if b else 0
    return a // b if a >= 0 else -(-a // b)


def _equal(a: Size, b: Size) -> bool:
    """Raises Error(unsupported) where that is so for some sizes only."""
    d = a - b
    return bool(not d) if isinstance(d, Dim) else d == 0


PAIRWISE: dict[str, Callable[..., Any]] = {
    "Add": lambda a, b: a + b,
    "Sub": lambda a, b: a - b,
    "Mul": lambda a, b: a * b,
    "Div": _divided,
    "Mod": lambda a, b: a % b,
    "Min": smaller,
    "Max": larger,
    "Neg": lambda a: -a,
    "Abs": abs,
    "Equal": _equal,
    "Less": lambda a, b: bool(a < b),
    "LessOrEqual": lambda a, b: bool(a <= b),
    "Identity": lambda a: a,
    "Where": lambda c, a, b: a if c else b,
}


def evaluate(op: str, operands: Sequence[Array], attributes: Mapping[str, Any]) -> Array | None:
    """An operator's result on such arrays, or None where it is not one of those that shapes are computed with."""
    if op in PAIRWISE:
        wide = np.broadcast_arrays(*operands)
        found = array_of(np.zeros(wide[0].shape, np.int64))
        flat = [w.reshape(-1).tolist() for w in wide]
        found.reshape(-1)[:] = [PAIRWISE[op](*x) for x in zip(*flat)]
        truth = op in ("Equal", "Less", "LessOrEqual")
        return found.astype(bool) if truth else found
    a = operands[0]
    match op:
        case "Reshape":
            return a.reshape(attributes["shape"])
        case "Transpose":
            return a.transpose(attributes["perm"])
        case "Expand":
            return np.broadcast_to(a, attributes["shape"]).copy()
        case "Slice":
            at = [s + t * np.arange(n) for s, t, n in zip(attributes["starts"], attributes["steps"], attributes["shape"])]
            return a[np.ix_(*at)] if at else a
        case "Concat":
            return np.concatenate(operands, attributes["axis"])
        case "Gather" if not open_(operands[1]):
            i, n = operands[1].astype(np.int64), a.shape[attributes["axis"]]
            return np.take(a, np.clip(np.where(i < 0, i + n, i), 0, n - 1), axis=attributes["axis"])
        case "ReduceProd" | "ReduceSum" | "ReduceMax" | "ReduceMin":
            axes = attributes["axes"]
            moved = np.moveaxis(a, axes, range(len(axes))).reshape(prod(a.shape[i] for i in axes), -1)
            folds: dict[str, Callable[[Any], Size]] = {
                "ReduceProd": prod,
                "ReduceSum": sum,
                "ReduceMax": _extreme(larger),
                "ReduceMin": _extreme(smaller),
            }
            fold = folds[op]
            kept = array_of([fold(column) for column in moved.T.tolist()])
            return kept.reshape([1 if i in axes else n for i, n in enumerate(a.shape)])
        case "Cast" if str(attributes["to"]).startswith(("int", "uint")):
            return a
    return None


def _extreme(choose: Callable[[Size, Size], Size]) -> Callable[[list[Size]], Size]:
    def run(numbers: list[Size]) -> Size:
        found = numbers[0]
        for n in numbers[1:]:
            found = choose(found, n)
        return found

    return run


def at_run_time(b: Builder, numbers: Array, dtype: str) -> Value:
    """Such an array as a value that the program computes: each size is counted, as a sum of ones."""
    parts = [number(b, n) for n in numbers.reshape(-1).tolist()]
    joined = parts[0] if len(parts) == 1 else b.many("Concat", parts, axis=0)[0]
    return b.cast(b.reshape(joined, numbers.shape), dtype)


def number(b: Builder, n: Size) -> Value:
    """A size as data: int64 [1]."""
    if not isinstance(n, Dim):
        return b.constant(np.array([n], np.int64))
    total = None
    for atoms, c in n.terms.items():
        term = b.constant(np.array([c], np.int64))
        for a in atoms:
            term = b("Mul", _atom(b, a), term)
        total = term if total is None else b("Add", total, term)
    assert total is not None
    return total


def _atom(b: Builder, a: Atom) -> Value:
    if isinstance(a, Symbol):
        ones = b.expand(b.constant(np.ones(1, np.int64)), (symbol(a),))
        return b("ReduceSum", ones, axes=(0,))
    op = {"quotient": "Div", "least": "Min", "greatest": "Max"}[a.kind]
    return b(op, *(number(b, n) for n in a.operands))


def counting(b: Builder, n: Size) -> Value:
    """0, 1, 2, … n − 1: int64 [n]."""
    if not isinstance(n, Dim):
        b.room(n)
        return b.constant(np.arange(n, dtype=np.int64))
    ones = b.expand(b.constant(np.ones(1, np.int64)), (n,))
    return b("CumSum", ones, axis=0, exclusive=1, reverse=0)
