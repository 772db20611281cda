"""The core graph, what every model becomes before the target is known. Frozen; `validate` states what a legal one is."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from math import prod
from typing import Any, Literal

import ml_dtypes
import numpy as np

from mlcc.core.describe import Description
from mlcc.core.dim import Dim, symbols
from mlcc.core.operators import OPERATORS
from mlcc.core.terms import Symbol, most
from mlcc.error import Error

ByteOrder = Literal["<", ">"]  # as NumPy names them
Attribute = Any  # int, float, str or tuples of these

DTYPES: dict[str, np.dtype] = {
    **{
        n: np.dtype(n)
        for n in ("float32", "float64", "float16", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "bool")
    },
    "bfloat16": np.dtype(ml_dtypes.bfloat16),
}
MAX_ELEMENTS = 2**31 - 1  # kernels index one tensor with 32 bits


@dataclass(frozen=True)
class TensorType:
    """A tensor type; `dtype` is a key of DTYPES; sizes that a run decides are `Dim`s (`mlcc.core.dim`)."""

    dtype: str
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        return prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes for the largest sizes."""
        return most(self.size) * DTYPES[self.dtype].itemsize

    @property
    def static(self) -> bool:
        """Whether every size is known."""
        return not any(isinstance(n, Dim) for n in self.shape)


@dataclass(frozen=True)
class Node:
    """One operation; `origin` names the source node for messages and is no part of the program's identity."""

    op: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: tuple[tuple[str, Attribute], ...] = ()
    origin: str = field(default="", compare=False)

    def __getitem__(self, key: str) -> Attribute:
        return dict(self.attributes)[key]

    @property
    def key(self) -> tuple[Any, ...]:
        """What tells a node's result from others': operator, operands, attributes; +0 and −0, which compare equal, are told apart."""
        return self.op, self.inputs, tuple((k, float(v).hex() if isinstance(v, float | np.floating) else v) for k, v in self.attributes)

    def get(self, key: str, default: Attribute = None) -> Attribute:
        return dict(self.attributes).get(key, default)


@dataclass(frozen=True, eq=False)
class Body:
    """What a Repeat node does in each turn. Operands of the node and inputs of the graph, in order: `carried` values, which a turn gets
    from the one before; `scanned` values, of whose first axis a turn gets its own index (from the end on where `reverse` is 1); and
    values that are the same in all turns. Results, in order: the carried values after the last turn, and others, each turn's along a
    new first axis. With the attribute `while`, turns change nothing and stack zeros once the first carried value is false.
    """

    graph: CoreGraph

    @cached_property
    def digest(self) -> str:
        return digest(self.graph)

    def __repr__(self) -> str:
        return f"Body({self.digest})"


@dataclass(frozen=True)
class Rewrite:
    """A rewrite that may have changed a rounding, as recorded in the artifact."""

    rule: str
    where: str


@dataclass(frozen=True)
class CoreGraph:
    """Nodes in topological order; `types` covers every value; `constants` are little-endian arrays, read-only; `described`: what the file
    says of inputs and outputs, for people, and no part of the program's identity."""

    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    nodes: tuple[Node, ...]
    types: Mapping[str, TensorType]
    constants: Mapping[str, np.ndarray]
    rewrites: tuple[Rewrite, ...] = ()
    described: Mapping[str, Description] = field(default_factory=dict, compare=False)

    def with_nodes(self, nodes: Iterable[Node], **changes: Any) -> CoreGraph:
        """The same graph with other nodes; values and constants that nothing refers to are dropped."""
        kept = tuple(nodes)
        used = {v for n in kept for v in (*n.inputs, *n.outputs)} | set(self.inputs) | set(changes.get("outputs", self.outputs))
        types = {k: v for k, v in {**self.types, **changes.pop("types", {})}.items() if k in used}
        constants = {k: v for k, v in {**self.constants, **changes.pop("constants", {})}.items() if k in used}
        return replace(self, nodes=kept, types=types, constants=constants, **changes)

    @property
    def sizes(self) -> tuple[Symbol, ...]:
        """The sizes that a run decides, in the order of their names."""
        return tuple(sorted(symbols([self.types[v].shape for v in self.inputs])))

    @property
    def parameters(self) -> int:
        return sum(c.size for c in self.constants.values()) + sum(b.graph.parameters for b in self.bodies)

    @property
    def bodies(self) -> tuple[Body, ...]:
        """What its nodes repeat."""
        return tuple(n["body"] for n in self.nodes if n.op == "Repeat")

    @property
    def every_node(self) -> tuple[Node, ...]:
        """Its nodes, those of bodies among them."""
        return tuple(m for n in self.nodes for m in (n, *(n["body"].graph.every_node if n.op == "Repeat" else ())))


