"""Terms: 64 bits that stand for how a number was computed, in place of the number.

Two terms are equal when they were made by the same operators from the same inputs and constants in the same order; else they differ but for
a chance of about 2^-60 (uninterpreted functions by random hashing: Gulwani and Necula, "A randomized satisfiability procedure for
arithmetic and uninterpreted function symbols", 2003). A chain's operands are a polynomial in their positions (Karp and Rabin, 1987), so
that their order counts.

Where the arithmetic contract lets a schedule choose, terms do not tell the choices apart: what a chain multiplies by a known +0 is left
out, a maximum has no order and no padding, and rounding to bfloat16 twice is rounding once.
"""

from __future__ import annotations

import ctypes
import hashlib
from collections.abc import Sequence
from functools import cache
from math import prod

import numpy as np

from mlcc.cache.library import host_features, loaded
from mlcc.core.graph import DTYPES

Terms = np.ndarray  # of uint64
ROUNDED = np.uint64(1 << 63)  # the bit of a term that is rounded to bfloat16
NOTHING = np.uint64(0x4E07_0F1C_5A3D_96B2)  # memory that nothing has written

SOURCE = r"""
#include <stdint.h>
#define ROUNDED (1ull << 63)
static inline uint64_t mix(uint64_t x) { /* splitmix64's finaliser (Steele, Lea and Flood, 2014), 63 bits of it */
    x ^= x >> 30; x *= 0xBF58476D1CE4E5B9ull; x ^= x >> 27; x *= 0x94D049BB133111EBull; x ^= x >> 31;
    return x & ~ROUNDED;
}
void constants(int64_t n, uint64_t salt, const uint64_t *bits, uint64_t *out) { for (int64_t i = 0; i < n; i++) out[i] = mix(bits[i] + salt); }

/* out[i] = mix of a seed and the operands, each times a number of its place; an operand's step is 0 where it is one term for all i */
void combined(int64_t n, uint64_t seed, int64_t count, const uint64_t *const *x, const int64_t *step, uint64_t *restrict out) {
    for (int64_t start = 0; start < n; start += 2048) {
        int64_t size = n - start < 2048 ? n - start : 2048;
        uint64_t *restrict o = out + start;
        for (int64_t i = 0; i < size; i++) o[i] = seed;
        uint64_t place = 0xD6E8FEB86659FD93ull;
        for (int64_t j = 0; j < count; j++, place *= 0x9E3779B97F4A7C15ull) {
            const uint64_t *restrict v = x[j] + start * step[j];
            if (step[j]) for (int64_t i = 0; i < size; i++) o[i] += place * (v[i] + (v[i] >> 63) * 0xA0761D6478BD642Full);
            else for (int64_t i = 0; i < size; i++) o[i] += place * (v[0] + (v[0] >> 63) * 0xA0761D6478BD642Full);
        }
        for (int64_t i = 0; i < size; i++) o[i] = mix(o[i]);
    }
}

/* A chain's term: both operands' polynomials, which may change places, and its start. */
void chained(int64_t n, uint64_t seed, const uint64_t *a, const uint64_t *b, const uint64_t *start, uint64_t *out) {
    for (int64_t i = 0; i < n; i++) {
        uint64_t p = mix(a[i] + 0x2545F4914F6CDD1Dull), q = mix(b[i] + 0x2545F4914F6CDD1Dull);
        out[i] = mix(mix(seed + mix(p + q) + 3 * mix(p * q)) * 0xD6E8FEB86659FD93ull + start[i]);
    }
}

typedef struct { int64_t dim, axis, step, dilation, before, extent; } bound;

/* out[p] = sum over k of weight[k] · x[offset + p·strides + k·k_strides]; `left_out` counts as 0. Taps outside a bound are `outside`.
 * Returns the first p that reads `nothing`, or -1. */
int64_t folded(const uint64_t *x, int64_t offset, int64_t rank, const int64_t *dims, const int64_t *strides, int64_t k_rank, const int64_t *k_dims,
               const int64_t *k_strides, const uint64_t *weights, uint64_t left_out, uint64_t nothing, int64_t bounds, const bound *b, uint64_t outside,
               uint64_t *out) {
    int64_t points = 1, taps = 1, at[16] = {0}, first = -1, last = k_rank - 1, inner = k_dims[last], step = k_strides[last], inner_bound = -1;
    for (int64_t i = 0; i < rank; i++) points *= dims[i];
    for (int64_t i = 0; i < last; i++) taps *= k_dims[i];
    for (int64_t i = 0; i < bounds; i++) if (b[i].axis == last) inner_bound = i;
    uint64_t beyond = outside == left_out ? 0 : outside;
    int64_t base = offset;
    for (int64_t p = 0; p < points; p++) {
        int64_t tap[16] = {0}, place = base, k = 0;
        uint64_t sum = 0, bad = 0;
        for (int64_t t = 0; t < taps; t++) {
            int in = 1;
            for (int64_t i = 0; i < bounds; i++)
                if (b[i].axis != last) {
                    int64_t y = at[b[i].dim] * b[i].step + tap[b[i].axis] * b[i].dilation - b[i].before;
                    in &= y >= 0 && y < b[i].extent;
                }
            int64_t low = 0, high = inner;
            if (!in) high = 0;
            else if (inner_bound >= 0) {
                const bound *c = &b[inner_bound];
                int64_t y0 = at[c->dim] * c->step - c->before;
                while (low < inner && y0 + low * c->dilation < 0) low++;
                while (high > low && y0 + (high - 1) * c->dilation >= c->extent) high--;
            }
            for (int64_t j = 0; j < low; j++) sum += weights[k + j] * beyond;
            for (int64_t j = low; j < high; j++) {
                uint64_t v = x[place + j * step];
                bad |= v == nothing;
                sum += (v & ~ROUNDED) == left_out ? 0 : weights[k + j] * (v + (v >> 63) * 0xA0761D6478BD642Full);
            }
            for (int64_t j = high < low ? low : high; j < inner; j++) sum += weights[k + j] * beyond;
            k += inner;
            for (int64_t i = last - 1; i >= 0; i--) {
                place += k_strides[i];
                if (++tap[i] < k_dims[i]) break;
                place -= k_strides[i] * k_dims[i];
                tap[i] = 0;
            }
        }
        out[p] = sum;
        if (bad && first < 0) first = p;
        for (int64_t i = rank - 1; i >= 0; i--) {
            base += strides[i];
            if (++at[i] < dims[i]) break;
            base -= strides[i] * dims[i];
            at[i] = 0;
        }
    }
    return first;
}
"""


