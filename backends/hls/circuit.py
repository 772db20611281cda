"""Small networks as one pipeline that takes an inference every cycle: sums of shifted inputs in place of multipliers, registers wherever a
part's clock has no time for another level of logic."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from mlcc_backends.hls import adders
from mlcc_backends.hls.gates import LEVELS, Builder, Gate
from mlcc_backends.hls.network import Network, Rounding, Stage, Stream
from mlcc_backends.hls.part import Resources
from mlcc_backends.hls.rounding import apply
from mlcc_backends.hls.sections import Part
from mlcc_backends.hls.timing import Cycles
from mlcc_backends.hls.verilog_parts import table_rows

MOST_LEVELS = 31  # thresholds of a rounding
MOST_WEIGHTS = 1 << 14
MOST_TABLE = 10  # bits of a table's index


def rounded(b: Builder, r: Rounding, channel: int, total: int, inside: bool) -> int:
    """A sum through a rounding; inside: it has the factor and the offset already."""
    if b.gates[total].op == "const":
        value = b.gates[total].low
        if r.factor is not None and inside:
            value = (value - added(r, channel)) // int(r.factor[0])
        return b.const(int(apply(r, np.full((1, channels(r)), value))[0, channel]))
    if r.levels is not None:
        reached = [b.gate("reach", (total,), (int(v),), 0, 1) for v in r.levels[channel] if v <= b.gates[total].high]
        return adders.sums(b, [Counter(reached)], [r.low])[0]
    assert r.factor is not None
    y = total if inside else adders.sums(b, [{total: int(r.factor[channel])}], [added(r, channel)])[0]
    y = b.round(y, r.shift, r.low, r.high, r.even and r.shift > 0)
    if r.exceptions is not None:
        for at, more in r.exceptions[channel]:
            if more:
                g = b.gates[y]
                y = b.gate("bump", (y, total), (int(at), int(more)), max(r.low, g.low - 1), min(r.high, g.high + 1))
    return y


def channels(r: Rounding) -> int:
    return len(r.levels) if r.levels is not None else len(r.factor) if r.factor is not None else 1


def included(r: Rounding) -> bool:
    """Whether a rounding's offset can be a term of the sum before it, whose weights take its factor."""
    if r.factor is None or r.exceptions is not None:
        return False
    return all(f == r.factor[0] for f in r.factor) and len(adders.digits(int(r.factor[0]))) == 1


def added(r: Rounding, channel: int) -> int:
    """A rounding's offset, and half a unit where halves go to the even neighbour."""
    assert r.offset is not None
    return int(r.offset[channel]) + (1 << r.shift - 1 if r.even and r.shift else 0)


def takes(network: Network) -> bool:
    """Whether every stage has a form here: dense layers, tables and joins of few numbers."""
    weights = 0
    for s in network.stages:
        if s.rounding is not None and s.rounding.levels is not None and s.rounding.levels.shape[1] > MOST_LEVELS:
            return False
        if s.kind == "product" and s.window.positions == 1 and s.window.kernel == (1, 1) and s.weights is not None:
            weights += s.weights.size
        elif s.kind in ("table", "join") and all(network.streams[v].bits <= MOST_TABLE for v in s.inputs):
            weights += network.streams[s.output].elements << network.streams[s.inputs[0]].bits
        elif s.kind in ("trees", "float"):
            weights += 1
        elif s.kind not in ("reorder", "concat", "fixed") or s.kind == "concat" and s.window.positions > 1:
            return False
    return 0 < weights <= MOST_WEIGHTS


