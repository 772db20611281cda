"""Ensembles of decision trees (ai.onnx.ml): each row takes one step down at a time, without branches.

A tree's state is its node's number; a step gathers that node's feature, threshold and children. Leaves stay where they are. The leaves'
values are then summed by the contract's rule for sums, in the order of the trees. Rows of float64 are compared and summed in float64.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import takewhile
from typing import Any

import numpy as np

from mlcc.core.graph import DTYPES
from mlcc.graph.builder import Value
from mlcc.graph.rules.ml import best, labels, transformed
from mlcc.graph.source import Source

MODES = ("BRANCH_LEQ", "BRANCH_LT", "BRANCH_GTE", "BRANCH_GT", "BRANCH_EQ", "BRANCH_NEQ", "BRANCH_MEMBER")  # as TreeEnsemble counts them
LEAF = "LEAF"


@dataclass(frozen=True)
class Forest:
    """Nodes of all trees, numbered; roots: each tree's first; weights: [nodes, outputs], 0 but for leaves; mode: the comparison's place in
    MODES, −1 for leaves; missing: whether a NaN goes the way of `yes`; target: of leaves, the output that their weight is for."""

    feature: np.ndarray
    threshold: np.ndarray
    yes: np.ndarray
    no: np.ndarray
    roots: np.ndarray
    weights: np.ndarray
    mode: np.ndarray
    missing: np.ndarray
    depth: int
    pairs: bool = False  # whether each inner node's `yes` lies behind its `no` (`paired`)


def column(s: Source, name: str, count: int) -> np.ndarray:
    """A list of numbers, one a node, in float64; given as a tensor where they are doubles."""
    given = s.attr(f"{name}_as_tensor")
    values = np.asarray(s.attr(name, []) if given is None else given, np.float64).ravel()
    if values.size != count:
        raise s.bad(f"{name} has {values.size} entries for {count}")
    return values


def forest(s: Source, kind: str, outputs: int) -> Forest:
    """Read and check the attributes: they are a hostile list of numbers until then."""
    a = s.attributes
    tree, node = (np.asarray(a.get(f"nodes_{n}", []), np.int64) for n in ("treeids", "nodeids"))
    modes = list(a.get("nodes_modes", []))
    count = tree.size
    if not count or node.size != count or len(modes) != count:
        raise s.bad("an ensemble without nodes, or with lists of different lengths")
    strange = {m for m in modes if m != LEAF} - set(MODES[:6])
    if strange:
        raise s.unsupported(f"nodes of the modes {', '.join(sorted(map(str, strange)))}", f"one of {', '.join(MODES[:6])}")
    number = {(int(t), int(n)): i for i, (t, n) in enumerate(zip(tree, node))}
    if len(number) != count:
        raise s.bad("two nodes of one tree have the same number")

    def children(name: str) -> np.ndarray:
        ids = np.asarray(a.get(name, []), np.int64)
        if ids.size != count:
            raise s.bad(f"{name} has {ids.size} entries for {count} nodes")
        missing = next((i for i in range(count) if modes[i] != LEAF and (int(tree[i]), int(ids[i])) not in number), None)
        if missing is not None:
            raise s.bad(f"{name} points to a node that does not exist (tree {tree[missing]}, node {node[missing]})")
        return np.array([i if modes[i] == LEAF else number[int(tree[i]), int(ids[i])] for i in range(count)])

    yes, no = children("nodes_truenodeids"), children("nodes_falsenodeids")
    leaf = np.array([m == LEAF for m in modes])
    feature = np.where(leaf, 0, np.asarray(a.get("nodes_featureids", []), np.int64))
    targets = set(yes[~leaf]) | set(no[~leaf])
    roots = np.array([i for i in range(count) if i not in targets])
    if len(set(tree[roots])) != len(roots) or set(tree[roots]) != set(tree):
        raise s.bad("a tree without a root, or with more than one")
    weights = np.zeros((count, outputs), np.float64)
    ids = [np.asarray(a.get(f"{kind}_{n}", []), np.int64) for n in ("treeids", "nodeids", "ids")]
    for t, n, output, value in zip(*ids, column(s, f"{kind}_weights", ids[0].size)):
        if (int(t), int(n)) not in number or not 0 <= output < outputs:
            raise s.bad(f"{kind} weights of a node or output that does not exist")
        weights[number[int(t), int(n)], output] += value
    tracks = np.asarray(a.get("nodes_missing_value_tracks_true") or np.zeros(count), np.int64) != 0
    if tracks.size != count:
        raise s.bad(f"nodes_missing_value_tracks_true has {tracks.size} entries for {count} nodes")
    mode = np.array([-1 if m == LEAF else MODES.index(m) for m in modes])
    return checked(s, Forest(feature, column(s, "nodes_values", count), yes, no, roots, weights, mode, tracks & ~leaf, 0))


def checked(s: Source, f: Forest) -> Forest:
    """With its depth. Raises Error(model) where a tree goes round in circles, or a node belongs to none."""
    leaf, count = f.mode < 0, f.mode.size
    level, depth, seen = f.roots, 0, set(f.roots.tolist())
    while not leaf[level].all():
        level = np.unique(np.concatenate([f.yes[level], f.no[level]]))
        seen |= set(level.tolist())
        depth += 1
        if depth > count:
            raise s.bad("a tree that goes round in circles")
    if len(seen) != count:
        raise s.bad(f"{count - len(seen)} nodes that no root leads to")
    return replace(f, depth=depth)


def found(s: Source, f: Forest, x: Value) -> Value:
    """The weights of the leaf that each row ends in: [trees, rows], or [trees, rows, outputs] of several. One tree after the other, so that
    its nodes stay near."""
    b = s.b
    if x.rank != 2:
        raise s.bad(f"rows of features are wanted, not {list(x.shape)}")
    if f.feature.size and (int(f.feature.max()) >= x.shape[1] or int(f.feature.min()) < 0):
        raise s.bad(f"feature {int(f.feature.max())} of {x.shape[1]}")
    columns, levels = b.transpose(x, (1, 0)), packed(f)
    if levels is not None:
        at, weights = by_depth(s, f, columns, levels), f.weights[levels[-1]]
    else:
        f = paired(f)
        at, weights = by_children(s, f, columns), f.weights
    table = weights.astype(DTYPES[x.dtype])
    return b("Gather", b.constant(table[:, 0] if table.shape[1] == 1 else table), at, axis=0)


SPARSE = 2  # times the nodes of the trees as they are: what trees may take that are filled up to their depth


def packed(f: Forest) -> list[np.ndarray] | None:
    """The nodes of each depth, all trees' one after the other, leaves repeated to the last; None where that would be far more."""
    if f.depth == 0 or f.depth > 24 or f.roots.size << f.depth > SPARSE * f.mode.size:
        return None
    levels = [f.roots]
    for _ in range(f.depth):
        levels.append(np.stack([f.no[levels[-1]], f.yes[levels[-1]]], 1).reshape(-1))
    return levels


