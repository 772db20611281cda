"""Constant matrices as kernels read them: packed, and narrow where their numbers allow it."""

from __future__ import annotations

from math import prod

import numpy as np

from mlcc.arithmetic.bf16 import BLOCK, SMALLEST
from mlcc.arithmetic.narrow import half, scales
from mlcc.core.dim import Dim
from mlcc.core.graph import DTYPES
from mlcc.program.lower.state import Lowering
from mlcc.program.packing import EVEN, FOURS, PAIRS, PANEL, PANELS, VECTORS, WORDS, Packing, packed_columns, panels
from mlcc.program.view import View, row_major

SQUEEZE = 256  # elements from which weights that are bytes times a scale, or float16, are kept as such


# rows up to which widening weights on the way costs less than reading them wide (AVX2: bytes 1.02 times as fast at four rows, 0.83 at
# eight)
FEW = 4


def packing(s: Lowering, dtype: str) -> Packing:
    """How a known matrix lies (see Dot)."""
    if not s.compact:
        return PANELS
    return (VECTORS if s.vectors else WORDS) if dtype == "int8" else FOURS


def squeezed(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    """(bytes [k, n], scales [n]) whose products, rounded to binary32, are a float32 matrix bit for bit; None where there are none.

    Exporters store such weights dequantised; a scale is found from each column's largest weight, which is one of 127 multiples of it.
    """
    if matrix.dtype != np.float32 or matrix.size < SQUEEZE or not np.isfinite(matrix).all() or (np.signbit(matrix) & (matrix == 0)).any():
        return None
    first = matrix[:, int(np.argmax(np.abs(matrix).max(0)))]
    if len(np.unique(first)) > 256 or _scale_of(first) is None:  # most matrices end here
        return None
    whole = _scale_of(matrix.reshape(-1))
    scales = [whole] * matrix.shape[1] if whole is not None else [_scale_of(c) for c in matrix.T]
    if any(x is None for x in scales):
        return None
    row = np.array(scales, np.float32)
    return np.rint(matrix / row).astype(np.int8), row


def _scale_of(column: np.ndarray) -> np.float32 | None:
    """A scale of which all elements are multiples, −128 to 127 times, each rounded once."""
    largest = np.float32(np.abs(column).max(initial=0))
    if largest == 0:
        return np.float32(1)
    for scale in scales(largest, 128):
        q = np.rint(column / scale)
        if q.min() >= -128 and q.max() <= 127 and (q.astype(np.float32) * scale == column).all():
            return scale
    return None


def packed_constant(s: Lowering, matrices: np.ndarray, dtype: str, few: bool = False) -> str:
    """A known [batch, k, n] in the program's packing. Compact programs keep weights that are bytes times scales as bytes; so do narrow
    ones, and float16 as such, where they are read for so `few` rows that memory binds the product."""
    layout = packing(s, dtype)
    found = squeezed(matrices[0]) if (s.compact or few) and len(matrices) == 1 else None
    if found is not None:
        weights, row = found
        name = s.constant(layout.pack(weights[None]), "int8")
        wide = np.ones(-(-len(row) // 4) * 4 if s.compact else packed_columns(len(row)), np.float32)
        wide[: len(row)] = row
        s.scales[name] = s.constant(wide, "float32")
        return name
    halves = half(matrices) if few and matrices.size >= SQUEEZE else None
    return s.constant(layout.pack(matrices), dtype) if halves is None else s.constant(layout.pack(halves), "float16")


def known(s: Lowering, value: str) -> np.ndarray | None:
    return s.graph.constants.get(value)


def pack_pairs(matrix: np.ndarray) -> np.ndarray:
    """[k, n] → the bf16 profile's panels: uint32 pairs of bfloat16 (even k in the low half), [n / 16][k / 32][16][16], zero-filled."""
    k, n = matrix.shape
    wide = np.zeros((-(-k // BLOCK) * BLOCK, n), np.float32)
    wide[:k] = matrix
    half = wide.astype(DTYPES["bfloat16"]).view(np.uint16)
    half[np.abs(half.view(DTYPES["bfloat16"]).astype(np.float32)) < SMALLEST] = 0
    low, high = PAIRS.pack(half[None]).reshape(-1, 2).T.astype(np.uint32)
    return low | high << 16


def packed_pairs(s: Lowering, key: tuple[object, ...], matrix: np.ndarray) -> str:
    if ("pairs", *key) not in s._packed:
        s._packed["pairs", *key] = s.constant(pack_pairs(matrix), "uint32")
    return s._packed["pairs", *key]


def pack_dynamic(s: Lowering, b: View, value: str, origin: str) -> str:
    """Pack a [batch…, k, n] view at run time; returns the buffer of panels."""
    *lead, k, n = b.shape
    if s.compact:
        return s.materialise(b, range(len(b.shape)), value, origin).buffer
    count, width = prod(lead), EVEN.across(n) if isinstance(n, Dim) else packed_columns(n)
    name = s.buffer(f"{value}.panels", b.dtype, count * k * width)
    lead_strides = b.strides[:-2]
    per = k * width
    lead_out = tuple(per * st for st in row_major(lead))
    full, rest = divmod(n, PANEL)
    if isinstance(n, Dim):
        pieces = [(full, PANEL, PANEL, 0), *([(1, rest, PANEL, full)] if rest != 0 else [])]
    else:
        pieces = [(full, PANEL, PANEL, 0)] if full else []
        if rest:
            pieces.append((1, rest, panels(n)[-1], full))
    for number, valid, panel_width, first in pieces:
        source = b.laid(
            (*lead, number, k, valid),
            (*lead_strides, PANEL * b.strides[-1], b.strides[-2], b.strides[-1]),
            b.offset + first * PANEL * b.strides[-1],
        )
        target = View(name, b.dtype, source.shape, (*lead_out, k * panel_width, panel_width, 1), first * PANEL * k)
        s.copy(source, target, value, origin)
    return name
