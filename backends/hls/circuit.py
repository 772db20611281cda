"""Small networks as one pipeline that takes an inference every cycle: sums of shifted inputs in place of multipliers, registers by depth.

A constant matrix times a vector is a graph of additions: weights in canonical signed digits, and pairs of terms that several outputs share are
added once (Hartley, "Subexpression sharing in filters using canonic signed digit multipliers", 1996; da4ml, arXiv 2507.04535). Registers stand
wherever a part's clock has no time for another level.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import numpy as np

from mlcc.target import Part
from mlcc_backends.hls.network import Network, Rounding, Stage, Stream, width
from mlcc_backends.hls.part import Resources
from mlcc_backends.hls.timing import Cycles
from mlcc_backends.hls.verilog import literal, table_rows

MOST_LEVELS = 31  # thresholds of a rounding
MOST_WEIGHTS = 1 << 14
MOST_TABLE = 10  # bits of a table's index
SHARED_DEPTH = 2  # levels below which terms are shared: deeper ones would lengthen the tree


@dataclass(frozen=True)
class Gate:
    """op: in, add (a << sa) ± (b << sb), const, shift, clamp, bump (a + (a == value ? delta : 0)…), reach (a ≥ value), even, table, select."""

    op: str
    operands: tuple[int, ...] = ()
    numbers: tuple[int, ...] = ()
    low: int = 0
    high: int = 0

    @property
    def bits(self) -> int:
        return width(min(self.low, -1), self.high)


COSTS = {
    "add": 1,
    "clamp": 1,
    "bump": 1,
    "reach": 1,
    "even": 1,
    "table": 2,
    "select": 1,
    "key": 0,
    "none": 1,
    "below": 1,
    "float": 3,
}  # levels of logic


@dataclass
class Builder:
    """Gates in order; equal ones are one."""

    gates: list[Gate] = field(default_factory=list)
    known: dict[tuple[str, tuple[int, ...], tuple[int, ...]], int] = field(default_factory=dict)

    def gate(self, op: str, operands: tuple[int, ...] = (), numbers: tuple[int, ...] = (), low: int = 0, high: int = 0) -> int:
        key = (op, operands, numbers)
        if key not in self.known:
            self.known[key] = len(self.gates)
            self.gates.append(Gate(op, operands, numbers, low, high))
        return self.known[key]

    def add(self, a: int, sa: int, b: int, sb: int, minus: bool) -> int:
        x, y = self.gates[a], self.gates[b]
        low = (x.low << sa) + (-(y.high << sb) if minus else y.low << sb)
        high = (x.high << sa) + (-(y.low << sb) if minus else y.high << sb)
        return self.gate("add", (a, b), (sa, sb, int(minus)), low, high)

    def const(self, value: int) -> int:
        return self.gate("const", (), (value,), value, value)

    def shift(self, a: int, by: int) -> int:
        return a if by == 0 else self.gate("shift", (a,), (by,), self.gates[a].low >> by, self.gates[a].high >> by)

    def depth(self, a: int) -> int:
        """Levels of logic up to a gate."""
        g = self.gates[a]
        return COSTS.get(g.op, 0) + max((self.depths(o) for o in g.operands), default=0)

    def depths(self, a: int) -> int:
        if not hasattr(self, "_depths"):
            self._depths: dict[int, int] = {}
        if a not in self._depths:
            self._depths[a] = self.depth(a)
        return self._depths[a]


Term = tuple[int, int, int]  # gate, shift, sign


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


def _pair(a: Term, b: Term) -> tuple[tuple[int, int, int, int], int, int]:
    """What two terms have in common with others like them: (first, second, distance, relative sign), and its shift and sign."""
    (a, b) = (a, b) if (a[1], a[0]) <= (b[1], b[0]) else (b, a)
    return (a[0], b[0], b[1] - a[1], a[2] * b[2]), a[1], a[2]


def share(b: Builder, rows: list[list[Term]]) -> list[list[Term]]:
    """Rows of terms with the pairs that occur most often added once, the most frequent first."""

    def pairs(row: list[Term]) -> Counter[tuple[int, int, int, int]]:
        shallow = [t for t in row if b.depths(t[0]) <= base + SHARED_DEPTH - 1]
        return Counter(_pair(x, y)[0] for i, x in enumerate(shallow) for y in shallow[i + 1 :])

    base = min((b.depths(t[0]) for row in rows for t in row), default=0)
    counts = [pairs(r) for r in rows]
    total: Counter[tuple[int, int, int, int]] = Counter()
    for c in counts:
        total.update(c)
    while total:
        best, often = max(total.items(), key=lambda p: (p[1], p[0]))
        if often < 2:
            break
        first, second, distance, relative = best
        made = b.add(first, 0, second, distance, relative < 0)
        for i, row in enumerate(rows):
            if not counts[i].get(best):
                continue
            left, kept = list(row), []
            while left:
                t = left.pop(0)
                match = next((u for u in left if _pair(t, u)[0] == best), None)
                if match is None:
                    kept.append(t)
                    continue
                left.remove(match)
                _, at, sign = _pair(t, match)
                kept.append((made, at, sign))
            total.subtract(counts[i])
            rows[i], counts[i] = kept, pairs(kept)
            total.update(counts[i])
        total = +total
        total.pop(best, None)
    return rows


def tree(b: Builder, terms: list[Term]) -> int:
    """The sum of terms, shallow ones first."""
    if not terms:
        return b.const(0)
    left = sorted(terms, key=lambda t: (b.depths(t[0]), -t[2], t[1], t[0]))
    while len(left) > 1:
        x, y = left[0], left[1]
        if x[2] < 0 < y[2]:
            x, y = y, x
        at = min(x[1], y[1])
        made = b.add(x[0], x[1] - at, y[0], y[1] - at, x[2] != y[2])
        left = sorted([*left[2:], (made, at, x[2])], key=lambda t: (b.depths(t[0]), -t[2], t[1], t[0]))
    gate, at, sign = left[0]
    if sign < 0:
        return b.add(b.const(0), 0, gate, at, True)
    return gate if at == 0 else b.add(gate, at, b.const(0), 0, False)


def rounded(b: Builder, r: Rounding, channel: int, terms: list[Term]) -> int:
    """A sum of terms through a rounding."""
    if r.levels is not None:
        total = tree(b, terms)
        reached = [b.gate("reach", (total,), (int(v),), 0, 1) for v in r.levels[channel] if v <= b.gates[total].high]
        count = tree(b, [(g, 0, 1) for g in reached])
        return b.add(count, 0, b.const(r.low), 0, False) if r.low else count
    assert r.factor is not None and r.offset is not None
    factor, offset = int(r.factor[channel]), int(r.offset[channel])
    if factor != 1:
        total = tree(b, terms)
        y = tree(
            b,
            [
                *((total, at, sign) for at, sign in digits(factor)),
                *((b.const(abs(offset)), 0, 1 if offset > 0 else -1) for _ in [0] if offset),
            ],
        )
    else:
        total = y = tree(b, terms) if not offset else tree(b, [*terms, (b.const(abs(offset)), 0, 1 if offset > 0 else -1)])
        if r.exceptions is not None and offset:
            total = tree(b, terms)
    if r.even and r.shift:
        g = b.gates[y]
        y = b.gate("even", (y,), (r.shift,), (g.low >> r.shift), (g.high >> r.shift) + 1)
    else:
        y = b.shift(y, r.shift)
    g = b.gates[y]
    if g.low < r.low or g.high > r.high:
        y = b.gate("clamp", (y,), (r.low, r.high), max(g.low, r.low), min(g.high, r.high))
    if r.exceptions is not None:
        for at, more in r.exceptions[channel]:
            if more:
                g = b.gates[y]
                y = b.gate("bump", (y, total), (int(at), int(more)), max(r.low, g.low - 1), min(r.high, g.high + 1))
    return y


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
        elif s.kind == "trees":
            weights += 1
        elif s.kind not in ("reorder", "concat", "trees") or s.kind == "concat" and s.window.positions > 1:
            return False
    return 0 < weights <= MOST_WEIGHTS


@dataclass(frozen=True)
class Circuit:
    """gates, which of them each output element is, and the cycle in which each is there."""

    gates: tuple[Gate, ...]
    inputs: dict[str, tuple[int, ...]]
    outputs: dict[str, tuple[int, ...]]
    at: tuple[int, ...]
    registers: int

    @property
    def latency(self) -> int:
        return max(self.at[g] for o in self.outputs.values() for g in o) + 1


def build(network: Network, levels: int) -> Circuit:
    """The gates of a network that `takes` accepts; a register after every `levels` of logic."""
    b = Builder()
    values: dict[str, list[int]] = {}
    inputs = {}
    for p in network.inputs:
        s = network.streams[p.stream]
        low, high = (0, 2**32 - 1) if s.raw else (s.low, s.high)
        values[p.stream] = [b.gate("in", (), (i, list(network.streams).index(p.stream)), low, high) for i in range(s.elements)]
        inputs[p.stream] = tuple(values[p.stream])
    for s in network.stages:
        x = [values[v] for v in s.inputs]
        out = network.streams[s.output]
        match s.kind:
            case "product":
                values[s.output] = _product(b, s, x[0])
            case "table":
                values[s.output] = [_table(b, network.streams[s.inputs[0]], s.tables[0], g) for g in x[0]]
            case "join":
                assert s.rounding is not None
                streams = [network.streams[v] for v in s.inputs]
                tables = [[_table(b, stream, t, g) for g in group] for stream, t, group in zip(streams, s.tables, x)]
                values[s.output] = [rounded(b, s.rounding, 0, [(g, 0, 1), (h, 0, 1)]) for g, h in zip(*tables)]
            case "trees":
                values[s.output] = _forest(b, s, x[0])
            case "concat":
                values[s.output] = [g for group in x for g in group]
            case "reorder":
                assert s.index is not None
                values[s.output] = [b.const(s.fill) if i < 0 else x[0][int(i)] for i in s.index]
        assert len(values[s.output]) == out.elements
    outputs = {p.stream: tuple(values[p.stream]) for p in network.outputs}
    return _placed(b, inputs, outputs, levels)


def terms(s: Stage, x: list[int]) -> list[list[Term]]:
    """What each output of a dense stage adds up."""
    assert s.weights is not None
    weights, per = s.weights.reshape(s.outputs, -1), len(x) // s.groups
    rows = []
    for c in range(s.outputs):
        first = c // (s.outputs // s.groups) * per
        rows.append([(x[first + i], at, sign) for i, w in enumerate(weights[c]) for at, sign in digits(int(w))])
    return rows


def _product(b: Builder, s: Stage, x: list[int]) -> list[int]:
    assert s.rounding is not None
    rows = share(b, terms(s, x))
    single = s.rounding.levels is None and s.rounding.factor is not None and len(s.rounding.factor) == 1
    return [rounded(b, s.rounding, 0 if single else c, row) for c, row in enumerate(rows)]


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

    sums = [tree(b, [(value(int(r), o), 0, 1) for r in f.roots]) for o in range(f.values.shape[1])]
    return [b.gate("float", (t,), (f.exponent,), 0, (1 << 32) - 1) for t in sums]


def _table(b: Builder, stream: Stream, table: np.ndarray, g: int) -> int:
    straight = np.diff(table)
    if straight.size and (straight == 1).all():  # a shift of the number line
        offset = int(table[0]) - stream.low
        return b.add(g, 0, b.const(abs(offset)), 0, offset < 0) if offset else g
    return b.gate("table", (g,), (stream.bits, *table_rows(stream, table)), int(table.min()), int(table.max()))


def _placed(b: Builder, inputs: dict[str, tuple[int, ...]], outputs: dict[str, tuple[int, ...]], levels: int) -> Circuit:
    """The cycle of every gate: as soon as its operands are there and the cycle has time for it."""
    at: list[int] = []
    level: list[int] = []
    for g in b.gates:
        cost = COSTS.get(g.op, 0)
        ready = max((at[o] for o in g.operands), default=0)
        used = max((level[o] for o in g.operands if at[o] == ready), default=0)
        if g.op == "const":
            ready = used = 0
        if used + cost > levels:
            ready, used = ready + 1, 0
        at.append(ready)
        level.append(used + cost)
    for i, g in enumerate(b.gates):
        if g.op == "const":
            at[i] = -1  # always there
    last: dict[int, int] = {}
    for i, g in enumerate(b.gates):
        for o in g.operands:
            last[o] = max(last.get(o, 0), at[i])
    results = [o for group in outputs.values() for o in group]
    end = max(at[o] for o in results)
    last |= dict.fromkeys(results, end + 1)
    registers = sum((last[i] - at[i]) * g.bits for i, g in enumerate(b.gates) if i in last and g.op != "const")
    return Circuit(tuple(b.gates), inputs, outputs, tuple(at), registers)


def levels_of(part: Part) -> int:
    """Levels of logic that a clock cycle has time for."""
    picoseconds = 1100 if part.lut_inputs == 6 else 2600 if "ecp5" in part.synthesis else 5200
    return max(1, int(1e6 / part.mhz / picoseconds))


def resources(c: Circuit) -> Resources:
    """An adder takes a lookup table a bit, a comparison half of one, a table one for each 64 entries and bit."""
    luts = 0
    for g in c.gates:
        if g.op in ("add", "even"):
            luts += g.bits
        elif g.op in ("clamp", "bump", "select"):
            luts += g.bits + c.gates[g.operands[-1]].bits // 2
        elif g.op == "float":
            luts += 160
        elif g.op in ("reach", "below", "none"):
            luts += (c.gates[g.operands[0]].bits + 1) // 2
        elif g.op == "table":
            luts += g.bits * max(1, (len(g.numbers) - 1) // 64)
    return Resources(luts=luts, registers=c.registers)


def cycles(c: Circuit) -> Cycles:
    return Cycles(c.latency + 2, 1, ())  # the beat in and the beat out are both counted


def emit(network: Network, c: Circuit) -> dict[str, bytes]:
    """One module: gates as wires, registers where a value is wanted in a later cycle than it is made."""
    prefix = network.module
    lines: list[str] = []
    names: dict[tuple[int, int], str] = {}
    wanted: dict[int, int] = {}
    end = c.latency - 1
    for i, g in enumerate(c.gates):
        for o in g.operands:
            wanted[o] = max(wanted.get(o, 0), c.at[i])
    for group in c.outputs.values():
        for o in group:
            wanted[o] = end + 1
    files: dict[str, bytes] = {}
    registers: list[str] = []
    streams = list(network.streams)
    ports = {streams.index(p.stream): i for i, p in enumerate(network.inputs)}

    def name(gate: int, cycle: int) -> str:
        return f"$signed({literal(c.gates[gate].numbers[0], c.gates[gate].bits)})" if c.gates[gate].op == "const" else names[gate, cycle]

    for i, g in enumerate(c.gates):
        if g.op == "const" or i not in wanted:
            continue
        at = c.at[i]
        x = [name(o, at) for o in g.operands]
        n = f"g{i}"
        bits = g.bits
        match g.op:
            case "in":
                index, stream = g.numbers
                s = network.streams[streams[stream]]
                part = f"in{ports[stream]}[{index * s.bits}+:{s.bits}]"
                value = f"$signed({part})" if s.signed else f"$signed({{1'b0, {part}}})"
            case "add":
                sa, sb, minus = g.numbers
                value = f"({bits}'({x[0]}) <<< {sa}) {'-' if minus else '+'} ({bits}'({x[1]}) <<< {sb})"
            case "shift":
                value = f"{bits}'({x[0]} >>> {g.numbers[0]})"
            case "even":
                k = g.numbers[0]
                wide = c.gates[g.operands[0]].bits + 1
                half = (1 << (k - 1)) - 1
                value = f"{bits}'(({wide}'({x[0]}) + $signed({literal(half, wide)}) + {wide}'($signed({{1'b0, {x[0]}[{k}]}}))) >>> {k})"
                if k >= c.gates[g.operands[0]].bits:
                    value = f"{bits}'(({wide}'({x[0]}) + $signed({literal(half, wide)}) + {wide}'($signed({{1'b0, {x[0]}[{c.gates[g.operands[0]].bits - 1}]}}))) >>> {k})"
            case "clamp":
                wide = c.gates[g.operands[0]].bits + 1
                low, high = (f"$signed({literal(v, max(wide, bits + 1))})" for v in g.numbers)
                value = f"{x[0]} < {low} ? {bits}'({low}) : {x[0]} > {high} ? {bits}'({high}) : {bits}'({x[0]})"
            case "bump":
                there, more = g.numbers
                wide = c.gates[g.operands[1]].bits
                value = f"{bits}'({x[0]}) + ({x[1]} == $signed({literal(there, wide)}) ? $signed({literal(more, bits)}) : $signed({literal(0, bits)}))"
            case "reach":
                wide = c.gates[g.operands[0]].bits + 1
                value = f"$signed({{1'b0, {wide}'({x[0]}) >= $signed({literal(g.numbers[0], wide)})}})"
            case "select":
                value = f"{x[0]}[0] ? {bits}'({x[1]}) : {bits}'({x[2]})"
            case "key":  # a float's place in the order of floats
                value = f"{x[0]}[31] ? -$signed({{1'b0, {x[0]}[30:0]}}) - {bits}'sd1 : $signed({{1'b0, {x[0]}[30:0]}})"
            case "float":
                value = f"$signed({{1'b0, as_float(32'({x[0]}), 8'd{(127 + 31 - g.numbers[0]) & 255})}})"
            case "below":  # a ≤ or < constant; not where the float is none
                wide = c.gates[g.operands[0]].bits
                value = f"$signed({{1'b0, {x[0]} <= $signed({literal(g.numbers[0], wide)}) && !{x[1]}[0]}})"
            case "none":
                value = f"$signed({{1'b0, {x[0]}[30:0] > 31'h7f800000}})"
            case _:
                index_bits, *rows = g.numbers
                files[f"{prefix}_table{i}.hex"] = "".join(f"{r & ((1 << bits) - 1):x}\n" for r in rows).encode()
                lines.append(f'    logic [{bits - 1}:0] t{i}[0:{len(rows) - 1}]; initial $readmemh("{prefix}_table{i}.hex", t{i});')
                value = f"$signed(t{i}[{x[0]}[{index_bits - 1}:0]])"
        lines.append(f"    wire signed [{bits - 1}:0] {n} = {value};")
        names[i, at] = n
        for cycle in range(at + 1, wanted[i] + 1):
            lines.append(f"    logic signed [{bits - 1}:0] {n}_{cycle};")
            registers.append(f"            {n}_{cycle} <= {names[i, cycle - 1]};")
            names[i, cycle] = f"{n}_{cycle}"
    header = ["    input  logic clk,", "    input  logic rst,"]
    body = []
    for k, p in enumerate(network.inputs):
        s = network.streams[p.stream]
        wide = s.bits * s.elements
        header += [f"    input  logic [{wide - 1}:0] s{k}_data,", f"    input  logic s{k}_valid,", f"    output logic s{k}_ready,"]
        body.append(f"    logic [{wide - 1}:0] in{k};")
        registers.append(f"            in{k} <= s{k}_data;")
    for k, p in enumerate(network.outputs):
        s = network.streams[p.stream]
        header += [
            f"    output logic [{s.bits * s.elements - 1}:0] m{k}_data,",
            f"    output logic m{k}_valid,",
            f"    input  logic m{k}_ready,",
        ]
    header[-1] = header[-1].rstrip(",")
    stages = c.latency + 1
    valid_in = " && ".join(f"s{k}_valid" for k in range(len(network.inputs)))
    ready_out = " && ".join(f"(m{k}_ready || !m{k}_valid)" for k in range(len(network.outputs)))
    body += [f"    logic [{stages - 1}:0] valid;", f"    wire go = {ready_out};"]
    body += [
        f"    assign s{k}_ready = go && !rst{''.join(f' && s{j}_valid' for j in range(len(network.inputs)) if j != k)};"
        for k in range(len(network.inputs))
    ]
    tail = [
        "    always_ff @(posedge clk) begin",
        "        if (rst) valid <= '0;",
        f"        else if (go) valid <= {{valid[{stages - 2}:0], {valid_in}}};",
        "        if (go) begin",
    ]
    tail += [*registers, "        end", "    end"]
    for k, p in enumerate(network.outputs):
        s = network.streams[p.stream]
        tail.append(f"    assign m{k}_valid = valid[{stages - 1}];")
        for j, o in enumerate(c.outputs[p.stream]):
            made = c.gates[o]
            if made.op == "const":
                value = literal(made.numbers[0], s.bits)
            else:
                value = f"{name(o, end + 1)}[{s.bits - 1}:0]" if made.bits >= s.bits else f"{s.bits}'({name(o, end + 1)})"
            tail.append(f"    assign m{k}_data[{j * s.bits}+:{s.bits}] = {value};")
    note = f"// {len(c.gates):,} gates in {c.latency + 1} cycles; one inference a cycle. A stall stops every stage.\n"
    text = f"{note}module {prefix} (\n" + "\n".join(header) + "\n);\n" + AS_FLOAT * any(g.op == "float" for g in c.gates)
    files[f"{prefix}.sv"] = (text + "\n".join([*body, *lines, *tail]) + "\nendmodule\n").encode()
    return files


# The binary32 number nearest to x * 2^-n; exponent: 158 - n. Numbers of up to 24 bits are exact.
AS_FLOAT = """    function automatic [31:0] as_float(input signed [31:0] x, input [7:0] exponent);
        logic [31:0] m;
        logic [7:0] e;
        begin
            m = x < 0 ? -x : x;
            e = exponent;
            if (m[31:16] == 0) begin m = m << 16; e = e - 8'd16; end
            if (m[31:24] == 0) begin m = m << 8; e = e - 8'd8; end
            if (m[31:28] == 0) begin m = m << 4; e = e - 8'd4; end
            if (m[31:30] == 0) begin m = m << 2; e = e - 8'd2; end
            if (m[31] == 0) begin m = m << 1; e = e - 8'd1; end
            as_float = m == 0 ? 32'd0 : {x < 0, e, m[30:8]};
        end
    endfunction
"""