def fresh(name: str, taken: Container[str]) -> str:
    """A value's name that nothing has yet: a model's own may look like any that we make."""
    while name in taken:
        name += "'"
    return name


def consumers(graph: CoreGraph) -> dict[str, list[Node]]:
    """Value → the nodes that read it, each as often as it reads."""
    found: dict[str, list[Node]] = {}
    for node in graph.nodes:
        for v in node.inputs:
            found.setdefault(v, []).append(node)
    return found


def canonical_bytes(array: np.ndarray) -> bytes:
    """Little-endian, C order, every NaN the same: what digests are taken over."""
    a = np.ascontiguousarray(array)
    if a.dtype.kind == "f" or a.dtype == DTYPES["bfloat16"]:
        nan = np.isnan(a)
        if nan.any():
            a = a.copy()
            a[nan] = np.array(np.nan, a.dtype)
    return a.astype(a.dtype.newbyteorder("<"), copy=False).tobytes()


def to_bytes(array: np.ndarray, order: ByteOrder) -> bytes:
    """An array in a target's byte order."""
    a = np.ascontiguousarray(array)
    if a.dtype.kind == "V":  # bfloat16 is bits to NumPy
        a = a.view(np.uint16)
    return a.astype(a.dtype.newbyteorder(order)).tobytes()


def from_bytes(raw: bytes, dtype: str, order: ByteOrder) -> np.ndarray:
    """The flat array that a target's bytes stand for."""
    wanted = DTYPES[dtype]
    if wanted.kind == "V":
        return np.frombuffer(raw, np.dtype(np.uint16).newbyteorder(order)).astype(np.uint16).view(wanted)
    return np.frombuffer(raw, wanted.newbyteorder(order)).astype(wanted)


def digest(graph: CoreGraph) -> str:
    """The program's identity: SHA-256 over structure, types, attributes and constants, with values renamed in order."""
    names: dict[str, str] = {}
    for v in (*graph.inputs, *(o for n in graph.nodes for o in n.outputs)):
        names[v] = f"%{len(names)}"
    constants: dict[str, str] = {}
    for n in graph.nodes:
        for v in n.inputs:
            if v in graph.constants and v not in names:
                names[v] = f"${len(constants)}"
                constants[names[v]] = v
    for v in graph.outputs:
        if v not in names:
            names[v] = f"${len(constants)}"
            constants[names[v]] = v

    def type_of(v: str) -> list[Any]:
        return [graph.types[v].dtype, [str(n) if isinstance(n, Dim) else n for n in graph.types[v].shape]]

    form = {
        "version": 1,
        **({"sizes": [[s.name, s.low, s.high, s.step, s.rest] for s in open_sizes]} if (open_sizes := graph.sizes) else {}),
        "inputs": [[v, *type_of(v)] for v in graph.inputs],
        "outputs": [[v, names[v]] for v in graph.outputs],
        "nodes": [
            [n.op, [names[v] for v in n.inputs], [[names[v], *type_of(v)] for v in n.outputs], [[k, repr(a)] for k, a in n.attributes]]
            for n in graph.nodes
        ],
        "constants": [[k, *type_of(v), hashlib.sha256(canonical_bytes(graph.constants[v])).hexdigest()] for k, v in constants.items()],
    }
    return hashlib.sha256(json.dumps(form, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def validate(graph: CoreGraph) -> None:
    """Raise where the graph breaks its own rules: order, single definition, types, arity."""

    def broken(what: str, node: Node | None = None) -> Error:
        return Error("model", f"invalid core graph: {what}", f"{node.op} ({node.origin})" if node else graph.name)

    defined = set(graph.inputs) | set(graph.constants)
    for name, array in graph.constants.items():
        t = graph.types[name]
        if array.shape != t.shape or array.dtype != DTYPES[t.dtype]:
            raise broken(f"constant {name} is {array.dtype}{array.shape}, not {t}")
    for node in graph.nodes:
        rule = OPERATORS.get(node.op)
        if rule is None:
            raise broken(f"{node.op} is no core operator", node)
        if not rule.min_inputs <= len(node.inputs) <= rule.max_inputs:
            raise broken(f"{len(node.inputs)} inputs", node)
        for v in node.inputs:
            if v not in defined:
                raise broken(f"{v} is used before it is defined", node)
        for v in node.outputs:
            if v in defined:
                raise broken(f"{v} is defined twice", node)
            if most(graph.types[v].size) > MAX_ELEMENTS:
                raise broken(f"{v} has {graph.types[v].size} elements, more than 2^31 − 1", node)
            defined.add(v)
    for v in graph.outputs:
        if v not in defined:
            raise broken(f"output {v} is never computed")
    for body in graph.bodies:
        validate(body.graph)
