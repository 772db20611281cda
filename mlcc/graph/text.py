"""Text whose letters a run reads: how models that join, split or match text hold it.

Text is a number everywhere in a graph (`mlcc.core.narrow.TEXT`), so that moving and choosing it needs no rules of its own. In a model that
makes text, numbers from 0 on are words of the model's vocabulary, and −1 − i stands for row i of what the run was given or has made:
code points, int32 [rows, characters], 0 behind a text's end. Rows are added by the operators that make text and looked up by those that
read letters.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import prod

import numpy as np

from mlcc.core.narrow import LETTERS, TEXT, spelt
from mlcc.error import Error
from mlcc.graph.builder import Builder, Value
from mlcc.graph.narrow import searched

MOST_TRIES = 1000  # multipliers tried until no two words have one digest


def added(b: Builder, letters: Value, shape: Sequence[int]) -> Value:
    """Text of a shape, one for each row of letters [rows, characters]."""
    if not isinstance(b.letters, list):
        raise Error("unsupported", "text that each turn of a loop makes", b.origin)
    if not all(isinstance(n, int) for n in shape):
        raise Error("unsupported", "text of sizes that a run decides", b.origin, "build one artifact for each size")
    first = sum(v.shape[0] for v in b.letters)
    b.letters.append(letters)
    numbers = np.arange(-1 - first, -1 - first - prod(shape), -1, dtype=np.int32)
    return replace(b.constant(numbers.reshape(tuple(shape))), element=TEXT)


def _rows(b: Builder) -> Value:
    """The letters of all text so far: the vocabulary's words, then what was made."""
    pieces = [b.constant(spelt(list(b.vocabulary))), *b.letters]
    width = max(v.shape[1] for v in pieces)
    return b.many("Concat", [padded(b, v, width) for v in pieces if v.shape[0]], axis=0)[0]


def to_letters(b: Builder, x: Value) -> Value:
    """A value as the interface has it: text's code points along a last axis."""
    if x.element != TEXT:
        return x
    letters = spelled(b, replace(x, counts=()))
    return replace(b.reshape(letters, (*x.shape, letters.shape[1])), element=LETTERS, counts=x.counts)


def from_letters(b: Builder, x: Value) -> Value:
    """Text from an input's code points [..., characters]; it ends at the first 0."""
    rows, width = prod(x.shape[:-1]), x.shape[-1]
    points = b.reshape(replace(x, element=""), (rows, width))
    if width:
        ends = b.cast(b("Equal", points, b.like(0, points)), "int32")
        points = b("Where", b("Equal", b("CumSum", ends, axis=1, exclusive=0, reverse=0), b.like(0, ends)), points, b.like(0, points))
    return added(b, points, x.shape[:-1])


def spelled(b: Builder, x: Value) -> Value:
    """The letters of text: int32 [rows, characters], a row for each text in order."""
    known = b.array(x)
    if known is not None and (known.size == 0 or known.min() >= 0):
        words = list(b.vocabulary)
        return b.constant(spelt([words[i] for i in known.ravel().tolist()]))
    at = b.reshape(replace(x, element=""), (x.type.size,))
    zero = b.like(0, at)
    at = b("Where", b("Less", at, zero), b("Sub", b.like(len(b.vocabulary) - 1, at), at), at)
    return b("Gather", _rows(b), at, axis=0)


def lengths(b: Builder, letters: Value) -> Value:
    """int32 [rows, 1]: how many characters each text has."""
    return b("ReduceSum", b.cast(b("Not", b("Equal", letters, b.like(0, letters))), "int32"), axes=(1,))


def places(b: Builder, letters: Value, words: Sequence[str]) -> Value:
    """int32 [rows]: which of different words each text is, −1 where it is none of them."""
    none = b.constant(np.int32(-1))
    width = max(letters.shape[1], max(map(len, words), default=0))
    if not words or not width:
        empty = list(words).index("") if "" in words else -1
        return b.expand(b.constant(np.int32(empty)), (letters.shape[0],))
    table = spelt(words, width)
    powers, digests = _digests(b, table)
    order = np.argsort(digests)
    letters = padded(b, letters, width)
    own = b.reshape(b("ReduceSum", b("Mul", b.cast(letters, "int64"), b.constant(powers)), axes=(1,)), (letters.shape[0],))
    at = b("Gather", b.constant(order.astype(np.int32)), searched(b, own, digests[order]), axis=0)
    same = b.cast(b("Equal", b("Gather", b.constant(table), at, axis=0), letters), "uint8")
    return b("Where", b.reshape(b.cast(b("ReduceMin", same, axes=(1,)), "bool"), at.shape), at, none)


def _digests(b: Builder, table: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(a multiplier for each place, Σ letter · multiplier modulo 2^64 of each word): different for different words."""
    for i in range(MOST_TRIES):
        powers: np.ndarray = np.random.default_rng(i).integers(-(1 << 63), (1 << 63) - 1, (table.shape[1],), np.int64)
        with np.errstate(over="ignore"):
            digests = (table.astype(np.int64) * powers).sum(axis=1, dtype=np.int64)
        if len(np.unique(digests)) == len(table):
            return powers, np.asarray(digests)
    raise Error("unsupported", f"{len(table)} words that no digest tells apart", b.origin)


def padded(b: Builder, letters: Value, width: int) -> Value:
    """Letters with room for so many characters."""
    more = width - letters.shape[1]
    return b("Pad", letters, before=(0, 0), after=(0, more), value=0) if more > 0 else letters


def recognised(b: Builder, x: Value) -> Value:
    """Text as plain int32: the place in the vocabulary, so far, of what is in it; a negative number for anything else."""
    plain, known = replace(x, element=""), b.array(x)
    if not b.letters or known is not None and (known.size == 0 or known.min() >= 0):
        return plain
    return b.reshape(places(b, spelled(b, x), list(b.vocabulary)), x.shape)


def equal(b: Builder, x: Value, y: Value) -> Value:
    """Whether texts are the same, of broadcast shapes."""
    if not b.letters:
        return b("Equal", replace(x, element=""), replace(y, element=""))
    shape = np.broadcast_shapes(x.shape, y.shape)
    x, y = (spelled(b, b.expand(v, shape)) for v in (x, y))
    width = max(1, x.shape[1], y.shape[1])
    same = b.cast(b("Equal", padded(b, x, width), padded(b, y, width)), "uint8")
    return b.reshape(b.cast(b("ReduceMin", same, axes=(1,)), "bool"), shape)