@dataclass(frozen=True)
class Circuit:
    """gates, which of them each output element is, and the cycle in which each is made."""

    gates: tuple[Gate, ...]
    outputs: dict[str, tuple[int, ...]]
    at: tuple[int, ...]

    @property
    def latency(self) -> int:
        return max(self.at[g] for o in self.outputs.values() for g in o) + 1

    @cached_property
    def until(self) -> dict[int, int]:
        """The last cycle in which a gate is read, for those that are."""
        found: dict[int, int] = {}
        for i, g in enumerate(self.gates):
            for o in g.operands:
                found[o] = max(found.get(o, 0), self.at[i])
        return found | dict.fromkeys((g for o in self.outputs.values() for g in o), self.latency)

    @property
    def registers(self) -> int:
        return sum((end - self.at[i]) * self.gates[i].bits for i, end in self.until.items() if self.gates[i].op != "const")


def build(network: Network, levels: int) -> Circuit:
    """The gates of a network that `takes` accepts; a register after every `levels` of logic."""
    b = Builder()
    values: dict[str, list[int]] = {}
    for p in network.inputs:
        port = network.streams[p.stream]
        low, high = (0, 2**32 - 1) if port.raw else (port.low, port.high)
        values[p.stream] = [b.gate("in", (), (i, list(network.streams).index(p.stream)), low, high) for i in range(port.elements)]
    for s in network.stages:
        x = [values[v] for v in s.inputs]
        out = network.streams[s.output]
        match s.kind:
            case "product":
                assert s.rounding is not None
                values[s.output] = _sums(b, s.rounding, weights(s, x[0]))
            case "table":
                values[s.output] = [_table(b, network.streams[s.inputs[0]], s.tables[0], g) for g in x[0]]
            case "fixed":
                values[s.output] = [_fixed(b, s, g) for g in x[0]]
            case "float":
                values[s.output] = [b.gate("float", (g,), (s.exponent,), 0, (1 << 32) - 1) for g in x[0]]
            case "join":
                assert s.rounding is not None
                streams = [network.streams[v] for v in s.inputs]
                tables = [[_table(b, stream, t, g) for g in group] for stream, t, group in zip(streams, s.tables, x)]
                values[s.output] = _sums(b, s.rounding, [Counter(pair) for pair in zip(*tables)])
            case "trees":
                values[s.output] = _forest(b, s, x[0])
            case "concat":
                values[s.output] = [g for group in x for g in group]
            case "reorder":
                assert s.index is not None
                values[s.output] = [b.const(s.fill) if i < 0 else x[0][int(i)] for i in s.index]
        assert len(values[s.output]) == out.elements
    return Circuit(tuple(b.gates), {p.stream: tuple(values[p.stream]) for p in network.outputs}, _placed(b, levels))


def weights(s: Stage, x: list[int]) -> list[dict[int, int]]:
    """What each output of a dense stage adds up: gates, and what they are multiplied by."""
    assert s.weights is not None
    matrix, per = s.weights.reshape(s.outputs, -1), len(x) // s.groups
    rows: list[dict[int, int]] = []
    for c, row in enumerate(matrix):
        first, found = c // (s.outputs // s.groups) * per, Counter[int]()
        for i, w in enumerate(row):
            found[x[first + i]] += int(w)
        rows.append(found)
    return rows


def _sums(b: Builder, r: Rounding, rows: list[dict[int, int]]) -> list[int]:
    """Rows of gates and weights, each a sum that is rounded; a rounding has one channel or as many as there are rows."""
    own = [c if channels(r) > 1 else 0 for c in range(len(rows))]
    inside = included(r)
    factor = int(r.factor[0]) if r.factor is not None and inside else 1
    scaled = [{g: factor * w for g, w in row.items()} for row in rows]
    totals = adders.sums(b, scaled, [added(r, c) if inside else 0 for c in own])
    return [rounded(b, r, c, total, inside) for c, total in zip(own, totals)]


def _fixed(b: Builder, s: Stage, g: int) -> int:
    """Nearest integers to a float, held within limits, and another number where it is none."""
    near = b.gate("fixed", (g,), (s.exponent,), -(1 << 17), 1 << 17)
    held = b.round(near, 0, *s.total)
    none = b.gate("none", (g,), (), 0, 1)
    return b.gate("select", (none, b.const(s.fill), held), (), min(s.fill, s.total[0]), max(s.fill, s.total[1]))


