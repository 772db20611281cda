"""A circuit as SystemVerilog: one module, gates as wires, registers where a value is wanted in a later cycle than it is made."""

from __future__ import annotations

from mlcc_backends.hls.circuit import Circuit
from mlcc_backends.hls.gates import Gate, halved
from mlcc_backends.hls.network import Network
from mlcc_backends.hls.verilog_parts import literal
from mlcc_backends.render import render


def emit(network: Network, c: Circuit) -> dict[str, bytes]:
    wires = Wires(network, c)
    body, clocked = _inputs(network)
    for i, g in enumerate(c.gates):
        if g.op == "const" or i not in c.until:
            continue
        if g.op == "table":
            body.append(wires.table(i))
        kind = f"{'signed ' if g.low < 0 else ''}[{g.bits - 1}:0]"
        body.append(f"    wire {kind} g{i} = {wires.value(i)};")
        for cycle in range(c.at[i] + 1, c.until[i] + 1):
            body.append(f"    logic {kind} {wires.raw(i, cycle)};")
            clocked.append(f"            {wires.raw(i, cycle)} <= {wires.raw(i, cycle - 1)};")
    for k, p in enumerate(network.outputs):
        bits = network.streams[p.stream].bits
        body += [
            f"    assign m{k}_data[{j * bits}+:{bits}] = {bits}'({wires.signed(o, c.latency)});" for j, o in enumerate(c.outputs[p.stream])
        ]
    text = (
        f"// {len(c.gates):,} gates in {c.latency + 1} cycles; one inference a cycle. A stall stops every stage.\nmodule "
        f"{network.module} (\n"
    )
    text += (
        ",\n".join(_ports(network))
        + "\n);\n"
        + (render("floats.sv.j2").decode() if any(g.op in ("float", "fixed") for g in c.gates) else "")
    )
    text += "\n".join([*body, *_handshake(network, c.latency + 1), *clocked, "        end", "    end"])
    return wires.tables | {f"{network.module}.sv": (text + "\nendmodule\n").encode()}


def _ports(network: Network) -> list[str]:
    ports = ["    input  logic clk", "    input  logic rst"]
    for name, outside, inside, group in (("s", "input ", "output", network.inputs), ("m", "output", "input ", network.outputs)):
        for k, p in enumerate(group):
            s = network.streams[p.stream]
            ports += [f"    {outside} logic [{s.bits * s.elements - 1}:0] {name}{k}_data"]
            ports += [f"    {outside} logic {name}{k}_valid", f"    {inside} logic {name}{k}_ready"]
    return ports


def _inputs(network: Network) -> tuple[list[str], list[str]]:
    """Registers for the inputs, and how they are set."""
    sizes = [network.streams[p.stream].bits * network.streams[p.stream].elements for p in network.inputs]
    return [f"    logic [{size - 1}:0] in{k};" for k, size in enumerate(sizes)], [
        f"            in{k} <= s{k}_data;" for k in range(len(sizes))
    ]


def _handshake(network: Network, stages: int) -> list[str]:
    """Up to where registers are set: one `valid` a stage; all inputs are taken at once, and all stages go or none does."""
    valid = [f"s{k}_valid" for k in range(len(network.inputs))]
    go = " && ".join(f"(m{k}_ready || !m{k}_valid)" for k in range(len(network.outputs)))
    return [
        f"    logic [{stages - 1}:0] valid;",
        f"    wire go = {go};",
        *(f"    assign s{k}_ready = {' && '.join(['go', '!rst', *valid[:k], *valid[k + 1 :]])};" for k in range(len(valid))),
        *(f"    assign m{k}_valid = valid[{stages - 1}];" for k in range(len(network.outputs))),
        "    always_ff @(posedge clk) begin",
        "        if (rst) valid <= '0;",
        f"        else if (go) valid <= {{valid[{stages - 2}:0], {' && '.join(valid)}}};",
        "        if (go) begin",
    ]