class Unwritten(Exception):
    """Memory is read that nothing has written, or that something else has taken since."""


@cache
def library() -> ctypes.CDLL:
    found = loaded("translation", SOURCE, host_features())
    found.folded.restype = ctypes.c_int64
    return found


def _ints(values: Sequence[int]) -> ctypes.Array[ctypes.c_int64]:
    return (ctypes.c_int64 * max(1, len(values)))(*values)


def _pointer(array: np.ndarray) -> ctypes.c_void_p:
    return ctypes.c_void_p(array.ctypes.data)


def _seed(*what: object) -> int:
    return _seed_of(repr(what))  # as text, in which +0 and −0 differ


@cache
def _seed_of(what: str) -> int:
    return int.from_bytes(hashlib.sha256(what.encode()).digest()[:8], "little")


def constants(array: np.ndarray) -> Terms:
    """The terms of known numbers, by their bits; every NaN is the same."""
    a = np.ascontiguousarray(array)
    if a.dtype.kind == "f" or a.dtype == DTYPES["bfloat16"]:
        a = np.where(np.isnan(a), np.array(np.nan, a.dtype), a)
    bits = np.ascontiguousarray(a).view(np.dtype(f"u{a.dtype.itemsize}")).astype(np.uint64).reshape(-1)
    out = np.empty(bits.size, np.uint64)
    library().constants(ctypes.c_int64(bits.size), ctypes.c_uint64(_seed("constant")), _pointer(bits), _pointer(out))
    return out.reshape(np.shape(array))


def number(value: float | int | bool, dtype: str) -> np.uint64:
    """The term of one known number; of half-width floats, given by its bits."""
    bits = dtype in ("float16", "bfloat16") and isinstance(value, int)
    a = np.array(value, np.uint16) if bits else np.array(value).astype(DTYPES[dtype])
    return _number(a.tobytes(), "uint16" if bits else dtype)


@cache
def _number(contents: bytes, dtype: str) -> np.uint64:
    return np.uint64(constants(np.frombuffer(contents, DTYPES[dtype]))[0])


ZERO = number(0, "int32")  # of +0 and of integers' 0: the same bits


def inputs(which: int, shape: tuple[int, ...]) -> Terms:
    """The terms of a model's input."""
    return combined(("input", which), constants(np.arange(prod(shape), dtype=np.int64))).reshape(shape)


def combined(what: tuple[object, ...], *operands: Terms | np.uint64) -> Terms:
    """An operator's terms, elementwise over operands that broadcast."""
    shape = np.broadcast_shapes(*(np.shape(x) for x in operands))
    kept = []
    for x in operands:
        single = np.size(x) == 1
        kept.append(np.ascontiguousarray(x if single else np.broadcast_to(x, shape), np.uint64).reshape(-1))
    out = np.empty(prod(shape), np.uint64)
    pointers = (ctypes.c_void_p * len(kept))(*(x.ctypes.data for x in kept))
    steps = _ints([int(x.size > 1) for x in kept])
    library().combined(ctypes.c_int64(out.size), ctypes.c_uint64(_seed(*what)), ctypes.c_int64(len(kept)), pointers, steps, _pointer(out))
    return out.reshape(shape)


def chained(dtype: str, a: Terms, b: Terms, start: Terms | np.uint64) -> Terms:
    """The terms of chains: their operands' polynomials and what they start from (ZERO: nothing)."""
    shape = np.broadcast_shapes(a.shape, b.shape, np.shape(start))
    flat = [np.ascontiguousarray(np.broadcast_to(x, shape), np.uint64).reshape(-1) for x in (a, b, start)]
    out = np.empty(prod(shape), np.uint64)
    library().chained(ctypes.c_int64(out.size), ctypes.c_uint64(_seed("chain", dtype)), *map(_pointer, flat), _pointer(out))
    return out.reshape(shape)


