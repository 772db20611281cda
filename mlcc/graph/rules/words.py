"""Counting words: n-grams of tokens, numbers or text."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from mlcc.graph.builder import Value
from mlcc.graph.counted import bare, meant, with_counts
from mlcc.graph.source import Source
from mlcc.graph.text import recognised


def grams(s: Source) -> dict[tuple[int, ...], int]:
    """Each n-gram that counts → its column; of equal ones, the last."""
    b, counts, columns = s.b, [int(v) for v in s.attr("ngram_counts", [])], [int(v) for v in s.attr("ngram_indexes", [])]
    text = s.attr("pool_strings")
    known = b.array(b.text(text)) if text else np.asarray(s.attr("pool_int64s", []), np.int64)
    assert known is not None
    pool, found, number = [int(v) for v in known], dict[tuple[int, ...], int](), 0
    shortest, longest = int(s.attr("min_gram_length")), int(s.attr("max_gram_length"))
    for size, (start, end) in enumerate(zip(counts, [*counts[1:], len(pool)]), 1):
        for i in range(start, end - size + 1, size):
            if shortest <= size <= longest:
                found[tuple(pool[i : i + size])] = columns[number]
            number += 1
    if number > len(columns) or not columns or min(columns) < 0:
        raise s.bad(f"{number} n-grams with {len(columns)} indexes")
    return found


def tf_idf(s: Source) -> Value:
    """[rows, columns]: how often each n-gram occurs, its words up to max_skip_count apart; weighted, or whether at all."""
    b, x = s.b, s[0]
    if bool(x.element) != bool(s.attr("pool_strings")):
        raise s.bad("a pool of another kind than the tokens")
    found, skips = grams(s), int(s.attr("max_skip_count"))  # first: it makes the pool's words known
    if any(axis != x.rank - 1 for axis, _ in x.counts):
        raise s.unsupported("TfIdfVectorizer of rows whose number is known only at run time")
    tokens = b.cast(recognised(b, bare(x)) if x.element else bare(x), "int64")
    tokens = meant(b, with_counts(tokens, x.counts), -1 if x.element else min(0, *(min(g) for g in found)) - 1)
    tokens = b.reshape(tokens, (1, *x.shape)) if x.rank == 1 else tokens
    rows, length = tokens.shape
    width = max(int(v) for v in s.attr("ngram_indexes")) + 1
    total = b.expand(b.constant(np.int64(0)), (rows, width))
    for size in sorted({len(g) for g in found}):
        chosen = [g for g in found if len(g) == size]
        table, place = np.array(chosen, np.int64), np.array([found[g] for g in chosen], np.int64)
        b.room(rows * length * len(chosen), 8, "the n-grams' places")
        for apart in range(1, (skips if size > 1 else 0) + 2):  # single words are counted once
            positions = length - apart * (size - 1)
            if positions < 1:
                break
            hit = None
            for k in range(size):
                there = b.reshape(b.slice(tokens, 1, k * apart, positions), (rows, positions, 1))
                same = b("Equal", there, b.constant(table[:, k].reshape(1, 1, -1)))
                hit = same if hit is None else b("And", hit, same)
            assert hit is not None
            seen = b.reshape(b("ReduceSum", b.cast(hit, "int64"), axes=(1,)), (rows, len(chosen)))
            at = b.expand(b.constant(place.reshape(1, -1)), (rows, len(chosen)))
            total = b("ScatterElements", total, at, seen, axis=1, reduction="add")
    y, mode = b.cast(total, "float32"), s.attr("mode")
    weights = b.constant(np.asarray(s.attr("weights"), np.float32)) if s.attr("weights") else None
    if mode == "IDF":
        y = b.cast(b("Less", b.like(0, y), y), "float32")
    elif mode not in ("TF", "TFIDF"):
        raise s.bad(f"mode {mode}")
    if weights is not None and mode != "TF":
        y = b("Mul", y, weights)
    return b.reshape(y, (width,)) if x.rank == 1 else y


TABLE: dict[str, Callable[[Source], Value | tuple[Value, ...]]] = {"TfIdfVectorizer": tf_idf}
