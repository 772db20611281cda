"""StableHLO's operations that move elements, in ONNX's."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mlcc.error import Error
from mlcc.importers.stablehlo.read import Op, array
from mlcc.importers.stablehlo.read import constant as known
from mlcc.importers.stablehlo.write import Sizes, Writer

LEAST = -(2**63)


def constant(w: Writer, op: Op) -> str:
    held = array(op)
    found = w.constant(held)
    return found if held.size == int(np.prod(op.results[0].sizes)) else w.op("Expand", found, w.integers(*op.results[0].sizes))


def broadcast(w: Writer, op: Op, x: str, shape: str = "") -> str:
    """Operand axes to the places that are named, then to the whole shape."""
    places, value, rank = op.integers("broadcast_dimensions"), op.operands[0], len(op.results[0].shape)
    order = sorted(range(len(places)), key=lambda i: places[i])
    sizes = w.sizes(value)
    spread: list[int | str] = [1] * rank
    for i, place in enumerate(places):
        spread[place] = sizes[i]
    if value.shape == op.results[0].shape and places == list(range(rank)) and not shape:
        return x
    laid = w.transpose(x, order)
    if len(places) < rank:
        laid = w.reshape(laid, spread)
    return w.op("Expand", laid, w.cast(shape, np.int64) if shape else w.integers(*op.results[0].sizes))


def reshape(w: Writer, op: Op, x: str, shape: str = "") -> str:
    if shape:
        return w.op("Reshape", x, w.cast(shape, np.int64), allowzero=1)
    return x if op.operands[0].shape == op.results[0].shape else w.reshape(x, op.results[0].sizes)


def iota(w: Writer, op: Op, shape: str = "") -> str:
    axis, out = op.integer("iota_dimension"), op.results[0]
    if shape:
        sizes = w.cast(shape, np.int64)
        end = w.op("Gather", sizes, w.constant(axis, np.int64), axis=0)
        counted = w.op("Range", w.constant(0, np.int64), end, w.constant(1, np.int64))
    else:
        sizes, counted = w.integers(*out.sizes), w.constant(np.arange(out.sizes[axis]))
    laid = w.reshape(w.cast(counted, out.dtype), [-1 if i == axis else 1 for i in range(len(out.shape))])
    return w.op("Expand", laid, sizes)


def transpose(w: Writer, op: Op, x: str) -> str:
    return w.transpose(x, op.integers("permutation"))


def cut(w: Writer, op: Op, x: str) -> str:
    starts, ends = op.integers("start_indices"), op.integers("limit_indices")
    for axis, (start, end, step) in enumerate(zip(starts, ends, op.integers("strides", [1] * len(starts)))):
        if (start, end, step) != (0, op.operands[0].shape[axis], 1):
            x = w.slice(x, axis, start, end, step)
    return x


def cut_at(w: Writer, op: Op, x: str, starts: str, ends: str, steps: str) -> str:
    axes = w.integers(*range(len(op.operands[0].shape)))
    return w.op("Slice", x, w.cast(starts, np.int64), w.cast(ends, np.int64), axes, w.cast(steps, np.int64))


def concatenate(w: Writer, op: Op, *parts: str) -> str:
    return w.op("Concat", *parts, axis=op.integer("dimension"))


def reverse(w: Writer, op: Op, x: str) -> str:
    return turned(w, x, op.integers("dimensions"))


def turned(w: Writer, x: str, axes: Sequence[int]) -> str:
    for axis in axes:
        x = w.slice(x, axis, -1, LEAST, -1)
    return x


def pad(w: Writer, op: Op, x: str, value: str) -> str:
    low, high, within = (op.integers(f"{n}_padding" if n == "interior" else f"edge_padding_{n}") for n in ("low", "high", "interior"))
    return padded(w, x, w.sizes(op.operands[0]), value, low, high, within)


def padded(w: Writer, x: str, sizes: Sizes, value: str, low: Sequence[int], high: Sequence[int], within: Sequence[int] = ()) -> str:
    """With `within` elements between each two of an axis, then around it; negative numbers cut."""
    for axis, apart in enumerate(within):
        n = sizes[axis]
        if not apart or n == 0:
            continue
        if isinstance(n, str):
            raise Error("unsupported", "padding between elements of a size that a run decides")
        split = w.reshape(x, [*sizes[:axis], n, 1, *sizes[axis + 1 :]])
        more = [apart if i == axis + 1 else 0 for i in range(len(sizes) + 1)]
        wide = w.op("Pad", split, w.integers(*[0] * len(more), *more), value)
        x = w.reshape(wide, [*sizes[:axis], n * (apart + 1), *sizes[axis + 1 :]])
        sizes = [*sizes[:axis], (n - 1) * (apart + 1) + 1, *sizes[axis + 1 :]]
        x = w.slice(x, axis, 0, (n - 1) * (apart + 1) + 1)
    return w.op("Pad", x, w.integers(*low, *high), value) if any((*low, *high)) else x


def pad_at(w: Writer, op: Op, x: str, value: str, low: str, high: str, within: str) -> str:
    apart = known(op.operands[4])
    if apart is None or apart.any():
        raise Error("unsupported", "padding between elements, as a run decides")
    return w.op("Pad", x, w.cast(w.op("Concat", low, high, axis=0), np.int64), value)


def size(w: Writer, op: Op, x: str) -> str:
    axis = op.integer("dimension")
    return w.cast(w.reshape(w.op("Shape", x, start=axis, end=axis + 1), []), op.results[0].dtype)


# ---- places that a run decides ----


def clamped(w: Writer, index: str, most: int) -> str:
    """Where a window lies that has to lie inside."""
    return w.between(w.cast(index, np.int64), w.constant(0, np.int64), w.constant(most, np.int64))


def dynamic_slice(w: Writer, op: Op, x: str, *starts: str) -> str:
    """A window of known size, axis after axis."""
    whole, sizes = op.operands[0].sizes, op.integers("slice_sizes")
    for axis, (n, size, start) in enumerate(zip(whole, sizes, starts)):
        if size != n:
            places = w.op("Add", w.reshape(clamped(w, start, n - size), [1]), w.integers(*range(size)))
            x = w.op("Gather", x, places, axis=axis)
    return x


def dynamic_update(w: Writer, op: Op, x: str, update: str, *starts: str) -> str:
    """Each element is the update's where the window lies, else what it was."""
    whole, window = op.operands[0].sizes, op.operands[1].sizes
    inside = ""
    for axis, (n, size, start) in enumerate(zip(whole, window, starts)):
        if size == n:
            continue
        places = w.op("Sub", w.integers(*range(n)), clamped(w, start, n - size))
        along = w.between(places, w.constant(0, np.int64), w.constant(size - 1, np.int64))
        if size > 1:
            update = w.op("Gather", update, along, axis=axis)
        here = w.reshape(w.op("Equal", places, along), [n if i == axis else 1 for i in range(len(whole))])
        inside = w.op("And", inside, here) if inside else here
    return w.op("Where", inside, update, x) if inside else update


