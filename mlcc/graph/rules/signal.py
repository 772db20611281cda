"""Fourier transforms and their kin, as products with known matrices: one chain an output, like any other product. Determinants."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from mlcc.core.graph import DTYPES
from mlcc.graph.builder import Value
from mlcc.graph.rules.elementwise import ONNX_DTYPES
from mlcc.graph.source import Source, normal_axis


def _rotations(length: int, rows: int, columns: int, inverse: bool) -> np.ndarray:
    """e^(∓2πi·row·column / length), [rows, columns] complex; the product is reduced first, so that no angle loses digits."""
    turns = np.outer(np.arange(rows, dtype=np.int64), np.arange(columns, dtype=np.int64)) % length
    angle = (2 if inverse else -2) * np.pi * turns / length
    return np.cos(angle) + 1j * np.sin(angle)


def _matrix(length: int, parts: int, inverse: bool, onesided: bool) -> np.ndarray:
    """[elements of the input, real after imaginary for each] → [elements of the output likewise]: what a transform multiplies by."""
    if inverse and onesided:  # real numbers from the first half of their spectrum: the other half is its conjugate
        bins = length // 2 + 1
        weight = np.full((bins, 1), 2.0)
        weight[0] = 1
        if length % 2 == 0:
            weight[-1] = 1
        turned = weight * _rotations(length, bins, length, True) / length
        return np.stack([turned.real, -turned.imag], axis=1).reshape(bins * 2, length)
    turned = _rotations(length, length, length // 2 + 1 if onesided else length, inverse) / (length if inverse else 1)
    real = np.stack([turned.real, turned.imag], axis=2)  # of a real element: [row, column, part]
    if parts == 1:
        return real.reshape(length, -1)
    imaginary = np.stack([-turned.imag, turned.real], axis=2)
    return np.stack([real, imaginary], axis=1).reshape(length * 2, -1)


def transformed(s: Source, x: Value, axis: int, length: int, inverse: bool, onesided: bool) -> Value:
    """The transform of x [..., parts] along `axis`, which is cut or filled up with zeros to what `length` needs."""
    b, parts = s.b, x.shape[-1]
    if parts not in (1, 2) or length < 1:
        raise s.bad(f"a transform of {list(x.shape)} with length {length}")
    if onesided and parts != (2 if inverse else 1):
        raise s.bad("onesided: real numbers in, or a spectrum in where it is inverse")
    if x.dtype not in ("float32", "float64"):
        raise s.unsupported(f"a transform of {x.dtype}", "use float32 or float64")
    taken = length // 2 + 1 if inverse and onesided else length
    have = x.shape[axis]
    if have > taken:
        x = b.slice(x, axis, 0, taken)
    elif have < taken:
        after = tuple(taken - have if i == axis else 0 for i in range(x.rank))
        x = b("Pad", x, before=(0,) * x.rank, after=after, value=0)
    if parts == 1 and inverse and onesided:
        raise s.bad("onesided and inverse wants a complex spectrum")
    b.room(taken * parts * length * 2, 8, "the transform's matrix")
    matrix = _matrix(length, parts, inverse, onesided)
    out = 1 if inverse and onesided else 2
    kept = [i for i in range(x.rank - 1) if i != axis]
    rows = b.transpose(x, [*kept, axis, x.rank - 1])
    count = int(np.prod([x.shape[i] for i in kept], dtype=np.int64))
    y = b("MatMul", b.reshape(rows, (count, taken * parts)), b.constant(matrix.astype(DTYPES[x.dtype])))
    y = b.reshape(y, (*(x.shape[i] for i in kept), matrix.shape[1] // out, out))
    back = [kept.index(i) if i != axis else len(kept) for i in range(x.rank - 1)]
    return b.transpose(y, [*back, x.rank - 1])


def dft(s: Source) -> Value:
    x, inverse, onesided = s[0], bool(s.attr("inverse", 0)), bool(s.attr("onesided", 0))
    given = int(s.attr("axis", 1)) if s.opset < 20 else int(s.scalar("axis", 2, -2))
    axis = normal_axis(given, x.rank, s.where)
    if axis == x.rank - 1:
        raise s.bad("the last axis holds the real and the imaginary part")
    length = s.scalar("dft_length", 1)
    if length is None:
        length = 2 * (x.shape[axis] - 1) if inverse and onesided else x.shape[axis]
    return transformed(s, x, axis, int(length), inverse, onesided)


def stft(s: Source) -> Value:
    """Frames of the signal, `frame_step` apart, times the window, transformed."""
    b, x, window = s.b, s[0], s.optional(2)
    if x.rank == 2:
        x = b.reshape(x, (*x.shape, 1))
    step = int(s.scalar("frame_step", 1))
    length = s.scalar("frame_length", 3)
    length = int(length) if length is not None else window.type.size if window is not None else x.shape[1]
    if step < 1 or not 0 < length <= x.shape[1]:
        raise s.bad(f"frames of {length}, {step} apart, of a signal of {x.shape[1]}")
    count = (x.shape[1] - length) // step + 1
    at = np.arange(count)[:, None] * step + np.arange(length)
    b.room(at.size * x.shape[0], 8, "the frames")
    frames = b("Gather", x, b.constant(at.astype(np.int64)), axis=1)  # [batch, frames, length, parts]
    if window is not None:
        frames = b("Mul", frames, b.reshape(window, (window.type.size, 1)))
    onesided = bool(s.attr("onesided", 1)) and x.shape[-1] == 1
    return transformed(s, frames, 2, length, False, onesided)


def mel_weight_matrix(s: Source) -> Value:
    """Triangles on the mel scale, as ONNX defines them."""
    bins, length, rate, low, high = (s.b.known(s[i], n).reshape(-1)[0].item() for i, n in enumerate(MEL))
    if bins < 1 or length < 1 or rate < 1:
        raise s.bad(f"{bins} bins of a transform of {length} at {rate} Hz")
    s.b.room((length // 2 + 1) * bins)
    mels = [2595 * np.log10(1 + f / 700) for f in (low, high)]
    edges = 700 * (10 ** ((np.arange(bins + 2) * (mels[1] - mels[0]) / (bins + 2) + mels[0]) / 2595) - 1)
    places = ((length + 1) * edges // rate).astype(np.int64)
    if places.min() < 0 or places.max() > length // 2 + 1:
        raise s.bad(f"frequencies from {low} to {high} Hz at {rate} Hz")
    out = np.zeros((length // 2 + 1, bins))
    for i, (left, middle, right) in enumerate(zip(places, places[1:], places[2:])):
        if left == middle:
            out[middle, i] = 1
        else:
            out[left : middle + 1, i] = (np.arange(left, middle + 1) - left) / (middle - left)
        if right > middle:
            out[middle:right, i] = (right - np.arange(middle, right)) / (right - middle)
    return s.b.constant(out.astype(DTYPES[ONNX_DTYPES[int(s.attr("output_datatype", 1))]]))


def determinant(s: Source) -> Value:
    """Gaussian elimination, each column's largest number as pivot; the product of the pivots, its sign turned by each swap."""
    b, x = s.b, s[0]
    n, shape = x.shape[-1], x.shape[:-2]
    if x.rank < 2 or x.shape[-2] != n or not 0 < n <= MOST_ROWS:
        raise s.unsupported(f"the determinant of {list(x.shape)}", f"square matrices of 1 to {MOST_ROWS} rows")
    count = int(np.prod(shape, dtype=np.int64))
    a, found = b.reshape(x, (count, n, n)), b.expand(b.like(1, x), (count, 1, 1))
    at = b.constant(np.arange(n, dtype=np.int64).reshape(1, n, 1))
    for k in range(n):
        column = b.slice(a, 2, k, 1)
        below = b("LessOrEqual", b.constant(np.int64(k)), at)
        best = b("ArgMax", b("Where", below, b("Abs", column), b.like(-1, x)), axis=1, last=0)
        top = b("GatherElements", a, b.expand(best, (count, 1, n)), axis=1)
        swapped = b("Where", b("Equal", at, best), b.slice(a, 1, k, 1), a)
        pivot = b.slice(top, 2, k, 1)
        found = b("Mul", found, b("Where", b("Equal", best, b.constant(np.int64(k))), pivot, b("Neg", pivot)))
        factor = b("Div", b.slice(swapped, 2, k, 1), b("Where", b("Equal", pivot, b.like(0, x)), b.like(1, x), pivot))
        a = b("Sub", swapped, b("Mul", factor, top))
    return b.reshape(found, shape)


MOST_ROWS = 32
MEL = ("num_mel_bins", "dft_length", "sample_rate", "lower_edge_hertz", "upper_edge_hertz")
TABLE: dict[str, Callable[[Source], Value | tuple[Value, ...]]] = {
    "DFT": dft,
    "Det": determinant,
    "MelWeightMatrix": mel_weight_matrix,
    "STFT": stft,
}
