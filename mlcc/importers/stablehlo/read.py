"""A StableHLO module as plain data: its operations with calls written out, so that whoever looks for a pattern sees all of it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import ml_dtypes
import numpy as np

from mlcc.error import Error

TYPES: dict[str, Any] = {
    "f64": np.float64, "f32": np.float32, "f16": np.float16, "bf16": ml_dtypes.bfloat16, "i1": np.bool_,
    "i8": np.int8, "i16": np.int16, "i32": np.int32, "i64": np.int64,
    "ui8": np.uint8, "ui16": np.uint16, "ui32": np.uint32, "ui64": np.uint64,
    "f8E4M3FN": ml_dtypes.float8_e4m3fn, "f8E5M2": ml_dtypes.float8_e5m2,
}  # fmt: skip
UNNAMED = ("unknown", "")


@dataclass(eq=False)
class Value:
    """shape: None where a run decides a size; maker: what computes it, None of arguments; uses: how many operands it is."""

    shape: tuple[int | None, ...]
    dtype: np.dtype[Any]
    maker: Op | None = None
    uses: int = 0

    @property
    def sizes(self) -> tuple[int, ...]:
        """The shape, where it is known. Raises Error(unsupported)."""
        if None in self.shape:
            raise Error("unsupported", f"{self.maker.name if self.maker else 'an operation'} over a size that a run decides")
        return tuple(n for n in self.shape if n is not None)


@dataclass(eq=False)
class Op:
    """name: without its dialect's; attributes: MLIR's own."""

    name: str
    operands: tuple[Value, ...]
    attributes: Mapping[str, Any]
    results: list[Value]
    blocks: tuple[Block, ...] = ()

    def integers(self, name: str, otherwise: Sequence[int] = ()) -> list[int]:
        """A list attribute; a matrix row after row."""
        if name not in self.attributes:
            return list(otherwise)
        return [int(n) for n in np.array(self.attributes[name]).ravel()]

    def integer(self, name: str, otherwise: int = 0) -> int:
        return int(self.attributes[name].value) if name in self.attributes else otherwise


@dataclass(eq=False)
class Block:
    arguments: list[Value] = field(default_factory=list)
    ops: list[Op] = field(default_factory=list)
    returned: tuple[Value, ...] = ()


@dataclass(frozen=True)
class Function:
    """names, results: what the arguments and results are called; '' where nothing says it."""

    block: Block
    names: tuple[str, ...]
    results: tuple[str, ...]


def main(module: Any) -> Function:
    """The public function of a parsed module. Raises Error."""
    functions = {str(f.attributes["sym_name"]).strip('"'): f for f in module.body.operations if f.operation.name == "func.func"}
    if "main" not in functions:
        raise Error("model", f"no function main among {', '.join(functions) or 'none'}")
    top = functions["main"]
    reader = _Reader(functions)
    arguments = [_value(a.type) for a in top.regions[0].blocks[0].arguments]
    names = tuple(_name(str(a.location)) for a in top.regions[0].blocks[0].arguments)
    block = reader.block(top.regions[0].blocks[0], dict(zip(top.regions[0].blocks[0].arguments, arguments)), arguments)
    said = list(top.attributes["res_attrs"]) if "res_attrs" in top.attributes else []
    results = tuple(str(r["jax.result_info"]).strip('"') if "jax.result_info" in r else "" for r in said)
    return Function(block, names, results or ("",) * len(block.returned))


def _name(location: str) -> str:
    """What a location calls an argument."""
    found = re.match(r'loc\("([^"]*)"', location)
    return found[1] if found and found[1] not in UNNAMED else ""


def _value(kind: Any, maker: Op | None = None) -> Value:
    from jaxlib.mlir import ir

    if not isinstance(kind, ir.RankedTensorType):
        raise Error("unsupported", f"values of type {kind}")
    element = str(kind.element_type)
    if element not in TYPES:
        raise Error("unsupported", f"values of type {element}")
    shape = tuple(None if kind.is_dynamic_dim(i) else kind.get_dim_size(i) for i in range(kind.rank))
    return Value(shape, np.dtype(TYPES[element]), maker)


class _Reader:
    """Of one module: its functions by name; `depth` of calls, since a hostile module may call in a circle."""

    def __init__(self, functions: Mapping[str, Any]) -> None:
        self.functions, self.depth = functions, 0

    def block(self, source: Any, known: dict[Any, Value], arguments: list[Value]) -> Block:
        found = Block(arguments)
        for op in source.operations:
            o = op.operation
            if o.name in ("func.return", "stablehlo.return"):
                found.returned = tuple(known[v] for v in o.operands)
                for v in found.returned:
                    v.uses += 1
            elif o.name == "func.call":
                known.update(zip(o.results, self.call(str(o.attributes["callee"]), [known[v] for v in o.operands], found)))
            else:
                known.update(zip(o.results, self.op(o, known, found)))
        return found

    def call(self, callee: str, operands: list[Value], into: Block) -> Sequence[Value]:
        """A function's operations, written where it is called."""
        self.depth += 1
        if self.depth > 200:
            raise Error("unsupported", f"functions that call each other too deeply: {callee}")
        body = self.functions[callee.lstrip("@").strip('"')].regions[0].blocks[0]
        inner = self.block(body, dict(zip(body.arguments, operands)), operands)
        for v in inner.returned:
            v.uses -= 1
        into.ops.extend(inner.ops)
        self.depth -= 1
        return inner.returned

    def op(self, o: Any, known: dict[Any, Value], into: Block) -> Sequence[Value]:
        name = o.name.removeprefix("stablehlo.")
        operands = tuple(known[v] for v in o.operands)
        if name == "composite" and str(o.attributes["name"]).strip('"') not in COMPOSITES:
            return self.call(str(o.attributes["decomposition"]), list(operands), into)
        blocks = []
        for region in o.regions:
            for b in region.blocks:
                arguments = [_value(a.type) for a in b.arguments]
                blocks.append(self.block(b, {**known, **dict(zip(b.arguments, arguments))}, arguments))
        results = [_value(r.type) for r in o.results]  # first: attributes of types that are not read cannot be
        made = Op(name, operands, {n: o.attributes[n] for n in o.attributes}, results, tuple(blocks))
        for v in results:
            v.maker = made
        for v in operands:
            v.uses += 1
        into.ops.append(made)
        return made.results


