"""What moves, chooses and reduces: the standard operators by TensorFlow Lite's names, with channels last. Integers lie as they are."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod

import numpy as np

from mlcc.graph.builder import Builder, Value
from mlcc.graph.rules.lite.grid import grid, is_quantised, kind
from mlcc.graph.rules.lite.layout import first, last
from mlcc.graph.rules.lite.pointwise import activated, fused, same_grids
from mlcc.graph.rules.standard import run
from mlcc.graph.source import Source

Rule = Callable[[Source], Value | tuple[Value, ...]]


def ints(s: Source, index: int, what: str) -> list[int]:
    return [int(v) for v in np.ravel(s.b.known(s[index], what))]


# movement


def moved(function: Callable[[Source], Value | tuple[Value, ...]]) -> Rule:
    """Of integers with one scale: as they lie."""

    def rule(s: Source) -> Value | tuple[Value, ...]:
        same_grids(s)
        return function(s)

    return rule


def reshape(s: Source) -> Value:
    given = s.attr("new_shape")
    shape = ints(s, 1, "shape") if s.optional(1) is not None else [int(v) for v in given or []]
    return run(s, "Reshape", s[0], s.b.constant(np.array(shape, np.int64)), allowzero=int(0 in shape))


def expand_dims(s: Source) -> Value:
    x = s[0]
    axis = ints(s, 1, "axis")[0] % (x.rank + 1)
    return s.b.reshape(x, (*x.shape[:axis], 1, *x.shape[axis:]))


def squeeze(s: Source) -> Value:
    x, dims = s[0], [int(d) % s[0].rank for d in s.attr("squeeze_dims") or []]
    gone = dims or [i for i, n in enumerate(x.shape) if n == 1]
    return s.b.reshape(x, [n for i, n in enumerate(x.shape) if i not in gone])


def transpose(s: Source) -> Value:
    return s.b.transpose(s[0], ints(s, 1, "perm"))


def concatenation(s: Source) -> Value:
    b, activation = s.b, fused(s)
    same_grids(s)
    operands = [s[i] for i in range(len(s.inputs))]
    axis = int(s.attr("axis", 0)) % operands[0].rank
    y = b.many("Concat", operands, axis=axis)[0]
    if activation and is_quantised(s):
        raise s.unsupported("a fused activation of integers", "convert the model without it")
    return activated(s, y, activation)


def pad(s: Source) -> Value:
    """Integers are filled with zero's place; PADV2 says with what."""
    b, x = s.b, s[0]
    pads = np.array(ints(s, 1, "paddings")).reshape(-1, 2)
    of = grid(s, 0)
    fill: object = of.zero if of is not None and is_quantised(s) else 0
    if s.op == "PADV2":
        fill = b.known(s[2], "constant_values").reshape(-1)[0]
    return b("Pad", x, before=tuple(int(v) for v in pads[:, 0]), after=tuple(int(v) for v in pads[:, 1]), value=_number(fill, x))


def _number(fill: object, x: Value) -> float | int:
    return float(fill) if x.dtype.startswith("float") else int(fill)  # type: ignore[call-overload, arg-type]


def mirror_pad(s: Source) -> Value:
    pads = np.array(ints(s, 1, "paddings")).reshape(-1, 2)
    if int(s.attr("mode", 0)):
        raise s.unsupported("SYMMETRIC", "use REFLECT")
    return run(s, "Pad", s[0], s.b.constant(np.concatenate([pads[:, 0], pads[:, 1]]).astype(np.int64)), mode="reflect")


def slice_(s: Source) -> Value:
    x, begin, size = s[0], ints(s, 1, "begin"), ints(s, 2, "size")
    shape = tuple(n - a if c < 0 else c for n, a, c in zip(x.shape, begin, size))
    return s.b("Slice", x, starts=tuple(begin), steps=(1,) * x.rank, shape=shape)


