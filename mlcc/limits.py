"""How much a model may ask for. A file of a few hundred bytes can ask for any amount of memory and time; real models stay below these."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from math import prod
from typing import TYPE_CHECKING

from mlcc.core.terms import most
from mlcc.error import Error
from mlcc.sizes import whole

if TYPE_CHECKING:
    from mlcc.core.graph import CoreGraph, Node, TensorType

HINT = "--limit {name}=… allows more, where the model is one that you trust"


@dataclass(frozen=True)
class Limits:
    """operators: of the file, with functions and loops written out, and of the program; value: bytes of one value; memory: bytes of values
    that live at once; work: elements and multiply-adds of one inference (the reference computes at least three)."""

    operators: int = 50_000
    value: int = 1 << 29
    memory: int = 2 << 30
    work: int = 1_000_000_000_000

    def over(self, name: str, what: str, where: str) -> Error:
        """The refusal of a model that asks for more than a limit."""
        limit = getattr(self, name)
        return Error("unsupported", f"{what}; the limit is {limit:,}", where, HINT.format(name=name))


def parse(values: Sequence[str]) -> Limits:
    """NAME=NUMBER, or with K, M, G or T, over the usual ones. Raises Error(usage)."""
    found: dict[str, int] = {}
    known = [f.name for f in fields(Limits)]
    for text in values:
        name, _, size = text.partition("=")
        value = whole(size, 18)
        if name not in known or not value:
            raise Error("usage", f"--limit {text} is no limit", hint=f"such as memory=8G; the limits are {', '.join(known)}")
        found[name] = value
    return replace(Limits(), **found)


SELECTION = 250  # what a step of TopK counts for, which looks through all once for each of k: 2^16 of 2^16 ran for more than two minutes
PHASE = 10**8  # what each phase of a transposed convolution's strides counts for: it is a call of its own, compiled, proven and run


def work(node: Node, types: Mapping[str, TensorType], results: Sequence[TensorType]) -> int:
    """About how many elements a node handles, multiply-adds of products included."""
    made = sum(most(t.size) for t in results)
    operands = [types[v] for v in node.inputs]
    match node.op:
        case "MatMul":
            return made * most(operands[0].shape[-1] if operands[0].shape else 1)
        case "Conv":
            return made * most(prod(operands[1].shape[1:]))
        case "ConvTranspose":
            return made * most(prod(operands[1].shape[1:])) + PHASE * prod(node["strides"])
        case "TopK":
            return most(operands[0].size) * most(node["k"]) * SELECTION
        case _ if node.get("kernel"):
            return max(made, 10_000) * prod(node["kernel"])  # the reference goes through a window's elements one after the other
    return made + sum(most(t.size) for t in operands)


def check(graph: CoreGraph, limits: Limits) -> None:
    """Raise Error(unsupported) where the values that live at once take more than is allowed."""
    last = {v: i for i, n in enumerate(graph.nodes) for v in n.inputs}
    size = {v: t.nbytes for v, t in graph.types.items()}
    kept = set(graph.outputs)
    alive = sum(size[v] for v in graph.inputs)
    for i, node in enumerate(graph.nodes):
        alive += sum(size[v] for v in node.outputs)
        if alive > limits.memory:
            raise limits.over("memory", f"{alive:,} bytes of values live at once", f"{node.op} ({node.origin or node.outputs[0]})")
        alive -= sum(size[v] for v in dict.fromkeys(node.inputs) if last[v] == i and v not in kept and v not in graph.constants)
        alive -= sum(size[v] for v in node.outputs if v not in last and v not in kept)
