"""Branches and loops: IF and WHILE as ONNX' If and Loop.

A loop runs for a known number of turns where its condition compares counters, which each turn moves by a constant, with constants: what
converters write of recurrent layers. What stays the same in all turns is read from outside, and a list of which each turn writes its own
entry becomes what the turns stack, as in ONNX.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx_ir as ir

from mlcc.error import Error

if TYPE_CHECKING:
    from mlcc.importers.lite.file import Reader

Nodes = list[ir.Node]
I64, BOOL = ir.DataType.INT64, ir.DataType.BOOL


def nodes(r: Reader, operator: Any) -> Nodes:
    """An IF or WHILE of the scope that is being read."""
    op, options = r.called(operator), r.attributes(operator)
    taken, made = ([int(i) for i in v()] for v in (operator.InputsAsNumpy, operator.OutputsAsNumpy))
    names = ("then_subgraph_index", "else_subgraph_index") if op == "IF" else ("cond_subgraph_index", "body_subgraph_index")
    graphs = [r.file.Subgraphs(int(options[n])) for n in names]
    operands, results = [r.values[i] for i in taken], [r.values[i] for i in made]
    if any(v.type is None for v in (*operands, *results)):
        raise Error("unsupported", f"variables within {op}", r.where, "convert the model with its weights as constants")
    if r.inner > 64:
        raise Error("unsupported", "more than 64 subgraphs within others", r.where)
    outside = r.values
    found = _branch(r, graphs, operands, results) if op == "IF" else _Loop(r, graphs, operands, results).nodes()
    r.values = outside
    return found


def _inner(r: Reader, graph: Any, bound: Mapping[int, ir.Value]) -> Nodes:
    r.inner += 1
    mark = f"graph{r.inner}."
    names = [
        f"{mark}{(t.Name() or b'').decode('utf-8', 'replace')}.{i}" for i, t in enumerate(r.each(graph.TensorsLength(), graph.Tensors))
    ]
    return r.scope(graph, names, bound)


def _fresh(r: Reader, what: str, like: ir.Value | None = None, dtype: ir.DataType | None = None, shape: tuple[int, ...] = ()) -> ir.Value:
    r.inner += 1
    name = f"graph{r.inner}.{what}"
    return (
        ir.Value(name=name, type=like.type, shape=like.shape)
        if like is not None
        else ir.Value(name=name, type=ir.TensorType(dtype or I64), shape=ir.Shape(shape))
    )


def _constant(r: Reader, what: str, array: np.ndarray) -> ir.Value:
    v = _fresh(r, what, dtype=ir.DataType.from_numpy(array.dtype), shape=array.shape)
    v.const_value = ir.Tensor(array, name=v.name)
    r.constants.append(v)
    return v


def _as(r: Reader, v: ir.Value) -> tuple[ir.Node, ir.Value]:
    """A value of its own: results of a graph may not be another's."""
    out = _fresh(r, "out", v)
    return ir.Node("", "Identity", [v], outputs=[out]), out


def _ends(r: Reader, values: list[ir.Value]) -> tuple[Nodes, list[ir.Value]]:
    pairs = [_as(r, v) for v in values]
    return [n for n, _ in pairs], [v for _, v in pairs]


def _outputs(graph: Any) -> list[int]:
    return [int(i) for i in graph.OutputsAsNumpy()]


def _inputs(graph: Any) -> list[int]:
    return [int(i) for i in graph.InputsAsNumpy()] if graph.InputsLength() else []


def _branch(r: Reader, graphs: list[Any], operands: list[ir.Value], results: list[ir.Value]) -> Nodes:
    condition, before = operands[0], []
    if condition.shape is not None and len(condition.shape):
        flat = _fresh(r, "condition", dtype=BOOL)
        before.append(ir.Node("", "Reshape", [condition, _constant(r, "scalar", np.zeros(0, np.int64))], outputs=[flat]))
        condition = flat
    branches = []
    for graph in graphs:
        made = _inner(r, graph, dict(zip(_inputs(graph), operands[1:])))
        last, ends = _ends(r, [r.values[i] for i in _outputs(graph)])
        branches.append(ir.Graph([], ends, nodes=[*made, *last], name="branch"))
    attributes = [ir.AttrGraph(n, g) for n, g in zip(("then_branch", "else_branch"), branches)]
    return [*before, ir.Node("", "If", [condition], attributes, outputs=results)]


