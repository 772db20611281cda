"""Shape and data-movement operators."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from math import prod
from typing import Any

import numpy as np
from onnx import numpy_helper

from mlcc.core.dim import Dim, larger, smaller, whole
from mlcc.core.graph import DTYPES
from mlcc.core.narrow import INTEGERS, ONNX_NARROW, held
from mlcc.core.terms import Size, least, most, said
from mlcc.core.types import broadcast_shapes
from mlcc.graph import symbolic
from mlcc.graph.builder import Value
from mlcc.graph.narrow import encoded
from mlcc.graph.rules.elementwise import ONNX_DTYPES
from mlcc.graph.source import Source, normal_axis


def shape(s: Source) -> Value:
    dims = s[0].shape[slice(int(s.attr("start", 0)), s.attr("end"))]
    return s.b.sizes(dims)


def reshape(s: Source) -> Value:
    wanted = s.ints("shape", 1)
    if wanted is None:
        raise s.bad("no shape given")
    x, keep_zero = s[0], bool(s.attr("allowzero", 0))
    if any(n == 0 and i >= x.rank for i, n in enumerate(wanted)) and not keep_zero:
        raise s.bad(f"shape {wanted} copies an axis that {list(x.shape)} lacks")
    dims = [x.shape[i] if n == 0 and not keep_zero else n for i, n in enumerate(wanted)]
    if dims.count(-1) > 1 or any(least(n) < -1 for n in dims):
        raise s.bad(f"shape {wanted} is no shape")
    if -1 in dims:
        rest = prod(n for n in dims if n != -1)
        if rest == 0 or x.type.size % rest != 0:
            raise s.bad(f"{list(x.shape)} cannot become {wanted}")
        dims[dims.index(-1)] = x.type.size // rest
    return s.b.reshape(x, dims)


def flatten(s: Source) -> Value:
    axis = int(s.attr("axis", 1))
    axis = axis + s[0].rank if axis < 0 else axis
    return s.b.reshape(s[0], (prod(s[0].shape[:axis]), prod(s[0].shape[axis:])))


def squeeze(s: Source) -> Value:
    axes = s.ints("axes", 1)
    x = s[0]
    if axes is None and any(isinstance(n, Dim) and least(n) <= 1 <= most(n) for n in x.shape):
        raise s.unsupported("whether an axis is dropped depends on a size that a run decides", "give axes, or a range above 1")
    drop = {i for i, n in enumerate(x.shape) if n == 1} if axes is None else {normal_axis(a, x.rank, s.where) for a in axes}
    if any(x.shape[i] != 1 for i in drop):
        raise s.bad(f"axes {sorted(drop)} of {list(x.shape)} are not all 1")
    return s.b.reshape(x, [n for i, n in enumerate(x.shape) if i not in drop])


def unsqueeze(s: Source) -> Value:
    axes = s.ints("axes", 1) or []
    rank = s[0].rank + len(axes)
    new = {normal_axis(a, rank, s.where) for a in axes}
    rest = iter(s[0].shape)
    return s.b.reshape(s[0], [1 if i in new else next(rest) for i in range(rank)])


def transpose(s: Source) -> Value:
    return s.b.transpose(s[0], s.attr("perm", list(reversed(range(s[0].rank)))))


def expand(s: Source) -> Value:
    wanted = s.ints("shape", 1) or []
    try:
        dims = broadcast_shapes(s[0].shape, wanted)
    except ValueError:
        raise s.bad(f"{list(s[0].shape)} does not expand to {wanted}") from None
    return s.b.expand(s[0], dims)


def concat(s: Source) -> Value:
    axis = s.axis(1 if s.opset < 4 else 0)
    parts = [s[i] for i in range(len(s.inputs))]
    filled = [p for p in parts if p.shape[axis] != 0] or parts[:1]
    return s.b.many("Concat", filled, axis=axis)[0]


def slice_(s: Source) -> Value:
    starts, ends = s.ints("starts", 1), s.ints("ends", 2)
    x = s[0]
    if starts is None or ends is None or len(starts) != len(ends):
        raise s.bad("starts and ends do not fit")
    axes = s.ints("axes", 3) or list(range(len(starts)))
    steps = s.ints("steps", 4) or [1] * len(starts)
    first, step_of, count = [0] * x.rank, [1] * x.rank, list(x.shape)
    for axis, start, end, step in zip(axes, starts, ends, steps):
        axis = normal_axis(axis, x.rank, s.where)
        if step == 0:
            raise s.bad("a step of 0")
        step_of[axis] = step
        first[axis], count[axis] = _selected(s, start, end, step, x.shape[axis])
    return s.b("Slice", x, starts=tuple(first), steps=tuple(step_of), shape=tuple(count))


def _selected(s: Source, start: Size, end: Size, step: int, n: Size) -> tuple[Size, Size]:
    """(first, count) of a slice of `n` elements."""
    if all(isinstance(v, int) for v in (start, end, n)):
        found = range(*slice(start, end if not (step < 0 and end < -n) else None, step).indices(n))
        return (found.start if len(found) else 0), len(found)
    if step < 0:
        first, last = (larger(-1, smaller(n + v if v < 0 else v, n - 1)) for v in (start, end))
        return first, larger(0, (first - last - step - 1) // -step)

    def inside(at: Size) -> Size:
        if isinstance(at, int) and at >= (1 << 31) - 1:
            return n
        return larger(0, smaller(at + n if at < 0 else at, n))

    first, last = inside(start), inside(end)
    return first, larger(0, -((first - last) // step) if isinstance(last - first, int) else (last - first + step - 1) // step)


def split(s: Source) -> tuple[Value, ...]:
    axis = s.axis()
    extent, count = s[0].shape[axis], s.declared
    sizes = s.ints("split", 1)
    if sizes is None:
        chunk = (extent + int(s.attr("num_outputs", count)) - 1) // int(s.attr("num_outputs", count))
        sizes = [larger(0, smaller(chunk, extent - i * chunk)) for i in range(count)]
    if sum(sizes) != extent or len(sizes) != count or any(least(n) < 0 for n in sizes):
        raise s.bad(f"{extent} does not split into {sizes}")
    return tuple(s.b.slice(s[0], axis, sum(sizes[:i]) if n else 0, n) for i, n in enumerate(sizes))


def pad(s: Source) -> Value:
    b, x = s.b, s[0]
    pads, mode = s.ints("paddings" if s.opset < 2 else "pads", 1) or [], s.attr("mode", "constant")
    axes = s.ints("axes", 3) if s.opset >= 18 else None
    axes = list(range(x.rank)) if axes is None else [normal_axis(a, x.rank, s.where) for a in axes]
    if len(pads) != 2 * len(axes):
        raise s.bad(f"{len(pads)} pads for {len(axes)} axes")
    before, after = [0] * x.rank, [0] * x.rank
    for i, a in enumerate(axes):
        before[a], after[a] = pads[i], pads[i + len(axes)]
    for axis in range(x.rank):  # negative pads crop
        low, high = larger(0, -before[axis]), larger(0, -after[axis])
        if low != 0 or high != 0:
            x = b.slice(x, axis, low, x.shape[axis] - low - high)
    before, after = [larger(0, p) for p in before], [larger(0, p) for p in after]
    if mode == "constant":
        value = s.attr("value") if s.has("value") else (s.scalar("constant_value", 2, 0) if s.optional(2) is not None else 0)
        return b("Pad", x, before=tuple(before), after=tuple(after), value=value) if any(p != 0 for p in (*before, *after)) else x
    numpy_mode = {"reflect": "reflect", "edge": "edge", "wrap": "wrap"}.get(mode)
    if numpy_mode is None:
        raise s.bad(f"mode {mode}")
    for axis in range(x.rank):
        if isinstance(x.shape[axis] + before[axis] + after[axis], Dim):
            x = b("Gather", x, _padded_open(s, mode, x.shape[axis], before[axis], after[axis]), axis=axis)
        elif before[axis] or after[axis]:
            b.room(x.shape[axis] + before[axis] + after[axis], what="a padded axis")
            indices = np.pad(np.arange(x.shape[axis], dtype=np.int64), (before[axis], after[axis]), mode=numpy_mode)  # type: ignore[call-overload]
            x = b("Gather", x, b.constant(indices), axis=axis)
    return x


def _padded_open(s: Source, mode: str, n: Size, before: Size, after: Size) -> Value:
    """Which element lies where along a padded axis, where a run decides its size."""
    b, last = s.b, s.b.sizes(n - 1)
    at = b("Sub", symbolic.counting(b, n + before + after), b.sizes(before))
    zero = b.constant(np.int64(0))
    if mode == "edge":
        return b("Min", b("Max", at, zero), last)
    if mode == "wrap":
        return b("Mod", at, b.sizes(n))
    if most(before) >= least(n) or most(after) >= least(n):
        raise s.unsupported(f"more elements mirrored than {said(n)} may have", "give a range that begins higher")
    return b("Sub", last, b("Abs", b("Sub", last, b("Abs", at))))


def tile(s: Source) -> Value:
    b, x = s.b, s[0]
    repeats = s.ints("repeats", 1) or []
    if s.opset < 6:  # one axis, so often
        times, axis = repeats, int(s.b.known(s[2], "axis").reshape(-1)[0])
        repeats = [times[0] if i == axis % x.rank else 1 for i in range(x.rank)]
    if len(repeats) != x.rank or any(r < 0 for r in repeats):
        raise s.bad(f"repeats {repeats} for rank {x.rank}")
    spread = b.reshape(x, [n for size in x.shape for n in (1, size)])
    spread = b.expand(spread, [n for r, size in zip(repeats, x.shape) for n in (r, size)])
    return b.reshape(spread, [r * size for r, size in zip(repeats, x.shape)])


def gather(s: Source) -> Value:
    """A single known index is a slice: a view costs nothing."""
    axis, b = s.axis(), s.b
    indices = b.array(s[1])
    if indices is not None and indices.size == 1 and s[0].shape[axis]:
        i = int(indices.reshape(()))
        i += s[0].shape[axis] if i < 0 else 0
        if 0 <= i < s[0].shape[axis]:
            return b.reshape(b.slice(s[0], axis, i, 1), (*s[0].shape[:axis], *s[1].shape, *s[0].shape[axis + 1 :]))
    return b("Gather", s[0], s[1], axis=axis)


def constant_of_shape(s: Source) -> Value:
    value = np.asarray(s.attr("value", np.zeros(1, np.float32))).reshape(())
    return s.b.expand(s.b.constant(value), [whole(n) for n in s.b.known(s[0], "the shape")])


def range_(s: Source) -> Value:
    start, limit, delta = (s.b.known(s[i], n).reshape(()) for i, n in enumerate(("start", "limit", "delta")))
    if any(map(symbolic.open_, (start, limit, delta))):
        a, z, step = (whole(n.item() if n.dtype != object else n[()]) for n in (start, limit, delta))
        if isinstance(step, Dim) or step < 1:
            raise s.unsupported("a step that is negative, or a size that a run decides")
        count = larger(0, (z - a + step - 1) // step)
        by = s.b("Mul", symbolic.counting(s.b, count), s.b.constant(np.int64(step)))
        return s.b.cast(s.b("Add", by, s.b.sizes(a)), s[0].dtype)
    count = max(0, int(np.ceil((float(limit) - float(start)) / float(delta)))) if delta else 0
    s.b.room(count)
    return s.b.constant((start + np.arange(count).astype(start.dtype) * delta).astype(start.dtype))


def eye_like(s: Source) -> Value:
    dtype = ONNX_DTYPES[int(s.attr("dtype"))] if s.has("dtype") else s[0].dtype
    s.b.room(prod(s[0].shape))
    return s.b.constant(np.eye(s[0].shape[0], s[0].shape[1], k=int(s.attr("k", 0))), dtype)


def trilu(s: Source) -> Value:
    b, x = s.b, s[0]
    k = int(s.scalar("k", 1, 0))
    b.room(most(prod(x.shape[-2:])), 4)
    if not s[0].type.static:
        row = b.reshape(symbolic.counting(b, x.shape[-2]), (x.shape[-2], 1))
        below = b("LessOrEqual", b("Sub", symbolic.counting(b, x.shape[-1]), row), b.constant(np.int64(k)))  # column − row ≤ k
        above = b("LessOrEqual", b.constant(np.int64(k)), b("Sub", symbolic.counting(b, x.shape[-1]), row))
        return b("Where", above if s.attr("upper", 1) else below, x, b.like(0, x))
    mask = np.tri(x.shape[-2], x.shape[-1], k=k if not s.attr("upper", 1) else k - 1, dtype=bool)
    keep = b.constant(~mask if s.attr("upper", 1) else mask)
    return b("Where", keep, x, b.like(0, x))


def one_hot(s: Source) -> Value:
    b, indices = s.b, s[0]
    depth = int(s.b.known(s[1], "depth").reshape(-1)[0])
    values = s[2]
    axis = normal_axis(int(s.attr("axis", -1)), indices.rank + 1, s.where)
    i = b.cast(indices, "int64")
    wrapped = b("Where", b("Less", i, b.like(0, i)), b("Add", i, b.like(depth, i)), i)
    shape_ = [*indices.shape[:axis], 1, *indices.shape[axis:]]
    b.room(most(indices.type.size) * depth)
    classes = b.constant(np.arange(depth, dtype=np.int64).reshape([-1 if a == axis else 1 for a in range(indices.rank + 1)]))
    hit = b("Equal", b.reshape(wrapped, shape_), classes)
    off, on = (b.reshape(b.slice(values, 0, j, 1), ()) for j in (0, 1))
    return b("Where", hit, on, off)


def depth_to_space(s: Source) -> Value:
    n, c, h, w = s[0].shape
    k = int(s.attr("blocksize"))
    if s.attr("mode", "DCR") == "DCR":
        x = s.b.transpose(s.b.reshape(s[0], (n, k, k, c // (k * k), h, w)), (0, 3, 4, 1, 5, 2))
    else:
        x = s.b.transpose(s.b.reshape(s[0], (n, c // (k * k), k, k, h, w)), (0, 1, 4, 2, 5, 3))
    return s.b.reshape(x, (n, c // (k * k), h * k, w * k))


def space_to_depth(s: Source) -> Value:
    n, c, h, w = s[0].shape
    k = int(s.attr("blocksize"))
    perm = (0, 3, 5, 1, 2, 4) if s.attr("mode", "DCR") == "DCR" else (0, 1, 3, 5, 2, 4)
    x = s.b.transpose(s.b.reshape(s[0], (n, c, h // k, k, w // k, k)), perm)
    return s.b.reshape(x, (n, c * k * k, h // k, w // k))


def gather_elements(s: Source) -> Value:
    return s.b("GatherElements", s[0], s[1], axis=s.axis())


def gather_nd(s: Source) -> Value:
    return s.b("GatherND", s[0], s[1], batch_dims=int(s.attr("batch_dims", 0)))


def scatter_elements(s: Source) -> Value:
    return s.b("ScatterElements", s[0], s[1], s[2], axis=s.axis(), reduction=s.attr("reduction", "none"))


def scatter_nd(s: Source) -> Value:
    return s.b("ScatterND", s[0], s[1], s[2], reduction=s.attr("reduction", "none"))


def bit_cast(s: Source) -> Value:
    """The bits of a value in another type of the same width."""
    number, x = int(s.attr("to")), replace(s[0], element="")
    element = ONNX_NARROW.get(number, "")
    to = held(element) if element else ONNX_DTYPES.get(number, "")
    if not to:
        raise s.unsupported(f"ONNX element type {number}")
    if s[0].element in INTEGERS or element in INTEGERS:
        if {s[0].element, element} not in ({"uint4", "int4"}, {"uint2", "int2"}):
            raise s.unsupported(f"the bits of {s[0].element or x.dtype} as {element or to}")
        return encoded(s.b, x, element)
    if "bool" in (to, x.dtype):
        if to != "uint8" and to != x.dtype:
            raise s.unsupported(f"the bits of {x.dtype} as {to}", "a truth value is a byte that is 0 or 1")
        return s.b.cast(x, to)
    if DTYPES[to].itemsize != DTYPES[x.dtype].itemsize:
        raise s.bad(f"the bits of {x.dtype} as {to}, which is of another width")
    return replace(s.b("BitCast", x, to=to), element=element)


def reverse_sequence(s: Source) -> Value:
    """The first `sequence_lens[i]` steps of each sequence turned round."""
    b, x = s.b, s[0]
    time, batch = normal_axis(int(s.attr("time_axis", 0)), x.rank, s.where), normal_axis(int(s.attr("batch_axis", 1)), x.rank, s.where)
    steps = b.constant(np.arange(x.shape[time], dtype=np.int64).reshape([-1 if i == time else 1 for i in range(x.rank)]))
    lengths = b.reshape(b.cast(s[1], "int64"), [x.shape[batch] if i == batch else 1 for i in range(x.rank)])
    turned = b("Sub", b("Sub", lengths, b.constant(np.int64(1))), steps)
    index = b("Where", b("Less", steps, lengths), turned, steps)
    return b("GatherElements", x, b.expand(index, x.shape), axis=time)


def dense(sparse: Any) -> np.ndarray:
    """A sparse tensor's contents, zeros and all."""
    values, at = numpy_helper.to_array(sparse.values), numpy_helper.to_array(sparse.indices)
    out = np.zeros(tuple(sparse.dims), values.dtype)
    if at.ndim == 1:
        out.reshape(-1)[at] = values
    else:
        out[tuple(at.T)] = values
    return out


