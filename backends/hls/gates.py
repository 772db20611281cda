"""A circuit's gates: what each computes, its range, and the levels of logic up to it."""

from __future__ import annotations

from dataclasses import dataclass, field

from mlcc_backends.hls.network import width

LEVELS = {
    "add": 1,
    "round": 1,
    "bump": 1,
    "reach": 1,
    "table": 2,
    "select": 1,
    "none": 1,
    "below": 1,
    "float": 3,
    "fixed": 4,
}  # of logic, an adder's carry chain for one


@dataclass(frozen=True)
class Gate:
    """op: in, const, shift (a << n), add (a << sa) ± (b << sb), round (a >> shift, halves to even or down, between two limits), bump (a,
    one or more off where b is a value), reach (a ≥ value), table, select, and for floats key, none, below, float, fixed."""

    op: str
    operands: tuple[int, ...] = ()
    numbers: tuple[int, ...] = ()
    low: int = 0
    high: int = 0

    @property
    def bits(self) -> int:
        """Of the wire: two's complement where a value can be negative, else unsigned."""
        return width(self.low, self.high)


@dataclass
class Builder:
    """Gates in order, operands first; equal ones are one. A sum's range is that of what it adds up to: 4x − x is within 3x."""

    gates: list[Gate] = field(default_factory=list)
    depths: list[int] = field(default_factory=list)
    forms: list[dict[int, int]] = field(default_factory=list)  # of each gate as a sum: gate that is not one → weight
    known: dict[tuple[str, tuple[int, ...], tuple[int, ...]], int] = field(default_factory=dict)

    def gate(self, op: str, operands: tuple[int, ...] = (), numbers: tuple[int, ...] = (), low: int = 0, high: int = 0) -> int:
        key = (op, operands, numbers)
        if key not in self.known:
            self.known[key] = len(self.gates)
            self.gates.append(Gate(op, operands, numbers, low, high))
            self.depths.append(LEVELS.get(op, 0) + max((self.depths[o] for o in operands), default=0))
            self.forms.append({self.known[key]: 1})
        return self.known[key]

    def add(self, a: int, sa: int, b: int, sb: int, minus: bool) -> int:
        form = {g: w << sa for g, w in self.forms[a].items()}
        for g, w in self.forms[b].items():
            form[g] = form.get(g, 0) + (-w << sb if minus else w << sb)
        ends = [(w * self.gates[g].low, w * self.gates[g].high) for g, w in form.items()]
        made = self.gate("add", (a, b), (sa, sb, int(minus)), sum(map(min, ends)), sum(map(max, ends)))
        self.forms[made] = form
        return made

    def const(self, value: int) -> int:
        return self.gate("const", (), (value,), value, value)

    def shift(self, a: int, by: int) -> int:
        g = self.gates[a]
        if g.op == "const" or not by:
            return self.const(g.low << by) if by else a
        made = self.gate("shift", (a,), (by,), g.low << by, g.high << by)
        self.forms[made] = {leaf: w << by for leaf, w in self.forms[a].items()}
        return made

    def round(self, a: int, shift: int, low: int, high: int, even: bool = False) -> int:
        """a · 2^−shift, rounded down, between low and high. `even`: a is half a unit too high, and where nothing is left after the shift,
        the result's last bit is cleared: so halves go to the even neighbour."""
        least, most = (halved(x, shift) if even else x >> shift for x in (self.gates[a].low, self.gates[a].high))
        if not shift and low <= least and most <= high:
            return a
        return self.gate("round", (a,), (shift, int(even), low, high), min(max(least, low), high), max(min(most, high), low))


def halved(x: int, shift: int) -> int:
    """What `round` makes of a number that is half a unit too high."""
    whole = x >> shift
    return whole & ~1 if x == whole << shift else whole