COMPOSITES = ("chlo.top_k", "chlo.erf")  # written as an operator; others by what they are made of


def array(op: Op) -> np.ndarray:
    """What a constant holds; a splat as one element of its rank."""
    attribute, out = op.attributes["value"], op.results[0]
    splat = getattr(attribute, "is_splat", False)
    try:
        found = np.array(attribute)
        return found.reshape(-1)[:1].reshape([1] * len(out.sizes)) if splat and out.shape else found.reshape(out.sizes)
    except Exception:  # NumPy's own types alone come as arrays
        return _parsed(str(attribute), out, splat)


def _parsed(text: str, out: Value, splat: bool) -> np.ndarray:
    """Elements of a type that NumPy has not, from the text of `dense<…>`."""
    body = text[text.index("<") + 1 : text.rindex("> :")]
    bits = np.dtype(f"u{out.dtype.itemsize}")
    if body.startswith('"0x'):
        flat = np.frombuffer(bytes.fromhex(body[3:-1]), bits).view(out.dtype)
    else:
        tokens = re.findall(r"[^\s,\[\]]+", body)
        flat = np.array(
            [np.array(int(t, 16), bits).view(out.dtype) if t.startswith("0x") else out.dtype.type(float(t)) for t in tokens], out.dtype
        )
    return flat[:1].reshape([1] * len(out.shape)) if splat else flat.reshape(out.sizes)


def constant(value: Value) -> np.ndarray | None:
    """What a value always is, one element where all are the same; None where that is not known."""
    op = value.maker
    if op is None:
        return None
    if op.name == "constant":
        return array(op)
    if op.name in ("broadcast_in_dim", "reshape", "convert"):
        found = constant(op.operands[0])
        return None if found is None or found.size != 1 else found.reshape(()).astype(value.dtype)
    return None


class Unknown(Exception):
    """A value that depends on more than is given."""


def evaluate(value: Value, known: Mapping[Value, Any]) -> Any:
    """What a scalar is, where `known` values are. Raises Unknown."""
    if value in known:
        return known[value]
    op = value.maker
    if op is None:
        raise Unknown
    if op.name == "constant":
        found = array(op)
        if found.size != 1:
            raise Unknown
        return found.reshape(())[()]
    x = [evaluate(v, known) for v in op.operands]
    if op.name == "compare":
        a, b = x
        if "TOTALORDER" in str(op.attributes.get("compare_type", "")):
            a, b = _ordered(a), _ordered(b)
        return COMPARES[direction(op)](a, b)
    if op.name not in SCALARS:
        raise Unknown
    with np.errstate(all="ignore"):
        return np.asarray(SCALARS[op.name](*x)).astype(value.dtype)[()]


def _ordered(x: Any) -> int:
    """A float as an integer of the same total order (IEEE 754, section 5.10)."""
    a = np.asarray(x)
    bits = int(a.view(f"i{a.dtype.itemsize}"))
    return bits if bits >= 0 else -1 - (bits & ((1 << (8 * a.dtype.itemsize - 1)) - 1))


def direction(op: Op) -> str:
    """EQ, NE, LT, LE, GT or GE."""
    found = re.search(r"\b(EQ|NE|LT|LE|GT|GE)\b", str(op.attributes["comparison_direction"]))
    assert found
    return found[1]


COMPARES: Mapping[str, Any] = {
    "EQ": lambda a, b: a == b, "NE": lambda a, b: a != b, "LT": lambda a, b: a < b, "LE": lambda a, b: a <= b,
    "GT": lambda a, b: a > b, "GE": lambda a, b: a >= b,
}  # fmt: skip
SCALARS: Mapping[str, Any] = {
    "add": np.add, "subtract": np.subtract, "multiply": np.multiply, "maximum": np.maximum, "minimum": np.minimum, "negate": np.negative,
    "and": np.bitwise_and, "or": np.bitwise_or, "xor": np.bitwise_xor, "not": np.invert, "select": lambda p, a, b: a if p else b,
    "convert": lambda x: x, "reshape": lambda x: x, "broadcast_in_dim": lambda x: x,
    "clamp": lambda lo, x, hi: np.minimum(np.maximum(x, lo), hi),
}  # fmt: skip