def lists(op: Op, name: str) -> dict[str, Any]:
    """Dimension numbers as the text of their attribute has them: name → numbers."""
    text = str(op.attributes[name])
    found: dict[str, Any] = {k: [int(n) for n in v.split(",") if n.strip()] for k, v in re.findall(r"(\w+) = \[([^\]]*)\]", text)}
    return found | {k: int(v) for k, v in re.findall(r"(\w+) = (\d+)", text)}


def strides(sizes: Sequence[int]) -> list[int]:
    return [int(np.prod(sizes[i + 1 :], dtype=np.int64)) for i in range(len(sizes))]


@dataclass(frozen=True)
class Windows:
    """Of an operand, one for each index. whole: the operand's shape; shape: of the indices; size: of a window along each axis that it has;
    mapped: the axes that an index's numbers are of; grouped: axes that are walked together with `groups`, axes of the indices;
    along: the axis of the indices on which an index's numbers lie."""

    whole: tuple[int, ...]
    shape: tuple[int, ...]
    size: Mapping[int, int]
    mapped: Sequence[int]
    grouped: Sequence[int]
    groups: Sequence[int]
    along: int

    @property
    def batch(self) -> list[int]:
        return [*self.shape[: self.along], *self.shape[self.along + 1 :]]

    def number(self, w: Writer, indices: str, k: int) -> str:
        """The k-th of each index."""
        held = w.cast(indices, np.int64)
        return held if self.along == len(self.shape) else w.op("Gather", held, w.constant(k, np.int64), axis=self.along)

    def places(self, w: Writer, indices: str, clamp: bool) -> tuple[str, str]:
        """Where in the operand laid flat each element lies, indices first, then the window's axes; and whether it lies inside, where
        windows are not clamped into the operand."""
        batch, kept = self.batch, list(self.size)
        flat, inside = w.integers(0), ""

        def along(axis: int, n: int) -> str:
            return w.constant(np.arange(n).reshape([-1 if j == axis else 1 for j in range(len(batch) + len(kept))]), np.int64)

        for i, (n, stride) in enumerate(zip(self.whole, strides(self.whole))):
            at = ""
            if i in self.mapped:
                number = self.number(w, indices, self.mapped.index(i))
                first = clamped(w, number, n - self.size.get(i, 1)) if clamp else number
                at = w.reshape(first, [*batch, *[1] * len(kept)])
            elif i in self.grouped:
                axis = self.groups[self.grouped.index(i)]
                at = along(axis - (axis > self.along), n)
            if self.size.get(i, 1) > 1:
                within = along(len(batch) + kept.index(i), self.size[i])
                at = w.op("Add", at, within) if at else within
            if not at:
                continue
            if i in self.mapped and not clamp:
                here = w.op("And", w.op("GreaterOrEqual", at, w.integers(0)), w.op("Less", at, w.integers(n)))
                inside = w.op("And", inside, here) if inside else here
            flat = w.op("Add", flat, w.op("Mul", at, w.integers(stride)))
        return w.op("Expand", flat, w.integers(*batch, *self.size.values())), inside


