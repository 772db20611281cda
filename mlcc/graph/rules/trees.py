"""Ensembles of decision trees (ai.onnx.ml): every tree takes one step down at a time, all trees at once.

A tree's state is its node's number; a step gathers that node's feature, threshold and children. Leaves stay where they are. The leaves'
values are then summed by the contract's rule for sums, in the order of the trees.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from mlcc.graph.builder import Value
from mlcc.graph.rules import RULES
from mlcc.graph.source import Source

MODES = {
    "BRANCH_LEQ": ("LessOrEqual", False),
    "BRANCH_LT": ("Less", False),
    "BRANCH_GTE": ("LessOrEqual", True),
    "BRANCH_GT": ("Less", True),
}


@dataclass(frozen=True)
class Forest:
    """Nodes of all trees, numbered; roots: each tree's first; weights: [nodes, outputs], 0 but for leaves."""

    feature: np.ndarray
    threshold: np.ndarray
    yes: np.ndarray
    no: np.ndarray
    roots: np.ndarray
    weights: np.ndarray
    mode: str
    depth: int


def forest(s: Source, kind: str, outputs: int) -> Forest:
    """Read and check the attributes: they are a hostile list of numbers until then."""
    a = s.attributes
    tree, node = (np.asarray(a.get(f"nodes_{n}", []), np.int64) for n in ("treeids", "nodeids"))
    modes = list(a.get("nodes_modes", []))
    count = tree.size
    if not count or node.size != count or len(modes) != count:
        raise s.bad("an ensemble without nodes, or with lists of different lengths")
    inner = {m for m in modes if m != "LEAF"}
    if len(inner) > 1 or not inner <= set(MODES):
        raise s.unsupported(f"nodes of the modes {', '.join(sorted(inner))}", f"one of {', '.join(MODES)} in all trees")
    number = {(int(t), int(n)): i for i, (t, n) in enumerate(zip(tree, node))}
    if len(number) != count:
        raise s.bad("two nodes of one tree have the same number")

    def children(name: str) -> np.ndarray:
        ids = np.asarray(a.get(name, []), np.int64)
        if ids.size != count:
            raise s.bad(f"{name} has {ids.size} entries for {count} nodes")
        missing = next((i for i in range(count) if modes[i] != "LEAF" and (int(tree[i]), int(ids[i])) not in number), None)
        if missing is not None:
            raise s.bad(f"{name} points to a node that does not exist (tree {tree[missing]}, node {node[missing]})")
        return np.array([i if modes[i] == "LEAF" else number[int(tree[i]), int(ids[i])] for i in range(count)])

    yes, no = children("nodes_truenodeids"), children("nodes_falsenodeids")
    leaf = np.array([m == "LEAF" for m in modes])
    feature = np.where(leaf, 0, np.asarray(a.get("nodes_featureids", []), np.int64))
    threshold = np.where(leaf, 0, np.asarray(a.get("nodes_values", []), np.float32)).astype(np.float32)
    targets = set(yes[~leaf]) | set(no[~leaf])
    roots = np.array([i for i in range(count) if i not in targets])
    if len(set(tree[roots])) != len(roots) or set(tree[roots]) != set(tree):
        raise s.bad("a tree without a root, or with more than one")
    weights = np.zeros((count, outputs), np.float32)
    ids = [np.asarray(a.get(f"{kind}_{n}", []), np.int64) for n in ("treeids", "nodeids", "ids")]
    values = np.asarray(a.get(f"{kind}_weights", []), np.float32)
    for t, n, output, value in zip(*ids, values):
        if (int(t), int(n)) not in number or not 0 <= output < outputs:
            raise s.bad(f"{kind} weights of a node or output that does not exist")
        weights[number[int(t), int(n)], output] += value
    level, depth, seen = roots, 0, set(roots.tolist())
    while not leaf[level].all():
        level = np.unique(np.concatenate([yes[level], no[level]]))
        seen |= set(level.tolist())
        depth += 1
        if depth > count:
            raise s.bad("a tree that goes round in circles")
    if len(seen) != count:
        raise s.bad(f"{count - len(seen)} nodes that no root leads to")
    return Forest(feature, threshold, yes, no, roots, weights, inner.pop() if inner else "BRANCH_LEQ", depth)


