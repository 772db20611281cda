"""What a model's inputs are for, found by walking from each to its uses: indices, masks, probabilities. Golden vectors are drawn so."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

from mlcc.core.graph import DTYPES, CoreGraph, Node, consumers
from mlcc.core.narrow import LETTERS, TEXT
from mlcc.core.operators import family

CARRIERS = ("Reshape", "Transpose", "Slice", "Expand", "Identity", "Cast", "Concat", "Pad")  # hand their operand on
MOST = 1 << 31


@dataclass(frozen=True)
class Draw:
    """How an input's elements are drawn, so that a device can draw them by itself (see mlcc.graph.freeze.golden_input).

    kind: `free`; `range`: whole numbers from `low`, `span` of them; `ramp`: the same, rising; `unit`: floats between 0 and 1.
    """

    kind: str = "free"
    low: int = 0
    span: int = 256
    why: str = ""


@dataclass
class _Uses:
    """What the walk finds: bounds of indices (exclusive), numbers that it is compared with, flags."""

    below: int = MOST
    compared: list[int] | None = None
    equal: list[int] | None = None
    mask: bool = False
    positive: bool = False
    whole: bool = False


def draws(graph: CoreGraph) -> dict[str, Draw]:
    """One for each input."""
    readers = consumers(graph)
    found = {v: _draw(graph, v, _uses(graph, readers, v)) for v in graph.inputs}
    text = {v: len(d.labels) for v in graph.inputs if (d := graph.described.get(v)) is not None and d.element == TEXT}
    found |= {v: Draw("range", -2, words + 2, "text") for v, words in text.items()}
    found |= {v: Draw("range", 0, 127, "letters") for v in graph.inputs if v in graph.described and graph.described[v].element == LETTERS}
    for v, draw in found.items():
        if draw.kind == "free" and not graph.types[v].dtype.startswith(("float", "bfloat")):
            bound = _reached(graph, readers, v)
            if bound < MOST:
                found[v] = Draw("range", 0, bound, "indices, by way of arithmetic")
    return found


def _reached(graph: CoreGraph, readers: dict[str, list[Node]], start: str) -> int:
    """The smallest axis that numbers made of an input, element for element, index."""
    bound, todo, seen = MOST, [start], {start}
    while todo:
        value = todo.pop()
        for node in readers.get(value, []):
            if node.op in ("Gather", "GatherElements") and node.inputs[1] == value:
                bound = min(bound, max(1, graph.types[node.inputs[0]].shape[node["axis"]]))
            elif family(node.op) in ("elementwise", "move") and not node.op.startswith(("Gather", "Scatter", "Equal", "Less")):
                todo += [v for v in node.outputs if v not in seen]
                seen |= set(node.outputs)
    return bound


def _draw(graph: CoreGraph, name: str, uses: _Uses) -> Draw:
    dtype = graph.types[name].dtype
    if dtype == "bool":
        return Draw("range", 0, 2, "truth values")
    integer = not dtype.startswith(("float", "bfloat"))
    limit = int(np.iinfo(DTYPES[dtype]).max) + 1 if integer else MOST
    if uses.below < MOST and (integer or uses.whole):
        kind = "ramp" if integer and re.search(r"offset|indptr|(^|_)ptr($|_)|cu_seq", name) else "range"
        return Draw(kind, 0, max(1, min(uses.below, limit)), "indices")
    if uses.mask or integer and "mask" in name.lower():
        return Draw("range", 0, 2, "a mask")
    if uses.equal and integer and not uses.compared:
        low, high = min(uses.equal), max(uses.equal)  # a rate, a kind, a switch: those numbers, and one that is none of them
        return Draw("range", low, 2 if high - low > 64 else high - low + 2, "compared with known numbers")
    if uses.compared and integer:
        low, high = min(0, *uses.compared), max(uses.compared)
        low = max(low, int(np.iinfo(DTYPES[dtype]).min))
        return Draw("range", low, max(2, min(high + 2 - low, limit - low)), "compared with known numbers")
    if uses.positive and not integer:
        return Draw("unit", why="a logarithm's or a root's operand")
    return Draw()


def _uses(graph: CoreGraph, readers: dict[str, list[Node]], start: str) -> _Uses:
    found = _Uses()
    todo, seen = [(start, 0, False)], {start}  # value, what has been added to it, whether it has become whole

    def constant(v: str) -> np.ndarray | None:
        return graph.constants.get(v)

    def go(node: Node, offset: int, whole: bool) -> None:
        for v in node.outputs:
            if v not in seen:
                seen.add(v)
                todo.append((v, offset, whole))

    while todo:
        value, offset, whole = todo.pop()
        integer = not graph.types[value].dtype.startswith(("float", "bfloat"))
        for node in readers.get(value, []):
            at = node.inputs.index(value)
            other = constant(node.inputs[1 - at]) if len(node.inputs) == 2 else None
            match node.op:
                case "Gather" | "GatherElements" | "ScatterElements" if at == 1:
                    _below(found, graph.types[node.inputs[0]].shape[node["axis"]] - offset, whole)
                case "GatherND" | "ScatterND" if at == 1:
                    data, first = graph.types[node.inputs[0]].shape, node.get("batch_dims", 0)
                    depth = graph.types[value].shape[-1]
                    _below(found, min(data[first : first + depth], default=1) - offset, whole)
                case "Gather" | "GatherElements" | "GatherND":
                    go(node, offset, whole)
                case "Cast":
                    to = node["to"]
                    if to == "bool" and (integer or whole):
                        found.mask = True
                    go(node, offset, whole or integer or not to.startswith(("float", "bfloat", "bool")))
                case "Floor" | "Round" | "Ceil":
                    go(node, offset, True)
                case "Where" if at > 0:
                    go(node, offset, whole)
                case "Add" | "Sub" if other is not None and other.size == 1 and float(other.reshape(())) == int(float(other.reshape(()))):
                    step = int(other.reshape(()))
                    if node.op == "Sub" and at == 1:
                        found.mask |= step == 1 and _blocks(graph, readers, node.outputs[0])
                    else:
                        go(node, offset + (step if node.op == "Add" else -step), whole)
                case "Equal" | "Less" | "LessOrEqual" if other is not None and other.dtype.kind in "iu" and other.size:
                    if node.op == "Equal" and other.size > 1:
                        _below(found, int(other.max()) + 1 - offset, whole)
                    elif node.op == "Equal":
                        found.equal = [*(found.equal or []), int(other.reshape(-1)[0]) - offset]
                    else:
                        found.compared = [*(found.compared or []), int(other.min()) - offset, int(other.max()) - offset]
                case "Log" | "Sqrt":
                    found.positive = True
                case "Pow" if at == 0 and (other is None or bool((other != np.rint(other)).any())):
                    found.positive = True
                case _ if node.op in CARRIERS:
                    go(node, offset, whole)
    return found


def _below(found: _Uses, bound: int, whole: bool) -> None:
    found.below = min(found.below, max(1, bound))
    found.whole |= whole


def _blocks(graph: CoreGraph, readers: dict[str, list[Node]], value: str) -> bool:
    """Whether 1 − x is made a large negative number: attention's way to leave positions out."""
    todo = [value]
    while todo:
        for node in readers.get(todo.pop(), []):
            numbers = [graph.constants[v] for v in node.inputs if v in graph.constants]
            if node.op == "Mul" and any(n.size == 1 and abs(float(n.reshape(()))) >= 100 for n in numbers):
                return True
            if node.op in CARRIERS:
                todo += node.outputs
    return False