def by_depth(s: Source, f: Forest, columns: Value, levels: list[np.ndarray]) -> Value:
    """int32 [trees, rows]: the place in the last level. Whose node lies at n, its children lie at 2n and 2n + 1 of the next."""
    b = s.b
    at: Value | None = None
    for nodes in levels[:-1]:
        goes = _goes(s, f, columns, nodes, at)
        twice = b.constant((2 * np.arange(nodes.size)).astype(np.int32).reshape(-1, 1)) if at is None else b("Add", at, at)
        at = b("Add", twice, b.cast(goes, "int32"))
    assert at is not None
    return at


def paired(f: Forest) -> Forest:
    """The same trees, level by level, each `yes` behind its `no`, so that the way is a sum; leaves with a threshold that nothing is below,
    equal to or above, and one spare node. As it is where a node has two parents, or where a comparison holds of what is no number."""
    leaf = f.mode < 0
    children = np.concatenate([f.roots, f.yes[~leaf], f.no[~leaf]])
    if (f.mode == MODES.index("BRANCH_NEQ")).any() or np.unique(children).size != children.size:
        return f
    order = [f.roots]
    while (inner := order[-1][~leaf[order[-1]]]).size:
        order.append(np.stack([f.no[inner], f.yes[inner]], 1).reshape(-1))
    kept = np.concatenate(order)
    place = np.empty(f.mode.size, np.int64)
    place[kept] = np.arange(kept.size)

    def laid(values: np.ndarray, spare: Any) -> np.ndarray:
        return np.concatenate([values[kept], np.full((1, *values.shape[1:]), spare, values.dtype)])

    return replace(
        f, feature=laid(f.feature, 0), threshold=laid(np.where(leaf, np.nan, f.threshold), np.nan), yes=laid(place[f.yes], 0),
        no=laid(place[f.no], 0), roots=place[f.roots], weights=laid(f.weights, 0), mode=laid(f.mode, -1),
        missing=laid(f.missing, False), pairs=True,
    )  # fmt: skip