def scores(s: Source, f: Forest) -> Value:
    """[rows, outputs]: the sum over trees of the values of the leaves that rows end in."""
    b, x = s.b, s[0]
    if x.rank != 2:
        raise s.bad(f"rows of features are wanted, not {list(x.shape)}")
    if f.feature.size and int(f.feature.max()) >= x.shape[1]:
        raise s.bad(f"feature {int(f.feature.max())} of {x.shape[1]}")
    x = b.cast(x, "float32")
    rows, trees = x.shape[0], f.roots.size
    at = b.constant(np.broadcast_to(f.roots, (rows, trees)).astype(np.int64).copy())
    tables = {name: b.constant(getattr(f, name)) for name in ("feature", "threshold", "yes", "no")}
    op, turned = MODES[f.mode]
    for _ in range(f.depth):
        feature, threshold, yes, no = (b("Gather", tables[n], at, axis=0) for n in ("feature", "threshold", "yes", "no"))
        value = b("GatherElements", x, feature, axis=1)
        at = b("Where", b(op, threshold, value) if turned else b(op, value, threshold), yes, no)
    leaves = b("Gather", b.constant(f.weights), at, axis=0)  # [rows, trees, outputs]
    return b.reshape(b("ReduceSum", leaves, axes=(1,)), (rows, f.weights.shape[1]))


def _based(s: Source, y: Value) -> Value:
    base = s.attr("base_values")
    return s.b("Add", y, s.b.constant(np.asarray(base, np.float32))) if base else y


def _transformed(s: Source, y: Value) -> Value:
    match s.attr("post_transform", "NONE"):
        case "NONE":
            return y
        case "LOGISTIC":
            return s.b("Sigmoid", y)
        case "SOFTMAX":
            made = RULES["Softmax"](Source("Softmax", (y,), {"axis": 1}, 13, 1, s.b))
            return made if isinstance(made, Value) else made[0]
    raise s.unsupported(f"post_transform {s.attr('post_transform')}", "NONE, LOGISTIC or SOFTMAX")


def regressor(s: Source) -> Value:
    if s.attr("aggregate_function", "SUM") not in ("SUM", "AVERAGE"):
        raise s.unsupported(f"aggregate_function {s.attr('aggregate_function')}", "SUM or AVERAGE")
    f = forest(s, "target", int(s.attr("n_targets", 1)))
    y = scores(s, f)
    if s.attr("aggregate_function", "SUM") == "AVERAGE":
        y = s.b("Div", y, s.b.like(f.roots.size, y))
    return _transformed(s, _based(s, y))


def classifier(s: Source) -> tuple[Value, Value]:
    """(label, scores). With one column of scores for two classes the other one is its complement."""
    b = s.b
    labels: list[Any] = list(s.attr("classlabels_int64s", []) or [])
    if not labels:
        raise s.unsupported("labels that are text", "export with integer labels (zipmap off)")
    ids = np.asarray(s.attr("class_ids", []), np.int64)
    single = len(labels) == 2 and ids.size > 0 and len(set(ids.tolist())) == 1
    y = _based(s, scores(s, forest(s, "class", 1 if single and int(ids.max()) == 0 else len(labels))))
    if single:
        if y.shape[1] > 1:
            y = b.slice(y, 1, 1, 2)
        logistic = s.attr("post_transform", "NONE") == "LOGISTIC"
        p = b("Sigmoid", y) if logistic else y
        y = b.many("Concat", [b("Sub", b.like(1, p), p), p], axis=1)[0]
    best = b.reshape(b("ArgMax", y, axis=1, last=0), (y.shape[0],))
    label = b("Gather", b.constant(np.asarray(labels, np.int64)), best, axis=0)
    return label, y if single else _transformed(s, y)


TABLE: dict[str, Callable[[Source], Value | tuple[Value, ...]]] = {"TreeEnsembleRegressor": regressor, "TreeEnsembleClassifier": classifier}