def constant(s: Source) -> Value:
    for name, value in s.attributes.items():
        if name == "value":
            return s.b.constant(value)
        if name in ("value_float", "value_floats"):
            return s.b.constant(np.array(value, np.float32))
        if name in ("value_int", "value_ints"):
            return s.b.constant(np.array(value, np.int64))
        if name in ("value_string", "value_strings"):
            return s.b.constant(np.array(value, object))
        if name == "sparse_value":
            return s.b.constant(dense(value))
    raise s.bad("a constant without a value")


def center_crop_pad(s: Source) -> Value:
    b, x = s.b, s[0]
    target = [int(n) for n in b.known(s[1], "shape")]
    axes = [normal_axis(a, x.rank, s.where) for a in (s.ints("axes") or range(x.rank))]
    before, after = [0] * x.rank, [0] * x.rank
    for axis, n in zip(axes, target):
        extra = n - x.shape[axis]
        if extra < 0:
            x = b.slice(x, axis, -extra // 2, n)
        else:
            before[axis], after[axis] = extra // 2, extra - extra // 2
    return b("Pad", x, before=tuple(before), after=tuple(after), value=0) if any((*before, *after)) else x


TABLE: dict[str, Callable[[Source], Value | tuple[Value, ...]]] = {
    "Shape": shape,
    "Size": lambda s: s.b.sizes(s[0].type.size),
    "Reshape": reshape,
    "Flatten": flatten,
    "Squeeze": squeeze,
    "Unsqueeze": unsqueeze,
    "Transpose": transpose,
    "Expand": expand,
    "Concat": concat,
    "Slice": slice_,
    "Split": split,
    "Pad": pad,
    "Tile": tile,
    "Gather": gather,
    "GatherElements": gather_elements,
    "GatherND": gather_nd,
    "Scatter": scatter_elements,
    "ScatterElements": scatter_elements,
    "ScatterND": scatter_nd,
    "ConstantOfShape": constant_of_shape,
    "Range": range_,
    "EyeLike": eye_like,
    "Trilu": trilu,
    "OneHot": one_hot,
    "DepthToSpace": depth_to_space,
    "SpaceToDepth": space_to_depth,
    "BitCast": bit_cast,
    "ReverseSequence": reverse_sequence,
    "Constant": constant,
    "CenterCropPad": center_crop_pad,
}