def _forest(b: Builder, s: Stage, x: list[int]) -> list[int]:
    """Each comparison once; a tree of selections for each tree; sums, as floats."""
    f = s.forest
    assert f is not None
    keys = [b.gate("key", (g,), (), -(1 << 31), (1 << 31) - 1) for g in x]
    none = [b.gate("none", (g,), (), 0, 1) for g in x]

    def value(node: int, output: int) -> int:
        if f.yes[node] == node:
            return b.const(int(f.values[node, output]))
        feature = int(f.feature[node])
        test = b.gate("below", (keys[feature], none[feature]), (int(f.key[node]),), 0, 1)
        yes, no = value(int(f.yes[node]), output), value(int(f.no[node]), output)
        if yes == no:
            return yes
        low, high = (min(b.gates[yes].low, b.gates[no].low), max(b.gates[yes].high, b.gates[no].high))
        return b.gate("select", (test, yes, no), (), low, high)

    totals = adders.sums(b, [Counter(value(int(r), o) for r in f.roots) for o in range(f.values.shape[1])], [0] * f.values.shape[1])
    return [b.gate("float", (t,), (f.exponent,), 0, (1 << 32) - 1) for t in totals]


def _table(b: Builder, stream: Stream, table: np.ndarray, g: int) -> int:
    if b.gates[g].op == "const":
        return b.const(int(table[b.gates[g].low - stream.low]))
    straight = np.diff(table)
    if straight.size and (straight == 1).all():  # a shift of the number line
        offset = int(table[0]) - stream.low
        return adders.sums(b, [{g: 1}], [offset])[0]
    return b.gate("table", (g,), (stream.bits, *table_rows(stream, table)), int(table.min()), int(table.max()))


def _placed(b: Builder, levels: int) -> tuple[int, ...]:
    """The cycle of every gate: as soon as its operands are there and the cycle has time for it."""
    at: list[int] = []
    level: list[int] = []
    for g in b.gates:
        cost = LEVELS.get(g.op, 0)
        ready = max((at[o] for o in g.operands), default=0)
        used = max((level[o] for o in g.operands if at[o] == ready), default=0)
        if g.op == "const":
            ready = used = 0
        if used + cost > levels:
            ready, used = ready + 1, 0
        at.append(ready)
        level.append(used + cost)
    return tuple(-1 if g.op == "const" else cycle for g, cycle in zip(b.gates, at))  # constants are always there


def levels_of(part: Part) -> int:
    """Levels of logic that a clock cycle has time for."""
    picoseconds = 1100 if part.lut_inputs == 6 else 2600 if "ecp5" in part.synthesis else 5200
    return max(1, int(1e6 / part.mhz / picoseconds))


def luts(c: Circuit, g: Gate) -> int:
    """An adder takes a lookup table a bit, save the highest and those of one operand alone below the other; a comparison of sums half of
    one, of floats a sixth; a table one for each 64 entries and bit. docs/fpga-models.md has yosys's counts beside."""
    first = [c.gates[o].bits for o in g.operands[:1]]
    match g.op:
        case "add":
            sa, sb, minus = g.numbers
            return max(1, g.bits - 1 - (sb if sa == 0 else 0 if minus else sa))
        case "round":
            return g.bits + 2
        case "bump":
            return g.bits + c.gates[g.operands[-1]].bits // 2
        case "select":
            return (g.bits + 1) // 2
        case "reach":
            return (first[0] + 1) // 2
        case "below" | "none":
            return (first[0] + 5) // 6
        case "table":
            return g.bits * max(1, (len(g.numbers) - 1) // 64)
        case "float" | "fixed":
            return 160
    return 0


def resources(c: Circuit) -> Resources:
    return Resources(luts=sum(luts(c, g) for g in c.gates), registers=c.registers)


def cycles(c: Circuit) -> Cycles:
    return Cycles(c.latency + 2, 1, ())  # the beat in and the beat out are both counted
