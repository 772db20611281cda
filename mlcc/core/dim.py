"""Sizes that a run decides: polynomials over named symbols with known ranges; quotients and extremes where these do not divide or order.

A `Dim` behaves as the number that it stands for: sums, products, quotients and remainders are exact, comparisons are answered where they
hold for every size in range, and raise where they do not. Equality is identity of the polynomials: what it says "no" to may still be equal
at some size, so code that takes the general way for "no" is right at every size. Static sizes are plain `int`s, and an expression that no
symbol is left in becomes one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from mlcc.core.terms import Atom, Made, Size, Symbol, Terms, key, least, most, ordered, product, said, unknown

if TYPE_CHECKING:
    _Base = int  # where an int is asked for, a Dim will do
else:
    _Base = object


class Dim(_Base):
    """Σ coefficient · product of atoms. Immutable."""

    def __init__(self, terms: Terms) -> None:
        self.terms = terms

    @cached_property
    def _form(self) -> tuple[tuple[tuple[Atom, ...], int], ...]:
        return ordered(self.terms)

    # arithmetic

    def __add__(self, other: Size) -> Size:
        if not isinstance(other, (int, np.integer, Dim)):
            return NotImplemented
        total = dict(self.terms)
        for m, c in _terms(other).items():
            total[m] = total.get(m, 0) + c
        return _made(total)

    __radd__ = __add__

    def __neg__(self) -> Size:
        return _made({m: -c for m, c in self.terms.items()})

    def __sub__(self, other: Size) -> Size:
        if not isinstance(other, (int, np.integer, Dim)):
            return NotImplemented
        return self + (-other)

    def __rsub__(self, other: Size) -> Size:
        return -self + other

    def __mul__(self, other: Size) -> Size:
        if not isinstance(other, (int, np.integer, Dim)):
            return NotImplemented
        return _made(product(self.terms, _terms(other)))

    __rmul__ = __mul__

    def __pos__(self) -> Dim:
        return self

    def __abs__(self) -> Size:
        return self if self >= 0 else -self

    def __floordiv__(self, other: Size) -> Size:
        return _quotient(self, other)

    def __rfloordiv__(self, other: Size) -> Size:
        return _quotient(int(other), self)

    def __mod__(self, other: Size) -> Size:
        return self - _quotient(self, other) * other

    def __rmod__(self, other: Size) -> Size:
        return other - _quotient(int(other), self) * self

    def __divmod__(self, other: Size) -> tuple[Size, Size]:
        q = _quotient(self, other)
        return q, self - q * other

    def __rdivmod__(self, other: Size) -> tuple[Size, Size]:
        q = _quotient(int(other), self)
        return q, other - q * self

    # comparisons

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Dim) and self.terms == other.terms

    def __hash__(self) -> int:
        return hash(self._form)

    def __lt__(self, other: Size) -> bool:
        return _decided(self - other, lambda low, high: True if high < 0 else False if low >= 0 else None, f"{said(self)} < {said(other)}")

    def __le__(self, other: Size) -> bool:
        return _decided(self - other, lambda low, high: True if high <= 0 else False if low > 0 else None, f"{said(self)} <= {said(other)}")

    def __gt__(self, other: Size) -> bool:
        return not self <= other

    def __ge__(self, other: Size) -> bool:
        return not self < other

    def __bool__(self) -> bool:
        if self.low > 0 or self.high < 0:
            return True
        raise unknown(f"whether {said(self)} is 0")

    # what must be a number now

    def __index__(self) -> int:
        raise unknown(said(self))

    __int__ = __index__

    def __float__(self) -> float:
        raise unknown(said(self))

    # ranges

    @cached_property
    def _range(self) -> tuple[int, int]:
        """Bounds of the polynomial; b · (a / b) is also a less what is left, 0 to b − 1, which may bound it better."""
        low, high = self._bounds
        over = under = 0
        terms = dict(self.terms)
        for m, c in self.terms.items():
            if len(m) == 1 and isinstance(m[0], Made) and m[0].kind == "quotient" and isinstance(m[0].operands[1], int):
                above, by = m[0].operands
                if c % by == 0:
                    del terms[m]
                    for n, d in product(_terms(above), {(): c // by}).items():
                        terms[n] = terms.get(n, 0) + d
                    spare = c // by * (by - 1)
                    over, under = over + max(0, -spare), under + max(0, spare)
        if over or under:
            other = _made(terms)
            low, high = max(low, least(other) - under), min(high, most(other) + over)
        return low, high

    @cached_property
    def _bounds(self) -> tuple[int, int]:
        """Each atom as its least value and what it exceeds that by, the terms then bounded one by one."""
        shifted: Terms = {}
        spans: dict[Atom, int] = {}
        for m, c in self.terms.items():
            part: Terms = {(): c}
            for a in m:
                spans[a] = a.high - a.low
                part = product(part, {(a,): 1, (): a.low} if a.low else {(a,): 1})
            for k, v in part.items():
                shifted[k] = shifted.get(k, 0) + v
        low = high = 0
        for m, c in shifted.items():
            top = c
            for a in m:
                top *= spans[a]
            low, high = low + (min(0, top) if m else c), high + (max(0, top) if m else c)
        return low, high

    @property
    def low(self) -> int:
        """No size is smaller."""
        return self._range[0]

    @property
    def high(self) -> int:
        """No size is larger."""
        return self._range[1]

    @property
    def symbols(self) -> frozenset[Symbol]:
        found: set[Symbol] = set()
        for m in self.terms:
            for a in m:
                found |= {a} if isinstance(a, Symbol) else symbols(a.operands)
        return frozenset(found)

    def at(self, numbers: Mapping[str, int]) -> int:
        """The size for given numbers of its symbols."""
        total = 0
        for m, c in self.terms.items():
            for a in m:
                c *= _value(a, numbers)
            total += c
        return total

    # text: an expression in C, Python and TIR's order alike, over the symbols' numbers

    def __str__(self) -> str:
        return self.text({s.name: s.variable for s in self.symbols})

    __repr__ = __str__

    def text(self, names: Mapping[str, str]) -> str:
        """An expression in C, over what `names` calls the symbols' numbers."""
        parts = []
        for m, c in self._form:
            factors = [_atom_text(a, names) for a in m]
            parts.append(" * ".join([*([str(c)] if c != 1 or not m else []), *factors]))
        joined = " + ".join(parts)
        return f"({joined})" if len(parts) > 1 or " " in joined else joined


