"""When each stage reads, gives back and writes: one definition, which the RTL's counters, the memories' sizes and the cycle model share.

A stage's walk is the same for every input, so it is a list: for each step the elements of each input that must be there, counted from the
start of the inference; those that it is done with after the step; and whether the step completes outputs.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, log2, prod

import numpy as np

from mlcc_backends.hls.network import Network, Rounding, Stage

FORMULA = 3  # registers in a rounding by formula
GIVE_DELAY = 3  # cycles until what a step gave back may be written again: its own read is still under way
LOADED = 4  # cycles from the last word of a scalar stage's inputs to its first instruction
CYCLES = {"fma": 9, "div": 33}  # of a scalar stage's instructions; the rest take SIMPLE
SIMPLE = 4


@dataclass(frozen=True)
class Walk:
    """need, done: [inputs, steps], elements, cumulative; writes: [steps], whether a step completes `pe` outputs."""

    need: np.ndarray
    done: np.ndarray
    writes: np.ndarray


def levels_depth(r: Rounding) -> int:
    assert r.levels is not None
    return int(r.levels.shape[1] + 1).bit_length() - 1


def depth_of(r: Rounding | None) -> int:
    """Registers of a rounding."""
    if r is None:
        return 0
    return FORMULA if r.levels is None else levels_depth(r)


def tree(s: Stage) -> int:
    """Registers in a stage's adder tree: one every two levels."""
    return ceil(ceil(log2(s.simd)) / 2) if s.kind == "product" and s.simd > 1 else 0


def latency(s: Stage) -> int:
    """Cycles from a step to the first beat that it writes."""
    match s.kind:
        case "product" | "depthwise" | "sum" | "max":
            return 6 + tree(s) + depth_of(s.rounding)
        case "join" | "product_join":
            return 4 + depth_of(s.rounding)
        case "quantise":
            return 3 + depth_of(s.rounding)
        case "fixed":
            return 5
        case "float":
            return 4
        case "scalar":
            return 2
    return 3


def folds(s: Stage) -> int:
    """Steps that one group of outputs takes."""
    if s.kind == "product":
        assert s.weights is not None
        return prod(s.window.kernel) * s.weights.shape[-1] // s.simd
    return prod(s.window.kernel) if s.kind in ("depthwise", "sum", "max") else 1


def turns(s: Stage) -> int:
    """Groups of outputs at one position."""
    if s.kind == "product":
        return s.outputs // s.pe
    return s.window.channels // s.simd


def scalar_cycles(s: Stage) -> int:
    """From the last load to the first store, both apart."""
    assert s.scalar is not None
    return LOADED + sum(CYCLES.get(op, SIMPLE) for op, _, _ in s.scalar.instructions if op not in ("in", "const"))


def steps(s: Stage) -> int:
    """Cycles of one inference, if nothing is waited for."""
    if s.kind == "reorder":
        assert s.index is not None
        return s.index.size
    if s.kind == "scalar":
        assert s.scalar is not None
        return sum(op == "in" for op, _, _ in s.scalar.instructions) + scalar_cycles(s) + len(s.scalar.results)
    return s.window.positions * turns(s) * folds(s)


def pixel_need(s: Stage) -> np.ndarray:
    """[rows, columns]: input pixels that must be there for each output pixel; what strides skip must have come to be given back."""
    w = s.window
    rows, columns = (
        np.clip(np.arange(o) * d - b + (k - 1) * e, 0, n - 1)
        for o, d, b, k, e, n in zip(w.out, w.strides, w.before, w.kernel, w.dilations, (w.height, w.width))
    )
    return np.maximum(rows[:, None] * w.width + columns[None, :] + 1, pixel_done(s))


def row_done(s: Stage) -> np.ndarray:
    """Input pixels that are of no more use after an output row."""
    w = s.window
    found = np.clip((np.arange(w.out[0]) + 1) * w.strides[0] - w.before[0], 0, w.height) * w.width
    found[-1] = w.height * w.width
    return found


def pixel_done(s: Stage) -> np.ndarray:
    """[rows, columns]: input pixels of no more use after each output pixel."""
    w = s.window
    start = np.arange(w.out[0]) * w.strides[0] - w.before[0]
    column = np.clip((np.arange(w.out[1]) + 1) * w.strides[1] - w.before[1], 0, w.width)
    found = np.where(
        start[:, None] >= 0, np.minimum(start[:, None], w.height) * w.width + np.where(start[:, None] < w.height, column[None, :], 0), 0
    )
    ends = row_done(s)
    found = np.minimum(found, ends[:, None])
    found[:, -1] = ends
    return np.maximum.accumulate(found.reshape(-1)).reshape(w.out)


def walk(s: Stage, network: Network) -> Walk:
    """One inference of a stage."""
    sizes = [network.streams[v].elements for v in s.inputs]
    count = steps(s)
    if s.kind == "reorder":
        done = np.zeros((1, count), np.int64)
        done[0, -1] = sizes[0]
        return Walk(np.full((1, count), sizes[0]), done, np.ones(count, bool))
    if s.kind == "scalar":
        assert s.scalar is not None
        need = np.zeros((len(sizes), count), np.int64)
        at = 0
        for i, n in enumerate(sizes):
            need[i, at : at + n] = np.arange(1, n + 1)
            need[i, at + n :] = n
            at += n
        writes = np.zeros(count, bool)
        writes[count - len(s.scalar.results) :] = True
        return Walk(need, need, writes)
    if s.kind == "concat":
        parts = [n // s.window.positions // s.simd for n in sizes]
        slot = np.tile(np.repeat(np.arange(len(sizes)), parts), s.window.positions)
        taken = np.stack([np.cumsum(slot == i) * s.simd for i in range(len(sizes))])
        return Walk(taken, taken, np.ones(count, bool))
    if s.kind in ("table", "join", "product_join", "quantise", "fixed", "float", "trees"):
        even = np.tile(np.arange(1, count + 1) * s.simd, (len(sizes), 1))
        return Walk(even, even, np.ones(count, bool))
    inner, channels = turns(s) * folds(s), s.window.channels
    ends = pixel_done(s).reshape(-1)
    read = np.repeat(pixel_need(s).reshape(-1), inner) * channels
    before = np.concatenate([[0], ends[:-1]])
    done = np.repeat(before, inner)
    done[inner - 1 :: inner] = ends
    writes = np.zeros(count, bool)
    writes[folds(s) - 1 :: folds(s)] = True
    return Walk(read[None], done[None] * channels, writes)


def in_beats(need: np.ndarray, done: np.ndarray, beat: int) -> tuple[np.ndarray, np.ndarray]:
    """Counted from the start of an inference, in elements → by step, in beats: what must be there beyond what was given back, and what is
    given back."""
    before = np.concatenate([[0], done[:-1]]) // beat
    return -(-need // beat) - before, done // beat - before


def span(s: Stage, network: Network, slot: int) -> int:
    """Elements that must lie in a stage's memory at once."""
    w = walk(s, network)
    before = np.concatenate([[0], w.done[slot][:-1]])
    return int((w.need[slot] - before).max())