def strided_slice(s: Source) -> Value:
    """begin, end and strides by axis; bits of the masks leave an end open or drop an axis."""
    b, x = s.b, s[0]
    begin, end, steps = (ints(s, i, n) for i, n in ((1, "begin"), (2, "end"), (3, "strides")))
    if s.attr("ellipsis_mask", 0) or s.attr("new_axis_mask", 0):
        raise s.unsupported("an ellipsis or a new axis", "slice by begin and end, then reshape")
    if s.attr("offset", 0):
        end = [a + e for a, e in zip(begin, end)]
    open_begin, open_end, dropped = (int(s.attr(f"{n}_mask", 0)) for n in ("begin", "end", "shrink_axis"))
    starts, shape = [], []
    for i, n in enumerate(x.shape):
        if i >= len(begin):
            starts.append(0)
            shape.append(n)
            steps.append(1)
            continue
        if dropped >> i & 1:
            steps[i] = 1
            chosen = slice(begin[i], begin[i] + 1 if begin[i] != -1 else None, 1)
        else:
            chosen = slice(None if open_begin >> i & 1 else begin[i], None if open_end >> i & 1 else end[i], steps[i])
        places = range(n)[chosen]
        starts.append(places.start if len(places) else 0)
        shape.append(len(places))
    y = b("Slice", x, starts=tuple(starts), steps=tuple(steps), shape=tuple(shape))
    return b.reshape(y, [n for i, n in enumerate(shape) if not dropped >> i & 1])


