"""What no stage does, as a straight-line program over 32-bit words: softmax of a few numbers, a last scale in float.

Each element of each value is a word; operators are written out for every element with the contract's own operations, so the program is long
and its hardware small: one multiplier-adder, one divider, and a memory.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mlcc.arithmetic.elementary import SEQUENCES
from mlcc.core.graph import DTYPES, CoreGraph, Node
from mlcc.core.operators import family
from mlcc.error import Error
from mlcc.reference.execute import evaluate
from mlcc_backends.hls.network import Scalar

MOST = 4096  # instructions
ONE = 0x3F800000
# operands: op → how many words it reads
OPERATIONS = {
    "in": 0, "const": 0, "fma": 3, "div": 2, "to_float": 1, "to_int": 1, "round": 1, "lt": 2, "le": 2, "eq": 2,
    "iadd": 2, "isub": 2, "imul": 2, "and": 2, "or": 2, "xor": 2, "shl": 2, "shr": 2, "sar": 2, "ilt": 2, "ile": 2, "ieq": 2, "select": 3,
}  # fmt: skip
INTEGERS = ("int8", "uint8", "int16", "uint16", "int32", "bool")


def word(value: float | int, dtype: str) -> int:
    """A constant's bits."""
    if dtype == "float32":
        return int(np.float32(value).view(np.uint32))
    return int(value) & 0xFFFFFFFF


class _Writer:
    def __init__(self, where: str) -> None:
        self.code: list[tuple[str, tuple[int, ...], int]] = []
        self.known: dict[tuple[str, tuple[int, ...], int], int] = {}
        self.where = where

    def __call__(self, op: str, *operands: int, literal: int = 0) -> int:
        key = (op, operands, literal)
        if key not in self.known:
            if len(self.code) >= MOST:
                raise Error("unsupported", f"no dataflow hardware for more than {MOST} operations on single numbers", self.where)
            self.known[key] = len(self.code)
            self.code.append(key)
        return self.known[key]

    def const(self, value: float | int, dtype: str) -> int:
        return self("const", literal=word(value, dtype))

    def sequence(self, name: str, operands: Sequence[int]) -> int:
        """An elementary function's instructions."""
        made: list[int] = []
        for i in SEQUENCES[name].instructions:
            a = [made[k] for k in i.operands]
            kinds = [SEQUENCES[name].instructions[k].dtype for k in i.operands]
            if i.dtype == "int64":
                raise Error("unsupported", f"no dataflow hardware for {name}: it needs 64-bit integers", self.where)
            match i.op:
                case "arg":
                    made.append(operands[int(i.value or 0)])
                case "const":
                    made.append(self.const(i.value if i.value is not None else 0, i.dtype))
                case "reinterpret":
                    made.append(a[0])
                case "convert":
                    made.append(self("to_float", a[0]))
                case "not":
                    made.append(self("xor", a[0], self.const(1, "int32")))
                case _:
                    made.append(self.operate(i.op, a, kinds[0] == "float32", kinds))
        return made[-1]

    def operate(self, op: str, a: list[int], floats: bool, kinds: Sequence[str] = ()) -> int:
        match op:
            case "add":
                return self("fma", a[0], self("const", literal=ONE), a[1]) if floats else self("iadd", *a)
            case "sub":
                return self("fma", a[1], self("const", literal=0xBF800000), a[0]) if floats else self("isub", *a)
            case "mul":
                return self("fma", a[0], a[1], self("const", literal=0x80000000)) if floats else self("imul", *a)
            case "neg":
                return self("xor", a[0], self("const", literal=0x80000000)) if floats else self("isub", self("const"), a[0])
            case "abs":
                return self("and", a[0], self("const", literal=0x7FFFFFFF))
            case "lt" | "le" | "eq":
                return self(op if floats else f"i{op}", *a)
            case "fma" | "div" | "and" | "or" | "xor" | "shl" | "shr" | "sar" | "select":
                return self(op, *a)
        raise Error("unsupported", f"no dataflow hardware for {op} on single numbers", self.where)


def compile_scalar(graph: CoreGraph, nodes: Sequence[Node], orders: Mapping[str, np.ndarray], value: str) -> Scalar:
    """The program that makes a value from sources whose elements come in these orders. Raises Error(unsupported) naming what it has no form
    for."""
    w = _Writer(nodes[-1].origin or value)
    ids: dict[str, np.ndarray] = {}
    at = 0
    for source, order in orders.items():
        flat = np.empty(order.size, np.int64)
        for p, element in enumerate(order):
            flat[element] = w("in", literal=at + p)
        at += order.size
        ids[source] = flat.reshape(graph.types[source].shape)

    def words(v: str) -> np.ndarray:
        if v in ids:
            return ids[v]
        array, dtype = graph.constants[v], graph.types[v].dtype
        if dtype not in (*INTEGERS, "float32"):
            raise Error("unsupported", f"no dataflow hardware for {dtype} numbers", w.where)
        return np.array([w.const(x, dtype) for x in array.reshape(-1)], np.int64).reshape(array.shape)

    for n in nodes:
        dtype = graph.types[n.inputs[0]].dtype
        made = graph.types[n.outputs[0]]
        if made.dtype not in (*INTEGERS, "float32"):
            raise Error("unsupported", f"no dataflow hardware for {made.dtype} numbers", n.origin or value)
        if family(n.op) == "move" and n.op != "Pad" and all(v in graph.constants for v in n.inputs[1:] if n.op != "Concat"):
            rest = [graph.constants[v] if n.op != "Concat" else words(v) for v in n.inputs[1:]]
            ids[n.outputs[0]] = evaluate(n, [words(n.inputs[0]), *rest])[0]
            continue
        if n.op in ("ReduceSum", "ReduceMax", "ReduceMin"):
            ids[n.outputs[0]] = _reduce(w, n, words(n.inputs[0]), dtype, made.shape)
            continue
        if family(n.op) != "elementwise":
            raise Error("unsupported", f"no dataflow hardware for {n.op} of {dtype}", n.origin or value)
        operands = np.broadcast_arrays(*(words(v) for v in n.inputs))
        made_ids = [_element(w, n, [int(o) for o in each], dtype) for each in zip(*(o.reshape(-1) for o in operands))]
        ids[n.outputs[0]] = np.array(made_ids, np.int64).reshape(made.shape)
    return Scalar(tuple(w.code), tuple(int(i) for i in ids[value].reshape(-1)))


