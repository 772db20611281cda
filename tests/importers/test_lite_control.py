"""IF and WHILE of TensorFlow Lite files against LiteRT."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("tflite")
interpreter = pytest.importorskip("ai_edge_litert.interpreter")

from mlcc.core.graph import CoreGraph  # noqa: E402
from mlcc.error import Error  # noqa: E402
from mlcc.program.lower import lower  # noqa: E402
from mlcc.reference.execute import execute  # noqa: E402
from tests.importers.lite import Graph, Operator, Tensor, constant, written  # noqa: E402
from tests.importers.test_tflite import agrees, f, graph_of  # noqa: E402
from tests.support import Compiled, assert_same_bits  # noqa: E402

I32 = "int32"


def number(name: str, value: int) -> Tensor:
    return constant(name, np.array(value, np.int32))


def less(limit: int, *inputs: Tensor, op: str = "LESS") -> Graph:
    """Goes on while the first is below a limit."""
    on = f("on", dtype="bool")
    return [Operator(op, [inputs[0], number("limit", limit)], [on], f"{op.title().replace('_', '')}Options", {})], inputs, [on]


def loop(begin: list[Tensor], cond: Graph, body: Graph, path: Path) -> bytes:
    """y of the last variable."""
    ends = [Tensor(f"end{i}", t.dtype, t.shape) for i, t in enumerate(begin)]
    given = [t for t in begin if t.data is None]
    main = Operator("WHILE", begin, ends, "WhileOptions", {"CondSubgraphIndex": 1, "BodySubgraphIndex": 2})
    return written([main], given, ends, cond, body)


def add(a: Tensor, b: Tensor, y: Tensor) -> Operator:
    return Operator("ADD", [a, b], [y], "AddOptions", {})


@pytest.mark.parametrize(
    ("start", "step", "limit", "op"),
    [(0, 1, 5, "LESS"), (3, 2, 10, "LESS"), (-2, 3, 10, "LESS_EQUAL"), (7, 1, 7, "LESS"), (0, 1, 1, "LESS")],
)
def test_a_counter_says_how_many_turns(start: int, step: int, limit: int, op: str, tmp_path: Path) -> None:
    i, x, w = f("i", dtype=I32), f("x", 2, 3), f("w", 2, 3)
    j, y, h = f("j", dtype=I32), f("y", 2, 3), f("h", 2, 3)
    body = [add(i, number("step", step), j), add(x, w, h), Operator("TANH", [h], [y])], [i, x, w], [j, y, w]
    raw = loop([number("first", start), f("x0", 2, 3), f("w0", 2, 3)], less(limit, i, x, w, op=op), body, tmp_path)
    agrees(raw, tmp_path / "m.tflite", [f("x0", 2, 3), f("w0", 2, 3)])


def stacked(turns: int, steps: int, early: bool = False) -> bytes:
    """A recurrence as converters write it: turn n takes row n, and writes entry n of a list."""
    i, rows, listed, h = f("i", dtype=I32), f("rows", steps, 1, 4), f("list", steps, 1, 4), f("h", 1, 4)
    j, row, total, new = f("j", dtype=I32), f("row", 1, 4), f("total", 1, 4), f("new", 1, 4)
    one, size = constant("one", np.array([1], np.int32)), f("size", 3, dtype=I32)
    at, next_, after = f("at", 1, dtype=I32), f("next", 1, dtype=I32), f("after", 3, dtype=I32)
    low, high = (Tensor(n, "float32", (1, 1, 4), signature=(-1, 1, 4)) for n in ("low", "high"))
    entry, whole = f("entry", 1, 1, 4), f("whole", steps, 1, 4)
    rest, zeros, most = (constant(n, np.array(v, np.int32)) for n, v in (("rest", [-1, -1]), ("zeros", [0, 0]), ("most", [-1, -1, -1])))
    begin = constant("begin", np.array([0, 0, 0], np.int32))
    shape = constant("shape", np.array([1, 1, 4], np.int32))
    joined = {"Axis": 0}
    body = [
        add(i, number("step", 1), j), Operator("GATHER", [rows, i], [row], "GatherOptions", {}), add(row, h, total), Operator("TANH", [total], [new]),
        Operator("RESHAPE", [i, one], [at], "ReshapeOptions", {}), Operator("CONCATENATION", [at, rest], [size], "ConcatenationOptions", joined),
        Operator("SLICE", [listed, begin, size], [low], "SliceOptions", {}),
        Operator("RESHAPE", [j, one], [next_], "ReshapeOptions", {}), Operator("CONCATENATION", [next_, zeros], [after], "ConcatenationOptions", joined),
        Operator("SLICE", [listed, after, most], [high], "SliceOptions", {}), Operator("RESHAPE", [new, shape], [entry], "ReshapeOptions", {}),
        Operator("CONCATENATION", [high, entry, low] if early else [low, entry, high], [whole], "ConcatenationOptions", joined),
    ]  # fmt: skip
    state = [i, rows, listed, h]
    first = [number("first", 0), f("x", steps, 1, 4), constant("empty", np.zeros((steps, 1, 4), np.float32)), f("h0", 1, 4)]
    return loop(first, less(turns, *state), (body, state, [j, rows, whole, new]), Path())


def test_a_list_is_what_the_turns_stack(tmp_path: Path) -> None:
    raw = stacked(6, 6)
    inputs = [f("x", 6, 1, 4), f("h0", 1, 4)]
    agrees(raw, tmp_path / "m.tflite", inputs)
    graph: CoreGraph = graph_of(raw, tmp_path / "m.tflite")
    assert [n.op for n in graph.nodes].count("Repeat") == 1 and not any(n.op.startswith("Scatter") for n in graph.nodes)
    program = lower(graph)
    feed = {"x": np.ones((6, 1, 4), np.float32), "h0": np.zeros((1, 4), np.float32)}
    for name, array in Compiled(program)(feed).items():
        assert_same_bits(array, execute(graph, feed)[name], name, graph)


@pytest.mark.parametrize("kind", ["fewer turns", "another order"])
def test_what_looks_like_a_list_and_is_none(kind: str, tmp_path: Path) -> None:
    """Entries that no turn writes, and parts that lie otherwise: the turns are written out, with what each cuts."""
    raw = stacked(4, 6) if kind == "fewer turns" else stacked(6, 6, early=True)
    agrees(raw, tmp_path / "m.tflite", [f("x", 6, 1, 4), f("h0", 1, 4)])
    graph = graph_of(raw, tmp_path / "m.tflite")
    assert not any(n.op == "Repeat" for n in graph.nodes)


def test_turns_that_nobody_knows(tmp_path: Path) -> None:
    x, y, on = f("x", 1), f("y", 1), f("on", 1, dtype="bool")
    cond = [Operator("LESS", [x, constant("limit", np.array([9], np.float32))], [on], "LessOptions", {})], [x], [on]
    body = [add(x, constant("two", np.array([2], np.float32)), y)], [x], [y]
    with pytest.raises(Error, match="number of turns is not known") as e:
        graph_of(loop([f("x0", 1)], cond, body, tmp_path), tmp_path / "m.tflite")
    assert e.value.code == "unsupported"


@pytest.mark.parametrize("shape", [(), (1,)])
def test_branches(shape: tuple[int, ...], tmp_path: Path) -> None:
    """One that computes, with constants of its own, and one that hands on what it was given."""
    c, x, w, y, z = f("c", *shape, dtype="bool"), f("x", 2, 3), f("w", 2, 3), f("y", 2, 3), f("z", 2, 3)
    a, b, s = f("a", 2, 3), f("b", 2, 3), f("s", 2, 3)
    then = [Operator("MUL", [a, b], [s], "MulOptions", {}), add(s, constant("k", np.full((2, 3), 5, np.float32)), y)], [a, b], [y, s]
    other = [Operator("NEG", [b], [s], "NegOptions", {})], [a, b], [a, s]
    one = Operator("IF", [c, x, w], [y, z], "IfOptions", {"ThenSubgraphIndex": 1, "ElseSubgraphIndex": 2})
    raw = written([one], [c, x, w], [y, z], then, other)
    path = tmp_path / "m.tflite"
    graph = graph_of(raw, path)
    judge = interpreter.Interpreter(model_content=raw)
    judge.allocate_tensors()
    for yes in (True, False):
        feed = {"c": np.full(shape, yes), "x": np.arange(6, dtype=np.float32).reshape(2, 3), "w": np.full((2, 3), 2.5, np.float32)}
        for detail, name in zip(judge.get_input_details(), ("c", "x", "w")):
            judge.set_tensor(detail["index"], feed[name])
        judge.invoke()
        found = execute(graph, feed)
        for detail, name in zip(judge.get_output_details(), ("y", "z")):
            np.testing.assert_array_equal(found[name], judge.get_tensor(detail["index"]))