def split(s: Source) -> tuple[Value, ...]:
    """SPLIT: (axis, x), equal parts; SPLIT_V: (x, sizes, axis)."""
    x, axis = (s[1], ints(s, 0, "axis")[0]) if s.op == "SPLIT" else (s[0], ints(s, 2, "axis")[0])
    axis, count = axis % x.rank, int(s.attr("num_splits", 0)) or len(s.attr("types"))
    sizes = [x.shape[axis] // count] * count if s.op == "SPLIT" else ints(s, 1, "size_splits")
    sizes = [x.shape[axis] - sum(v for v in sizes if v >= 0) if n < 0 else n for n in sizes]
    return tuple(s.b.slice(x, axis, sum(sizes[:i]), n) for i, n in enumerate(sizes))


def pack(s: Source) -> Value:
    s.attr("values_count")
    parts = [s[i] for i in range(len(s.inputs))]
    axis = int(s.attr("axis", 0)) % (parts[0].rank + 1)
    rows = [s.b.reshape(v, (*v.shape[:axis], 1, *v.shape[axis:])) for v in parts]
    return s.b.many("Concat", rows, axis=axis)[0]


def unpack(s: Source) -> tuple[Value, ...]:
    x, axis = s[0], int(s.attr("axis", 0)) % s[0].rank
    s.attr("num")
    rest = [n for i, n in enumerate(x.shape) if i != axis]
    return tuple(s.b.reshape(s.b.slice(x, axis, i, 1), rest) for i in range(x.shape[axis]))


def tile(s: Source) -> Value:
    return run(s, "Tile", s[0], s.b.constant(np.array(ints(s, 1, "multiples"), np.int64)))


def gather(s: Source) -> Value:
    b, x, index = s.b, s[0], s[1]
    axis, shared = int(s.attr("axis", 0)) % x.rank, int(s.attr("batch_dims", 0))
    if shared:
        raise s.unsupported("batch_dims", "gather without batch_dims")
    return b("Gather", x, index, axis=axis)


def gather_nd(s: Source) -> Value:
    return run(s, "GatherND", s[0], s.b.cast(s[1], "int64"))


def embedding_lookup(s: Source) -> Value:
    return s.b("Gather", s[1], s[0], axis=0)


def shape(s: Source) -> Value:
    s.attr("out_type")
    return s.b.constant(np.array(s[0].shape), kind(s))


def fill(s: Source) -> Value:
    return s.b.expand(s[1], ints(s, 0, "dims"))


def broadcast_to(s: Source) -> Value:
    return s.b.expand(s[0], ints(s, 1, "shape"))


def reverse(s: Source) -> Value:
    y = s[0]
    for axis in ints(s, 1, "axis"):
        n = y.shape[axis % y.rank]
        y = s.b.slice(y, axis % y.rank, n - 1, n, -1)
    return y


def depth_and_space(op: str) -> Rule:
    def rule(s: Source) -> Value:
        how = {"blocksize": int(s.attr("block_size"))}
        return last(s.b, run(s, op, first(s.b, s[0]), **how))

    return moved(rule)


def resize(mode: str) -> Rule:
    """Of integers: the nearest as they lie."""

    def rule(s: Source) -> Value:
        b, x = s.b, first(s.b, s[0])
        same_grids(s)
        corners, half = bool(s.attr("align_corners", 0)), bool(s.attr("half_pixel_centers", 0))
        sizes = (*x.shape[:2], *ints(s, 1, "size"))
        if mode == "linear" and is_quantised(s):
            if x.dtype == "int16":
                raise s.unsupported("int16", "quantise activations to int8")
            between = _between_unsigned if x.dtype == "uint8" else _between_signed
            return last(b, between(b, x, sizes[2:], corners, half))
        if mode == "nearest" and (corners or half):  # rounded to the nearest, half up; floor elsewhere
            kinds = {"nearest_mode": "round_prefer_ceil" if corners else "floor"}
        else:
            kinds = {"nearest_mode": "floor"} if mode == "nearest" else {}
        transform = "align_corners" if corners else "half_pixel" if half and mode == "linear" else "asymmetric"
        if half and mode == "nearest":
            transform = "tf_half_pixel_for_nn"
        y = run(
            s, "Resize", x, None, None, b.constant(np.array(sizes, np.int64)), mode=mode, coordinate_transformation_mode=transform, **kinds
        )
        return last(b, y)

    return rule


def _between_unsigned(b: Builder, x: Value, sizes: Sequence[int], corners: bool, half: bool) -> Value:
    """In binary32, half up. reference/resize_bilinear.h, ResizeBilinear"""
    places, fars = [], []
    for axis, n in zip((2, 3), sizes):
        have, one = x.shape[axis], np.float32(1)
        scale = np.float32(have - 1) / np.float32(n - 1) if corners and n > 1 else np.float32(have) / np.float32(n)
        at = np.arange(n, dtype=np.float32)
        at = (at + np.float32(0.5)) * scale - np.float32(0.5) if half else at * scale
        low, high = np.maximum(np.floor(at).astype(np.int64), 0), np.minimum(np.ceil(at).astype(np.int64), have - 1)
        far = (at - low.astype(np.float32)).reshape([-1 if i == axis else 1 for i in range(4)])
        places.append((low, high))
        fars.append((one - far, far))
    total = None
    for side in (0, 1):  # the sum in the kernel's order: columns outside, rows inside
        for row in (0, 1):
            part = b("Gather", x, b.constant(places[0][row]), axis=2)
            part = b.cast(b("Gather", part, b.constant(places[1][side]), axis=3), "float32")
            part = b("Mul", b("Mul", part, b.constant(fars[0][row])), b.constant(fars[1][side]))
            total = part if total is None else b("Add", total, part)
    assert total is not None
    return b.cast(b("Add", total, b.like(0.5, total)), x.dtype)


def _between_signed(b: Builder, x: Value, sizes: Sequence[int], corners: bool, half: bool) -> Value:
    """Places and weights of 10 bits behind the point, the sum rounded half away from zero. reference/resize_bilinear.h,
    ResizeBilinearInteger"""
    y = b.cast(x, "int32")
    for axis, n in zip((2, 3), sizes):
        have = x.shape[axis]
        if corners and n > 1:
            scale = ((have - 1 << 10) + (n - 1) // 2) // (n - 1)
        else:
            scale = ((have << 10) + n // 2) // n
        at = np.arange(n, dtype=np.int64) * scale + (scale // 2 - (1 << 9) if half else 0)
        low = np.maximum(np.trunc(at / 1024).astype(np.int64), 0)
        high = np.minimum(np.trunc((at + 1023) / 1024).astype(np.int64), have - 1)
        far = (at - (low << 10)).astype(np.int32).reshape([-1 if i == axis else 1 for i in range(4)])
        parts = [b("Gather", y, b.constant(i), axis=axis) for i in (low, high)]
        y = b("Add", b("Mul", parts[0], b.constant(np.int32(1 << 10) - far)), b("Mul", parts[1], b.constant(far)))
    half_up = b("Where", b("Less", b.like(0, y), y), b.constant(np.int32(1 << 19)), b.constant(np.int32(-(1 << 19))))
    return b.cast(b("Div", b("Add", y, half_up), b.constant(np.int32(1 << 20))), x.dtype)


def one_hot(s: Source) -> Value:
    b, index, depth, on, off = s.b, s[0], ints(s, 1, "depth")[0], s[2], s[3]
    axis = int(s.attr("axis", -1)) % (index.rank + 1)
    places = b.constant(np.arange(depth).reshape([-1 if i == axis else 1 for i in range(index.rank + 1)]), index.dtype)
    here = b("Equal", b.reshape(index, (*index.shape[:axis], 1, *index.shape[axis:])), places)
    return b("Where", here, on, off)


def range_(s: Source) -> Value:
    start, limit, delta = (s.b.known(s[i], "a range's end").reshape(-1)[0] for i in range(3))
    return s.b.constant(np.arange(start, limit, delta), kind(s))


def batch_and_space(s: Source) -> Value:
    """SPACE_TO_BATCH_ND: padded, then blocks of the image become rows of the batch."""
    b, x = s.b, s[0]
    block, pads = ints(s, 1, "block_shape"), np.array(ints(s, 2, "paddings")).reshape(-1, 2)
    of, n = grid(s, 0), len(block)
    fill: object = of.zero if of is not None and is_quantised(s) else 0
    before, after = [0] * x.rank, [0] * x.rank
    before[1 : 1 + n], after[1 : 1 + n] = ([int(v) for v in pads[:, i]] for i in (0, 1))
    x = b("Pad", x, before=tuple(before), after=tuple(after), value=_number(fill, x))
    cut = [v for d, k in zip(x.shape[1 : 1 + n], block) for v in (d // k, k)]
    y = b.reshape(x, (x.shape[0], *cut, *x.shape[1 + n :]))
    perm = [*range(2, 2 + 2 * n, 2), 0, *range(1, 1 + 2 * n, 2), *range(1 + 2 * n, y.rank)]
    y = b.transpose(y, perm)
    return b.reshape(y, (x.shape[0] * prod(block), *(d // k for d, k in zip(x.shape[1 : 1 + n], block)), *x.shape[1 + n :]))


def space_and_batch(s: Source) -> Value:
    """BATCH_TO_SPACE_ND: the inverse, then cropped."""
    b, x = s.b, s[0]
    block, crops = ints(s, 1, "block_shape"), np.array(ints(s, 2, "crops")).reshape(-1, 2)
    n, batch = len(block), x.shape[0] // prod(block)
    y = b.reshape(x, (*block, batch, *x.shape[1:]))
    perm = [n, *(v for i in range(n) for v in (n + 1 + i, i)), *range(2 * n + 1, y.rank)]
    whole = [d * k for d, k in zip(x.shape[1 : 1 + n], block)]
    y = b.reshape(b.transpose(y, perm), (batch, *whole, *x.shape[1 + n :]))
    for i, (low, high) in enumerate(crops):
        y = b.slice(y, 1 + i, int(low), whole[i] - int(low) - int(high))
    return y


TABLE: dict[str, Rule] = {
    "BATCH_TO_SPACE_ND": moved(space_and_batch),
    "BROADCAST_TO": moved(broadcast_to),
    "CONCATENATION": concatenation,
    "DENSIFY": lambda s: s[0],  # constants alone are sparse, and are dense here from the start
    "DEPTH_TO_SPACE": depth_and_space("DepthToSpace"),
    "EMBEDDING_LOOKUP": moved(embedding_lookup),
    "EXPAND_DIMS": moved(expand_dims),
    "FILL": moved(fill),
    "GATHER": moved(gather),
    "GATHER_ND": moved(gather_nd),
    "MIRROR_PAD": moved(mirror_pad),
    "ONE_HOT": moved(one_hot),
    "PACK": moved(pack),
    "PAD": moved(pad),
    "PADV2": moved(pad),
    "RANGE": range_,
    "RESHAPE": moved(reshape),
    "RESIZE_BILINEAR": resize("linear"),
    "RESIZE_NEAREST_NEIGHBOR": resize("nearest"),
    "REVERSE_V2": moved(reverse),
    "SHAPE": shape,
    "SLICE": moved(slice_),
    "SPACE_TO_BATCH_ND": moved(batch_and_space),
    "SPACE_TO_DEPTH": depth_and_space("SpaceToDepth"),
    "SPLIT": moved(split),
    "SPLIT_V": moved(split),
    "SQUEEZE": moved(squeeze),
    "STRIDED_SLICE": moved(strided_slice),
    "TILE": moved(tile),
    "TRANSPOSE": moved(transpose),
    "UNPACK": moved(unpack),
}
