"""Each pass by its numbered rules."""

from __future__ import annotations

import numpy as np

from mlcc.core.graph import validate
from mlcc.graph.builder import Builder, Value
from mlcc.graph.passes import compose_movement, dead_code, flush_tiny, fold_scale
from mlcc.reference.execute import execute
from mlcc.translation.terms import number
from tests.support import assert_exact, graph_of, numbers

CONV = {"group": 1, "strides": (1, 1), "dilations": (1, 1), "before": (0, 0), "after": (0, 0)}


def test_equal_nodes_are_one_but_not_those_of_zeros_of_different_sign() -> None:
    def make(b: Builder, x: Value) -> tuple[Value, ...]:
        return tuple(b("Pad", x, before=(1,), after=(0,), value=v) for v in (0.0, -0.0, np.float32(-0.0), 0.0))

    graph = graph_of({"x": ("float32", (2,))}, make)
    assert len([n for n in graph.nodes if n.op == "Pad"]) == 2
    found = execute(graph, {"x": np.ones(2, np.float32)})
    assert [bool(np.signbit(found[v][0])) for v in graph.outputs] == [False, True, True, False]
    assert number(0.0, "float32") != number(-0.0, "float32")  # nor does a proof take one for the other
    assert_exact(graph, {"x": np.ones(2, np.float32)})


def test_dead_code_1_unread_nodes_go() -> None:
    def make(b: Builder, x: Value) -> Value:
        b("Exp", x)
        return b("Neg", x)

    graph = dead_code.run(graph_of({"x": ("float32", (4,))}, make))
    assert [n.op for n in graph.nodes] == ["Neg"]


def test_dead_code_2_identities_go_but_outputs_keep_their_names() -> None:
    graph = dead_code.run(graph_of({"x": ("float32", (4,))}, lambda b, x: (b("Neg", x), x, b("Neg", x))))
    assert graph.outputs == ("y0", "y1", "y2")
    assert sorted(n.op for n in graph.nodes) == ["Identity", "Identity", "Neg"]  # an input as output, and one value under two names
    validate(graph)


def _scaled(op: str, extra_reader: bool = False, vector: np.ndarray | None = None):  # type: ignore[no-untyped-def]
    w = numbers(1, (5, 3, 2, 2), "float32")
    v = numbers(2, (1, 5, 1, 1), "float32") if vector is None else vector

    def make(b: Builder, x: Value) -> Value | tuple[Value, ...]:
        y = b("Conv", x, b.constant(w), **CONV)
        z = b(op, y, b.constant(v))
        return (z, y) if extra_reader else z

    return graph_of({"x": ("float32", (1, 3, 6, 6))}, make)


def test_fold_scale_1_multiplies_weights() -> None:
    before = _scaled("Mul")
    after = dead_code.run(fold_scale.run(before))
    validate(after)
    assert [n.op for n in after.nodes] == ["Conv"] and [r.rule for r in after.rewrites] == ["scale-into-convolution"]
    x = {"x": numbers(3, (1, 3, 6, 6), "float32")}
    np.testing.assert_allclose(execute(after, x)["y0"], execute(before, x)["y0"], rtol=1e-4, atol=1e-5)


def test_fold_scale_2_adds_to_the_bias() -> None:
    after = dead_code.run(fold_scale.run(_scaled("Add")))
    assert [n.op for n in after.nodes] == ["Conv"] and len(after.nodes[0].inputs) == 3


def test_fold_scale_leaves_what_others_read_and_what_is_not_finite() -> None:
    assert not fold_scale.run(_scaled("Mul", extra_reader=True)).rewrites
    assert not fold_scale.run(_scaled("Mul", vector=np.full((1, 5, 1, 1), np.inf, np.float32))).rewrites
    assert not fold_scale.run(_scaled("Mul", vector=numbers(2, (1, 1, 5, 5), "float32"))).rewrites


def test_compose_movement_1_transposes() -> None:
    graph = graph_of(
        {"x": ("float32", (2, 3, 4))},
        lambda b, x: (
            b("Neg", b.transpose(b.transpose(x, (2, 0, 1)), (1, 2, 0))),
            b("Neg", b.transpose(b.transpose(x, (2, 0, 1)), (2, 0, 1))),
        ),
    )
    after = dead_code.run(compose_movement.run(graph))
    validate(after)
    assert sum(n.op == "Transpose" for n in after.nodes) == 1  # the first pair cancels
    x = {"x": numbers(1, (2, 3, 4), "float32")}
    assert all(np.array_equal(execute(after, x)[k], execute(graph, x)[k]) for k in graph.outputs)


def test_compose_movement_2_reshapes() -> None:
    graph = graph_of({"x": ("float32", (2, 6))}, lambda b, x: b("Neg", b.reshape(b.reshape(x, (12,)), (3, 4))))
    assert sum(n.op == "Reshape" for n in dead_code.run(compose_movement.run(graph)).nodes) == 1


def test_flush_tiny_1_weights_that_are_nothing() -> None:
    w = numbers(1, (4, 5), "float32")
    w[0, 0], w[1, 1], w[2, 2] = 1e-40, -1e-32, 1e-25
    graph = flush_tiny.run(graph_of({"x": ("float32", (2, 4))}, lambda b, x: b("MatMul", x, b.constant(w))))
    kept = graph.constants[graph.nodes[0].inputs[1]]
    assert [r.rule for r in graph.rewrites] == ["tiny-weights-as-zero"] and kept[0, 0] == kept[1, 1] == 0 and kept[2, 2] == w[2, 2]
    validate(graph)


def test_flush_tiny_leaves_small_tensors_and_other_operators() -> None:
    w = (numbers(1, (4, 5), "float32") * np.float32(1e-35)).astype(np.float32)
    assert not flush_tiny.run(graph_of({"x": ("float32", (2, 4))}, lambda b, x: b("MatMul", x, b.constant(w)))).rewrites
    assert not flush_tiny.run(
        graph_of({"x": ("float32", (5,))}, lambda b, x: b("Mul", x, b.constant(np.array([1, 1e-40], np.float32)[[0, 1, 0, 0, 1]])))
    ).rewrites
