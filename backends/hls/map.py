"""Core graph → network of stages. Raises Error(unsupported) naming the layer that has no dataflow form.

Every function from small integers to small integers is found by asking the reference for all of its values, so a stage is right by
construction: one operand is a table, two are a sum (or product) of tables that is checked on all pairs, and what follows a sum of products
is a monotone function whose every step is found (rounding.py). What is left over, such as a softmax of ten numbers, is a short program
(scalar.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import prod
from typing import Any

import numpy as np

from mlcc.core.graph import DTYPES, CoreGraph, Node
from mlcc.core.operators import family
from mlcc.error import Error
from mlcc.names import comment, unique
from mlcc.reference.execute import evaluate
from mlcc_backends.hls import rounding as rounds
from mlcc_backends.hls import trees
from mlcc_backends.hls.fixed import FLOAT_KEYS, fixed_exponent, float_exponent, float_of
from mlcc_backends.hls.network import Forest, Network, Port, Rounding, Stage, Stream, Window
from mlcc_backends.hls.scalar import compile_scalar

SMALL = ("int8", "uint8", "bool", "int16", "uint16")
MOST_PAIRS = 1 << 20
MOST_TABLE = 1 << 8  # entries of a table where a conversion by logic does as well
MOST_LEVELS = 1 << 10
MOST_SUMS = 1 << 24  # values of a function that are all looked at where its operators do not say that it is monotone
SUM_LIMIT = 2**31


@dataclass(frozen=True)
class Placed:
    """Where a value is: its stream, and which element of the value each place is."""

    stream: str
    order: np.ndarray


@dataclass(frozen=True)
class Region:
    """Elementwise nodes that make one value, and the values that they read."""

    nodes: tuple[Node, ...]
    sources: tuple[str, ...]


def network(graph: CoreGraph) -> Network:
    """The stages of a model, one element a step each."""
    return _Mapper(graph).run()


def image_order(shape: tuple[int, ...]) -> np.ndarray:
    """Channels last for [1, C, …], row-major for all else."""
    index = np.arange(prod(shape))
    return np.moveaxis(index.reshape(shape), 1, -1).reshape(-1) if len(shape) in (3, 4) and shape[0] == 1 else index


class _Mapper:
    def __init__(self, graph: CoreGraph) -> None:
        self.graph = graph
        self.producers = {v: n for n in graph.nodes for v in n.outputs}
        self.consumers: dict[str, list[Node]] = {}
        for n in graph.nodes:
            for v in dict.fromkeys(n.inputs):
                self.consumers.setdefault(v, []).append(n)
        self.placed: dict[str, Placed] = {}
        self.streams: dict[str, Stream] = {}
        self.stages: list[Stage] = []

    def run(self) -> Network:
        g = self.graph
        inputs = []
        if empty := next((v for v, t in g.types.items() if t.size == 0), None):
            raise self.refuse("a value without elements", empty)
        for v, name in zip(g.inputs, unique([f"in_{v}" for v in g.inputs])):
            t = g.types[v]
            if t.dtype not in (*SMALL, "float32"):
                raise self.refuse(f"an input of {t.dtype}", v, "quantise inputs to 16 bits or fewer, or give float32 and quantise inside")
            wanted = self.preferred(v)
            order = np.arange(t.size) if wanted is None else wanted
            low, high = limits(t.dtype)
            self.streams[name] = Stream(name, t.size, low, high, t.dtype == "float32")
            self.placed[v] = Placed(name, order)
            inputs.append(Port(name, v, t.dtype, order))
        if not inputs:
            raise Error("unsupported", "no dataflow hardware for a model without inputs", g.name)
        outputs = []
        for v in g.outputs:
            if v in g.constants:
                raise self.refuse("an output that is constant", v)
            p = self.demand(v)
            outputs.append(Port(p.stream, v, g.types[v].dtype, p.order))
        if not self.stages:
            raise Error("unsupported", "no dataflow hardware for a model that only moves its input", g.name)
        used = {s for st in self.stages for s in st.inputs} | {p.stream for p in outputs}
        for port in inputs:
            if port.stream not in used:
                raise self.refuse("an input that no layer reads", port.tensor)
        return Network(g.name, tuple(inputs), tuple(outputs), dict(self.streams), tuple(self.stages))

    def refuse(self, what: str, where: str, hint: str = "") -> Error:
        node = self.producers.get(where)
        name = (node.origin if node else "") or where
        return Error("unsupported", f"no dataflow hardware for {what}", name, hint)

    # streams

    def preferred(self, value: str) -> np.ndarray | None:
        """The order in which the first reader wants an input."""
        g = self.graph
        for node in self.consumers.get(value, []):
            if family(node.op) in ("conv", "pool"):
                return image_order(g.types[value].shape)
            out = node.outputs[0]
            if node.op in ("Reshape", "Transpose"):
                wanted = self.preferred(out)
                return None if wanted is None else self.moved(node)[wanted]
            if family(node.op) == "elementwise" and g.types[out].shape == g.types[value].shape:
                return self.preferred(out)
        return None

    def moved(self, node: Node) -> np.ndarray:
        """Flat index of the source for each element of a movement's result; −1 where it is filled in."""
        g = self.graph
        index = np.arange(g.types[node.inputs[0]].size, dtype=np.int64).reshape(g.types[node.inputs[0]].shape)
        if node.op == "Pad":
            node = replace(node, attributes=tuple((k, -1 if k == "value" else v) for k, v in node.attributes))
        rest = [g.constants[v] for v in node.inputs[1:]]
        return evaluate(node, [index, *rest])[0].reshape(-1)

    def demand(self, value: str) -> Placed:
        """The stream of a value, with all that makes it."""
        if value not in self.placed:
            self.placed[value] = self.make(value)
        return self.placed[value]

    def small(self, value: str) -> bool:
        return self.graph.types[value].dtype in SMALL

    def range_of(self, value: str) -> tuple[int, int]:
        s = self.streams[self.demand(value).stream]
        return s.low, s.high

    def new_stream(self, value: str, elements: int, low: int, high: int, raw: bool = False) -> str:
        name = unique([*self.streams, f"v{len(self.streams)}"])[-1]
        self.streams[name] = Stream(name, elements, low, high, raw)
        return name

    def add(self, kind: str, inputs: tuple[str, ...], output: str, window: Window, node: Node, **details: Any) -> None:
        name = f"s{len(self.stages)}_{kind}"
        self.stages.append(Stage(name, kind, inputs, output, window, layer=comment(node.origin or node.outputs[0]), **details))

    def conform(self, value: str, wanted: np.ndarray) -> str:
        """The stream of a value in a wanted order."""
        p = self.demand(value)
        if np.array_equal(p.order, wanted):
            return p.stream
        return self.reorder(value, p.stream, np.argsort(p.order)[wanted], 0)

    def reorder(self, value: str, stream: str, index: np.ndarray, fill: int) -> str:
        s = self.streams[stream]
        out = self.new_stream(value, index.size, min(s.low, fill), max(s.high, fill), s.raw)
        window = Window(1, 1, s.elements, (1, index.size))
        node = self.producers.get(value) or self.consumers[value][0]
        self.add("reorder", (stream,), out, window, node, index=index, fill=fill)
        return out

    # what makes a value

    def make(self, value: str) -> Placed:
        node = self.producers.get(value)
        if node is None:
            raise self.refuse("a constant where a value is wanted", value)
        kind = family(node.op)
        if node.op == "Concat":
            return self.concat(node)
        if kind == "move" and all(v in self.graph.constants for v in node.inputs[1:]) and node.inputs[0] not in self.graph.constants:
            return self.movement(node)
        if self.is_anchor(node):
            return self.anchor(node, value, None)
        if node.op == "ReduceSum" and (found := trees.find(self.graph, self.producers, node)) is not None:
            return self.forest(node, value, *found)
        if kind == "elementwise":
            region = self.region(value)
            placed = self.elementwise(value, region)
            if placed is not None:
                return placed
        return self.scalar(value)

    def movement(self, node: Node) -> Placed:
        g, out = self.graph, node.outputs[0]
        src = self.moved(node)
        p = self.demand(node.inputs[0])
        if src.size == p.order.size and np.array_equal(np.sort(src), np.arange(src.size)):
            return Placed(p.stream, np.argsort(src)[p.order])
        wanted = image_order(g.types[out].shape)
        fill = int(node["value"]) if node.op == "Pad" else 0
        index = src[wanted]
        return Placed(self.reorder(out, p.stream, np.where(index < 0, -1, np.argsort(p.order)[index]), fill), wanted)

    def concat(self, node: Node) -> Placed:
        g, out = self.graph, node.outputs[0]
        shape, axis = g.types[out].shape, node["axis"] % len(g.types[out].shape)
        if any(v in g.constants for v in node.inputs):
            raise self.refuse("a Concat with a constant", out)
        parts = [g.types[v] for v in node.inputs]
        image = len(shape) in (3, 4) and shape[0] == 1
        channels = axis == 1 if image else axis == len(shape) - 1
        streams = tuple(self.conform(v, image_order(t.shape)) for v, t in zip(node.inputs, parts))
        positions = prod(shape) // shape[axis] if channels else 1
        infos = [self.streams[s] for s in streams]
        stream = self.new_stream(out, prod(shape), min(i.low for i in infos), max(i.high for i in infos), infos[0].raw)
        self.add("concat", streams, stream, Window(1, positions, prod(shape) // positions, (1, positions)), node)
        if channels:
            return Placed(stream, image_order(shape))
        index = np.arange(prod(shape)).reshape(shape)
        cuts = np.cumsum([t.shape[axis] for t in parts])[:-1]
        flats = [p.reshape(-1)[image_order(t.shape)] for p, t in zip(np.split(index, cuts, axis), parts)]
        return Placed(stream, np.concatenate(flats))

    def is_anchor(self, node: Node) -> bool:
        """Whether a node is a sum of products of integers with known weights, or a pool of integers."""
        g = self.graph
        if node.op in ("Conv", "MatMul"):
            known = node.inputs[1] in g.constants and all(v in g.constants for v in node.inputs[2:])
            return known and self.small(self.operand(node)) and g.types[node.inputs[1]].dtype in ("int8", "uint8", "int32")
        if node.op in ("PoolSum", "PoolMax"):
            return self.small(node.inputs[0])
        if node.op in ("ReduceSum", "ReduceMax"):
            return self.small(node.inputs[0]) and self.reduce_window(node) is not None
        return False

    def operand(self, node: Node) -> str:
        """What a product multiplies: the small integers behind a cast to int32."""
        before = self.producers.get(node.inputs[0])
        wide = (
            before is not None
            and before.op == "Cast"
            and self.graph.types[node.inputs[0]].dtype == "int32"
            and self.small(before.inputs[0])
        )
        return before.inputs[0] if before is not None and wide else node.inputs[0]

    def reduce_window(self, node: Node) -> Window | None:
        """A reduction over all positions of an image."""
        shape = self.graph.types[node.inputs[0]].shape
        if len(shape) not in (3, 4) or shape[0] != 1 or tuple(node["axes"]) != tuple(range(2, len(shape))):
            return None
        h, w = (1, *shape[2:])[-2:]
        return Window(h, w, shape[1], (1, 1), (h, w))

    def region(self, value: str) -> Region:
        """The elementwise nodes behind a value, back to small integers and to what is not elementwise."""
        nodes: dict[int, Node] = {}
        sources: dict[str, None] = {}
        todo = [value]
        seen = set()
        while todo:
            v = todo.pop()
            if v in seen or v in self.graph.constants:
                continue
            seen.add(v)
            node = self.producers.get(v)
            if node is None or family(node.op) != "elementwise" or (v != value and self.small(v) and not self.inside(v)):
                sources[v] = None
                continue
            nodes[id(node)] = node
            todo += node.inputs
        ordered = tuple(n for n in self.graph.nodes if id(n) in nodes)
        return Region(ordered, tuple(v for v in (*self.graph.inputs, *(o for n in self.graph.nodes for o in n.outputs)) if v in sources))

    def inside(self, value: str) -> bool:
        """Whether a small value is but a truth value on the way to another."""
        return self.graph.types[value].dtype == "bool" and value not in self.graph.outputs

    def compute(self, region: Region, feed: Mapping[str, np.ndarray], value: str) -> np.ndarray:
        """A region's value by the reference."""
        known: dict[str, np.ndarray] = dict(feed)
        for n in region.nodes:
            known[n.outputs[0]] = evaluate(n, [known[v] if v in known else self.graph.constants[v] for v in n.inputs])[0]
        return known[value]

    def elementwise(self, value: str, region: Region) -> Placed | None:
        """A table, a join, or a rounding of sums; None where it is none of these."""
        g = self.graph
        if len(region.sources) == 1:
            (source,) = region.sources
            node = self.producers.get(source)
            if node is not None and self.is_anchor(node) and not self.small(source):
                return self.anchor(node, value, region) if self.small(value) and self.only_use(source, value, region) else None
            if self.small(source) and (self.small(value) or g.types[value].dtype in ("float32", "int32")):
                return self.table(value, source, region)
            if g.types[source].dtype == "float32" and source in g.inputs and self.small(value):
                return self.quantise(value, source, region)
        if len(region.sources) == 2 and all(self.small(s) for s in region.sources) and self.small(value):
            return self.join(value, region)
        return None

    def only_use(self, source: str, value: str, region: Region) -> bool:
        """Whether nothing else reads a sum, or what is between it and a value."""
        inner = {id(n) for n in region.nodes}
        between = {source, *(n.outputs[0] for n in region.nodes if n.outputs[0] != value)}
        return not between & set(self.graph.outputs) and all(id(n) in inner for v in between for n in self.consumers.get(v, []))

    def uniform(self, region: Region) -> bool:
        """Whether every constant of a region is one number."""
        return all(self.graph.constants[v].size == 1 for n in region.nodes for v in n.inputs if v in self.graph.constants)

    def table(self, value: str, source: str, region: Region) -> Placed | None:
        g = self.graph
        p = self.demand(source)
        low, high = self.range_of(source)
        if not self.uniform(region) or g.types[source].size != g.types[value].size or high - low >= 1 << 16:
            return None
        x = np.arange(low, high + 1).astype(DTYPES[g.types[source].dtype])
        y = self.compute(region, {source: x}, value)
        raw = y.dtype.kind == "f"
        if raw and y.size > MOST_TABLE and (exponent := float_exponent(x, y)) is not None:
            stream = self.new_stream(value, g.types[value].size, 0, 2**32 - 1, True)
            self.add("float", (p.stream,), stream, Window(1, 1, codes_of(p), (1, 1)), region.nodes[-1], exponent=exponent)
            return Placed(stream, p.order)
        if y.size > 1 << 12:
            return None
        codes = y.view(np.uint32).astype(np.int64) if raw else y.astype(np.int64)
        stream = self.new_stream(value, g.types[value].size, 0 if raw else int(codes.min()), int(codes.max()), raw)
        self.add("table", (p.stream,), stream, Window(1, 1, codes_of(p), (1, 1)), region.nodes[-1], tables=(codes,))
        return Placed(stream, p.order)

    def quantise(self, value: str, source: str, region: Region) -> Placed | None:
        """A float input, by where its value steps: floats are in the order of their bits."""
        g = self.graph
        p = self.demand(source)
        if not self.uniform(region) or g.types[source].size != g.types[value].size or self.monotone(region, source) is None:
            return None

        def function(keys: np.ndarray) -> np.ndarray:
            return self.compute(region, {source: float_of(keys)}, value).astype(np.int64)

        direction = self.monotone(region, source)
        assert direction is not None
        if (direction < 0).any():
            return None
        low, high = (np.array([k]) for k in FLOAT_KEYS)
        least, most = (int(function(np.array([[k]]))[0, 0]) for k in FLOAT_KEYS)
        steps = rounds.steps_of(function, low, high, least, most)
        nan = int(self.compute(region, {source: np.array([np.nan], np.float32)}, value)[0])
        stream = self.new_stream(value, g.types[value].size, min(least, nan), max(most, nan))
        kind, details = "fixed", dict[str, object]()
        if (exponent := fixed_exponent(steps[0], least)) is not None:
            details = {"exponent": exponent, "total": (least, most)}
        elif most - least < MOST_LEVELS:
            kind, details = "quantise", {"rounding": rounds.by_levels(steps, least, most)}
        else:
            raise self.refuse(f"{most - least + 1:,} steps of a float by a scale that is no power of two", value)
        self.add(kind, (p.stream,), stream, Window(1, 1, codes_of(p), (1, 1)), region.nodes[-1], fill=nan, **details)
        return Placed(stream, p.order)

    def join(self, value: str, region: Region) -> Placed | None:
        """Two streams into one: rounding of the sum, or product, of a table of each; checked on all pairs."""
        g = self.graph
        a, b = region.sources
        shapes = {g.types[v].shape for v in (a, b, value)}
        if len(shapes) != 1 or not self.uniform(region):
            return None
        pa = self.demand(a)
        ranges = [self.range_of(v) for v in (a, b)]
        axes = [np.arange(low, high + 1) for low, high in ranges]
        if axes[0].size * axes[1].size > MOST_PAIRS:
            return None
        feed = {v: x.astype(DTYPES[g.types[v].dtype]).reshape(s) for v, x, s in zip((a, b), axes, ((-1, 1), (1, -1)))}
        wanted = np.broadcast_to(self.compute(region, feed, value), (axes[0].size, axes[1].size)).astype(np.int64)
        found = self.decompose(region, (a, b), feed, wanted)
        if found is None:
            return None
        tables, how, multiply = found
        stream_b = self.conform(b, pa.order)
        stream = self.new_stream(value, g.types[value].size, how.low, how.high)
        sums = combine(tables[0][:, None], tables[1][None, :], multiply)
        self.add(
            "product_join" if multiply else "join", (pa.stream, stream_b), stream, Window(1, 1, codes_of(pa), (1, 1)), region.nodes[-1],
            tables=tables, rounding=how, total=(int(sums.min()), int(sums.max())),
        )  # fmt: skip
        return Placed(stream, pa.order)

    def decompose(
        self, region: Region, sources: tuple[str, str], feed: Mapping[str, np.ndarray], wanted: np.ndarray
    ) -> tuple[tuple[np.ndarray, ...], Rounding, bool] | None:
        """Tables of integers whose sums (or products) decide the result."""
        known: dict[str, np.ndarray] = dict(feed)
        reads: dict[str, frozenset[str]] = {s: frozenset([s]) for s in sources}
        for n in region.nodes:
            known[n.outputs[0]] = evaluate(n, [known[v] if v in known else self.graph.constants[v] for v in n.inputs])[0]
            reads[n.outputs[0]] = frozenset().union(*(reads.get(v, frozenset()) for v in n.inputs))
        for n in region.nodes:
            parts = [reads.get(v, frozenset()) for v in n.inputs]
            if n.op not in ("Add", "Sub", "Mul") or len(parts) != 2 or not all(len(p) == 1 for p in parts) or parts[0] == parts[1]:
                continue
            first, second = n.inputs if parts[0] == frozenset([sources[0]]) else n.inputs[::-1]
            x, y = (known[v].astype(np.float64).reshape(-1) for v in (first, second))
            if n.op == "Sub":
                x, y = (x, -y) if first == n.inputs[0] else (-x, y)
            if not (np.isfinite(x).all() and np.isfinite(y).all()):
                continue
            for bits in range(2, 31):
                found = self.scaled(x, y, bits, wanted, n.op == "Mul")
                if found is not None:
                    return found
        return None

    def scaled(
        self, x: np.ndarray, y: np.ndarray, bits: int, wanted: np.ndarray, multiply: bool
    ) -> tuple[tuple[np.ndarray, ...], Rounding, bool] | None:
        """With tables of so many bits, if that is enough."""
        largest = [float(np.abs(v).max()) or 1.0 for v in (x, y)]
        units = [m / (1 << bits) for m in largest] if multiply else [max(largest) / (1 << bits)] * 2
        u, v = (np.rint(a / s).astype(np.int64) for a, s in zip((x, y), units))
        sums = combine(u[:, None], v[None, :], multiply)
        order = np.argsort(sums, axis=None, kind="stable")
        s, t = sums.reshape(-1)[order], wanted.reshape(-1)[order]
        same = np.diff(s) == 0
        if (np.diff(t) < 0).any():
            if (np.diff(t[::-1]) < 0).any():
                return None
            return self.scaled(-x, -y if not multiply else y, bits, wanted, multiply)
        if (np.diff(t)[same] != 0).any():
            return None
        keys, first = np.unique(s, return_index=True)
        values = t[first]

        def function(x: np.ndarray) -> np.ndarray:  # between known sums: the lower one's
            return values[np.clip(np.searchsorted(keys, x, "right") - 1, 0, None)]

        low, high = np.array([keys[0]]), np.array([keys[-1]])
        least, most = int(values[0]), int(values[-1])
        # only the known sums count: a step may be anywhere between the last sum below it and the first above
        gaps = [(int(keys[i]), int(keys[i + 1])) for i in range(len(keys) - 1) if values[i + 1] != values[i]]
        how = between(gaps, values, keys, least, most) or rounds.by_levels(rounds.steps_of(function, low, high, least, most), least, most)
        return ((u, v), how, multiply) if np.array_equal(rounds.apply(how, s[:, None])[:, 0], t) else None

    # sums

    def anchor(self, node: Node, value: str, region: Region | None) -> Placed:
        """A product or pool with what follows it."""
        g = self.graph
        source, acc = self.operand(node), node.outputs[0]
        shape = g.types[source].shape
        if node.op == "MatMul":
            if len(g.types[node.inputs[1]].shape) != 2:
                raise self.refuse("a MatMul with a stack of weights", acc)
            wanted = np.arange(prod(shape))
            window = Window(1, prod(shape[:-1]), shape[-1], (1, prod(shape[:-1])))
        else:
            if len(shape) not in (3, 4) or shape[0] != 1:
                raise self.refuse(f"{node.op} of the shape {list(shape)}", acc, "one image of one or two dimensions")
            wanted = image_order(shape)
            window = self.window(node)
        p = self.demand(source)
        low, high = self.range_of(source)
        details: dict[str, object] = {}
        kind = {"PoolSum": "sum", "PoolMax": "max", "ReduceSum": "sum", "ReduceMax": "max"}.get(node.op, "product")
        padded = node.op != "MatMul" and self.padded(node, window)
        channels = window.channels
        if kind == "product":
            weights = g.constants[node.inputs[1]].astype(np.int64)
            zero = int(node.get("zero", 0) or 0)
            if node.op == "MatMul":
                weights = weights.T[:, None, None, :]
                if window.positions == 1 and not np.array_equal(p.order, wanted):  # a flattened image: its weights are turned instead
                    weights, wanted = weights[..., p.order], p.order
            else:
                weights = np.moveaxis(weights.reshape(*weights.shape[:2], *((1,) * (4 - weights.ndim)), *weights.shape[2:]), 1, -1)
            groups = int(node.get("group", 1) or 1)
            channels = weights.shape[0]
            bias = np.zeros(channels, np.int64)
            if len(node.inputs) > 2:
                bias = np.broadcast_to(g.constants[node.inputs[2]].astype(np.int64).reshape(-1), (channels,)).copy()
            bias -= zero * weights.reshape(channels, -1).sum(1)
            fill = zero
            low, high = (min(low, fill), max(high, fill)) if padded else (low, high)
            if groups > 1 and groups == window.channels == channels:
                kind, weights = "depthwise", weights[..., 0]
            flat = weights.reshape(channels, -1)
            sums = [np.minimum(flat * low, flat * high).sum(1), np.maximum(flat * low, flat * high).sum(1)]
            if max(np.abs(sums[0] + bias).max(), np.abs(sums[1] + bias).max()) >= SUM_LIMIT:
                raise self.refuse("sums that leave 32 bits", acc)
            details = {"weights": weights, "groups": groups, "fill": fill}
        else:
            fill = 0 if kind == "sum" else low
            low, high = (min(low, fill), max(high, fill)) if padded else (low, high)
            taps = prod(window.kernel) if kind == "sum" else 1
            sums, bias = [np.full(channels, taps * low), np.full(channels, taps * high)], np.zeros(channels, np.int64)
            details = {"fill": fill}
        stream_in = self.conform(source, wanted)
        how = None
        if region is not None:
            how, flipped = self.rounding(region, acc, value, sums, bias, node)
            if flipped.any():
                if kind not in ("product", "depthwise"):
                    raise self.refuse("a pool whose rounding decreases", value)
                details["weights"] = np.where(flipped.reshape(-1, *[1] * (details["weights"].ndim - 1)), -1, 1) * details["weights"]  # type: ignore[attr-defined]
                sums = [np.where(flipped, -sums[1], sums[0]), np.where(flipped, -sums[0], sums[1])]
        elif kind in ("product", "depthwise") or kind == "sum":
            factor, one = np.ones(channels, object), np.array([int(b) for b in bias], object)
            how = Rounding(int((sums[0] + bias).min()), int((sums[1] + bias).max()), factor, one, 0)
        total = (int(sums[0].min()), int(sums[1].max()))
        out_low, out_high = (how.low, how.high) if how is not None else (low, high)
        stream = self.new_stream(value, window.positions * channels, out_low, out_high)
        self.add(kind, (stream_in,), stream, window, node, rounding=how, total=total, **details)
        shape = g.types[acc].shape
        return Placed(stream, image_order(shape) if node.op != "MatMul" else np.arange(prod(shape)))

    def window(self, node: Node) -> Window:
        g = self.graph
        shape, out = g.types[node.inputs[0]].shape, g.types[node.outputs[0]].shape
        if node.op.startswith("Reduce"):
            found = self.reduce_window(node)
            assert found is not None
            return found

        def two(v: tuple[int, ...], first: int) -> tuple[int, int]:
            return (int(v[0]), int(v[1])) if len(v) == 2 else (first, int(v[0]))

        kernel = two(g.types[node.inputs[1]].shape[2:] if node.op == "Conv" else node["kernel"], 1)
        h, w = two(shape[2:], 1)
        return Window(
            h, w, shape[1], two(out[2:], 1), kernel, two(node["strides"], 1), two(node["before"], 0), two(node.get("dilations", (1,) * (len(shape) - 2)), 1)
        )  # fmt: skip

    def padded(self, node: Node, w: Window) -> bool:
        ends = [
            (o - 1) * s + (k - 1) * d - b >= n
            for o, s, k, d, b, n in zip(w.out, w.strides, w.kernel, w.dilations, w.before, (w.height, w.width))
        ]
        return any(w.before) or any(ends)

    def rounding(
        self, region: Region, acc: str, value: str, sums: list[np.ndarray], bias: np.ndarray, node: Node
    ) -> tuple[Rounding, np.ndarray]:
        """What follows a sum, as a function of the sum without its bias; which channels have it turned round."""
        g = self.graph
        rank, channels = len(g.types[acc].shape), sums[0].size
        axis = rank - 1 if node.op == "MatMul" else 1
        for n in region.nodes:
            for v in n.inputs:
                if v in g.constants and g.constants[v].size > 1:
                    shape = (1,) * (rank - g.constants[v].ndim) + g.constants[v].shape
                    if any(m > 1 for i, m in enumerate(shape) if i != axis):
                        raise self.refuse("a different rounding at each position", value)
        direction = self.monotone(region, acc, axis, rank)
        if direction is None:
            direction = self.look(region, acc, value, sums, bias, axis, rank)
        if direction is None:
            raise self.refuse(f"what follows a sum and is not monotone ({', '.join(n.op for n in region.nodes)})", value)
        flipped = np.broadcast_to(direction, (channels,)) < 0
        sign = np.where(flipped, -1, 1)

        def function(x: np.ndarray) -> np.ndarray:
            return self.rounded(region, acc, value, x * sign + bias, axis, rank)

        low = np.where(flipped, -sums[1], sums[0])
        high = np.where(flipped, -sums[0], sums[1])
        found = rounds.solve(function, low, high)
        if found.levels is not None and found.levels.shape[1] > MOST_LEVELS:
            raise self.refuse(
                f"{found.high - found.low + 1:,} levels that no formula steps at", value, "quantise its bias with the product's scale"
            )
        return found, flipped

    def rounded(self, region: Region, acc: str, value: str, x: np.ndarray, axis: int, rank: int) -> np.ndarray:
        """[samples, channels] of sums through a region."""
        dtype = DTYPES[self.graph.types[acc].dtype]
        if axis == rank - 1:
            lifted = x.reshape((*[1] * (rank - 2), *x.shape)) if rank > 1 else x
            return self.compute(region, {acc: lifted.astype(dtype)}, value).reshape(x.shape).astype(np.int64)
        lifted = x.T.reshape(1, x.shape[1], x.shape[0], *[1] * (rank - 3))
        return self.compute(region, {acc: lifted.astype(dtype)}, value).reshape(x.shape[1], x.shape[0]).T.astype(np.int64)

    def look(
        self, region: Region, acc: str, value: str, sums: list[np.ndarray], bias: np.ndarray, axis: int, rank: int
    ) -> np.ndarray | None:
        """Directions found by looking at every sum that there can be."""
        span = int((sums[1] - sums[0]).max()) + 1
        if span * sums[0].size > MOST_SUMS:
            return None
        x = np.minimum(sums[0] + np.arange(span)[:, None], sums[1]) + bias
        steps = np.diff(self.rounded(region, acc, value, x, axis, rank), axis=0)
        up, down = (steps >= 0).all(0), (steps <= 0).all(0)
        return np.where(up, 1, -1) if (up | down).all() else None

    def monotone(self, region: Region, source: str, axis: int = 0, rank: int = 1) -> np.ndarray | None:
        """+1 or −1, for each channel where they differ, if the operators say that the region never decreases or never increases."""
        g = self.graph
        known: dict[str, np.ndarray] = {source: np.ones(1)}
        for n in region.nodes:
            live = [v for v in n.inputs if v in known]
            fixed = [g.constants[v] for v in n.inputs if v in g.constants]
            x = known[live[0]] if live else None
            match n.op:
                case "Add" | "Min" | "Max" if x is not None and len(fixed) == 1:
                    known[n.outputs[0]] = x
                case "Sub" if x is not None and len(fixed) == 1:
                    known[n.outputs[0]] = x if n.inputs[0] in known else -x
                case "Mul" if x is not None and len(fixed) == 1 and g.types[n.inputs[0]].dtype == "float32":
                    known[n.outputs[0]] = x * np.where(fixed[0].reshape(-1) < 0, -1, 1)
                case "Div" if x is not None and len(fixed) == 1 and n.inputs[0] in known and g.types[n.inputs[0]].dtype == "float32":
                    known[n.outputs[0]] = x * np.where(np.signbit(fixed[0]).reshape(-1), -1, 1)
                case "Requantize" if x is not None:
                    known[n.outputs[0]] = x * np.where(fixed[0].reshape(-1) < 0, -1, 1)
                case "Cast" if x is not None and (g.types[n.inputs[0]].dtype, n["to"]) in CASTS:
                    known[n.outputs[0]] = x
                case "Round" | "Floor" | "Ceil" | "Relu" | "Identity" if x is not None:
                    known[n.outputs[0]] = x
                case "Less" if len(live) == 1 and len(fixed) == 1:
                    continue  # part of a clamp
                case "Where" if self.is_clamp(n) and n.inputs[2] in known:
                    known[n.outputs[0]] = known[n.inputs[2]]
                case _:
                    return None
        return known.get(region.nodes[-1].outputs[0])

    def is_clamp(self, node: Node) -> bool:
        """Where(x < c, c, x) or Where(c < x, c, x)."""
        test = self.producers.get(node.inputs[0])
        return (
            test is not None
            and test.op == "Less"
            and set(test.inputs) == {node.inputs[1], node.inputs[2]}
            and node.inputs[1] in self.graph.constants
        )

    def forest(self, node: Node, value: str, source: str, found: Forest) -> Placed:
        g = self.graph
        p = self.demand(source)
        features = g.types[source].size
        if not np.array_equal(p.order, np.arange(features)):
            raise self.refuse("features in another order than the input's", value)
        outputs = found.values.shape[1]
        stream = self.new_stream(value, outputs, 0, 2**32 - 1, True)
        self.add("trees", (p.stream,), stream, Window(1, 1, features, (1, 1)), node, forest=found)
        self.stages[-1] = replace(self.stages[-1], simd=features, pe=outputs, beat=outputs)
        return Placed(stream, np.arange(outputs))

    # what is left

    def scalar(self, value: str) -> Placed:
        """A program for all that lies between a value and small integers or sums."""
        g = self.graph
        nodes: dict[int, Node] = {}
        sources: list[str] = []
        todo, seen = [value], set()
        while todo:
            v = todo.pop()
            if v in seen or v in g.constants:
                continue
            seen.add(v)
            node = self.producers.get(v)
            if node is None or (v != value and (self.small(v) and not self.inside(v) or self.is_anchor(node))):
                sources.append(v)
                continue
            nodes[id(node)] = node
            todo += node.inputs
        ordered = [n for n in g.nodes if id(n) in nodes]
        sources.sort()
        placed = [self.demand(s) for s in sources]
        program = compile_scalar(g, ordered, {s: p.order for s, p in zip(sources, placed)}, value)
        low, high = limits(g.types[value].dtype)
        stream = self.new_stream(value, g.types[value].size, low, high, g.types[value].dtype == "float32")
        window = Window(1, 1, 1, (1, 1))
        self.add("scalar", tuple(p.stream for p in placed), stream, window, ordered[-1], scalar=program)
        return Placed(stream, np.arange(g.types[value].size))


WHOLE = ("int8", "uint8", "int16", "uint16", "int32")
CASTS = {(a, b) for a in WHOLE for b in ("float32", "int32")} | {("float32", t) for t in WHOLE}


def codes_of(placed: Placed) -> int:
    return placed.order.size


def combine(a: np.ndarray, b: np.ndarray, multiply: bool) -> np.ndarray:
    return a * b if multiply else a + b


def limits(dtype: str) -> tuple[int, int]:
    if dtype == "float32":
        return 0, 2**32 - 1
    if dtype == "bool":
        return 0, 1
    info = np.iinfo(DTYPES[dtype])
    return int(info.min), int(info.max)


def between(gaps: list[tuple[int, int]], values: np.ndarray, keys: np.ndarray, least: int, most: int) -> Rounding | None:
    """A formula whose every step lies in the gap of known sums where the function steps."""
    if not gaps or any(b - a != 1 for a, b in zip(np.unique(values), np.unique(values)[1:])):
        return None
    middle = np.array([[(a + b + 1) // 2 for a, b in gaps]])
    levels = list(range(least + 1, most + 1))
    if len(levels) != len(gaps):
        return None
    for shift in range(rounds.MOST_SHIFT):
        slope = ((levels[-1] - levels[0]) << shift) // max(1, int(middle[0, -1] - middle[0, 0]))
        for factor in (slope, slope + 1, slope - 1):
            if factor <= 0:
                continue
            lower = max((q << shift) - factor * b for q, (a, b) in zip(levels, gaps))
            upper = min((q << shift) - factor * a for q, (a, b) in zip(levels, gaps))
            if lower < upper:
                return Rounding(least, most, np.array([factor], object), np.array([rounds._roundest(lower, upper)], object), shift)
    return None
