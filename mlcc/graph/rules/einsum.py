"""Einsum as transposes, one matrix product a pair of operands, and sums."""

from __future__ import annotations

from math import prod

from mlcc.graph.builder import Value
from mlcc.graph.source import Source


def parse(s: Source) -> tuple[list[list[str]], list[str]]:
    """Labels of each operand and of the result; an ellipsis stands for as many leading labels as the operand has."""
    text = str(s.attr("equation")).replace(" ", "")
    left, arrow, right = text.partition("->")
    terms = left.split(",")
    if len(terms) != len(s.inputs):
        raise s.bad(f"equation {text} for {len(s.inputs)} operands")
    extra = max((s[i].rank - len(t.replace("...", "")) for i, t in enumerate(terms) if "..." in t), default=0)
    dots = [f".{i}" for i in range(extra)]

    def labels(term: str, rank: int | None) -> list[str]:
        before, has, after = term.partition("...")
        count = extra if rank is None else rank - len(before) - len(after)
        return [*before, *(dots[extra - count :] if has else []), *after]

    operands = [labels(t, s[i].rank) for i, t in enumerate(terms)]
    for found, i in zip(operands, range(len(terms))):
        if len(found) != s[i].rank:
            raise s.bad(f"{terms[i]} for an operand of rank {s[i].rank}")
    if arrow:
        return operands, labels(right, None)
    counts = [c for o in operands for c in o]
    return operands, [*dots, *sorted(c for c in set(counts) if counts.count(c) == 1 and not c.startswith("."))]


def diagonals(s: Source, v: Value, have: list[str]) -> tuple[Value, list[str]]:
    """The operand with each label once: a label that stands twice walks along the diagonal."""
    b = s.b
    while (twice := next((x for x in have if have.count(x) > 1), None)) is not None:
        first, second = (i for i, x in enumerate(have) if x == twice and (i == have.index(x) or have[:i].count(x) == 1))
        n = v.shape[first]
        if v.shape[second] != n:
            raise s.bad(f"label {twice} is {n} and {v.shape[second]}")
        rest = [i for i in range(v.rank) if i not in (first, second)]
        moved = b.transpose(v, [*rest, first, second])
        shape = [v.shape[i] for i in rest]
        v = b.slice(b.reshape(moved, [*shape, n * n]), len(rest), 0, n, n + 1)
        have = [*(have[i] for i in rest), twice]
    return v, have


def contract(s: Source, a: Value, left: list[str], c: Value, right: list[str], keep: set[str]) -> tuple[Value, list[str]]:
    """Sum over the labels that both have and nobody needs later."""
    b = s.b
    summed = [x for x in left if x in right and x not in keep]
    batch = [x for x in left if x in right and x in keep]
    rows = [x for x in left if x not in right]
    columns = [x for x in right if x not in left]
    size = {x: max(n, m) for x, n in zip(left, a.shape) for m in [dict(zip(right, c.shape)).get(x, n)]} | {
        x: n for x, n in zip(right, c.shape) if x not in left
    }

    def arrange(v: Value, have: list[str], order: list[str], parts: tuple[list[str], ...]) -> Value:
        moved = b.transpose(v, [have.index(x) for x in order])
        moved = b.expand(moved, [size[x] for x in order])
        return b.reshape(moved, [*(size[x] for x in batch), *(prod(size[x] for x in p) for p in parts)])

    product = b(
        "MatMul", arrange(a, left, batch + rows + summed, (rows, summed)), arrange(c, right, batch + summed + columns, (summed, columns))
    )
    order = batch + rows + columns
    return b.reshape(product, [size[x] for x in order]), order


def einsum(s: Source) -> Value:
    operands, result = parse(s)
    b = s.b
    value, have = diagonals(s, s[0], operands[0])
    for i in range(1, len(operands)):
        later = set(result) | {x for o in operands[i + 1 :] for x in o}
        value, have = contract(s, value, have, *diagonals(s, s[i], operands[i]), later)
    gone = [x for x in have if x not in result]
    if gone:
        value = b("ReduceSum", value, axes=tuple(have.index(x) for x in gone))
        value = b.reshape(value, [n for x, n in zip(have, value.shape) if x in result])
        have = [x for x in have if x in result]
    return b.transpose(value, [have.index(x) for x in result])