def rounded(x: Terms) -> Terms:
    """Rounded to bfloat16."""
    return x | ROUNDED


@cache
def _weights(count: int, ordered: bool) -> np.ndarray:
    base = _seed("position") | 1
    found = np.ones(count, np.uint64)
    if ordered:
        found[1:] = base
        found = np.multiply.accumulate(found)
    return found


Bounds = Sequence[tuple[int, int, int, int, int, int]]  # dim, axis, step, dilation, before, extent


def folded(
    memory: Terms,
    offset: int,
    dims: Sequence[int],
    strides: Sequence[int],
    k_dims: Sequence[int],
    k_strides: Sequence[int],
    *,
    ordered: bool = True,
    left_out: np.uint64 = NOTHING,
    bounds: Bounds = (),
    outside: np.uint64 = ZERO,
) -> Terms:
    """For each point of `dims` the sum over k of memory[offset + point·strides + k·k_strides], weighted by position where order counts.

    left_out: a term that counts as 0. Raises Unwritten; IndexError where an address lies outside `memory`.
    """
    if not bounds:
        check_inside(memory.size, offset, (*dims, *k_dims), (*strides, *k_strides))
    else:
        for b in bounds:  # the taps that are read lie inside the window's own extent
            assert b[4] >= 0 and b[5] >= 0
    varying = [i for i, s in enumerate(strides) if s and dims[i] > 1 or any(b[0] == i for b in bounds)]
    if prod(dims) == 0 or prod(k_dims) == 0:
        return np.zeros(tuple(dims), np.uint64)
    own, own_strides = [dims[i] for i in varying], [strides[i] for i in varying]
    kept = [(varying.index(b[0]), *b[1:]) for b in bounds]
    if bounds:
        _check_bounded(memory.size, offset, own, own_strides, k_dims, k_strides, kept)
    k_dims, k_strides = (list(k_dims), list(k_strides)) if len(k_dims) else ([1], [0])
    weights = _weights(prod(k_dims), ordered)
    out = np.empty(prod(own), np.uint64)
    bad = library().folded(
        _pointer(memory), ctypes.c_int64(offset), ctypes.c_int64(len(own)), _ints(own), _ints(own_strides), ctypes.c_int64(len(k_dims)),
        _ints(k_dims), _ints(k_strides), _pointer(weights), ctypes.c_uint64(int(left_out)), ctypes.c_uint64(int(NOTHING)),
        ctypes.c_int64(len(kept)), _ints([n for b in kept for n in b]), ctypes.c_uint64(int(outside)), _pointer(out),
    )  # fmt: skip
    if bad >= 0:
        raise Unwritten
    return np.broadcast_to(out.reshape([n if i in varying else 1 for i, n in enumerate(dims)]), tuple(dims))


def _check_bounded(
    size: int, offset: int, dims: Sequence[int], strides: Sequence[int], k_dims: Sequence[int], k_strides: Sequence[int], bounds: Bounds
) -> None:
    """Addresses of the taps that lie inside: along a bounded axis the position y in [0, extent) steps by k_stride / dilation."""
    low = high = offset
    bounded_dims, bounded_axes = {b[0] for b in bounds}, {b[1] for b in bounds}
    for dim, axis, step, dilation, before, extent in bounds:
        ys = [
            (i * step + k * dilation - before, i * strides[dim] + k * k_strides[axis])
            for i in range(dims[dim])
            for k in range(k_dims[axis])
        ]
        inside = [place for y, place in ys if 0 <= y < extent]
        if not inside:
            return  # every tap is outside: nothing is read
        low, high = low + min(inside), high + max(inside)
    for n, s in [
        *((n, s) for i, (n, s) in enumerate(zip(dims, strides)) if i not in bounded_dims),
        *((n, s) for i, (n, s) in enumerate(zip(k_dims, k_strides)) if i not in bounded_axes),
    ]:
        low, high = low + min(0, (n - 1) * s), high + max(0, (n - 1) * s)
    if low < 0 or high >= size:
        raise IndexError(f"elements {low} to {high} of {size}")


def check_inside(size: int, offset: int, dims: Sequence[int], strides: Sequence[int]) -> None:
    """Raise IndexError where some address lies outside."""
    if prod(dims) == 0:
        return
    low = offset + sum(min(0, (n - 1) * s) for n, s in zip(dims, strides))
    high = offset + sum(max(0, (n - 1) * s) for n, s in zip(dims, strides))
    if low < 0 or high >= size:
        raise IndexError(f"elements {low} to {high} of {size}")


def view(memory: np.ndarray, offset: int, dims: Sequence[int], strides: Sequence[int]) -> np.ndarray:
    """The elements at offset + index·strides. Raises IndexError."""
    check_inside(memory.size, offset, dims, strides)
    if prod(dims) == 0:
        return np.empty(tuple(dims), memory.dtype)
    return np.lib.stride_tricks.as_strided(memory[offset:], tuple(dims), [s * memory.itemsize for s in strides])