class Wires:
    """What gates are called, cycle by cycle, and what they compute; the tables that they read."""

    def __init__(self, network: Network, c: Circuit) -> None:
        self.network, self.c = network, c
        self.tables: dict[str, bytes] = {}

    def raw(self, gate: int, cycle: int) -> str:
        return f"g{gate}" if cycle == self.c.at[gate] else f"g{gate}_{cycle}"

    def signed(self, gate: int, cycle: int) -> str:
        g = self.c.gates[gate]
        if g.op == "const":
            return f"$signed({literal(g.low, g.bits + 1)})"
        return self.raw(gate, cycle) if g.low < 0 else f"$signed({{1'b0, {self.raw(gate, cycle)}}})"

    def table(self, i: int) -> str:
        g, name = self.c.gates[i], f"{self.network.module}_table{i}.hex"
        rows = g.numbers[1:]
        self.tables[name] = "".join(f"{r & ((1 << g.bits) - 1):x}\n" for r in rows).encode()
        return f'    logic [{g.bits - 1}:0] t{i}[0:{len(rows) - 1}]; initial $readmemh("{name}", t{i});'

    def value(self, i: int) -> str:
        g, at = self.c.gates[i], self.c.at[i]
        bits, operands = g.bits, [self.c.gates[o] for o in g.operands]
        x, raw = [self.signed(o, at) for o in g.operands], [self.raw(o, at) for o in g.operands]
        match g.op:
            case "in":
                index, stream = g.numbers
                name = list(self.network.streams)[stream]
                wide = self.network.streams[name].bits
                port = [p.stream for p in self.network.inputs].index(name)
                return f"in{port}[{index * wide}+:{wide}]"
            case "shift":
                return f"{bits}'({x[0]}) <<< {g.numbers[0]}"
            case "add":
                sa, sb, minus = g.numbers
                return f"({bits}'({x[0]}) <<< {sa}) {'-' if minus else '+'} ({bits}'({x[1]}) <<< {sb})"
            case "round":
                return rounded(g, operands[0], raw[0])
            case "bump":
                there, more = g.numbers
                delta = f"{x[1]} == $signed({literal(there, operands[1].bits + 1)}) ? {literal(more, bits)} : {literal(0, bits)}"
                return f"{bits}'({x[0]}) + ({delta})"
            case "reach":
                return f"{x[0]} >= $signed({literal(g.numbers[0], operands[0].bits + 1)})"
            case "select":
                return f"{raw[0]} ? {bits}'({x[1]}) : {bits}'({x[2]})"
            case "key":  # a float's place in the order of floats
                return f"{raw[0]}[31] ? -$signed({{1'b0, {raw[0]}[30:0]}}) - {bits}'sd1 : $signed({{1'b0, {raw[0]}[30:0]}})"
            case "float":
                return f"as_float(32'({x[0]}), 8'd{(127 + 31 - g.numbers[0]) & 255})"
            case "fixed":
                return f"as_fixed({raw[0]}, 9'd{150 - g.numbers[0]})"
            case "below":  # a ≤ constant; not where the float is none
                return f"{x[0]} <= $signed({literal(g.numbers[0], operands[0].bits)}) && !{raw[1]}"
            case "none":
                return f"{raw[0]}[30:0] > 31'h7f800000"
            case "table":
                index = g.numbers[0]
                return f"t{i}[{raw[0]}[{index - 1}:0]]" if operands[0].bits >= index else f"t{i}[{index}'({x[0]})]"
        raise ValueError(g.op)


def rounded(g: Gate, operand: Gate, x: str) -> str:
    """A wire shifted, its last bit cleared where a half went up, and held between limits. Powers of two for limits are tests of bits."""
    shift, even, low, high = g.numbers
    top = operand.bits - 1
    at, sign = min(shift, top), f"{x}[{top}]" if operand.low < 0 else "1'b0"
    wide = operand.bits - at + 1
    kept = f"{{{sign}, {x}[{top}:{at}]}}"
    if even and shift <= top:
        kept = f"({kept} & {{{literal(-1, wide - 1)}, |{x}[{shift - 1}:0]}})"
    value = f"{g.bits}'($signed({kept}))"
    if high < operand.high >> shift:
        n = high.bit_length()
        over = f"!{sign} && |{x}[{top}:{at + n}]" if high == (1 << n) - 1 else f"$signed({kept}) > $signed({literal(high, wide)})"
        value = f"({over}) ? {literal(high, g.bits)} : {value}"
    if low > (halved(operand.low, shift) if even else operand.low >> shift):
        n = (-low).bit_length() - 1
        if low == 0:
            under = sign
        elif n and low == -(1 << n):
            under = f"{sign} && !(&{x}[{top}:{at + n}])"
        else:
            under = f"$signed({kept}) < $signed({literal(low, wide)})"
        value = f"({under}) ? {literal(low, g.bits)} : {value}"
    return value