def by_children(s: Source, f: Forest, columns: Value) -> Value:
    """int32 [trees, rows]: the node."""
    b = s.b
    at: Value | None = None
    for _ in range(f.depth):
        goes = _goes(s, f, columns, None, at)
        yes, no = ((b.constant(t[f.roots].reshape(-1, 1)) if at is None else b("Gather", b.constant(t), at, axis=0))
                   for t in (f.yes.astype(np.int32), f.no.astype(np.int32)))  # fmt: skip
        at = b("Add", no, b.cast(goes, "int32")) if f.pairs else b("Where", goes, yes, no)
    return b.expand(b.constant(f.roots.astype(np.int32).reshape(-1, 1)), (f.roots.size, columns.shape[1])) if at is None else at


def _goes(s: Source, f: Forest, columns: Value, nodes: np.ndarray | None, at: Value | None) -> Value:
    """bool [trees, rows]: whether the way is `yes` from the nodes that `at` counts among `nodes` (None: among all; at None: the roots)."""
    b = s.b

    def told(values: np.ndarray) -> Value:
        if at is None:
            return b.constant(values[f.roots].reshape(-1, 1))
        return b("Gather", b.constant(values if nodes is None else values[nodes]), at, axis=0)

    features = f.feature.astype(np.uint8 if f.feature.max(initial=0) < 256 else np.int32)  # narrow ones stay so in memory
    if at is None:
        value = b("Gather", columns, b.constant(f.feature[f.roots].astype(np.int32)), axis=0)
    else:
        value = b("GatherElements", columns, b.cast(told(features), "int32"), axis=0)
    threshold, used = told(f.threshold.astype(DTYPES[columns.dtype])), sorted({int(m) for m in f.mode if m >= 0})
    goes = compared(s, used[0], value, threshold)
    for m in used[1:]:
        mode = told(np.maximum(f.mode, 0).astype(np.int32))
        goes = b("Where", b("Equal", mode, b.like(m, mode)), compared(s, m, value, threshold), goes)
    if f.missing.any():
        goes = b("Or", goes, b("And", b("IsNaN", value), told(f.missing)))
    return goes


def compared(s: Source, mode: int, value: Value, threshold: Value) -> Value:
    b = s.b
    match MODES[mode]:
        case "BRANCH_LEQ":
            return b("LessOrEqual", value, threshold)
        case "BRANCH_LT":
            return b("Less", value, threshold)
        case "BRANCH_GTE":
            return b("LessOrEqual", threshold, value)
        case "BRANCH_GT":
            return b("Less", threshold, value)
        case "BRANCH_EQ":
            return b("Equal", value, threshold)
    return b("Not", b("Equal", value, threshold))


def rows_of(s: Source) -> Value:
    """The features: float64 as it is, all else as float32."""
    return s[0] if s[0].dtype == "float64" else s.b.cast(s[0], "float32")


