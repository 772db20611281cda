"""Builds a core graph node by node: infers types, folds constants, shares equal nodes.

The whole shape calculus of ONNX (Shape → Gather → Concat → Reshape) folds away here: over numbers, or over sizes that a run decides
(`symbolic.py`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Any

import numpy as np

from mlcc.arithmetic.scalar import HALF
from mlcc.core.dim import Dim, whole
from mlcc.core.graph import DTYPES, MAX_ELEMENTS, CoreGraph, Node, Rewrite, TensorType
from mlcc.core.narrow import TEXT, coded, element_of
from mlcc.core.operators import family
from mlcc.core.terms import most
from mlcc.core.types import infer
from mlcc.error import Error, Undecided
from mlcc.graph import symbolic
from mlcc.graph.integers import Quantised, moved
from mlcc.limits import Limits, work
from mlcc.reference.execute import evaluate

LIMITS = Limits()
FOLD_LIMIT = 1 << 24  # elements: larger results of constants stay in the program as views
NO_ARITHMETIC = ("Cast", "BitCast", "Where", "Identity", "Neg", "Abs", "Equal", "IsNaN")


@dataclass(frozen=True)
class Value:
    """A value under construction; element: the narrow type that its codes stand for (`mlcc.core.narrow`), or ''; counts: (axis, int64
    scalar that says how much of the axis is meant), where only a run knows (`mlcc.graph.counted`)."""

    name: str
    type: TensorType
    element: str = ""
    counts: tuple[tuple[int, str], ...] = ()

    @property
    def shape(self) -> tuple[int, ...]:
        return self.type.shape

    @property
    def dtype(self) -> str:
        return self.type.dtype

    @property
    def rank(self) -> int:
        return len(self.type.shape)


def dtype_name(dtype: np.dtype) -> str:
    for name, known in DTYPES.items():
        if known == dtype:
            return name
    raise Error("unsupported", f"tensors of {dtype}")


class Builder:
    def __init__(self, public: Iterable[str] = (), limits: Limits = LIMITS) -> None:
        self.limits = limits
        self.work = 0
        self.public = frozenset(public)  # names of the model's inputs and outputs, which no inner value may take
        self.nodes: list[Node] = []
        self.types: dict[str, TensorType] = {}
        self.constants: dict[str, np.ndarray] = {}
        self.symbolic: dict[str, np.ndarray] = {}  # integers that are known but for sizes that a run decides
        self.rewrites: list[Rewrite] = []
        self.inputs: list[str] = []
        self.origin = ""
        self._made = 0
        self.prefix = ""  # of names
        self.bodies = 0
        self.turns = 0  # operators in all turns of loops
        self.seed: Value | None = None  # the input that was added for random operators
        self.vocabulary: dict[str, int] = {}  # every text that the model knows → its code
        self.letters: Sequence[Value] = []  # of text that only a run knows: code points [rows, characters] (`text.py`)
        self.quantised: dict[str, Quantised] = {}  # float values that DequantizeLinear made, or that were moved since
        self._producers: dict[str, Node] = {}
        self._known: dict[Any, tuple[Value, ...]] = {}
        self._by_content: dict[Any, Value] = {}

    def input(self, name: str, type: TensorType, element: str = "") -> Value:
        self.types[name] = type
        self.inputs.append(name)
        return Value(name, type, element)

    def constant(self, array: Any, dtype: str | None = None) -> Value:
        """A constant value; equal contents are one constant. Of a narrow type: its codes."""
        if isinstance(array, Dim) or (isinstance(array, np.ndarray) and symbolic.open_(array)):
            return self.sizes(array, dtype or "int64")
        a = np.asarray(array) if dtype is None else np.asarray(array, DTYPES[dtype])
        if a.dtype.kind in "OUS":
            return self.reshape(self.text(a.ravel().tolist()), a.shape)
        if element := element_of(a):
            return replace(self.constant(coded(a, element)), element=element)
        if a.size > MAX_ELEMENTS:
            raise Error("unsupported", f"a constant of {a.size} elements", self.origin, "tensors have at most 2^31 − 1 elements")
        key = (a.dtype, a.shape, a.tobytes() if a.size <= 64 else hashlib.sha256(np.ascontiguousarray(a).view(np.uint8).data).digest())
        if key not in self._by_content:
            value = Value(self.name("c"), TensorType(dtype_name(a.dtype), a.shape))
            self._define(value)
            self.constants[value.name] = a
            self._by_content[key] = value
        return self._by_content[key]

    def sizes(self, numbers: Any, dtype: str = "int64") -> Value:
        """Integers, some of which are sizes that a run decides: a constant where none is."""
        a = symbolic.array_of(numbers)
        if not symbolic.open_(a):
            return self.constant(np.array(a.tolist(), DTYPES[dtype]).reshape(a.shape))
        key = ("sizes", dtype, a.shape, tuple(a.ravel().tolist()))
        if key not in self._by_content:
            value = Value(self.name("s"), TensorType(dtype, a.shape))
            self._define(value)
            self.symbolic[value.name] = a
            self._by_content[key] = value
        return self._by_content[key]

    def text(self, words: Iterable[str | bytes]) -> Value:
        """Known text [words] as its codes (`mlcc.core.narrow.TEXT`)."""
        plain = [w.decode(errors="replace") if isinstance(w, bytes) else str(w) for w in words]
        codes = [self.vocabulary.setdefault(w, len(self.vocabulary)) for w in plain]
        return replace(self.constant(np.array(codes, np.int32)), element=TEXT)

    def room(self, elements: int, width: int = 32, what: str = "a constant") -> None:
        """Raise where a value of so many elements of `width` bytes is larger than may be, before anything is allocated for it. A constant
        that a rule makes is kept in several forms, of eight bytes at most."""
        if elements * width > self.limits.value:
            raise self.limits.over("value", f"{what} takes {elements * width:,} bytes", self.origin)

    def name(self, prefix: str) -> str:
        self._made += 1
        name = f"{self.prefix}{prefix}{self._made}"
        return name if name not in self.public else self.name(prefix)

    def _define(self, value: Value) -> None:
        self.types[value.name] = value.type

    def array(self, value: Value | None) -> np.ndarray | None:
        """The value's contents where they are known."""
        return self.constants.get(value.name) if value is not None else None

    def known(self, value: Value | None, what: str) -> np.ndarray:
        """The contents of a value that must not depend on the inputs; objects where some are sizes that a run decides."""
        a = self.array(value)
        if a is None and value is not None:
            a = self.symbolic.get(value.name)
        if a is None:
            what = f"{what} depends on the model's inputs; only values known at build time are supported"
            raise Undecided(what, self.origin, self.depends(value))
        return a

    def depends(self, value: Value | None) -> tuple[str, ...]:
        """The model's inputs that a value is made of."""
        todo, seen = [value.name] if value is not None else [], set()
        while todo:
            name = todo.pop()
            if name not in seen:
                seen.add(name)
                todo += self._producers[name].inputs if name in self._producers else ()
        return tuple(v for v in self.inputs if v in seen)

    def producer(self, value: Value) -> Node | None:
        """The node that makes a value; None for inputs and constants."""
        return self._producers.get(value.name)

    def value(self, name: str) -> Value:
        return Value(name, self.types[name])

    def record(self, rule: str) -> None:
        self.rewrites.append(Rewrite(rule, self.origin))

    def __call__(self, op: str, *inputs: Value, **attributes: Any) -> Value:
        return self.many(op, inputs, **attributes)[0]

    def many(self, op: str, inputs: Iterable[Value], **attributes: Any) -> tuple[Value, ...]:
        """Emit a core node and return its outputs (folded where all inputs are known and the result is small)."""
        operands = tuple(inputs)
        if any(v.name in self.symbolic for v in operands):
            found = self._of_sizes(op, operands, attributes)
            if found is not None:
                return (found,)
            operands = tuple(self.at_run_time(v) for v in operands)
        if any(v.counts for v in operands):
            raise Error("unsupported", f"{op} of a value whose size is known only at run time", self.origin)
        if any(v.element for v in operands):
            return self._as_codes(op, operands, attributes)
        if op not in NO_ARITHMETIC and family(op) != "move" and any(v.dtype in HALF for v in operands):
            return self._in_float32(op, operands, attributes)
        node = Node(op, tuple(v.name for v in operands), (), tuple(sorted(attributes.items())), self.origin)
        if node.key in self._known:
            return self._known[node.key]
        types = infer(node, [v.type for v in operands])
        if _changes_nothing(node, operands, types):
            return (operands[0],)
        self.count(node, types)
        results = self.folded(node, operands, types) or self.emitted(node, types)
        self._known[node.key] = results
        if operands and operands[0].name in self.quantised:
            standing = moved(self, node, self.quantised[operands[0].name])
            if standing is not None:
                self.quantised[results[0].name] = standing
        return results

    def _of_sizes(self, op: str, operands: tuple[Value, ...], attributes: dict[str, Any]) -> Value | None:
        """A node's result where all of its operands are known, some as sizes that a run decides."""
        arrays = [self.symbolic.get(v.name, self.constants.get(v.name)) for v in operands]
        known = [symbolic.array_of(a) if a.dtype.kind in "iu" else a for a in arrays if a is not None and a.dtype.kind in "iuOb"]
        if len(known) < len(operands):
            return None
        try:
            result = symbolic.evaluate(op, known, attributes)
        except Error:  # what differs from size to size is computed by the run
            return None
        if result is None:
            return None
        return self.constant(result) if result.dtype == bool else self.sizes(result, attributes.get("to", operands[-1].dtype))

    def at_run_time(self, value: Value) -> Value:
        """A value that the program computes, where it is made of sizes."""
        return symbolic.at_run_time(self, self.symbolic[value.name], value.dtype) if value.name in self.symbolic else value

    def _as_codes(self, op: str, operands: tuple[Value, ...], attributes: dict[str, Any]) -> tuple[Value, ...]:
        """What only moves or selects narrow values, on their codes. Raises Error(unsupported) for any other operator."""
        moving = family(op) == "move" or op in ("Identity", "Where")
        carried = operands[1:] if op == "Where" else operands if op == "Concat" else (operands[0], *operands[2:3])
        elements = {v.element for v in carried}
        if not moving or len(elements) != 1 or attributes.get("value") or attributes.get("reduction", "none") != "none":
            raise Error("unsupported", f"{op} of {', '.join(sorted(e or 'another type' for e in elements))}", self.origin, "cast it first")
        results = self.many(op, [replace(v, element="") for v in operands], **attributes)
        return tuple(replace(r, element=carried[0].element) for r in results)

    def count(self, node: Node, types: Sequence[TensorType]) -> None:
        """Raise where a node's results, or all nodes so far, are more than may be."""
        for t in types:
            if most(t.size) > MAX_ELEMENTS:
                elements = f"{node.op} makes a tensor of {most(t.size)} elements"
                raise Error("unsupported", elements, self.origin, "tensors have at most 2^31 − 1 elements")
            self.room(t.nbytes, 1, node.op)
        if node.get("kernel"):
            self.room(sum(most(t.size) for t in types) * most(prod(node["kernel"])), 4, f"{node.op}'s windows")
        self.work += work(node, self.types, types)
        if self.work > self.limits.work:
            raise self.limits.over("work", f"about {self.work:,} operations up to here", self.origin)
        if len(self.nodes) >= self.limits.operators:
            many = f"more than {len(self.nodes):,} operators, with functions and loops written out"
            raise self.limits.over("operators", many, self.origin)

    def folded(self, node: Node, operands: Sequence[Value], types: Sequence[TensorType]) -> tuple[Value, ...] | None:
        """A node's results as constants, where they are known and not too large."""
        arrays = [a for a in map(self.array, operands) if a is not None]
        if not operands or len(arrays) < len(operands) or not all(t.static for t in types) or sum(t.size for t in types) > FOLD_LIMIT:
            return None
        return tuple(self.constant(np.asarray(r, order="C")) for r in evaluate(node, arrays))

    def emitted(self, node: Node, types: Sequence[TensorType]) -> tuple[Value, ...]:
        results = tuple(Value(f"{self.name('v')}_{i}" if i else self.name("v"), t) for i, t in enumerate(types))
        for r in results:
            self._define(r)
        made = Node(node.op, node.inputs, tuple(r.name for r in results), node.attributes, node.origin)
        self.nodes.append(made)
        self._producers.update({r.name: made for r in results})
        return results

    def _in_float32(self, op: str, operands: tuple[Value, ...], attributes: dict[str, Any]) -> tuple[Value, ...]:
        half = next(v.dtype for v in operands if v.dtype in HALF)
        wide = tuple(self("Cast", v, to="float32") if v.dtype in HALF else v for v in operands)
        return tuple(self("Cast", r, to=half) if r.dtype == "float32" else r for r in self.many(op, wide, **attributes))

    def like(self, value: float | int | bool, other: Value) -> Value:
        """A scalar constant of another value's dtype; a size that a run decides is cast to it."""
        if isinstance(value, Dim):
            return self.cast(self.reshape(symbolic.number(self, value), ()), other.dtype)
        return self.constant(np.asarray(value).astype(DTYPES[other.dtype]))

    def reshape(self, x: Value, shape: Iterable[int]) -> Value:
        return self("Reshape", x, shape=tuple(whole(s) for s in shape))

    def transpose(self, x: Value, perm: Iterable[int]) -> Value:
        return self("Transpose", x, perm=tuple(int(p) for p in perm))

    def expand(self, x: Value, shape: Iterable[int]) -> Value:
        return self("Expand", x, shape=tuple(whole(s) for s in shape))

    def slice(self, x: Value, axis: int, start: int, count: int, step: int = 1) -> Value:
        starts, steps, shape = [0] * x.rank, [1] * x.rank, list(x.shape)
        starts[axis], steps[axis], shape[axis] = start, step, count
        return self("Slice", x, starts=tuple(starts), steps=tuple(steps), shape=tuple(shape))

    def cast(self, x: Value, to: str) -> Value:
        return self("Cast", x, to=to)

    def finish(self, name: str, outputs: list[tuple[str, Value]]) -> CoreGraph:
        """The graph, with outputs under their public names (an Identity where a value has another one).

        An input may itself be an output; an output that is listed twice gets a second name the second time.
        """
        self.origin = ""
        given: list[str] = []
        for public, value in outputs:
            if public in given:
                public = next(n for i in range(2, len(outputs) + 2) if (n := f"{public}_{i}") not in self.public and n not in given)
            given.append(public)
            if public in self.inputs and public == value.name:
                continue
            value = self.at_run_time(value)
            self.types[public] = value.type
            self.nodes.append(Node("Identity", (value.name,), (public,), (), public))
        graph = CoreGraph(name, tuple(self.inputs), tuple(given), tuple(self.nodes), self.types, self.constants, tuple(self.rewrites))
        return graph.with_nodes(graph.nodes)


def _changes_nothing(node: Node, operands: Sequence[Value], types: Sequence[TensorType]) -> bool:
    """Whether a node's result is its first operand."""
    if len(types) != 1 or not operands or types[0] != operands[0].type:
        return False
    unmoved = node.op == "Transpose" and node["perm"] == tuple(range(len(types[0].shape)))
    return node.op in ("Identity", "Reshape", "Expand", "Cast") or unmoved or (node.op == "Concat" and len(operands) == 1)
