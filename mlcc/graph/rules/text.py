"""Joining, splitting, changing and matching text, letter by letter (`mlcc.graph.text`)."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import cache

import numpy as np
import onnx_ir as ir

from mlcc.core.narrow import TEXT
from mlcc.graph.builder import Builder, Value
from mlcc.graph.counted import with_counts
from mlcc.graph.narrow import searched
from mlcc.graph.regex import Refused, automaton
from mlcc.graph.repeat import repeat
from mlcc.graph.rules.select import compacted
from mlcc.graph.source import Source
from mlcc.graph.text import added, lengths, padded, places, spelled


def among(b: Builder, letters: Value, ascending: np.ndarray) -> tuple[Value, Value]:
    """(whether each letter is one of these, which one it is then)."""
    at = searched(b, letters, ascending)
    return b("Equal", b("Gather", b.constant(ascending), at, axis=0), letters), at


def words(s: Source, name: str) -> list[str]:
    return [w.decode(errors="replace") if isinstance(w, bytes) else str(w) for w in s.attr(name) or []]


def plain(s: Source, name: str, otherwise: str) -> str:
    value = s.attr(name, otherwise)
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)


def text(s: Source, index: int) -> Value:
    if s[index].element != TEXT:
        raise s.bad("an operand that is no text")
    return s[index]


def places_along(count: int) -> np.ndarray:
    return np.arange(count, dtype=np.int32)


def taken(b: Builder, letters: Value, begins: Value, ends: Value) -> Value:
    """int32 [rows · parts, characters]: the letters from each begin up to before each end, both [rows, parts]."""
    (rows, width), parts = letters.shape, begins.shape[1]
    b.room(rows * parts * width, 8, "the parts of texts")
    at = b("Add", b.reshape(begins, (rows, parts, 1)), b.constant(places_along(width)))
    at = b("Where", b("Less", at, b.reshape(ends, (rows, parts, 1))), at, b.constant(np.int32(width)))
    found = b("GatherElements", padded(b, letters, width + 1), b.reshape(at, (rows, parts * width)), axis=1)
    return b.reshape(found, (rows * parts, width))


def nth(b: Builder, flags: Value, count: int) -> Value:
    """int32 [rows, count]: where the first, second … of [rows, characters] flags is; the width where there are not so many."""
    rows, width = flags.shape
    b.room(rows * count * width, 8, "the places in texts")
    up_to = b.reshape(b("CumSum", b.cast(flags, "int32"), axis=1, exclusive=0, reverse=0), (rows, 1, width))
    before = b("LessOrEqual", up_to, b.constant(places_along(count).reshape(1, -1, 1)))
    return b.reshape(b("ReduceSum", b.cast(before, "int32"), axes=(2,)), (rows, count))


def how_many(b: Builder, flags: Value) -> Value:
    return b("ReduceSum", b.cast(flags, "int32"), axes=(1,))


def concat(s: Source) -> Value:
    b = s.b
    shape = np.broadcast_shapes(text(s, 0).shape, text(s, 1).shape)
    x, y = (spelled(b, b.expand(text(s, i), shape)) for i in (0, 1))
    width = x.shape[1] + y.shape[1]
    at, end = b.constant(places_along(width).reshape(1, -1)), lengths(b, x)
    behind = b("Add", b("Sub", at, end), b.constant(np.int32(x.shape[1])))
    at = b("Where", b("Less", at, end), at, b("Min", behind, b.constant(np.int32(width))))
    both = b.many("Concat", [x, padded(b, y, y.shape[1] + 1)], axis=1)[0]
    return added(b, b("GatherElements", both, at, axis=1), shape)


def _edges(b: Builder, ink: Value, most: int) -> tuple[Value, Value, Value]:
    """(where runs of truth begin, where each ends [rows, most], how many [rows, 1]) in [rows, characters]."""
    shifted = b.slice(b("Pad", ink, before=(0, 1), after=(0, 0), value=0), 1, 0, ink.shape[1])
    first, behind = b("And", ink, b("Not", shifted)), b("And", shifted, b("Not", ink))
    return nth(b, first, most), nth(b, behind, most), how_many(b, first)


# StringSplit


@cache
def spaces() -> np.ndarray:
    """All characters that are white space, ascending."""
    return np.array([c for c in range(sys.maxunicode + 1) if chr(c).isspace()], np.int32)


def _separators(b: Builder, letters: Value, delimiter: str) -> Value:
    """[rows, characters]: where a delimiter begins, as they are found from the left."""
    rows, width = letters.shape
    found = None
    for i, c in enumerate(delimiter):
        here = b("Equal", b.slice(padded(b, letters, width + i), 1, i, width), b.like(ord(c), letters))
        found = here if found is None else b("And", found, here)
    assert found is not None
    if all(delimiter[:i] != delimiter[-i:] for i in range(1, len(delimiter))):
        return found  # one cannot begin inside another
    blocked = b.constant(np.zeros((rows,), np.int32))

    def turn(inner: Builder, old: list[Value], parts: list[Value]) -> tuple[list[Value], list[Value]]:
        zero = inner.like(0, old[0])
        new = inner("And", parts[0], inner("Equal", old[0], zero))
        return [inner("Where", new, inner.like(len(delimiter) - 1, zero), inner("Max", inner("Sub", old[0], inner.like(1, zero)), zero))], [
            new
        ]

    _, (columns,) = repeat(b, width, [blocked], [b.transpose(found, (1, 0))], turn)
    return b.transpose(columns, (1, 0))


def _parts(s: Source, letters: Value) -> tuple[Value, Value, Value]:
    """(begins, ends [rows, most parts], how many [rows, 1]) of texts split at the delimiter, or at runs of white space."""
    b, (rows, width) = s.b, letters.shape
    delimiter, limit = plain(s, "delimiter", ""), int(s.attr("maxsplit", -1))
    end, one = lengths(b, letters), b.constant(np.int32(1))
    zero = b.like(0, one)
    if not delimiter:
        ink = b("Not", b("Equal", letters, zero))
        ink = b("And", ink, b("Not", among(b, letters, spaces())[0]))
        most = (width + 1) // 2 if limit < 0 else min((width + 1) // 2, limit + 1)
        begins, ends, count = _edges(b, ink, most)
        count = b("Min", count, b.like(most, one))
    else:
        at = _separators(b, letters, delimiter)
        most = width // len(delimiter) + 1 if limit < 0 else min(width // len(delimiter), limit) + 1
        count = b("Min", b("Add", how_many(b, at), one), b.like(most, one))
        ends = nth(b, at, most)
        after = b("Add", b.slice(ends, 1, 0, most - 1), b.like(len(delimiter), one))
        begins = b.many("Concat", [b.constant(np.zeros((rows, 1), np.int32)), after], axis=1)[0]
    ends = b("Min", ends, end)
    if limit >= 0:  # the last part that may be is all that is left
        ends = b("Where", b("Equal", b.constant(places_along(most)), b.like(limit, ends)), end, ends)
    return begins, ends, count


def split(s: Source) -> tuple[Value, Value]:
    """(parts along a last axis, "" behind a text's last; how many parts each text has)."""
    b, x = s.b, text(s, 0)
    if not x.type.size:
        return replace(b.constant(np.zeros((*x.shape, 0), np.int32)), element=TEXT), b.constant(np.zeros(x.shape, np.int64))
    letters = spelled(b, x)
    letters = padded(b, letters, 1)
    begins, ends, count = _parts(s, letters)
    rows, most = begins.shape
    there = b("Less", b.constant(places_along(most)), count)
    ends = b("Where", there, ends, b.like(0, ends))
    y = added(b, taken(b, letters, begins, ends), (*x.shape, most))
    counts = b.reshape(b.cast(count, "int64"), x.shape)
    longest = b.reshape(b("ReduceMax", b.reshape(counts, (rows,)), axes=(0,)), ())
    if (known := b.array(longest)) is not None:
        return b.slice(y, x.rank, 0, int(known)), counts
    return with_counts(y, ((x.rank, longest.name),)), counts


# StringNormalizer


@cache
def cases(upper: bool) -> tuple[np.ndarray, np.ndarray]:
    """(characters that change, ascending, what each becomes): Unicode's simple mappings, one character for one."""
    changed = [(c, chr(c).upper() if upper else chr(c).lower()) for c in range(sys.maxunicode + 1) if not 0xD800 <= c < 0xE000]
    simple = [(c, ord(to)) for c, to in changed if len(to) == 1 and ord(to) != c]
    return np.array([c for c, _ in simple], np.int32), np.array([to for _, to in simple], np.int32)


def recased(b: Builder, letters: Value, upper: bool) -> Value:
    old, new = cases(upper)
    changes, at = among(b, letters, old)
    return b("Where", changes, b("Gather", b.constant(new), at, axis=0), letters)


def normalizer(s: Source) -> Value:
    """Text without stop words, in one case; of nothing left, one empty text. Case is Unicode's simple mappings, whatever the locale."""
    b, x, action = s.b, text(s, 0), plain(s, "case_change_action", "NONE").upper()
    if x.rank not in (1, 2) or x.rank == 2 and x.shape[0] != 1:
        raise s.bad(f"text of {list(x.shape)}; [C] or [1, C] is wanted")
    if action not in ("NONE", "LOWER", "UPPER"):
        raise s.bad(f"case_change_action {action}")
    letters, stop = spelled(b, x), words(s, "stopwords")
    made = recased(b, letters, action == "UPPER") if action != "NONE" and letters.shape[1] else letters
    y = added(b, made, (x.type.size,)) if made is not letters else b.reshape(x, (x.type.size,))
    empty = b.text([""])
    if not x.type.size:
        return b.reshape(empty, (1,) * x.rank)
    if not stop:
        return b.reshape(y, x.shape)
    if int(s.attr("is_case_sensitive", 0)):
        which = places(b, letters, list(dict.fromkeys(stop)))
    else:
        lower = dict(zip(*(a.tolist() for a in cases(False))))
        folded = ["".join(chr(lower.get(ord(c), ord(c))) for c in w) for w in stop]
        which = places(b, recased(b, letters, False) if letters.shape[1] else letters, list(dict.fromkeys(folded)))
    kept, count = compacted(b, b("Less", which, b.constant(np.int32(0))))
    none = b("Equal", count, b.like(0, count))
    y = b("Where", none, empty, b("Gather", y, kept, axis=0))
    size = b("Max", count, b.like(1, count))
    if (known := b.array(size)) is not None:
        return b.reshape(b.slice(y, 0, 0, int(known)), (*x.shape[:-1], int(known)))
    return with_counts(b.reshape(y, x.shape), ((x.rank - 1, size.name),))


# Tokenizer

WHOLE_CLASS = re.compile(r"(\[(?:[^\\\]]|\\.)+\]|\\[wdWDS]|\.)(\+|\{(\d+),\}|\1\+)?")
START, STOP = "\x02", "\x03"


def _runs(s: Source, letters: Value) -> tuple[Value, int, bool]:
    """(which letters are of tokens, how many a token has at least, whether each letter is a token of its own)."""
    b, least, single = s.b, max(1, int(s.attr("mincharnum", 1))), False
    pattern, separators = plain(s, "tokenexp", ""), words(s, "separators")
    if pattern:
        form = WHOLE_CLASS.fullmatch(pattern)
        if form is None:
            raise s.unsupported(f"tokens {pattern!r}", "runs of characters of one class, such as [a-zA-Z0-9_]+")
        own, single = form[1], form[2] is None
        least = least if single else max(least, int(form[3] or 1), 2 if form[2].startswith(own) else 1)
    elif separators == [""]:
        own, single = r"[\s\S]", True
    elif separators and all(len(c) == 1 and c not in ".^$|?*+()[{\\" for c in separators):
        own = "[^" + "".join(f"\\{c}" if c in "]-" else c for c in separators) + "]"
    else:
        raise s.unsupported(f"separators {separators}", "single characters, or a tokenexp such as [a-zA-Z0-9_]+")
    machine = automaton(own)
    inside = np.array([bool(machine.accepts[machine.moves[0, k]]) for k in machine.kinds])
    found = b("Gather", b.constant(inside), searched(b, letters, machine.starts), axis=0)
    return b("And", found, b("Not", b("Equal", letters, b.like(0, letters)))), least, single


def tokenizer(s: Source) -> Value:
    """com.microsoft's: the tokens of each text along a last axis, `pad_value` behind the last."""
    b, x, mark = s.b, text(s, 0), int(s.attr("mark", 0))
    if not x.type.size:
        raise s.unsupported("tokens of no text")
    letters = padded(b, spelled(b, x), 1)
    (rows, width), one = letters.shape, b.constant(np.int32(1))
    ink, least, single = _runs(s, letters)
    if single:
        begins = nth(b, ink, width)
        ends = b("Min", b("Add", begins, one), b.like(width, one))
    else:
        begins, ends, _ = _edges(b, ink, (width + 1) // 2)
    long = b("LessOrEqual", b.like(least, one), b("Sub", ends, begins))
    most, count = width if single else (width + 1) // (least + 1), how_many(b, long)
    order = b("Min", nth(b, long, most), b.like(long.shape[1] - 1, one))
    begins, ends = (b("GatherElements", v, order, axis=1) for v in (begins, ends))
    tokens = added(b, taken(b, letters, begins, ends), (rows, most))
    fill = b.reshape(b.text([plain(s, "pad_value", "")]), ())
    y = b("Where", b("Less", b.constant(places_along(most)), count), tokens, fill)
    if mark:
        count = b("Add", count, b.like(2, one))
        first, last = (b.expand(b.reshape(b.text([c]), (1, 1)), (rows, 1)) for c in (START, STOP))
        y = b.many("Concat", [first, y, b.expand(b.reshape(fill, (1, 1)), (rows, 1))], axis=1)[0]
        y = b("Where", b("Equal", b.constant(places_along(most + 2)), b("Sub", count, one)), last, y)
    longest = b.reshape(b.cast(b("ReduceMax", count, axes=(0,)), "int64"), ())
    return with_counts(b.reshape(y, (*x.shape, y.shape[1])), ((x.rank, longest.name),))


# RegexFullMatch


def full_match(s: Source) -> Value:
    b, x, pattern = s.b, text(s, 0), plain(s, "pattern", "")
    try:
        machine = automaton(pattern)
    except Refused as e:
        raise s.unsupported(f"the pattern {pattern!r}: {e}", "RE2's syntax without flags, such as [a-z]+@(x|y)\\.com") from None
    if not x.type.size:
        return b.constant(np.zeros(x.shape, bool))
    letters = spelled(b, x)
    states, width = machine.moves.shape
    table = np.concatenate([machine.moves, places_along(states).reshape(-1, 1)], axis=1)  # behind the end, a state stays
    runs = b("Gather", b.constant(machine.kinds), searched(b, letters, machine.starts), axis=0)
    kinds = b("Where", b("Equal", letters, b.like(0, letters)), b.constant(np.int32(width)), runs)
    state = b.constant(np.zeros(x.type.size, np.int32))

    def turn(inner: Builder, old: list[Value], parts: list[Value]) -> tuple[list[Value], list[Value]]:
        at = inner("Add", inner("Mul", old[0], inner.constant(np.int32(width + 1))), parts[0])
        return [inner("Gather", inner.constant(table.reshape(-1)), at, axis=0)], []

    if letters.shape[1]:
        (state,), _ = repeat(b, letters.shape[1], [state], [b.transpose(kinds, (1, 0))], turn)
    return b.reshape(b("Gather", b.constant(machine.accepts), state, axis=0), x.shape)


TABLE: dict[str, Callable[[Source], Value | tuple[Value, ...]]] = {
    "RegexFullMatch": full_match,
    "StringConcat": concat,
    "StringNormalizer": normalizer,
    "StringSplit": split,
}
MICROSOFT: dict[str, Callable[[Source], Value | tuple[Value, ...]]] = {"Tokenizer": tokenizer}


def reads_letters(model: ir.Model) -> bool:
    """Whether a model does more with text than to compare it, move it and look it up."""
    return any(n.op_type in TABLE or n.op_type in MICROSOFT for g in (model.graph, *model.functions.values()) for n in g.all_nodes())
