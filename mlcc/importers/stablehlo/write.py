"""ONNX nodes as they are written."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import count
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from mlcc.importers.stablehlo.read import Block, Op, Value

OPSET = 21
Sizes = Sequence["int | str"]  # of a shape: numbers, or names of int64 tensors of one element


def type_of(dtype: np.dtype[Any]) -> int:
    return int(helper.np_dtype_to_tensor_dtype(dtype))


class Writer:
    """The nodes of one ONNX graph; `names` of StableHLO's values are shared with the graphs within it."""

    def __init__(self, names: dict[Value, str] | None = None, numbers: Iterator[int] | None = None) -> None:
        self.names = {} if names is None else names
        self.numbers = count() if numbers is None else numbers
        self.nodes: list[onnx.NodeProto] = []

    def inner(self) -> Writer:
        """For a branch or a loop's body."""
        return Writer(self.names, self.numbers)

    def fresh(self) -> str:
        return f"v{next(self.numbers)}"

    def op(self, kind: str, *inputs: str, **attributes: Any) -> str:
        return self.several(kind, *inputs, outputs=1, **attributes)[0]

    def several(self, kind: str, *inputs: str, outputs: int, **attributes: Any) -> list[str]:
        found = [self.fresh() for _ in range(outputs)]
        given = {k: v for k, v in attributes.items() if v is not None}
        self.nodes.append(helper.make_node(kind, list(inputs), found, **given))
        return found

    def constant(self, value: Any, dtype: Any = None) -> str:
        array = np.ascontiguousarray(value, dtype)
        return self.op("Constant", value=numpy_helper.from_array(array.reshape(np.shape(value))))

    def integers(self, *values: int) -> str:
        return self.constant(np.array(values, np.int64))

    def cast(self, x: str, dtype: Any) -> str:
        return self.op("Cast", x, to=type_of(np.dtype(dtype)))

    # ---- shapes ----

    def sizes(self, value: Value) -> list[int | str]:
        """A value's shape, its open sizes as a run has them."""
        name = self.names[value]
        return [self.op("Shape", name, start=i, end=i + 1) if n is None else n for i, n in enumerate(value.shape)]

    def joined(self, sizes: Sizes) -> str:
        """Sizes as one tensor."""
        if all(isinstance(n, int) for n in sizes):
            return self.integers(*(int(n) for n in sizes))
        parts = [self.integers(n) if isinstance(n, int) else n for n in sizes]
        return parts[0] if len(parts) == 1 else self.op("Concat", *parts, axis=0)

    def product(self, sizes: Sizes) -> int | str:
        known = int(np.prod([n for n in sizes if isinstance(n, int)], dtype=np.int64))
        open_sizes = [n for n in sizes if isinstance(n, str)]
        if not open_sizes:
            return known
        found = open_sizes[0]
        for n in open_sizes[1:]:
            found = self.op("Mul", found, n)
        return found if known == 1 else self.op("Mul", found, self.integers(known))

    def reshape(self, x: str, sizes: Sizes) -> str:
        return self.op("Reshape", x, self.joined(sizes), allowzero=1)

    def transpose(self, x: str, order: Sequence[int]) -> str:
        return x if list(order) == list(range(len(order))) else self.op("Transpose", x, perm=list(order))

    def slice(self, x: str, axis: int, start: int, end: int, step: int = 1) -> str:
        return self.op("Slice", x, self.integers(start), self.integers(end), self.integers(axis), self.integers(step))

    def between(self, x: str, low: str, high: str) -> str:
        return self.op("Min", self.op("Max", x, low), high)

    # ---- graphs ----

    def block(self, block: Block, rules: Mapping[str, Any]) -> list[str]:
        """A block's operations; the names of what it returns."""
        for op in block.ops:
            self.write(op, rules)
        return [self.names[v] for v in block.returned]

    def write(self, op: Op, rules: Mapping[str, Any]) -> None:
        found = rules[op.name](self, op, *(self.names[v] for v in op.operands))
        self.names.update(zip(op.results, [found] if isinstance(found, str) else found))

    def graph(self, outputs: Sequence[str], inputs: Sequence[onnx.ValueInfoProto] = ()) -> onnx.GraphProto:
        """As a branch or a body. What it gives must be its own: a value of outside is handed on."""
        given = [self.op("Identity", o) for o in outputs]
        return helper.make_graph(self.nodes, self.fresh(), list(inputs), [onnx.ValueInfoProto(name=o) for o in given])
