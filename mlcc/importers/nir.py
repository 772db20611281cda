"""NIR files: graphs of ordinary operators. Extra: mlcc[nir].

The Neuromorphic Intermediate Representation (Pedersen et al., 2024, https://neuroir.org/docs/) describes signals without a batch; here
they have one of 1. Where several edges meet, what they bring is summed. Nodes with a state (neurons, delays) and edges that lead back make
a network over time; these are refused by name.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from graphlib import CycleError, TopologicalSorter
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
from onnx import TensorProto, helper

from mlcc.cache.tools import packages
from mlcc.core.about import ABOUT
from mlcc.error import Error
from mlcc.importers import apart
from mlcc.importers.nodes import Nodes
from mlcc.importers.onnx import from_proto

suffixes = (".nir",)
OPSET = 18
HINT = "a graph of " + ", ".join(("Affine", "Linear", "Conv1d", "Conv2d", "SumPool2d", "AvgPool2d", "Flatten", "Scale", "Threshold"))


def inputs(path: Path, raw: bytes) -> list[tuple[str, Path]]:
    """One file holds all."""
    return []


def tools() -> dict[str, str]:
    return packages("nir", "h5py")


def load(path: Path) -> ir.Model:
    """Read a graph. Raises Error(usage, model, unsupported)."""
    try:
        import nir
    except ImportError:
        raise Error("usage", "reading it needs nir", str(path), "pip install 'mlcc[nir]'") from None
    try:
        read = nir.read(path, type_check=False)
    except Exception as e:  # HDF5 and the package's checks raise many types
        raise Error("model", f"not a graph of NIR: {apart.first_line(e)}", str(path), "write it with nir.write(path, graph)") from None
    if not isinstance(read, nir.NIRGraph):
        raise Error("model", f"a {type(read).__name__} alone is no graph", str(path), "nir.write(path, nir.NIRGraph.from_list(…))")
    try:
        model = from_proto(_Graph(*_flat(read)).model())
    except Error as e:
        raise Error(e.code, e.what, f"{path}, {e.where}" if e.where else str(path), e.hint) from None
    model.metadata_props[ABOUT] = json.dumps({"frameworks": {"nir": str(getattr(read, "version", "") or packages("nir").get("nir", ""))}})
    return model


Edges = list[tuple[str, str]]


def _flat(graph: Any) -> tuple[dict[str, Any], Edges]:
    """Nodes by name, and edges; those of graphs within it too, between whose inputs and outputs nothing happens."""
    nodes: dict[str, Any] = {}
    edges: Edges = []
    for name, node in graph.nodes.items():
        if hasattr(node, "nodes"):
            inner, between = _flat(node)
            nodes |= {f"{name}.{n}": v for n, v in inner.items()}
            edges += [(f"{name}.{a}", f"{name}.{b}") for a, b in between]
        else:
            nodes[name] = node

    def end(name: str, kind: str) -> str:
        node = graph.nodes.get(name)
        if node is None:
            raise Error("model", f"an edge from or to {name}, which does not exist")
        if not hasattr(node, "nodes"):
            return name
        ports = [n for n, v in node.nodes.items() if type(v).__name__ == kind]
        if len(ports) != 1:
            raise Error("unsupported", f"a graph within the graph with {len(ports)} nodes {kind}", name, "one Input and one Output each")
        return f"{name}.{ports[0]}"

    edges += [(end(a, "Output"), end(b, "Input")) for a, b in graph.edges]
    return nodes, edges


class _Graph:
    """One ONNX graph from nodes and edges; every value has a leading 1."""

    def __init__(self, nodes: dict[str, Any], edges: Edges) -> None:
        self.nodes, self.sources = nodes, {n: [a for a, b in edges if b == n] for n in nodes}
        self.to = {a for a, _ in edges}
        self.n = Nodes(i for i in count() if f"v{i}" not in nodes)
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.values: dict[str, str] = {}

    def model(self) -> onnx.ModelProto:
        strange = sorted({type(v).__name__ for v in self.nodes.values()} - {*TABLE, "Input", "Output"})
        if strange:
            names = [n for n, v in self.nodes.items() if type(v).__name__ in strange]
            raise Error("unsupported", f"nodes with a state: {', '.join(strange)}", f"node {', '.join(names[:5])}", HINT)
        try:
            order = list(TopologicalSorter(self.sources).static_order())
        except CycleError as e:
            raise Error("unsupported", "edges that lead back", f"node {e.args[1][0]}", HINT) from None
        given, made = [], []
        for name in order:
            node = self.nodes[name]
            outermost = "." not in name
            if type(node).__name__ == "Input" and outermost:
                if node.input_type.get("input") is None:
                    raise Error("model", "an Input without a shape", f"node {name}", "write it with nir.Input(shape)")
                self.shapes[name] = tuple(int(v) for v in np.atleast_1d(node.input_type["input"]))
                self.values[name] = name
                given.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, *self.shapes[name]]))
                continue
            x, shape = self._summed(name)
            if type(node).__name__ in ("Input", "Output"):
                self.values[name], self.shapes[name] = x, shape
                if outermost:
                    self.n.nodes.append(helper.make_node("Identity", [x], [name]))
                    made.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, *shape]))
                continue
            try:
                self.values[name], self.shapes[name] = TABLE[type(node).__name__](self.n, node, x, shape)
            except (ValueError, IndexError, TypeError) as e:
                raise Error("model", f"{type(node).__name__} of a signal of {list(shape)}: {apart.first_line(e)}", f"node {name}") from None
        graph = helper.make_graph(self.n.nodes, "nir", given, made)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=9)

    def _summed(self, name: str) -> tuple[str, tuple[int, ...]]:
        sources = self.sources[name]
        if not sources:
            raise Error("model", "nothing leads to it", f"node {name}")
        shapes = {self.shapes[s] for s in sources}
        if len(shapes) > 1:
            raise Error("model", f"signals of several shapes meet: {', '.join(str(list(s)) for s in sorted(shapes))}", f"node {name}")
        x = self.values[sources[0]]
        for s in sources[1:]:
            x = self.n.op("Add", x, self.values[s])
        return x, self.shapes[sources[0]]


Made = tuple[str, tuple[int, ...]]


def _f32(a: Any) -> np.ndarray:
    return np.asarray(a, np.float32)


def _affine(n: Nodes, node: Any, x: str, shape: tuple[int, ...]) -> Made:
    w = _f32(node.weight)
    if w.ndim != 2 or shape != (w.shape[1],):
        raise ValueError(f"a weight of {list(w.shape)}")
    y = n.op("MatMul", x, n.constant(np.ascontiguousarray(w.T)))
    bias = getattr(node, "bias", None)
    return (y if bias is None else n.op("Add", y, n.constant(_f32(bias)))), (w.shape[0],)


def _conv(n: Nodes, node: Any, x: str, shape: tuple[int, ...]) -> Made:
    w = _f32(node.weight)
    dims = w.ndim - 2
    stride, dilation = (_each(v, dims) for v in (node.stride, node.dilation))
    kernel = w.shape[2:]
    if len(shape) != dims + 1 or shape[0] != w.shape[1] * int(node.groups):
        raise ValueError(f"a weight of {list(w.shape)}")
    padding = node.padding.decode() if isinstance(node.padding, bytes) else node.padding
    span = [d * (k - 1) for d, k in zip(dilation, kernel)]
    if isinstance(padding, str) and padding == "same":  # as PyTorch, whose convolutions these are: the odd one behind
        if any(s != 1 for s in stride):
            raise ValueError("padding 'same' with a stride")
        pads = [*(s // 2 for s in span), *(s - s // 2 for s in span)]
    else:
        pads = [0] * (2 * dims) if isinstance(padding, str) else list(_each(padding, dims)) * 2
    out = tuple((i + pads[k] + pads[k + dims] - span[k] - 1) // stride[k] + 1 for k, i in enumerate(shape[1:]))
    y = n.op("Conv", x, n.constant(w), n.constant(_f32(node.bias)), strides=stride, dilations=dilation, group=int(node.groups), pads=pads)
    return y, (w.shape[0], *out)


def _each(value: Any, dims: int) -> list[int]:
    found = [int(v) for v in np.atleast_1d(value)]
    return found * dims if len(found) == 1 else found


def _pool(n: Nodes, node: Any, x: str, shape: tuple[int, ...]) -> Made:
    """Averages count what is padded, as in PyTorch; sums are convolutions with ones (an average would have been rounded)."""
    kernel, stride, pads = (_each(v, 2) for v in (node.kernel_size, node.stride, node.padding))
    if type(node).__name__ == "AvgPool2d":
        y = n.op("AveragePool", x, kernel_shape=kernel, strides=stride, pads=pads * 2, count_include_pad=1)
    else:
        y = n.op("Conv", x, n.constant(np.ones((shape[0], 1, *kernel), np.float32)), strides=stride, pads=pads * 2, group=shape[0])
    out = tuple((i + 2 * p - k) // s + 1 for i, k, s, p in zip(shape[1:], kernel, stride, pads, strict=True))
    return y, (shape[0], *out)


def _flatten(n: Nodes, node: Any, x: str, shape: tuple[int, ...]) -> Made:
    """Dims are the signal's own, without a batch (`nir.ir.utils.calc_flatten_output`)."""
    first, last = (int(v) % len(shape) for v in (node.start_dim, node.end_dim))
    to = (*shape[:first], math.prod(shape[first : last + 1]), *shape[last + 1 :])
    return n.op("Reshape", x, n.integers(1, *to)), to


def _scale(n: Nodes, node: Any, x: str, shape: tuple[int, ...]) -> Made:
    return n.op("Mul", x, n.constant(_along(node.scale, shape))), shape


def _threshold(n: Nodes, node: Any, x: str, shape: tuple[int, ...]) -> Made:
    """1 above the threshold, else 0."""
    return n.cast(n.op("Greater", x, n.constant(_along(node.threshold, shape))), np.float32), shape


def _along(values: Any, shape: Sequence[int]) -> np.ndarray:
    a = _f32(values)
    if np.broadcast_shapes(a.shape, tuple(shape)) != tuple(shape):
        raise ValueError(f"numbers of {list(a.shape)}")
    return a


TABLE: dict[str, Callable[[Nodes, Any, str, tuple[int, ...]], Made]] = {
    "Affine": _affine,
    "Linear": _affine,
    "Conv1d": _conv,
    "Conv2d": _conv,
    "SumPool2d": _pool,
    "AvgPool2d": _pool,
    "Flatten": _flatten,
    "Scale": _scale,
    "Threshold": _threshold,
}