def _terms(n: Size) -> Terms:
    return n.terms if isinstance(n, Dim) else {(): int(n)} if n else {}


def _made(terms: Terms) -> Size:
    kept = {m: c for m, c in terms.items() if c}
    return kept.get((), 0) if not kept or set(kept) == {()} else Dim(kept)


def symbol(s: Symbol) -> Size:
    """The number that a symbol stands for; an int where there is but one."""
    return s.low if s.low == s.high else Dim({(s,): 1})


def size_of(s: Symbol) -> Size:
    """The size that a symbol's name means."""
    return symbol(s) * s.step + s.rest


def _atom(kind: str, a: Size, b: Size) -> Size:
    return Dim({(Made(kind, str(a), str(b), (a, b)),): 1})


def _quotient(a: Size, b: Size) -> Size:
    """a / b, rounded down."""
    if isinstance(b, int) and b == 1:
        return a
    if isinstance(b, int) and b > 0 and isinstance(a, Dim):
        whole = _made({m: c // b for m, c in a.terms.items() if c % b == 0})
        rest = _made({m: c for m, c in a.terms.items() if c % b})
        if not isinstance(rest, Dim):
            return whole + rest // b
        low, high = rest.low // b, rest.high // b
        if low == high:
            return whole + low
        if rest.low < 0:  # C rounds quotients of negative numbers up
            return whole - (-low) + _atom("quotient", rest + (-low) * b, b)
        return whole + _atom("quotient", rest, b)
    exact = _exact(_terms(a), b.terms) if isinstance(b, Dim) else None
    if exact is not None:
        return exact
    if least(b) < 1 or least(a) < 0:
        raise unknown(f"{said(a)} / {said(b)}")
    return least(a) // most(b) if least(a) // most(b) == most(a) // least(b) else _atom("quotient", a, b)


def _exact(a: Terms, b: Terms) -> Size | None:
    """a / b where that leaves nothing: long division of polynomials."""
    rest, total = dict(a), {}
    order = lambda m: (len(m), [key(x) for x in m])  # noqa: E731
    lead = max(b, key=order)
    while rest:
        m = max(rest, key=order)
        left = list(m)
        for x in lead:
            if x not in left:
                return None
            left.remove(x)
        if rest[m] % b[lead]:
            return None
        q, by = tuple(left), rest[m] // b[lead]
        total[q] = by
        for n, c in product({q: by}, b).items():
            rest[n] = rest.get(n, 0) - c
            if not rest[n]:
                del rest[n]
    return _made(total)


def _decided(difference: Size, answer: Any, what: str) -> bool:
    low, high = (difference, difference) if isinstance(difference, int) else (difference.low, difference.high)
    found = answer(low, high)
    if found is None:
        raise unknown(f"whether {what}")
    return bool(found)


def _value(a: Atom, numbers: Mapping[str, int]) -> int:
    if isinstance(a, Symbol):
        return numbers[a.name]
    x, y = (at(n, numbers) for n in a.operands)
    return x // y if a.kind == "quotient" else min(x, y) if a.kind == "least" else max(x, y)


def _atom_text(a: Atom, names: Mapping[str, str]) -> str:
    if isinstance(a, Symbol):
        return names[a.name]
    x, y = (n.text(names) if isinstance(n, Dim) else str(n) for n in a.operands)
    if a.kind == "quotient":
        return f"({x} / {y})"
    return f"({x} {'<' if a.kind == 'least' else '>'} {y} ? {x} : {y})"


# what works on ints and Dims alike


def whole(n: Any) -> Size:
    """A size as it is, any other number as an int."""
    return n if isinstance(n, Dim) else int(n)


def smaller(a: Size, b: Size) -> Size:
    """The smaller of two sizes, also where a run decides which."""
    d = a - b
    return (a if most(d) <= 0 else b if least(d) >= 0 else _atom("least", a, b)) if isinstance(d, Dim) else min(a, b)


def larger(a: Size, b: Size) -> Size:
    d = a - b
    return (a if least(d) >= 0 else b if most(d) <= 0 else _atom("greatest", a, b)) if isinstance(d, Dim) else max(a, b)


def at(n: Size, numbers: Mapping[str, int]) -> int:
    return n.at(numbers) if isinstance(n, Dim) else int(n)


def symbols(sizes: Any) -> frozenset[Symbol]:
    """All symbols in sizes, however deep these lie in tuples and dataclasses."""
    found: set[Symbol] = set()
    todo: list[Any] = [sizes]
    while todo:
        x = todo.pop()
        if isinstance(x, Dim):
            found |= x.symbols
        elif isinstance(x, Mapping):
            todo += x.values()
        elif isinstance(x, (tuple, list, set, frozenset)):
            todo += x
        elif is_dataclass(x) and not isinstance(x, (type, Symbol)):
            todo += [getattr(x, f.name) for f in fields(x)]
    return frozenset(found)