def scores(s: Source, f: Forest, aggregate: str = "SUM") -> Value:
    """[rows, outputs]: over the trees, of the values of the leaves that rows end in."""
    b, x = s.b, rows_of(s)
    if aggregate in ("MIN", "MAX") and f.weights.shape[1] > 1:
        raise s.unsupported(f"aggregate_function {aggregate} of several outputs", "SUM or AVERAGE, or one output")
    core = f"Reduce{aggregate.capitalize()}" if aggregate in ("MIN", "MAX") else "ReduceSum"
    y = b.reshape(b(core, found(s, f, x), axes=(0,)), (x.shape[0], f.weights.shape[1]))
    return b("Div", y, b.like(f.roots.size, y)) if aggregate == "AVERAGE" else y


def tree_ensemble(s: Source) -> Value:
    """Leaves apart from nodes, sets of members as one comparison after the other."""
    a = s.attributes
    features, modes, yes, no, yes_leaf, no_leaf, roots, leaf_targets = (
        np.asarray(a.get(n, []), np.int64).ravel()
        for n in ("nodes_featureids", "nodes_modes", "nodes_truenodeids", "nodes_falsenodeids", "nodes_trueleafs", "nodes_falseleafs",
                  "tree_roots", "leaf_targetids")
    )  # fmt: skip
    splits, weights = (np.asarray(a.get(n, []), np.float64).ravel() for n in ("nodes_splits", "leaf_weights"))
    tracks = np.asarray(a.get("nodes_missing_value_tracks_true") or np.zeros(modes.size), np.int64).ravel()
    outputs, count = int(a.get("n_targets", 1)), modes.size
    if {v.size for v in (features, yes, no, yes_leaf, no_leaf, splits, tracks)} != {count} or leaf_targets.size != weights.size:
        raise s.bad("lists of different lengths")
    ends = (np.where(yes_leaf != 0, weights.size, count), np.where(no_leaf != 0, weights.size, count))
    if any((v < 0).any() or (v >= e).any() for v, e in zip((yes, no), ends)) or (roots < 0).any() or (roots >= count).any():
        raise s.bad("a node or leaf that does not exist")
    if ((modes < 0) | (modes >= len(MODES))).any() or ((leaf_targets < 0) | (leaf_targets >= outputs)).any():
        raise s.bad("a mode or target that does not exist")
    single = (yes_leaf != 0) & (no_leaf != 0) & (yes == no)  # a tree that is a leaf
    members = iter(np.asarray(a.get("membership_values", []), np.float64).ravel())
    sets: dict[int, list[float]] = {}
    for i in map(int, np.flatnonzero(modes == 6)):
        sets[i] = list(takewhile(lambda v: not np.isnan(v), members))
    size = [max(1, len(sets.get(i, (0,)))) for i in range(count)]
    first = np.concatenate([[0], np.cumsum(size)])
    total = int(first[-1])
    nodes: dict[str, list[Any]] = {n: [] for n in ("feature", "threshold", "yes", "no", "mode", "missing")}
    for i in range(count):
        went = [int(total + v[i]) if l[i] else int(first[v[i]]) for v, l in ((yes, yes_leaf), (no, no_leaf))]
        values = sets.get(i, [float(splits[i])])
        for k, value in enumerate(values or [np.nan]):  # of no member at all: never equal
            nodes["feature"].append(int(features[i]))
            nodes["threshold"].append(value)
            nodes["yes"].append(went[0])
            nodes["no"].append(went[1] if k + 1 >= len(values) else int(first[i]) + k + 1)
            nodes["mode"].append(4 if i in sets else int(modes[i]))
            nodes["missing"].append(bool(tracks[i]))
    tail = np.arange(total, total + weights.size)
    table = np.zeros((total + weights.size, outputs))
    table[tail, leaf_targets] = weights
    joined = {
        n: np.concatenate([np.asarray(v), tail if n in ("yes", "no") else np.full(tail.size, -1 if n == "mode" else 0)])
        for n, v in nodes.items()
    }
    starts = np.array([total + yes[r] if single[r] else first[r] for r in roots], np.int64)
    f = Forest(joined["feature"].astype(np.int64), joined["threshold"].astype(np.float64), joined["yes"].astype(np.int64),
               joined["no"].astype(np.int64), starts, table, joined["mode"].astype(np.int64),
               joined["missing"].astype(bool), 0)  # fmt: skip
    f = checked(s, reachable(f))
    aggregate = ("AVERAGE", "SUM", "MIN", "MAX")[int(a.get("aggregate_function", 1))]
    post = ("NONE", "SOFTMAX", "LOGISTIC", "SOFTMAX_ZERO", "PROBIT")[int(a.get("post_transform", 0))]
    return transformed(replace(s, attributes={"post_transform": post}), scores(s, f, aggregate))


