"""An ONNX node as the decomposition rules see it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from mlcc.core.dim import whole
from mlcc.error import Error
from mlcc.graph.builder import Builder, Value


@dataclass(frozen=True)
class Source:
    """Operator, operands (None where an optional one is missing), plain attributes, opset (ai.onnx.ml's own, else ONNX's), outputs up to
    the last that is used, outputs declared, what a rule asked for: the names of attributes and the places of operands."""

    op: str
    inputs: tuple[Value | None, ...]
    attributes: dict[str, Any]
    opset: int
    output_count: int
    b: Builder
    declared: int = 1
    asked: set[str | int] = field(default_factory=set, compare=False)

    def has(self, name: str) -> bool:
        self.asked.add(name)
        return name in self.attributes

    def attr(self, name: str, default: Any = None) -> Any:
        return self.attributes[name] if self.has(name) else default

    def some(self, *names: str) -> dict[str, Any]:
        """Those of these attributes that are given."""
        return {n: self.attributes[n] for n in names if self.has(n)}

    def optional(self, index: int) -> Value | None:
        self.asked.add(index)
        return self.inputs[index] if index < len(self.inputs) else None

    def __getitem__(self, index: int) -> Value:
        value = self.optional(index)
        if value is None:
            raise Error("model", f"input {index} is missing", f"{self.op} ({self.b.origin})")
        return value

    @property
    def where(self) -> str:
        return f"{self.op} ({self.b.origin})"

    def axis(self, default: int = 0, rank: int | None = None, name: str = "axis") -> int:
        return normal_axis(int(self.attr(name, default)), self[0].rank if rank is None else rank, self.where)

    def ints(self, name: str, index: int | None = None) -> list[int] | None:
        """A list of integers given as attribute (older opsets) or as input `index`; None where absent."""
        if self.has(name):
            value = self.attributes[name]
            return [int(v) for v in (value if isinstance(value, (list, tuple)) else [value])]
        operand = self.optional(index) if index is not None else None
        return None if operand is None else [whole(v) for v in np.ravel(self.b.known(operand, name))]

    def scalar(self, name: str, index: int | None = None, default: Any = None) -> Any:
        """A number given as attribute or as input `index`."""
        if self.has(name):
            return self.attributes[name]
        operand = self.optional(index) if index is not None else None
        if operand is None:
            return default
        array = np.ravel(self.b.known(operand, name))
        if array.size != 1:
            raise Error("model", f"{name} must be one number, not {array.size}", self.where)
        return array[0].item() if isinstance(array[0], np.generic) else array[0]

    def overlooked(self) -> list[str]:
        """What is given and switched on, but was not asked for: a rule that does not look at it cannot honour it."""
        names = [f"attribute {n}" for n, v in self.attributes.items() if n not in self.asked and (isinstance(v, (list, np.ndarray)) or v)]
        return names + [f"input {i}" for i, v in enumerate(self.inputs) if i not in self.asked and v is not None]

    def unsupported(self, what: str, hint: str = "") -> Error:
        return Error("unsupported", what, self.where, hint)

    def bad(self, what: str) -> Error:
        return Error("model", what, self.where)


def normal_axis(axis: int, rank: int, where: str) -> int:
    if not -max(rank, 1) <= axis < max(rank, 1):
        raise Error("model", f"axis {axis} of a tensor of rank {rank}", where)
    return axis % rank if rank else 0
