"""ONNX nodes as they are written."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import count
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper


def type_of(dtype: np.dtype[Any]) -> int:
    return int(helper.np_dtype_to_tensor_dtype(dtype))


class Nodes:
    """Of one ONNX graph; each operator gives the names of what it makes."""

    def __init__(self, numbers: Iterator[int] | None = None) -> None:
        self.numbers = count() if numbers is None else numbers
        self.nodes: list[onnx.NodeProto] = []

    def fresh(self) -> str:
        return f"v{next(self.numbers)}"

    def op(self, kind: str, *inputs: str, domain: str = "", **attributes: Any) -> str:
        return self.several(kind, *inputs, outputs=1, domain=domain, **attributes)[0]

    def several(self, kind: str, *inputs: str, outputs: int, domain: str = "", **attributes: Any) -> list[str]:
        found = [self.fresh() for _ in range(outputs)]
        given = {k: v for k, v in attributes.items() if v is not None}
        self.nodes.append(helper.make_node(kind, list(inputs), found, domain=domain, **given))
        return found

    def constant(self, value: Any, dtype: Any = None) -> str:
        array = np.ascontiguousarray(value, dtype)
        return self.op("Constant", value=numpy_helper.from_array(array.reshape(np.shape(value))))

    def integers(self, *values: int) -> str:
        return self.constant(np.array(values, np.int64))

    def cast(self, x: str, dtype: Any) -> str:
        return self.op("Cast", x, to=type_of(np.dtype(dtype)))

    def transpose(self, x: str, order: Sequence[int]) -> str:
        return x if list(order) == list(range(len(order))) else self.op("Transpose", x, perm=list(order))

    def slice(self, x: str, axis: int, start: int, end: int, step: int = 1) -> str:
        return self.op("Slice", x, self.integers(start), self.integers(end), self.integers(axis), self.integers(step))
