"""ONNX operators written in core operators, one file a family. Each rule maps a Source to its output value or values."""

from __future__ import annotations

from collections.abc import Callable

from mlcc.graph.builder import Value
from mlcc.graph.rules import conv, elementwise, matmul, move, pool, quant, recurrent, reduce, resize, sample, select, signal, text, words
from mlcc.graph.source import Source

Rule = Callable[[Source], Value | tuple[Value, ...]]

RULES: dict[str, Rule] = {
    **elementwise.TABLE,
    **move.TABLE,
    **reduce.TABLE,
    **matmul.TABLE,
    **conv.TABLE,
    **pool.TABLE,
    **quant.TABLE,
    **recurrent.TABLE,
    **resize.TABLE,
    **sample.TABLE,
    **select.TABLE,
    **signal.TABLE,
    **text.TABLE,
    **words.TABLE,
}