def _reduce(w: _Writer, n: Node, ids: np.ndarray, dtype: str, shape: tuple[int, ...]) -> np.ndarray:
    """Sums by 16 lanes and a tree, as the contract has them; extremes by the order of floats' bits."""
    from mlcc.reference.reduce import to_rows

    rows = to_rows(ids, n["axes"]).reshape(-1, int(np.prod([ids.shape[i] for i in n["axes"]])))
    found: list[int] = []
    for row in rows:
        if n.op == "ReduceSum" and dtype == "float32":
            lanes: list[int] = [w.const(0, "float32")] * 16
            for i, x in enumerate(row):
                lanes[i % 16] = w.operate("add", [lanes[i % 16], int(x)], True)
            while len(lanes) > 1:
                half = len(lanes) // 2
                lanes = [w.operate("add", [a, b], True) for a, b in zip(lanes[:half], lanes[half:])]
            found.append(lanes[0])
            continue
        total = int(row[0])
        for x in row[1:]:
            total = w("iadd", total, int(x)) if n.op == "ReduceSum" else _extreme(w, total, int(x), dtype, n.op == "ReduceMax")
        found.append(total)
    return np.array(found, np.int64).reshape(shape)


def _extreme(w: _Writer, a: int, b: int, dtype: str, largest: bool) -> int:
    keys = [_key(w, v) if dtype == "float32" else v for v in (a, b)]
    return w("select", w("ilt", *(keys if largest else keys[::-1])), b, a)


def _key(w: _Writer, x: int) -> int:
    """An integer in the order of the floats; NaN, which is positive here, is above all."""
    sign = w("sar", x, w.const(31, "int32"))
    return w("xor", x, w("and", sign, w("const", literal=0x7FFFFFFF)))


def _element(w: _Writer, n: Node, a: list[int], dtype: str) -> int:
    floats = dtype == "float32"
    attributes: dict[str, Any] = dict(n.attributes)
    if n.op in SEQUENCES and floats:
        return w.sequence(n.op, a)
    match n.op:
        case "Add" | "Sub" | "Mul" | "Neg" | "Abs" if floats or (dtype == "int32" and n.op != "Abs"):
            return w.operate(n.op.lower(), a, floats)
        case "Div" if floats:
            return w("div", *a)
        case "Round" if floats:
            return w("round", *a)
        case "Less" | "LessOrEqual" | "Equal":
            return w.operate({"Less": "lt", "LessOrEqual": "le", "Equal": "eq"}[n.op], a, floats)
        case "Where":
            return w("select", *a)
        case "Identity":
            return a[0]
        case "Relu":
            return w("select", w.operate("lt", [a[0], w("const")], floats), w("const"), a[0])
        case "Max" | "Min" if dtype in INTEGERS:
            return _extreme(w, a[0], a[1], dtype, n.op == "Max")
        case "And" | "Or" | "Xor" if dtype == "bool":
            return w(n.op.lower(), *a)
        case "Not":
            return w("xor", a[0], w.const(1, "int32"))
        case "Cast":
            return _cast(w, a[0], dtype, attributes["to"], n)
        case "Requantize":
            scaled = w("round", w.operate("mul", [w("to_float", a[0]), a[1]], True))
            low, high = attributes["low"] - attributes["zero"], attributes["high"] - attributes["zero"]
            inside = _extreme(
                w, _extreme(w, w("to_int", scaled), w.const(low, "int32"), "int32", True), w.const(high, "int32"), "int32", False
            )
            return w("iadd", inside, w.const(attributes["zero"], "int32"))
    raise Error("unsupported", f"no dataflow hardware for {n.op} of {dtype} numbers", n.origin or n.outputs[0])


def _cast(w: _Writer, x: int, source: str, to: str, n: Node) -> int:
    if source == to or source in INTEGERS and to == "int32":
        return x
    if to == "float32" and source in INTEGERS:
        return w("to_float", x)
    if source == "float32" and to in ("int8", "uint8", "int32"):
        limits = np.iinfo(DTYPES[to])
        i = w("to_int", x)
        if to == "int32":
            return i
        low, high = (w.const(int(v), "int32") for v in (limits.min, limits.max))
        return _extreme(w, _extreme(w, i, low, "int32", True), high, "int32", False)
    if to == "bool" and source in INTEGERS:
        return w("xor", w("ieq", x, w("const")), w.const(1, "int32"))
    raise Error("unsupported", f"no dataflow hardware for a cast of {source} to {to}", n.origin or n.outputs[0])