def reachable(f: Forest) -> Forest:
    """Without the nodes that no root leads to."""
    seen, todo = set(f.roots.tolist()), f.roots.tolist()
    while todo:
        n = todo.pop()
        for child in (int(f.yes[n]), int(f.no[n])):
            if child not in seen:
                seen.add(child)
                todo.append(child)
    kept = np.array(sorted(seen))
    place = np.full(f.mode.size, -1)
    place[kept] = np.arange(kept.size)
    return Forest(f.feature[kept], f.threshold[kept], place[f.yes[kept]], place[f.no[kept]], place[f.roots], f.weights[kept],
                  f.mode[kept], f.missing[kept], 0)  # fmt: skip


def _based(s: Source, y: Value) -> Value:
    base = s.attr("base_values_as_tensor", s.attr("base_values"))
    return y if base is None or not len(base) else s.b("Add", y, s.b.constant(np.asarray(base, DTYPES[y.dtype])))


def regressor(s: Source) -> Value:
    aggregate = s.attr("aggregate_function", "SUM")
    if aggregate not in ("SUM", "AVERAGE", "MIN", "MAX"):
        raise s.bad(f"aggregate_function {aggregate}")
    y = _based(s, scores(s, forest(s, "target", int(s.attr("n_targets", 1))), aggregate))
    return transformed(s, s.b.cast(y, "float32"))


def classifier(s: Source) -> tuple[Value, Value]:
    """(label, scores). One column of scores for two classes is a logit, or the second class's probability; what else it may be is refused,
    since ONNX does not say and runtimes differ."""
    b, post = s.b, s.attr("post_transform", "NONE")
    classes = labels(s, "classlabels_int64s", "classlabels_strings")
    if classes is None:
        raise s.bad("no class labels")
    count = classes.type.size
    if count != 2 or {int(i) for i in s.attr("class_ids", [])} != {0}:
        y = b.cast(_based(s, scores(s, forest(s, "class", count))), "float32")
        return best(s, y, classes), transformed(s, y)
    f = forest(s, "class", 1)
    y, positive = b.cast(_based(s, scores(s, f)), "float32"), bool((f.weights >= 0).all())
    if post == "LOGISTIC" and not positive:
        yes, pair = b("Less", b.like(0, y), y), b("Sigmoid", b.many("Concat", [b("Neg", y), y], axis=1)[0])
    elif post == "NONE" and positive:
        yes, pair = b("Less", b.like(0.5, y), y), b.many("Concat", [b("Sub", b.like(1, y), y), y], axis=1)[0]
    else:
        what = "positive weights" if positive else "weights of both signs"
        raise s.unsupported(f"one score for two classes, {what} and post_transform {post}", "give each class its own weights")
    return b("Gather", classes, b.reshape(b.cast(yes, "int32"), (y.shape[0],)), axis=0), pair


TABLE: dict[str, Callable[[Source], Value | tuple[Value, ...]]] = {
    "TreeEnsembleRegressor": regressor,
    "TreeEnsembleClassifier": classifier,
    "TreeEnsemble": tree_ensemble,
}