def gather(w: Writer, op: Op, x: str, indices: str) -> str:
    """Windows of the operand at places that are clamped into it. One of whole rows is Gather; all others are found by their places in
    the operand laid flat."""
    d, sizes = lists(op, "dimension_numbers"), op.integers("slice_sizes")
    whole, rank = op.operands[0].sizes, len(op.results[0].shape)
    offsets, collapsed, mapped = d.get("offset_dims", []), d.get("collapsed_slice_dims", []), d.get("start_index_map", [])
    grouped, groups = d.get("operand_batching_dims", []), d.get("start_indices_batching_dims", [])
    size = {i: sizes[i] for i in range(len(whole)) if i not in (*collapsed, *grouped)}
    outer = [i for i in range(rank) if i not in offsets]
    windows = Windows(whole, op.operands[1].sizes, size, mapped, grouped, groups, d.get("index_vector_dim", 0))
    if not grouped and len(mapped) == 1 and mapped == collapsed and all(n == whole[i] for i, n in size.items()):
        axis = mapped[0]
        found = w.op("Gather", x, w.reshape(clamped(w, windows.number(w, indices, 0), whole[axis] - 1), windows.batch), axis=axis)
        lies = [*offsets[:axis], *outer, *offsets[axis:]]  # where each axis of it goes
    else:
        found = w.op("Gather", w.reshape(x, [-1]), windows.places(w, indices, clamp=True)[0], axis=0)
        lies = [*outer, *offsets]
    return w.transpose(found, [lies.index(i) for i in range(rank)])


UPDATES = {"add": "add", "multiply": "mul", "maximum": "max", "minimum": "min"}


def scatter(w: Writer, op: Op, x: str, indices: str, updates: str, *more: str) -> str:
    """Each element of the updates, at its place in the operand laid flat; those that fall outside are dropped: they go to an element behind
    the end."""
    (block,) = op.blocks
    if more:
        raise Error("unsupported", "a scatter of several operands")
    way = "none"
    if block.returned[0] is not block.arguments[1]:
        maker = block.returned[0].maker
        if maker is None or maker.name not in UPDATES or set(maker.operands) != set(block.arguments):
            raise Error("unsupported", "a scatter that computes more than a sum, a product, a maximum or a minimum")
        way = UPDATES[maker.name]
    d = lists(op, "scatter_dimension_numbers")
    whole, given = op.operands[0].sizes, op.operands[2].sizes
    axes, inserted = d.get("update_window_dims", []), d.get("inserted_window_dims", [])
    mapped = d.get("scatter_dims_to_operand_dims", [])
    grouped, groups = d.get("input_batching_dims", []), d.get("scatter_indices_batching_dims", [])
    kept = [i for i in range(len(whole)) if i not in (*inserted, *grouped)]
    size = {i: given[axis] for i, axis in zip(kept, axes)}
    windows = Windows(whole, op.operands[1].sizes, size, mapped, grouped, groups, d.get("index_vector_dim", 0))
    flat, inside = windows.places(w, indices, clamp=False)
    total = int(np.prod(whole, dtype=np.int64))
    if inside:
        flat = w.op("Where", inside, flat, w.integers(total))
    laid = w.transpose(updates, [*(i for i in range(len(given)) if i not in axes), *axes])
    longer = w.op("Concat", w.reshape(x, [-1]), w.constant(np.zeros(1), op.operands[0].dtype), axis=0)
    found = w.op("ScatterElements", longer, w.reshape(flat, [-1]), w.reshape(laid, [-1]), axis=0, reduction=way)
    return w.reshape(w.slice(found, 0, 0, total), whole)


RULES: Mapping[str, Any] = {
    "constant": constant, "broadcast_in_dim": broadcast, "dynamic_broadcast_in_dim": broadcast, "reshape": reshape,
    "dynamic_reshape": reshape, "iota": iota, "dynamic_iota": iota, "transpose": transpose, "slice": cut, "real_dynamic_slice": cut_at,
    "concatenate": concatenate, "reverse": reverse, "pad": pad, "dynamic_pad": pad_at, "get_dimension_size": size,
    "dynamic_slice": dynamic_slice, "dynamic_update_slice": dynamic_update, "gather": gather, "scatter": scatter,
}  # fmt: skip