@dataclass
class _Loop:
    """A WHILE: its condition's graph and its body's, what it begins with, what it leaves."""

    r: Reader
    graphs: list[Any]
    operands: list[ir.Value]
    results: list[ir.Value]

    def __post_init__(self) -> None:
        self.cond, self.body = self.graphs
        self.of = {int(o.Outputs(0)): o for o in self.operators(self.body)}
        self.given, self.left = _inputs(self.body), _outputs(self.body)
        self.steps = {k: step for k in range(len(self.given)) if (step := self.step(k)) is not None}

    def operators(self, graph: Any) -> list[Any]:
        return [o for o in self.r.each(graph.OperatorsLength(), graph.Operators) if o.OutputsLength()]

    def number(self, graph: Any, tensor: int) -> int | None:
        """A constant of one integer."""
        t = graph.Tensors(tensor)
        data = self.r.data(t) if self.r.types.get(t.Type()) in ("INT32", "INT64") else None
        return int(data.reshape(-1)[0]) if data is not None and data.size == 1 else None

    def numbers(self, tensor: int) -> list[int] | None:
        data = self.r.data(self.body.Tensors(tensor))
        return None if data is None or data.dtype.kind != "i" else [int(v) for v in data.reshape(-1)]

    def step(self, k: int) -> int | None:
        """By how much each turn moves a counter."""
        o = self.of.get(self.left[k])
        if o is None or self.r.called(o) != "ADD":
            return None
        pair = [int(i) for i in o.InputsAsNumpy()]
        other = [i for i in pair if i != self.given[k]]
        return self.number(self.body, other[0]) if len(other) == 1 else None

    def first(self, k: int) -> int | None:
        """What a counter begins with."""
        c = self.operands[k].const_value
        return int(c.numpy().reshape(-1)[0]) if c is not None and c.size == 1 and k in self.steps else None

    def turns(self) -> int | None:
        """How many there are, where that is known."""
        of = {int(o.Outputs(0)): o for o in self.operators(self.cond)}
        given = _inputs(self.cond)
        counts, todo = [], _outputs(self.cond)
        while todo:
            o = of.get(todo.pop())
            if o is None:
                return None
            op = self.r.called(o)
            if op == "LOGICAL_AND":
                todo += [int(i) for i in o.InputsAsNumpy()]
                continue
            if op not in ("LESS", "LESS_EQUAL"):
                return None
            counter, bound = (int(i) for i in o.InputsAsNumpy())
            k = given.index(counter) if counter in given else -1
            start, limit = (self.first(k), self.number(self.cond, bound)) if k >= 0 else (None, None)
            if start is None or limit is None or self.steps[k] < 1:
                return None
            counts.append(max(0, -(-(limit + (op == "LESS_EQUAL") - start) // self.steps[k])))
        return min(counts)

    def entry(self, k: int, turns: int) -> int | None:
        """The tensor that turn n writes as entry n of a list, which has an entry for each turn: everything before it, it, everything
        behind it."""
        o, x = self.of.get(self.left[k]), self.given[k]
        shape = [int(n) for n in self.body.Tensors(x).ShapeAsNumpy()] if self.body.Tensors(x).ShapeLength() else []
        if o is None or self.r.called(o) != "CONCATENATION" or o.InputsLength() != 3 or not shape or shape[0] != turns:
            return None
        if int(self.r.attributes(o).get("axis", 0)) % len(shape):
            return None
        low, middle, high = (int(i) for i in o.InputsAsNumpy())
        cuts = [c for i in (low, high) if (c := self.of.get(i)) is not None and self.r.called(c) == "SLICE" and int(c.Inputs(0)) == x]
        if len(cuts) < 2:
            return None
        rest = [0] * (len(shape) - 1)
        whole = [[-1] * len(rest), shape[1:]]
        if self.numbers(int(cuts[0].Inputs(1))) != [0, *rest] or (self.numbers(int(cuts[1].Inputs(2))) or [])[1:] not in whole:
            return None
        before, behind = self.at(int(cuts[0].Inputs(2)), whole), self.at(int(cuts[1].Inputs(1)), [rest])
        counting = [c for c in self.steps if self.steps[c] == 1 and self.first(c) == 0]
        good = (
            isinstance(before, int)
            and isinstance(behind, int)
            and any(self.given[c] == before and self.left[c] == behind for c in counting)
        )
        size = self.body.Tensors(middle)
        return middle if good and size.ShapeLength() and [int(n) for n in size.ShapeAsNumpy()] == [1, *shape[1:]] else None

    def at(self, tensor: int, ends: list[list[int]]) -> int | None:
        """The scalar that stands before one of these in [scalar, …]."""
        o = self.of.get(tensor)
        if o is None or self.r.called(o) != "CONCATENATION" or o.InputsLength() != 2 or self.numbers(int(o.Inputs(1))) not in ends:
            return None
        inner = self.of.get(int(o.Inputs(0)))
        return int(inner.Inputs(0)) if inner is not None and self.r.called(inner) in ("RESHAPE", "EXPAND_DIMS") else int(o.Inputs(0))

    def nodes(self) -> Nodes:
        r, turns = self.r, self.turns()
        if turns is None:
            raise Error("unsupported", "a WHILE whose number of turns is not known", r.where, "count its turns by a constant")
        lists = {k: e for k in range(len(self.given)) if (e := self.entry(k, turns)) is not None}
        same = [k for k, i in enumerate(self.given) if self.left[k] == i]
        counters = [k for k in self.steps if self.first(k) is not None]
        carried = [k for k in range(len(self.given)) if k not in (*lists, *same, *counters)]
        turn, going = _fresh(r, "turn"), _fresh(r, "going", dtype=BOOL)
        bound = {self.given[k]: self.operands[k] for k in (*same, *lists)}
        states = [_fresh(r, "state", self.operands[k]) for k in carried]
        bound |= {self.given[k]: v for k, v in zip(carried, states)}
        begin: Nodes = []
        for k in counters:
            bound[self.given[k]] = self.count(turn, k, begin)
        inner = [*begin, *_inner(r, self.body, bound)]
        last, after = _ends(r, [r.values[self.left[k]] for k in carried])
        entries = []
        for k, e in lists.items():
            shape = [int(n) for n in self.body.Tensors(self.given[k]).ShapeAsNumpy()][1:]
            one = ir.Value(name=_fresh(r, "entry").name, type=self.operands[k].type, shape=ir.Shape(shape))
            last.append(ir.Node("", "Reshape", [r.values[e], _constant(r, "shape", np.array(shape, np.int64))], outputs=[one]))
            entries.append(one)
        still, (on,) = _ends(r, [going])
        kept = _used([*inner, *last, *still], [on, *after, *entries])
        body = ir.Graph([turn, going, *states], [on, *after, *entries], nodes=kept, name="body")
        ends = [self.results[k] for k in (*carried, *lists)]
        count = _constant(r, "count", np.array(turns, np.int64))
        loop = ir.Node("", "Loop", [count, None, *(self.operands[k] for k in carried)], [ir.AttrGraph("body", body)], outputs=ends)
        plain = {k: self.operands[k] for k in same}
        for k in counters:
            final = np.array((self.first(k) or 0) + self.steps[k] * turns, self.operands[k].const_value.dtype.numpy())
            plain[k] = _constant(r, "counted", final.reshape(self.operands[k].const_value.shape.numpy()))
        return [*([loop] if ends else []), *(ir.Node("", "Identity", [v], outputs=[self.results[k]]) for k, v in plain.items())]

    def count(self, turn: ir.Value, k: int, to: Nodes) -> ir.Value:
        """A counter in turn n: what it begins with, and n steps."""
        r, like = self.r, self.operands[k]
        dtype = like.dtype
        assert dtype is not None and like.shape is not None
        wide = _fresh(r, "n", dtype=dtype)
        to.append(ir.Node("", "Cast", [turn], [ir.AttrInt64("to", int(dtype))], outputs=[wide]))
        for op, number in (("Mul", self.steps[k]), ("Add", self.first(k) or 0)):
            if number != (1 if op == "Mul" else 0):
                next_ = _fresh(r, "n", dtype=dtype)
                to.append(ir.Node("", op, [wide, _constant(r, "by", np.array(number, dtype.numpy()))], outputs=[next_]))
                wide = next_
        if len(like.shape):
            shaped = _fresh(r, "n", like)
            to.append(ir.Node("", "Reshape", [wide, _constant(r, "shape", np.array(like.shape.numpy(), np.int64))], outputs=[shaped]))
            wide = shaped
        return wide


def _used(nodes: Nodes, ends: list[ir.Value]) -> Nodes:
    """Those that an end needs: what a list's slices were made of is not."""
    wanted = {id(v) for v in ends}
    found: Nodes = []
    for n in reversed(nodes):
        if any(id(v) in wanted for v in n.outputs):
            found.append(n)
            wanted |= {id(v) for v in n.inputs if v is not None}
            wanted |= {
                id(v)
                for a in n.attributes.values()
                if a.type == ir.AttributeType.GRAPH
                for m in a.as_graph()
                for v in m.inputs
                if v is not None
            }
    return found[::-1]
