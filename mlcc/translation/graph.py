"""What a core graph means, in terms: one of these for each core operator, from its definition in docs/arithmetic.md alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from math import prod
from typing import Any

import numpy as np

from mlcc.core.graph import DTYPES, CoreGraph, Node
from mlcc.core.operators import family
from mlcc.translation import terms
from mlcc.translation.terms import ZERO, Terms, chained, combined, folded

LOWEST = {"float32": float("-inf"), "float64": float("-inf")}
BF16_SMALLEST = 2.0**-55  # below which the bf16 profile's operands are 0


class Value:
    """A value's terms, and its numbers where they are known."""

    def __init__(self, found: Terms | None, known: np.ndarray | None = None) -> None:
        self._terms, self.known = found, known

    @property
    def terms(self) -> Terms:
        if self._terms is None:
            assert self.known is not None
            self._terms = terms.constants(self.known)
        return self._terms


def strides(shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(prod(shape[i + 1 :]) for i in range(len(shape)))


def lowest(dtype: str) -> float | int:
    return LOWEST[dtype] if dtype in LOWEST else int(np.iinfo(DTYPES[dtype]).min)


def fold_axes(x: Terms, axes: tuple[int, ...], **options: Any) -> Terms:
    """The polynomial over some axes, row-major; the others stay in order."""
    flat = np.ascontiguousarray(x)
    steps = strides(x.shape)
    kept = [i for i in range(x.ndim) if i not in axes]
    return folded(
        flat.reshape(-1),
        0,
        [x.shape[i] for i in kept],
        [steps[i] for i in kept],
        [x.shape[i] for i in axes],
        [steps[i] for i in axes],
        **options,
    )


def extreme(x: Terms, dtype: str, fold: Callable[..., Terms], kind: str) -> Terms:
    """A maximum or minimum: no order; the lowest number changes nothing; of rounded numbers it is rounded."""
    left_out = terms.number(lowest(dtype), dtype) if kind == "ReduceMax" and dtype not in ("float16", "bfloat16", "bool") else terms.NOTHING
    whole = bool(x.size) and bool((x & terms.ROUNDED).all())
    plain = x & ~terms.ROUNDED if whole else x
    found = combined((kind, dtype), fold(plain, ordered=False, left_out=left_out))
    return terms.rounded(found) if whole else found


def detail(node: Node) -> tuple[object, ...]:
    return (node["zero"], node["low"], node["high"]) if node.op == "Requantize" else ()


class GraphTerms:
    """Runs a graph in terms."""

    def __init__(self, graph: CoreGraph) -> None:
        self.graph = graph

    def run(self, keep: bool = False, given: Sequence[Value] | None = None) -> Mapping[str, Value]:
        """The outputs' values; with `keep`, all. given: the inputs' values, where they are not the model's own."""
        g = self.graph
        own = [Value(terms.inputs(i, g.types[v].shape)) for i, v in enumerate(g.inputs)] if given is None else given
        values = dict(zip(g.inputs, own))
        last = {v: i for i, n in enumerate(g.nodes) for v in n.inputs}
        for i, node in enumerate(g.nodes):
            operands = [values[v] if v in values else Value(None, g.constants[v]) for v in node.inputs]
            for v, found in zip(node.outputs, self.node(node, operands)):
                values[v] = found
            if not keep:
                for v in {*node.inputs, *node.outputs}:
                    if v in values and last.get(v, -1) <= i and v not in g.outputs:
                        del values[v]
        return {v: values[v] if v in values else Value(None, g.constants[v]) for v in (values if keep else g.outputs)}

    def node(self, node: Node, x: list[Value]) -> Iterator[Value]:
        kind = family(node.op)
        if kind == "elementwise":
            yield self.elementwise(node, x)
        elif node.op in ("TopK", "ArgMax", "ArgMin", "CumSum", "CumProd"):
            yield from map(Value, self.scan(node, x[0].terms))
        elif kind == "reduce":
            yield Value(self.reduce(node, x[0].terms))
        elif kind == "pool":
            yield Value(self.pool(node, x[0].terms))
        elif kind in ("matmul", "conv"):
            run = {"MatMul": self.matmul, "Conv": self.conv, "ConvTranspose": self.conv_transpose}[node.op]
            yield Value(run(node, x))
        elif node.op == "Repeat":
            yield from self.repeat(node, x)
        else:
            yield self.move(node, x)

    def repeat(self, node: Node, x: list[Value]) -> Iterator[Value]:
        """The body's meaning put in once a turn."""
        body, c, m = node["body"].graph, node["carried"], node["scanned"]
        carried, turns = x[:c], range(node["count"])
        rows: list[list[Terms]] = [[] for _ in body.outputs[c:]]
        for turn in reversed(turns) if node["reverse"] else turns:
            own = [Value(None, v.known[turn]) if v.known is not None else Value(v.terms[turn]) for v in x[c : c + m]]
            found = GraphTerms(body).run(given=[*carried, *own, *x[c + m :]])
            carried = [found[v] for v in body.outputs[:c]]
            for row, v in zip(rows, body.outputs[c:]):
                row.append(found[v].terms)
        yield from carried
        for row, v in zip(rows, body.outputs[c:]):
            stacked = np.stack(row[::-1] if node["reverse"] else row) if row else np.zeros((0, *body.types[v].shape), np.uint64)
            yield Value(stacked)

    def dtype(self, v: str) -> str:
        return self.graph.types[v].dtype

    def elementwise(self, node: Node, x: list[Value]) -> Value:
        if node.op == "Identity":
            return x[0]
        what = (
            node.op,
            self.dtype(node.outputs[0]),
            *detail(node),
            *((self.dtype(node.inputs[0]),) if node.op in ("Cast", "BitCast") else ()),
        )
        return Value(combined(what, *(v.terms for v in x)).reshape(self.graph.types[node.outputs[0]].shape))

    # movement

    def move(self, node: Node, x: list[Value]) -> Value:
        a = x[0]

        def same(change: Callable[[np.ndarray], np.ndarray]) -> Value:
            """What only moves elements moves terms and known numbers alike."""
            return Value(None, np.asarray(change(a.known))) if a.known is not None else Value(np.asarray(change(a.terms)))

        match node.op:
            case "Reshape":
                return same(lambda v: v.reshape(node["shape"]))
            case "Transpose":
                return same(lambda v: v.transpose(node["perm"]))
            case "Expand":
                return same(lambda v: np.broadcast_to(v, node["shape"]))
            case "Slice":
                at = [s + t * np.arange(n) for s, t, n in zip(node["starts"], node["steps"], node["shape"])]
                return same(lambda v: v[np.ix_(*at)] if at else v)
            case "Concat":
                return Value(np.concatenate([v.terms for v in x], axis=node["axis"]))
            case "Pad":
                dtype = self.dtype(node.inputs[0])
                number = terms.constants(np.array(node["value"]).astype(DTYPES[dtype]))[()]
                return Value(np.pad(a.terms, list(zip(node["before"], node["after"])), constant_values=number))
            case "Gather" | "GatherElements" | "GatherND":
                return self.gather(node, x)
        return Value(self.scatter(node, x))

    def gather(self, node: Node, x: list[Value]) -> Value:
        a, index = x
        data, i = a.terms, index.known
        if node.op == "Gather":
            axis = node["axis"]
            if i is not None:
                return Value(np.take(data, within(i, data.shape[axis]), axis=axis))
            base = fold_axes(data, (axis,))
            tail = data.ndim - axis - 1
            rank = index.terms.ndim
            wide = base.reshape(*data.shape[:axis], *(1,) * rank, *data.shape[axis + 1 :])
            return Value(combined(("gather",), index.terms.reshape(*(1,) * axis, *index.terms.shape, *(1,) * tail), wide))
        if node.op == "GatherElements":
            axis = node["axis"]
            if i is not None:
                grid = list(np.ogrid[tuple(slice(n) for n in i.shape)])
                grid[axis] = within(i, data.shape[axis])
                return Value(data[tuple(grid)])
            base = np.expand_dims(fold_axes(data, (axis,)), axis)
            cut = tuple(slice(None) if d == axis else slice(n) for d, n in enumerate(index.terms.shape))
            return Value(combined(("gather",), index.terms, base[cut]))
        b, depth = node["batch_dims"], index.terms.shape[-1]
        if i is not None:
            lead = np.ogrid[tuple(slice(n) for n in i.shape[:b])] if b else []
            lead = [g.reshape(g.shape + (1,) * (i.ndim - 1 - b)) for g in lead]
            at = (*lead, *(within(i[..., j], data.shape[b + j]) for j in range(depth)))
            return Value(data[at] if at else data)
        base = fold_axes(data, tuple(range(b, b + depth)))
        middle, tail = index.terms.ndim - 1 - b, data.ndim - b - depth
        wide = base.reshape(*data.shape[:b], *(1,) * middle, *data.shape[b + depth :])
        parts = [index.terms[..., j].reshape(*index.terms.shape[:-1], *(1,) * tail) for j in range(depth)]
        return Value(combined(("gather",), *parts, wide))

    def scatter(self, node: Node, x: list[Value]) -> Terms:
        old, index, updates = (np.ascontiguousarray(v.terms) for v in x)
        steps = strides(old.shape)
        if node.op == "ScatterElements":
            axis = node["axis"]
            dims = index.shape
            own = tuple(0 if i == axis else s for i, s in enumerate(steps))
            lines, parts = [(old.shape[axis], steps[axis])], [index]
            indexed: tuple[int, ...] = (axis,)
        else:
            depth = index.shape[-1]
            dims = (*index.shape[:-1], *old.shape[depth:])
            own = (*(0 for _ in index.shape[:-1]), *steps[depth:])
            lines = [(old.shape[j], steps[j]) for j in range(depth)]
            parts = [index[..., j].reshape(*index.shape[:-1], *(1,) * (old.ndim - depth)) for j in range(depth)]
            indexed = tuple(range(depth))
        if prod(dims) == 0:
            return old
        line = folded(old.reshape(-1), 0, dims, own, [n for n, _ in lines], [s for _, s in lines])
        digest = scattered_digest(parts, updates, line)
        region = tuple(slice(None) if i in indexed or node.op == "ScatterND" else slice(n) for i, n in enumerate(dims[: old.ndim]))
        region = region if node.op == "ScatterElements" else (slice(None),) * old.ndim
        result = old.copy()
        result[region] = combined(("scatter", node["reduction"]), old[region], digest)
        return result

    # reductions

    def reduce(self, node: Node, x: Terms) -> Terms:
        axes, dtype = node["axes"], node.get("to") or self.dtype(node.inputs[0])
        shape = self.graph.types[node.outputs[0]].shape
        if node.op in ("ReduceMax", "ReduceMin"):
            return extreme(x, dtype, lambda v, **o: fold_axes(v, axes, **o), node.op).reshape(shape)
        return combined((node.op, dtype), fold_axes(x, axes)).reshape(shape)

    def scan(self, node: Node, x: Terms) -> list[Terms]:
        axis = node["axis"]
        options = tuple(sorted((k, int(v)) for k, v in node.attributes if k != "axis"))
        digest = np.expand_dims(fold_axes(x, (axis,)), axis)
        found = []
        for which, v in enumerate(node.outputs):
            t = self.graph.types[v]
            place = terms.constants(np.arange(t.shape[axis])).reshape([-1 if i == axis else 1 for i in range(len(t.shape))])
            found.append(combined((node.op, which, self.dtype(node.inputs[0]), options), digest, place).reshape(t.shape))
        return found

    def pool(self, node: Node, x: Terms) -> Terms:
        dtype = self.dtype(node.inputs[0])
        kind = {"PoolMax": "ReduceMax", "PoolSum": "ReduceSum"}[node.op]
        fill = terms.number(lowest(dtype), dtype) if kind == "ReduceMax" else ZERO
        if kind == "ReduceMax" and bool((x & terms.ROUNDED).all()):
            fill = fill | terms.ROUNDED
        padded = pad(x, node["before"], node["after"], fill)
        dims, steps, k_dims, k_steps = windows(
            padded.shape, self.graph.types[node.outputs[0]].shape[2:], node["kernel"], node["strides"], node["dilations"]
        )

        def fold(v: Terms, **options: Any) -> Terms:
            return folded(np.ascontiguousarray(v).reshape(-1), 0, dims, steps, k_dims, k_steps, **options)

        if kind == "ReduceMax":
            return extreme(padded, dtype, fold, kind)
        return combined((kind, node.get("to") or dtype), fold(padded))

    # products

    def product_operands(self, node: Node, x: list[Value]) -> tuple[str, Terms, Terms, Terms | np.uint64]:
        """(what its chains are, both operands, what they start from): bytes as they lie, their zero point taken into the start; bf16
        operands rounded."""
        a, w = x[0].terms, x[1]
        if node.get("bf16"):
            assert w.known is not None
            half = w.known.astype(DTYPES["bfloat16"])
            small = np.abs(half.astype(np.float32)) < BF16_SMALLEST
            return "bf16", terms.rounded(a), terms.constants(np.where(small, np.uint16(0), half.view(np.uint16))), ZERO
        start: Terms | np.uint64 = x[2].terms if len(x) > 2 else ZERO
        if node.get("zero") is None:
            return self.dtype(node.outputs[0]), a, w.terms, start
        assert w.known is not None
        axes = tuple(range(1, w.known.ndim)) if node.op == "Conv" else (w.known.ndim - 2,)
        sums = w.known.astype(np.int64).sum(axes)
        known = x[2].known if len(x) > 2 else np.int64(0)
        assert known is not None, "a bias of bytes' products is known"
        return "int32", a, w.terms, terms.constants((known - node["zero"] * sums).astype(np.int32))  # wraps, as int32 sums do

    def matmul(self, node: Node, x: list[Value]) -> Terms:
        what, a, b, start = self.product_operands(node, x)
        rows = fold_axes(a, (a.ndim - 1,), left_out=ZERO)[..., :, None]
        columns = fold_axes(b, (b.ndim - 2,), left_out=ZERO)[..., None, :]
        return chained(what, rows, columns, start)

    def conv(self, node: Node, x: list[Value]) -> Terms:
        what, a, w, start = self.product_operands(node, x)
        shape, group = self.graph.types[node.outputs[0]].shape, node["group"]
        zero = node.get("zero")
        fill = ZERO if not zero else terms.number(zero, self.dtype(node.inputs[0]))
        padded = np.ascontiguousarray(pad(a, node["before"], node["after"], fill))
        out = np.empty(shape, np.uint64)
        per_in, per_out = w.shape[1], w.shape[0] // group
        spatial = range(2, w.ndim)
        columns = fold_axes(w.transpose(0, *spatial, 1), tuple(range(1, w.ndim)), left_out=ZERO)
        for g in range(group):
            dims, steps, k_dims, k_steps = windows(padded.shape, shape[2:], w.shape[2:], node["strides"], node["dilations"])
            plane = prod(padded.shape[2:])
            dims, steps = (dims[0], *dims[2:]), (steps[0], *steps[2:])
            rows = folded(padded.reshape(-1), g * per_in * plane, dims, steps, (*k_dims, per_in), (*k_steps, plane), left_out=ZERO)
            own = slice(g * per_out, (g + 1) * per_out)
            first = start if np.ndim(start) == 0 else np.asarray(start)[own].reshape(1, -1, *(1,) * len(spatial))
            out[:, own] = chained(what, rows[:, None], columns[own].reshape(1, -1, *(1,) * len(spatial)), first)
        return out

    def conv_transpose(self, node: Node, x: list[Value]) -> Terms:
        what, a, w, start = self.product_operands(node, x)
        shape, group = self.graph.types[node.outputs[0]].shape, node["group"]
        rank, per_in, per_out = a.ndim - 2, a.shape[1] // group, w.shape[1]
        out = np.empty(shape, np.uint64)
        for phase in np.ndindex(*(min(s, n) for s, n in zip(node["strides"], shape[2:]))):
            taps, reads = [], []
            for i, r in enumerate(phase):
                stride, dilation, before = node["strides"][i], node["dilations"][i], node["before"][i]
                own = [t for t in range(w.shape[2 + i]) if (r + before - t * dilation) % stride == 0]
                outputs = np.arange(r, shape[2 + i], stride)
                taps.append(own)
                reads.append(
                    (outputs[:, None] + before - np.array(own, np.int64)[None, :] * dilation) // stride
                    if own
                    else np.zeros((len(outputs), 0), np.int64)
                )
            place = (slice(None), slice(None), *(slice(r, None, s) for r, s in zip(phase, node["strides"])))
            counts = tuple(len(r) for r in reads)
            for g in range(group):
                own_out = slice(g * per_out, (g + 1) * per_out)
                first = start if np.ndim(start) == 0 else np.asarray(start)[own_out].reshape(1, -1, *(1,) * rank)
                target = out[place][:, own_out]
                if any(not t for t in taps):
                    bare = np.broadcast_to(first, (shape[0], per_out, *counts))
                    target[...] = bare if np.ndim(start) == 0 else combined(("Add", what), bare, ZERO)
                    continue
                weights = w[g * per_in : (g + 1) * per_in]
                for i, own_taps in enumerate(taps):
                    weights = np.take(weights, own_taps, axis=2 + i)
                columns = fold_axes(weights.transpose(1, *range(2, 2 + rank), 0), tuple(range(1, 2 + rank)), left_out=ZERO)
                source = a[:, g * per_in : (g + 1) * per_in]
                for i, at in enumerate(reads):  # axis after axis: positions under each output's taps, zero outside
                    extent = a.shape[2 + i]
                    inside = (at >= 0) & (at < extent)
                    source = np.take(source, np.clip(at, 0, extent - 1), axis=2 + 2 * i)
                    mask = inside.reshape(*(1,) * (2 + 2 * i), *at.shape, *(1,) * (source.ndim - 4 - 2 * i))
                    source = np.where(mask, source, ZERO)
                order = (0, *range(2, 2 + 2 * rank, 2), *range(3, 3 + 2 * rank, 2), 1)
                gathered = source.transpose(order)
                rows = fold_axes(gathered, tuple(range(1 + rank, gathered.ndim)), left_out=ZERO)
                target[...] = chained(what, rows[:, None], columns.reshape(1, -1, *(1,) * rank), first)
        return out


def within(index: np.ndarray, extent: int) -> np.ndarray:
    """Negative indices count from the end; what is outside is clamped."""
    i = index.astype(np.int64)
    return np.clip(np.where(i < 0, i + extent, i), 0, max(extent - 1, 0))


def pad(x: Terms, before: tuple[int, ...], after: tuple[int, ...], fill: np.uint64) -> Terms:
    return np.pad(x, [(0, 0), (0, 0), *zip(before, after)], constant_values=fill) if any((*before, *after)) else x


def windows(
    shape: tuple[int, ...], out: tuple[int, ...], kernel: tuple[int, ...], step: tuple[int, ...], dilation: tuple[int, ...]
) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
    """(dims, strides, taps, their strides) of windows over a contiguous [n, c, spatial…]."""
    own = strides(shape)
    return (
        (*shape[:2], *out),
        (*own[:2], *(s * t for s, t in zip(own[2:], step))),
        tuple(kernel),
        tuple(s * d for s, d in zip(own[2:], dilation)),
    )


def scattered_digest(indices: list[Terms], updates: Terms, lines: Terms) -> np.uint64:
    """What a scatter does, in order: each index, its update and the elements that it may go to."""
    every = np.ascontiguousarray(combined(("scattered",), *indices, updates, lines)).reshape(-1)
    return np.uint64(folded(every, 0, (), (), (every.size,), (1,))[()])
