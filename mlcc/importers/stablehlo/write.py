"""A StableHLO function's nodes as they are written."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import helper

from mlcc.importers.nodes import Nodes
from mlcc.importers.stablehlo.read import Block, Op, Value

OPSET = 26  # BitCast's
Sizes = Sequence["int | str"]  # of a shape: numbers, or names of int64 tensors of one element


class Writer(Nodes):
    """The nodes of one ONNX graph; `names` of StableHLO's values are shared with the graphs within it."""

    def __init__(self, names: dict[Value, str] | None = None, numbers: Iterator[int] | None = None) -> None:
        super().__init__(numbers)
        self.names = {} if names is None else names

    def inner(self) -> Writer:
        """For a branch or a loop's body."""
        return Writer(self.names, self.numbers)

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
