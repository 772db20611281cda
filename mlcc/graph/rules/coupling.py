"""Probabilities of many classes from those of each pair."""

from __future__ import annotations

import numpy as np

from mlcc.graph.builder import Builder, Value
from mlcc.graph.repeat import repeat

MOST_ROUNDS = 100
ERROR = 0.005  # of all classes


def coupled(b: Builder, pairs: Value, classes: int) -> Value:
    """[rows, classes], from r [rows, classes, classes], the probability of the first class of each pair: the minimum over p of
    Σ (r_ji p_i − r_ij p_j)², class by class, until each row is near enough.

    Wu, Lin and Weng, "Probability Estimates for Multi-class Classification by Pairwise Coupling", 2004, algorithm 2; LIBSVM's bounds.
    """
    rows = pairs.shape[0]
    other = b.transpose(pairs, (0, 2, 1))  # r_ji
    apart = b.constant(1 - np.eye(classes, dtype=np.float32).astype(pairs.dtype))
    own = b("ReduceSum", b("Mul", b("Mul", other, other), apart), axes=(2,))  # Σ_j r_ji²: [rows, classes, 1]
    across = b("Mul", b("Neg", b("Mul", other, pairs)), apart)
    q = b("Add", across, b("Mul", own, b.constant(np.eye(classes).astype(pairs.dtype))))
    diagonal = b.reshape(own, (rows, classes))
    start = b.expand(b.like(1 / classes, pairs), (rows, classes))
    alive = b.expand(b.constant(np.array(True)), (rows, 1))

    def column(b: Builder, x: Value, i: int) -> Value:
        return b.slice(x, 1, i, 1)

    def turn(b: Builder, old: list[Value], _: list[Value]) -> tuple[list[Value], list[Value]]:
        _going, alive, p = old
        qp = b.reshape(b("ReduceSum", b("Mul", q, b.reshape(p, (rows, 1, classes))), axes=(2,)), (rows, classes))
        total = b("ReduceSum", b("Mul", p, qp), axes=(1,))
        error = b("ReduceMax", b("Abs", b("Sub", qp, total)), axes=(1,))
        alive = b("And", alive, b("LessOrEqual", b.like(ERROR / classes, error), error))
        new = p
        for i in range(classes):
            at = column(b, diagonal, i)
            step = b("Div", b("Sub", total, column(b, qp, i)), at)
            one = b("Add", b.like(1, step), step)
            grown = b("Mul", step, b("Add", b("Mul", step, at), b("Mul", b.like(2, at), column(b, qp, i))))
            total = b("Div", b("Div", b("Add", total, grown), one), one)
            row = b.reshape(b.slice(q, 1, i, 1), (rows, classes))
            qp = b("Div", b("Add", qp, b("Mul", step, row)), one)
            chosen = b.constant(np.arange(classes) == i)
            new = b("Div", b("Where", chosen, b("Add", new, step), new), one)
        going = b("ReduceMax", b.reshape(b.cast(alive, "uint8"), (rows,)), axes=(0,))
        return [b.cast(b.reshape(going, ()), "bool"), alive, b("Where", alive, new, p)], []

    (_, _, found), _ = repeat(b, MOST_ROUNDS, [b.constant(np.array(True)), alive, start], [], turn, while_first=True)
    return found
