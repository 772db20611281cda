"""ONNX's own operators as parts of others."""

from __future__ import annotations

from typing import Any

from mlcc.graph.builder import Value
from mlcc.graph.rules import RULES
from mlcc.graph.source import Source


def run(s: Source, op: str, *inputs: Value | None, **attributes: Any) -> Value:
    """A standard operator's rule, as of opset 13 or the model's where that is newer."""
    result = RULES[op](Source(op, inputs, attributes, max(s.opset, 13), 1, s.b))
    return result[0] if isinstance(result, tuple) else result
