"""Kernel specifications: what a kernel computes, with every shape and stride fixed. Frozen, hashable, free of any target.

A kernel iterates over dimensions; an `Access` says where an operand's element lies: argument `arg`, at Σ index·stride + offset
elements. What happens to each element is a straight-line `Body`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from mlcc.program.packing import PANELS, Packing


@dataclass(frozen=True)
class Access:
    """Element of argument `arg` at Σ index·stride + offset; one stride an iteration dimension."""

    arg: int
    strides: tuple[int, ...]
    offset: int = 0


@dataclass(frozen=True)
class Step:
    """One instruction of a body.

    op: `load` (access), `gather` (access, and for each operand a term (stride, extent): the operand indexes an axis; value: True where it
    is known to lie inside), `const` (value),
    `input` (the value that an anchor hands over), or an elementwise core operator on earlier steps (a Requantize's value: zero, low, high).
    """

    op: str
    dtype: str
    operands: tuple[int, ...] = ()
    access: Access | None = None
    value: Any = None
    terms: tuple[tuple[int, int], ...] = ()


Body = tuple[Step, ...]  # the last step is the result


@dataclass(frozen=True)
class Map:
    """output[i…] = body(i…) for each point of `dims`."""

    arguments: tuple[str, ...]  # element types of the pointer arguments
    dims: tuple[int, ...]
    body: Body
    output: Access


@dataclass(frozen=True)
class Reduce:
    """output = body(kind over `reduced` of source), in the contract's lanes. Access strides cover dims, then reduced."""

    arguments: tuple[str, ...]
    kind: str  # ReduceSum, ReduceProd, ReduceMax, ReduceMin
    dtype: str
    dims: tuple[int, ...]
    reduced: tuple[int, ...]
    source: Access
    body: Body
    output: Access


@dataclass(frozen=True)
class Bound:
    """Which taps of a window lie inside: those where index[dim]·step + tap·dilation − before is in [0, extent). The others read the
    kernel's `outside` (the zero point of bytes), or are skipped where that is 0.

    `dim` numbers the kernel's rows or dims, `axis` its k or reduced dims, which the tap indexes.
    """

    dim: int
    axis: int
    step: int
    dilation: int
    before: int
    extent: int


@dataclass(frozen=True)
class Plane:
    """Part of a kernel's input that is copied to memory of its own before the outputs overwrite it: `source` over the kernel's first dim
    and `extents`, side by side in argument `copy`."""

    source: Access
    extents: tuple[int, ...]
    copy: int


@dataclass(frozen=True)
class Chain:
    """output = body(one fma chain over `reduced` of a·b from init, + 0); operands as they lie. For depthwise convolution and odd shapes."""

    arguments: tuple[str, ...]
    dtype: str
    dims: tuple[int, ...]
    reduced: tuple[int, ...]
    a: Access
    b: Access
    init: Access | None
    body: Body
    output: Access
    bounds: tuple[Bound, ...] = ()
    outside: int = 0
    plane: Plane | None = None


@dataclass(frozen=True)
class Dot:
    """output[batch…, row…, n] = body(chain over k of a[batch…, row…, k]·b[batch, k, n] from init, + 0), b packed.

    PANELS may be float16 (`uint16`) or bytes (`scale`) that stand for floats; `b` strides by whole batches. Strides of `a` cover batch,
    rows, k; of init, output and the body's loads batch, rows, n. Compact programs pack otherwise; their kernels gather a few rows' operands
    into `scratch` where these do not lie side by side.
    """

    arguments: tuple[str, ...]
    dtype: str
    batch: tuple[int, ...]
    rows: tuple[int, ...]
    k: tuple[int, ...]
    columns: int
    a: Access
    b: Access
    init: Access | None
    body: Body
    output: Access
    packing: Packing = PANELS
    scratch: int | None = None
    scale: Access | None = None  # of bytes that stand for floats: one a column, readable to the end of the last panel (or four)
    bounds: tuple[Bound, ...] = ()
    outside: int = 0


@dataclass(frozen=True)
class BlockDot:
    """output[row…, n] = body(blocks of 32 over k of bf16(a[row…, k])·b[k, n], + 0): the bf16 profile's dot (mlcc.arithmetic.bf16).

    `a` is binary32, rounded on the way, or bfloat16 already; `b` holds pairs (k, k + 1) of bfloat16 in panels [k / 32][16 pairs][16
    columns], zero-filled.
    """

    arguments: tuple[str, ...]
    rows: tuple[int, ...]
    k: tuple[int, ...]
    columns: int
    a: Access
    b: int
    body: Body
    output: Access
    dtype: str = "float32"


@dataclass(frozen=True)
class Scan:
    """A sequential walk along one axis for each point of `dims`: ArgMax, ArgMin (last: the later of equals), CumSum, CumProd, TopK."""

    arguments: tuple[str, ...]
    kind: str
    dtype: str
    dims: tuple[int, ...]
    extent: int
    source: Access  # strides: dims, then the axis
    output: Access  # likewise
    second: Access | None  # TopK's indices
    options: tuple[tuple[str, int], ...]


@dataclass(frozen=True)
class Scatter:
    """output[where(i)] ∘= updates[i], one after the other in row-major order; `terms` (stride, extent) belong to the index loads."""

    arguments: tuple[str, ...]
    dtype: str
    reduction: str
    dims: tuple[int, ...]
    indices: tuple[Access, ...]
    index_dtype: str
    terms: tuple[tuple[int, int], ...]
    updates: Access
    output: Access


@dataclass(frozen=True)
class Nest:
    """Kernels in turn for each point of `outer`, with memory of their own in between.

    A stage is a kernel whose first dimensions are `outer`, and where its arguments come from: argument n, or for −1 − n local n
    (element type, elements), which all points of `outer` use anew.
    """

    arguments: tuple[str, ...]
    locals: tuple[tuple[str, int], ...]
    outer: tuple[int, ...]
    stages: tuple[tuple[Kernel, tuple[int, ...]], ...]


Kernel = Map | Reduce | Chain | Dot | BlockDot | Scan | Scatter | Nest


def storage(dtype: str) -> str:
    """The element type that a kernel sees in memory: truth values are bytes, half-width floats their bits."""
    return {"bool": "uint8", "float16": "uint16", "bfloat16": "uint16"}.get(dtype, dtype)
