"""What sizes are made of: symbols with ranges, numbers made of others, and how both are written. `mlcc.core.dim` counts with them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from mlcc.error import Error

Size = Any  # int or mlcc.core.dim.Dim


def most(n: Size) -> int:
    """The largest that a size may be: what memory is planned for, and what choices of speed go by."""
    return int(n) if isinstance(n, int | np.integer) else n.high


def least(n: Size) -> int:
    return int(n) if isinstance(n, int | np.integer) else n.low


@dataclass(frozen=True, order=True)
class Symbol:
    """A free number from `low` to `high`. The size that people mean by `name` is step · number + rest."""

    name: str
    low: int
    high: int
    step: int = 1
    rest: int = 0

    @property
    def variable(self) -> str:
        """What generated code calls the number."""
        return f"n_{self.name}"

    @property
    def sizes(self) -> range:
        """The sizes that it allows, smallest first."""
        return range(self.low * self.step + self.rest, self.high * self.step + self.rest + 1, self.step)


@dataclass(frozen=True, order=True)
class Made:
    """A number made of others that no polynomial says: kind `quotient` (of a number that is not negative by a positive one, rounded down),
    `least` or `greatest` of two."""

    kind: str
    left: str  # of the operands' texts, which order them
    right: str
    operands: tuple[Size, Size]

    @property
    def low(self) -> int:
        a, b = self.operands
        if self.kind == "quotient":
            return least(a) // most(b)
        return min(least(a), least(b)) if self.kind == "least" else max(least(a), least(b))

    @property
    def high(self) -> int:
        a, b = self.operands
        if self.kind == "quotient":
            return most(a) // least(b)
        return min(most(a), most(b)) if self.kind == "least" else max(most(a), most(b))


Atom = Symbol | Made
Terms = dict[tuple[Atom, ...], int]


def key(atom: Atom) -> tuple[str, ...]:
    return ("", atom.name) if isinstance(atom, Symbol) else (atom.kind, atom.left, atom.right)


def ordered(terms: Terms) -> tuple[tuple[tuple[Atom, ...], int], ...]:
    """The one order in which a polynomial is written and compared."""
    return tuple(sorted(terms.items(), key=lambda t: ([key(a) for a in t[0]], t[1])))


def product(a: Terms, b: Terms) -> Terms:
    total: Terms = {}
    for m, c in a.items():
        for n, d in b.items():
            both = tuple(sorted((*m, *n), key=key))
            total[both] = total.get(both, 0) + c * d
    return total


def said(n: Size) -> str:
    """A size in words."""
    return str(public(n))


def unknown(what: str) -> Error:
    return Error("unsupported", f"{what} depends on sizes that only a run knows", hint="fix the size, or give a range that decides it")


def public(n: Size) -> int | str:
    """A size as manifests say it: a number, or an expression over the sizes' names."""
    if isinstance(n, int):
        return int(n)
    for m in n.terms:
        for s in m:
            if isinstance(s, Symbol) and n.terms == {k: v for k, v in {(s,): s.step, (): s.rest}.items() if v}:
                return s.name
    return _public(n)


def _public(n: Size) -> str:
    if isinstance(n, int):
        return str(n)
    parts = []
    for m, c in ordered(n.terms):
        factors = [str(c)] if c != 1 or not m else []
        for a in m:
            if isinstance(a, Symbol):
                inner = f"({a.name} - {a.rest})" if a.rest else a.name
                factors.append(f"({inner} // {a.step})" if a.step > 1 else inner)
            else:
                x, y = map(_public, a.operands)
                factors.append(f"({x} // {y})" if a.kind == "quotient" else f"{'min' if a.kind == 'least' else 'max'}({x}, {y})")
        parts.append(" * ".join(factors))
    return f"({' + '.join(parts)})"
