"""Sums of shifted terms, many at once: a matrix of constants as additions.

Weights are canonical signed digits, and pairs of terms that several sums have in common are added once (Hartley, "Subexpression sharing in
filters using canonic signed digit multipliers", 1996; da4ml, arXiv 2507.04535). No sharing makes any sum deeper than the deepest has to be:
terms at depths d fit under a root at depth D if and only if Σ 2^d ≤ 2^D (Kraft), so each sum knows how much of that a pair may take.
"""

from __future__ import annotations

from collections import defaultdict
from heapq import heapify, heappop, heappush

from mlcc_backends.hls.gates import Builder

Term = tuple[int, int, int]  # gate, shift, sign
Pair = tuple[int, int, int, int]  # first gate, second gate, how much further the second is shifted, their signs' product


def digits(value: int) -> list[tuple[int, int]]:
    """Canonical signed digits: (shift, sign), no two of them neighbours."""
    found, at = [], 0
    while value:
        if value & 1:
            sign = 2 - (value & 3)
            found.append((at, sign))
            value -= sign
        value >>= 1
        at += 1
    return found


def constant(b: Builder, value: int) -> Term:
    """A number as a positive term, without the zeros at its end."""
    zeros = (value & -value).bit_length() - 1 if value else 0
    return (b.const(value >> zeros), zeros, 1)


def terms(weights: dict[int, int]) -> list[Term]:
    return [(gate, at, sign) for gate, w in weights.items() for at, sign in digits(w)]


def sums(b: Builder, rows: list[dict[int, int]], constants: list[int]) -> list[int]:
    """For each row (gate → weight) the gate that is its sum, with a constant added."""
    known = {g: b.gates[g].low for row in rows for g in row if b.gates[g].op == "const"}
    constants = [c + sum(known[g] * w for g, w in row.items() if g in known) for row, c in zip(rows, constants, strict=True)]
    shared = share(b, [terms({g: w for g, w in row.items() if g not in known}) for row in rows])
    return [tree(b, [*row, constant(b, c)] if c or all(sign < 0 for _, _, sign in row) else row) for row, c in zip(shared, constants)]


def pair(a: Term, b: Term) -> Pair:
    if (a[1], a[0]) > (b[1], b[0]):
        a, b = b, a
    return a[0], b[0], b[1] - a[1], a[2] * b[2]


class Shared:
    """Rows of terms, which pairs of terms are where, and how deep a row may get."""

    def __init__(self, b: Builder, rows: list[list[Term]]) -> None:
        self.b, self.rows = b, [{(gate, at): sign for gate, at, sign in row} for row in rows]
        self.base = min((b.depths[gate] for row in rows for gate, _, _ in row), default=0)
        kraft = [1 + sum(self.units(gate) for gate, _, _ in row) for row in rows]  # 1: a constant
        deepest = 1 << (max(kraft, default=1) - 1).bit_length()
        self.slack = [deepest - k for k in kraft]
        self.uses: dict[Pair, dict[int, int]] = defaultdict(dict)  # pair → row → how often
        for i, row in enumerate(rows):
            for j, t in enumerate(row):
                for u in row[:j]:
                    self.count(pair(t, u), i, 1)

    def units(self, gate: int) -> int:
        return 1 << self.b.depths[gate] - self.base

    def count(self, p: Pair, row: int, by: int) -> None:
        uses = self.uses[p]
        uses[row] = uses.get(row, 0) + by
        if not uses[row]:
            del uses[row]

    def need(self, p: Pair) -> int:
        """What a row pays when it takes a pair whose terms are not equally deep."""
        x, y = self.units(p[0]), self.units(p[1])
        return 2 * max(x, y) - x - y

    def worth(self, p: Pair) -> int:
        """How often a pair could be taken, times the bits in which its terms overlap."""
        need = self.need(p)
        often = sum(n for row, n in self.uses.get(p, {}).items() if self.slack[row] >= need)
        first, second = (self.b.gates[g].bits for g in p[:2])
        return often * max(1, min(first, second + p[2]) - p[2]) if often > 1 else 0

    def places(self, p: Pair) -> list[tuple[int, int]]:
        """Row and shift of each use, no term twice, as far as the row's depth allows."""
        (first, second, distance, relative), need = p, self.need(p)
        found: list[tuple[int, int]] = []
        for i in sorted(self.uses[p]):
            taken: set[tuple[int, int]] = set()
            left, row = self.slack[i], self.rows[i]
            for (gate, at), sign in row.items():
                x, y = (gate, at), (second, at + distance)
                if gate == first and row.get(y) == sign * relative and left >= need and not {x, y} & taken:
                    found.append((i, at))
                    taken |= {x, y}
                    left -= need
        return found

    def replace(self, p: Pair, i: int, at: int, made: int) -> set[Pair]:
        """In a row, one term for two; the pairs that occur more or less often now."""
        row, x, y = self.rows[i], (p[0], at), (p[1], at + p[2])
        if (made, at) in row:
            return set()
        self.slack[i] -= self.need(p)
        sign = row[x]
        self.count(p, i, -1)
        gone = [(*x, row.pop(x)), (*y, row.pop(y))]
        touched = {p}
        for key, s in row.items():
            for other, by in ((gone[0], -1), (gone[1], -1), ((made, at, sign), 1)):
                q = pair((*key, s), other)
                self.count(q, i, by)
                touched.add(q)
        row[made, at] = sign
        return touched


def share(b: Builder, rows: list[list[Term]]) -> list[list[Term]]:
    """The same sums with pairs in common added once, those first that save most."""
    s = Shared(b, rows)
    heap = [(-s.worth(p), p) for p in s.uses]
    heapify(heap)
    while heap:
        was, best = heappop(heap)
        worth = s.worth(best)
        if worth != -was:  # fewer are left than when it was put here
            if worth:
                heappush(heap, (-worth, best))
            continue
        places = s.places(best) if worth else []
        if len(places) < 2:
            continue
        made = b.add(best[0], 0, best[1], best[2], best[3] < 0)
        touched: set[Pair] = set()
        for i, at in places:
            touched |= s.replace(best, i, at, made)
        for p in sorted(touched):
            if worth := s.worth(p):
                heappush(heap, (-worth, p))
            elif not s.uses[p]:
                del s.uses[p]
    return [[(gate, at, sign) for (gate, at), sign in row.items()] for row in s.rows]


def tree(b: Builder, terms: list[Term]) -> int:
    """The sum of terms, as shallow as can be; at each level neighbours in shift and width are added, since that makes narrow adders."""
    if not terms:
        return b.const(0)
    left, level = list(terms), min(b.depths[t[0]] for t in terms)
    while len(left) > 1:
        ready = sorted((t for t in left if b.depths[t[0]] <= level), key=lambda t: (t[1], b.gates[t[0]].bits, t[0], t[2]))
        left = [t for t in left if b.depths[t[0]] > level]
        left += [plus(b, x, y) for x, y in zip(ready[::2], ready[1::2])] + ready[len(ready) & ~1 :]
        level += 1
    gate, at, sign = left[0]
    return b.shift(gate, at) if sign > 0 else b.add(b.const(0), 0, gate, at, True)


def plus(b: Builder, x: Term, y: Term) -> Term:
    """Two terms as one, negative only where both are."""
    if (x[2] < 0) != (y[2] < 0):
        x, y = (x, y) if x[2] > 0 else (y, x)
    at = min(x[1], y[1])
    return b.add(x[0], x[1] - at, y[0], y[1] - at, x[2] != y[2]), at, x[2]
