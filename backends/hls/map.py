"""Core graph → network of stages. Raises Error(unsupported) naming the layer that has no dataflow form.

Every function from small integers to small integers is found by asking the reference for all of its values, so a stage is right by
construction: one operand is a table, two are a sum (or product) of tables that is checked on all pairs, and what follows a sum of products
is a monotone function whose every step is found (rounding.py). What is left over, such as a softmax of ten numbers, is a short program
(scalar.py).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import prod
from typing import Any

import numpy as np

from mlcc.core.graph import DTYPES, CoreGraph, Node
from mlcc.core.operators import family
from mlcc.error import Error
from mlcc.names import comment, unique
from mlcc_backends.hls import rounding as rounds
from mlcc_backends.hls import trees
from mlcc_backends.hls.fixed import FLOAT_KEYS, fixed_exponent, float_exponent, float_of
from mlcc_backends.hls.joins import combine, decompose
from mlcc_backends.hls.network import Forest, Network, Port, Stage, Stream, Window
from mlcc_backends.hls.regions import SMALL, Model, Region, limits
from mlcc_backends.hls.scalar import compile_scalar
from mlcc_backends.hls.sums import image_order, is_sum, operand, rounding, sum_of

MOST_PAIRS = 1 << 20
MOST_TABLE = 1 << 8  # entries of a table where a conversion by logic does as well
MOST_LEVELS = 1 << 10


@dataclass(frozen=True)
class Placed:
    """Where a value is: its stream, and which element of the value each place is."""

    stream: str
    order: np.ndarray


def network(graph: CoreGraph) -> Network:
    """The stages of a model, one element a step each."""
    return _Mapper(graph).run()


class _Mapper:
    def __init__(self, graph: CoreGraph) -> None:
        self.graph, self.model = graph, Model(graph)
        self.producers, self.consumers = self.model.producers, self.model.consumers
        self.placed: dict[str, Placed] = {}
        self.streams: dict[str, Stream] = {}
        self.stages: list[Stage] = []

    def run(self) -> Network:
        g = self.graph
        inputs = []
        if empty := next((v for v, t in g.types.items() if t.size == 0), None):
            raise self.model.refuse("a value without elements", empty)
        for v, name in zip(g.inputs, unique([f"in_{v}" for v in g.inputs])):
            t = g.types[v]
            if t.dtype not in (*SMALL, "float32"):
                raise self.model.refuse(
                    f"an input of {t.dtype}", v, "quantise inputs to 16 bits or fewer, or give float32 and quantise inside"
                )
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
                raise self.model.refuse("an output that is constant", v)
            p = self.demand(v)
            outputs.append(Port(p.stream, v, g.types[v].dtype, p.order))
        if not self.stages:
            raise Error("unsupported", "no dataflow hardware for a model that only moves its input", g.name)
        used = {s for st in self.stages for s in st.inputs} | {p.stream for p in outputs}
        for port in inputs:
            if port.stream not in used:
                raise self.model.refuse("an input that no layer reads", port.tensor)
        return Network(g.name, tuple(inputs), tuple(outputs), dict(self.streams), tuple(self.stages))

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
                return None if wanted is None else self.model.moved(node)[wanted]
            if family(node.op) == "elementwise" and g.types[out].shape == g.types[value].shape:
                return self.preferred(out)
        return None

    def demand(self, value: str) -> Placed:
        """The stream of a value, with all that makes it."""
        if value not in self.placed:
            self.placed[value] = self.make(value)
        return self.placed[value]

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
            raise self.model.refuse("a constant where a value is wanted", value)
        kind = family(node.op)
        if node.op == "Concat":
            return self.concat(node)
        if kind == "move" and all(v in self.graph.constants for v in node.inputs[1:]) and node.inputs[0] not in self.graph.constants:
            return self.movement(node)
        if is_sum(self.model, node):
            return self.sum(node, value, None)
        if node.op == "ReduceSum" and (found := trees.find(self.graph, self.producers, node)) is not None:
            return self.forest(node, value, *found)
        if kind == "elementwise":
            region = self.model.region(value)
            placed = self.elementwise(value, region)
            if placed is not None:
                return placed
        return self.scalar(value)

    def movement(self, node: Node) -> Placed:
        g, out = self.graph, node.outputs[0]
        src = self.model.moved(node)
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
            raise self.model.refuse("a Concat with a constant", out)
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

    def elementwise(self, value: str, region: Region) -> Placed | None:
        """A table, a join, or a rounding of sums; None where it is none of these."""
        g = self.graph
        if len(region.sources) == 1:
            (source,) = region.sources
            node = self.producers.get(source)
            if node is not None and is_sum(self.model, node) and not self.model.small(source):
                return self.sum(node, value, region) if self.model.small(value) and self.model.only_use(source, value, region) else None
            if self.model.small(source) and (self.model.small(value) or g.types[value].dtype in ("float32", "int32")):
                return self.table(value, source, region)
            if g.types[source].dtype == "float32" and source in g.inputs and self.model.small(value):
                return self.quantise(value, source, region)
        if len(region.sources) == 2 and all(self.model.small(s) for s in region.sources) and self.model.small(value):
            return self.join(value, region)
        return None

    def table(self, value: str, source: str, region: Region) -> Placed | None:
        g = self.graph
        p = self.demand(source)
        low, high = self.range_of(source)
        if not self.model.uniform(region) or g.types[source].size != g.types[value].size or high - low >= 1 << 16:
            return None
        x = np.arange(low, high + 1).astype(DTYPES[g.types[source].dtype])
        y = self.model.compute(region, {source: x}, value)
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
        if not self.model.uniform(region) or g.types[source].size != g.types[value].size or self.model.monotone(region, source) is None:
            return None

        def function(keys: np.ndarray) -> np.ndarray:
            return self.model.compute(region, {source: float_of(keys)}, value).astype(np.int64)

        direction = self.model.monotone(region, source)
        assert direction is not None
        if (direction < 0).any():
            return None
        low, high = (np.array([k]) for k in FLOAT_KEYS)
        least, most = (int(function(np.array([[k]]))[0, 0]) for k in FLOAT_KEYS)
        steps = rounds.steps_of(function, low, high, least, most)
        nan = int(self.model.compute(region, {source: np.array([np.nan], np.float32)}, value)[0])
        stream = self.new_stream(value, g.types[value].size, min(least, nan), max(most, nan))
        kind, details = "fixed", dict[str, object]()
        if (exponent := fixed_exponent(steps[0], least)) is not None:
            details = {"exponent": exponent, "total": (least, most)}
        elif most - least < MOST_LEVELS:
            kind, details = "quantise", {"rounding": rounds.by_levels(steps, least, most)}
        else:
            raise self.model.refuse(f"{most - least + 1:,} steps of a float by a scale that is no power of two", value)
        self.add(kind, (p.stream,), stream, Window(1, 1, codes_of(p), (1, 1)), region.nodes[-1], fill=nan, **details)
        return Placed(stream, p.order)

    def join(self, value: str, region: Region) -> Placed | None:
        """Two streams into one: rounding of the sum, or product, of a table of each; checked on all pairs."""
        g = self.graph
        a, b = region.sources
        shapes = {g.types[v].shape for v in (a, b, value)}
        if len(shapes) != 1 or not self.model.uniform(region):
            return None
        pa = self.demand(a)
        ranges = [self.range_of(v) for v in (a, b)]
        axes = [np.arange(low, high + 1) for low, high in ranges]
        if axes[0].size * axes[1].size > MOST_PAIRS:
            return None
        feed = {v: x.astype(DTYPES[g.types[v].dtype]).reshape(s) for v, x, s in zip((a, b), axes, ((-1, 1), (1, -1)))}
        wanted = np.broadcast_to(self.model.compute(region, feed, value), (axes[0].size, axes[1].size)).astype(np.int64)
        found = decompose(self.model, region, (a, b), feed, wanted)
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

    def sum(self, node: Node, value: str, region: Region | None) -> Placed:
        """A product or pool with what follows it."""
        source = operand(self.model, node)
        placed = self.demand(source)
        low, high = self.range_of(source)
        found = sum_of(self.model, node, placed.order, low, high)
        stream_in = self.conform(source, found.order)
        how = found.plain()
        if region is not None:
            how, flipped = rounding(self.model, region, node, value, found)
            found = found.turned(flipped)
        out_low, out_high = (how.low, how.high) if how is not None else found.total
        stream = self.new_stream(value, found.window.positions * found.channels, out_low, out_high)
        details: dict[str, object] = {} if found.weights is None else {"weights": found.weights, "groups": found.groups}
        self.add(found.kind, (stream_in,), stream, found.window, node, rounding=how, total=found.total, fill=found.fill, **details)
        shape = self.graph.types[node.outputs[0]].shape
        return Placed(stream, image_order(shape) if node.op != "MatMul" else np.arange(prod(shape)))

    def forest(self, node: Node, value: str, source: str, found: Forest) -> Placed:
        g = self.graph
        p = self.demand(source)
        features = g.types[source].size
        if not np.array_equal(p.order, np.arange(features)):
            raise self.model.refuse("features in another order than the input's", value)
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
            if node is None or (v != value and (self.model.small(v) and not self.model.inside(v) or is_sum(self.model, node))):
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


def codes_of(placed: Placed) -> int:
    return placed.order.size
