"""What an input's or output's axes mean, by the operators that take or make it: ONNX names the axes of theirs."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from math import prod

import numpy as np
import onnx_ir as ir

# Operators that hand each element on where it lies, or under another index: what is said of one side holds for the other.
SAME = frozenset(
    [
        "Identity",
        "Cast",
        "Clip",
        "Relu",
        "Add",
        "Sub",
        "Mul",
        "Div",
        "Neg",
        "Pad",
        "Dropout",
        "QuantizeLinear",
        "DequantizeLinear",
        "LeakyRelu",
        "PRelu",
        "Sigmoid",
        "Tanh",
        "HardSwish",
        "HardSigmoid",
        "BatchNormalization",
        "Softmax",
        "LogSoftmax",
        "Min",
        "Max",
        "Where",
        "QLinearAdd",
        "QLinearMul",
    ]
)
MOVING = frozenset(["Transpose", "Reshape", "Squeeze", "Unsqueeze", "Identity", "Flatten", "Slice", "Dropout"])  # no scale changes here
SPATIAL = frozenset(
    [
        "Conv",
        "ConvTranspose",
        "ConvInteger",
        "QLinearConv",
        "MaxPool",
        "AveragePool",
        "GlobalMaxPool",
        "GlobalAveragePool",
        "LpPool",
        "InstanceNormalization",
        "BatchNormalization",
        "GroupNormalization",
        "LRN",
        "DepthToSpace",
        "SpaceToDepth",
        "QLinearAveragePool",
        "QLinearGlobalAveragePool",
    ]
)
RECURRENT = ("LSTM", "GRU", "RNN")
# operator → (operand, its scale, its zero point) of each quantised operand; and (scale, zero point) of the result


def constant(v: ir.Value | None) -> np.ndarray | None:
    """A value that the file knows."""
    if v is None:
        return None
    tensor = v.const_value
    node = v.producer()
    if tensor is None and node is not None and node.op_type == "Constant" and "value" in node.attributes:
        tensor = node.attributes["value"].value
    return tensor.numpy() if tensor is not None else None


def reach(start: ir.Value, through: Callable[[ir.Node], bool]) -> Iterable[tuple[ir.Value, bool]]:
    """Values that hold the same numbers, and whether they may lie elsewhere."""
    todo, seen = [(start, False)], {start}
    while todo:
        value, moved = todo.pop()
        yield value, moved
        for use in value.uses():
            if use.idx == 0 and through(use.node):
                for out in use.node.outputs[:1]:
                    if out not in seen:
                        seen.add(out)
                        todo.append((out, moved or use.node.op_type != "Identity"))


def rank_of(v: ir.Value | None) -> int:
    return len(v.shape) if v is not None and v.shape is not None else -1


def _named(rank: int) -> str:
    """ONNX's axes of what convolutions and pools take."""
    return {3: "NCW", 4: "NCHW", 5: "NCDHW"}.get(rank, "")


def _permutation(node: ir.Node, rank: int) -> tuple[int, ...]:
    return tuple(node.attributes["perm"].as_ints()) if "perm" in node.attributes else tuple(reversed(range(rank)))


def dims_of(v: ir.Value | None) -> tuple[int, ...]:
    """A shape, 0 where a size is open."""
    return tuple(d if isinstance(d, int) else 0 for d in v.shape) if v is not None and v.shape is not None else ()


def _reshaped(node: ir.Node) -> tuple[int, ...] | None:
    """Result's axis → operand's, where a Reshape moves axes of one element alone, as exporters write a transposition of such."""
    before, after = dims_of(node.inputs[0]), dims_of(node.outputs[0])
    asked = constant(node.inputs[1]) if len(node.inputs) > 1 else None
    if not after and asked is not None:
        sizes = [before[i] if n == 0 and i < len(before) else int(n) for i, n in enumerate(asked.reshape(-1))]
        rest = abs(prod(sizes))
        after = tuple(n if n >= 0 else prod(before) // rest if rest else 0 for n in sizes)
    if len(before) != len(after) or sorted(before) != sorted(after) or before.count(0) > 1:
        return None
    others = [(i, n) for i, n in enumerate(before) if n != 1]
    if [n for _, n in others] != [n for n in after if n != 1]:
        return None
    ones = [i for i, n in enumerate(before) if n == 1]
    kept, large = iter(ones), iter(i for i, _ in others)
    return tuple(next(kept) if n == 1 else next(large) for n in after)


def _order(node: ir.Node, rank: int) -> tuple[int, ...] | None:
    """Result's axis → operand's, of a node that moves whole axes."""
    order = _permutation(node, rank) if node.op_type == "Transpose" else _reshaped(node) if node.op_type == "Reshape" else None
    return order if order is not None and sorted(order) == list(range(rank)) else None


def layout_from(start: ir.Value) -> str:
    """An input's axes, from the operators that its numbers reach with each axis still in sight."""
    rank = rank_of(start)
    todo: list[tuple[ir.Value, tuple[int, ...]]] = [(start, tuple(range(rank)))]
    seen, found = {start}, set()
    while todo and rank > 2:
        value, axes = todo.pop()
        for use in value.uses():
            node, letters = use.node, ""
            if node.op_type in SPATIAL and use.idx == 0:
                letters = _named(rank)
            elif node.op_type in RECURRENT and use.idx == 0 and rank == 3:
                first = "layout" in node.attributes and node.attributes["layout"].as_int() == 1
                letters = "NTF" if first else "TNF"
            if letters:
                found.add("".join(letters[axes.index(a)] for a in range(rank)))
                continue
            out = node.outputs[0]
            order = _order(node, rank)
            same = node.op_type in SAME and rank_of(out) in (rank, -1) and all(rank_of(i) <= rank for i in node.inputs)
            if (order or same) and out not in seen:
                seen.add(out)
                todo.append((out, tuple(axes[p] for p in order) if order else axes))
    return found.pop() if len(found) == 1 else ""


def layout_of(end: ir.Value) -> str:
    """An output's axes, from the operator that made its numbers."""
    value: ir.Value | None = end
    rank = rank_of(end)
    axes = tuple(range(rank))  # the output's axis → the value's
    for _ in range(64):
        node = value.producer() if value is not None else None
        if node is None or rank < 3:
            return ""
        if node.op_type in SPATIAL and node.op_type != "BatchNormalization":
            letters = _named(rank)
            return "".join(letters[a] for a in axes) if letters else ""
        if order := _order(node, rank):
            axes = tuple(order[a] for a in axes)
        elif node.op_type not in SAME or rank_of(node.inputs[0]) not in (rank, -1):
            return ""
        value = node.inputs[0]
    return ""
