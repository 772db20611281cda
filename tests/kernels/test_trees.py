"""Trees: walked branch-free by the kernels, by the reference, and in plain Python."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper

from mlcc.core.graph import CoreGraph
from mlcc.graph.normalise import normalise
from mlcc.graph.passes import optimise
from mlcc.program.kernel import Map
from mlcc.program.lower import lower
from tests.support import assert_exact, graph_of

HOLDS = {
    "BRANCH_LEQ": lambda x, t: x <= t, "BRANCH_LT": lambda x, t: x < t, "BRANCH_GTE": lambda x, t: x >= t, "BRANCH_GT": lambda x, t: x > t,
    "BRANCH_EQ": lambda x, t: x == t, "BRANCH_NEQ": lambda x, t: x != t,
}  # fmt: skip
Tree = list[dict[str, Any]]  # each node's feature, value, mode, missing, yes and no; of a leaf, its weights by output


def grown(r: np.random.Generator, depth: int, full: bool, modes: list[str], features: int, outputs: int, missing: bool) -> Tree:
    nodes: Tree = []

    def node(level: int) -> int:
        number = len(nodes)
        nodes.append({})
        if level == depth or not full and level and r.random() < 0.4:
            nodes[number] = {"weights": {int(r.integers(outputs)): float(np.float32(r.normal()))}}
        else:
            value = float(np.float32(r.choice([r.normal(), 0.5, 0.0, -0.0])))
            about = {
                "feature": int(r.integers(features)),
                "value": value,
                "mode": str(r.choice(modes)),
                "missing": missing and bool(r.integers(2)),
            }
            nodes[number] = {**about, "yes": node(level + 1), "no": node(level + 1)}
        return number

    node(0)
    return nodes


def model(trees: list[Tree], features: int, outputs: int, rows: int, double: bool) -> CoreGraph:
    names = ("treeids", "nodeids", "featureids", "values", "modes", "truenodeids", "falsenodeids", "missing_value_tracks_true")
    columns: dict[str, list[Any]] = {f"nodes_{n}": [] for n in names}
    leaves: dict[str, list[Any]] = {f"target_{n}": [] for n in ("treeids", "nodeids", "ids", "weights")}
    for t, nodes in enumerate(trees):
        for i, n in enumerate(nodes):
            row = (
                t,
                i,
                n.get("feature", 0),
                n.get("value", 0.0),
                n.get("mode", "LEAF"),
                n.get("yes", 0),
                n.get("no", 0),
                int(n.get("missing", 0)),
            )
            for name, v in zip(names, row):
                columns[f"nodes_{name}"].append(v)
            for output, weight in n.get("weights", {}).items():
                for name, v in zip(("treeids", "nodeids", "ids", "weights"), (t, i, output, weight)):
                    leaves[f"target_{name}"].append(v)
    node = helper.make_node("TreeEnsembleRegressor", ["X"], ["Y"], domain="ai.onnx.ml", n_targets=outputs, **columns, **leaves)
    inputs = [helper.make_tensor_value_info("X", 11 if double else 1, [rows, features])]
    graph = helper.make_graph([node], "trees", inputs, [helper.make_tensor_value_info("Y", 1, [rows, outputs])])
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 3)]
    return optimise(
        normalise(ir.from_proto(helper.make_model(graph, opset_imports=opsets, ir_version=9)), "trees", {}, "trees"), check=True
    )


def walked(trees: list[Tree], x: np.ndarray, outputs: int) -> np.ndarray:
    """Of each row and output, the leaves' weights, tree by tree."""
    found = np.zeros((len(x), outputs, len(trees)), x.dtype)
    for t, nodes in enumerate(trees):
        for i, row in enumerate(x):
            n = nodes[0]
            while "weights" not in n:
                value = row[n["feature"]]
                goes = HOLDS[n["mode"]](value, x.dtype.type(n["value"])) or n["missing"] and np.isnan(value)
                n = nodes[n["yes"] if goes else n["no"]]
            for output, weight in n["weights"].items():
                found[i, output, t] = weight
    return found


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 10**6), count=st.integers(1, 20), depth=st.integers(0, 6), full=st.booleans(), outputs=st.integers(1, 3),
    rows=st.integers(1, 40), features=st.sampled_from([1, 5, 300]), missing=st.booleans(), double=st.booleans(),
    modes=st.sampled_from([["BRANCH_LEQ"], ["BRANCH_LT"], ["BRANCH_NEQ"], ["BRANCH_GT", "BRANCH_GTE"], sorted(HOLDS)]),
)  # fmt: skip
def test_random_forests(
    seed: int, count: int, depth: int, full: bool, outputs: int, rows: int, features: int, missing: bool, double: bool, modes: list[str]
) -> None:
    r = np.random.default_rng(seed)
    trees = [grown(r, depth, full, modes, features, outputs, missing) for _ in range(count)]
    x = r.choice([np.nan, np.inf, -np.inf, 0.0, -0.0, 0.5, *r.normal(size=20)], (rows, features)).astype(
        np.float64 if double else np.float32
    )
    found = assert_exact(model(trees, features, outputs, rows, double), {"X": x})["Y"]
    np.testing.assert_allclose(found, walked(trees, x, outputs).sum(-1), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("full", [True, False])
def test_a_walk_is_one_kernel(full: bool) -> None:
    """And where it goes is no question that a processor must guess: no Where."""
    r = np.random.default_rng(0)
    deep: Tree = []
    for level in range(14):  # a chain: filled up it would have thousands of nodes
        deep += [
            {"feature": level % 3, "value": 0.1 * level, "mode": "BRANCH_LEQ", "yes": 2 * level + 1, "no": 2 * level + 2},
            {"weights": {0: level}},
        ]
    deep.append({"weights": {0: -1.0}})
    trees = [grown(r, 5, True, ["BRANCH_LEQ"], 3, 1, False) for _ in range(9)] if full else [deep] * 9
    program = lower(model(trees, 3, 1, 50, False))
    maps = [k for k in (program.kernels[c.kernel] for c in program.calls) if isinstance(k, Map)]
    assert len(maps) == 2 and not any(s.op == "Where" for k in maps for s in k.body)
    walk = max(maps, key=lambda k: len(k.body))
    inside = [s.value for s in walk.body if s.op == "gather"]
    assert len(inside) > 10 and all(inside), "places that are known to lie inside are not looked at"


def test_an_index_that_is_doubled_often_takes_no_time_to_look_through() -> None:
    """Each sum has one maker twice: 2^40 ways upwards."""

    def doubled(b: Any, x: Any) -> Any:
        for _ in range(40):
            x = b("Add", x, x)
        return b("Gather", b.constant(np.arange(7, dtype=np.float32)), x, axis=0)

    assert_exact(graph_of({"x": ("int32", (5,))}, doubled), {"x": np.zeros(5, np.int32)})
