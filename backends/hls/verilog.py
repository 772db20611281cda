"""Network → SystemVerilog, and the files that its memories start with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import ceil, log2, prod
from typing import Any

import numpy as np

from mlcc.names import comment
from mlcc_backends.hls import schedule
from mlcc_backends.hls.network import Network, Stage, Stream, width
from mlcc_backends.hls.scalar import OPERATIONS
from mlcc_backends.hls.timing import Cycles
from mlcc_backends.render import render as rendered

CODES = {op: i for i, op in enumerate(op for op in OPERATIONS if op not in ("in", "const"))}


def emit(network: Network, cycles: Cycles) -> dict[str, bytes]:
    """Files by name: SystemVerilog, memory contents, and the simulation's main."""
    prefix = network.module
    files: dict[str, bytes] = {}

    def keep(name: str, rows: list[int], bits: int) -> str:
        digits = ceil(bits / 4)
        mask = (1 << bits) - 1
        files[f"{prefix}_{name}.hex"] = "".join(f"{int(r) & mask:0{digits}x}\n" for r in rows).encode()
        return f"{prefix}_{name}.hex"

    def render(name: str, **values: Any) -> bytes:
        return rendered(name, prefix=prefix, **values)

    files[f"{prefix}_store.sv"] = render("store.sv.j2")
    for s in network.stages:
        template = "scalar.sv.j2" if s.kind == "scalar" else "window.sv.j2" if s.kind in WINDOWED else "flat.sv.j2"
        values = {"scalar.sv.j2": _scalar, "window.sv.j2": _window, "flat.sv.j2": _flat}[template](network, s, keep)
        files[f"{prefix}_{s.name}.sv"] = render(template, s=values, module=f"{prefix}_{s.name}")
    values = top_values(network, cycles)
    files[f"{prefix}.sv"] = render("top.sv.j2", **values)
    files[f"{prefix}_simulate.cpp"] = render("simulate.cpp.j2", **values)
    return files


WINDOWED = ("product", "depthwise", "sum", "max")
Keep = Callable[[str, list[int], int], str]


def index_bits(n: int) -> int:
    """Bits of an index below n."""
    return max(1, (n - 1).bit_length())


def extension(word: str, lane: str, bits: int, signed: bool) -> str:
    """An element of a word as a signed number."""
    part = f"{word}[{lane}*{bits}+:{bits}]"
    return part if signed else f"1'b0, {part}"


def literal(value: int, bits: int) -> str:
    return f"{bits}'h{value & ((1 << bits) - 1):x}"


def pack(lanes: list[int], bits: int) -> int:
    """Lanes side by side, the first lowest."""
    total = 0
    for i, v in enumerate(lanes):
        total |= (int(v) & ((1 << bits) - 1)) << (i * bits)
    return total


def _common(network: Network, s: Stage) -> dict[str, Any]:
    out = network.streams[s.output]
    return {
        "name": s.name,
        "layer": comment(s.layer),
        "kind": s.kind,
        "simd": s.simd,
        "pe": s.pe,
        "beat": s.beat,
        "steps": schedule.steps(s),
        "ob": out.bits,
        "shape_text": shape_text(s, network),
        "fill": s.fill,
    }


def shape_text(s: Stage, network: Network) -> str:
    w = s.window
    if s.kind == "product" and w.kernel == (1, 1) and w.positions == 1:
        return f"{w.channels} → {s.outputs}"
    if s.kind in WINDOWED:
        made = s.outputs if s.kind in ("product", "depthwise") else w.channels
        return f"{w.height}x{w.width}x{w.channels} → {w.out[0]}x{w.out[1]}x{made}, kernel {w.kernel[0]}x{w.kernel[1]}"
    return f"{network.streams[s.output].elements} elements"


def _rounding(network: Network, s: Stage, sum_bits: int, keep: Keep) -> dict[str, Any]:
    r, out = s.rounding, network.streams[s.output]
    base: dict[str, Any] = {"beat": s.beat, "ob": out.bits, "sb": sum_bits}
    if r is None:
        return {**base, "kind": "none"}
    if r.levels is not None:
        channels = r.levels.shape[0]
        repeat = s.beat if channels == 1 else 1
        rows = max(1, channels // s.beat)
        depth = schedule.levels_depth(r)
        table = np.repeat(r.levels, repeat, axis=0)
        top = (1 << sum_bits) - 1
        name = f"{s.name}_levels"
        for k in range(depth):
            picks = [(p << (depth - k)) + (1 << (depth - k - 1)) - 1 for p in range(1 << k)]
            keep(f"{name}{k}", [min(int(table[c, i]), top) for c in range(rows * s.beat) for i in picks], sum_bits + 1)
        wide = out.bits + depth + 2
        return {
            **base, "kind": "levels", "rows": rows, "depth": depth, "index_bits": index_bits(rows), "low_wide": literal(r.low, wide),
            "file": f"{network.module}_{name}",
        }  # fmt: skip
    assert r.factor is not None and r.offset is not None
    channels = len(r.factor)
    repeat = s.beat if channels == 1 else 1
    rows = max(1, channels // s.beat)
    fb, ofb, yb = r.widths(sum_bits, out.bits)
    extra = 0 if r.exceptions is None else r.exceptions.shape[1]
    lane_bits = fb + ofb + extra * (sum_bits + 2)
    packed = []
    for c in range(channels):
        value = pack([int(r.factor[c])], fb) | pack([int(r.offset[c])], ofb) << fb
        for k in range(extra):
            assert r.exceptions is not None
            at, more = int(r.exceptions[c, k, 0]), int(r.exceptions[c, k, 1])
            value |= (pack([at if more else 0], sum_bits) | pack([more], 2) << sum_bits) << (fb + ofb + k * (sum_bits + 2))
        packed += [value] * repeat
    lines = [pack(packed[i * s.beat : (i + 1) * s.beat], lane_bits) for i in range(rows)]
    even = r.even and r.shift > 0
    shifted = f"moved >>> {r.shift}"
    if even:
        half = (1 << (r.shift - 1)) - 1
        shifted = f"(moved + $signed({literal(half, yb)}) + {yb}'($signed({{1'b0, moved[{r.shift}]}}))) >>> {r.shift}"
    return {
        **base, "kind": "formula", "rows": rows, "index_bits": index_bits(rows), "fb": fb, "ofb": ofb, "mb": sum_bits + fb, "yb": yb, "shift": r.shift,
        "even": even, "shifted": shifted, "low": r.low, "high": r.high, "low_literal": f"$signed({literal(r.low, yb)})",
        "high_literal": f"$signed({literal(r.high, yb)})", "exceptions": extra, "lane_bits": lane_bits, "row_bits": lane_bits * s.beat,
        "file": keep(f"{s.name}_rounding", lines, lane_bits * s.beat),
    }  # fmt: skip


def _window(network: Network, s: Stage, keep: Keep) -> dict[str, Any]:
    w, edge = s.window, network.edge_into(s.name, 0)
    stream = network.streams[s.inputs[0]]
    xb, signed = stream.bits, stream.signed
    cw = w.channels // s.simd
    inner = [("tap_y", w.kernel[0]), ("tap_x", w.kernel[1])]
    if s.kind == "product":
        assert s.weights is not None
        inner.append(("part", s.weights.shape[-1] // s.simd))
    names = [("row", w.out[0]), ("column", w.out[1]), ("turn", schedule.turns(s)), *inner]
    counters: list[dict[str, Any]] = []
    used = [(n, c) for n, c in names if c > 1]
    for i, (n, c) in enumerate(used):
        carry = " && ".join(f"{m}_end" for m, _ in used[i + 1 :]) or "1'b1"
        counters.append({"name": n, "count": c, "bits": index_bits(c), "carry": carry})
    live = {n for n, _ in used}

    def ends(group: list[str]) -> str:
        return " && ".join(f"{n}_end" for n in group if n in live) or "1'b1"

    fold = [n for n, _ in inner]
    starts = " && ".join(f"{n} == '0" for n in fold if n in live) or "1'b1"

    def at(name: str) -> str:
        return f"$signed(16'({name}))" if name in live else "16'sd0"

    def place(position: str, tap: str, axis: int) -> str:
        return f"{at(position)} * 16'sd{w.strides[axis]} + {at(tap)} * 16'sd{w.dilations[axis]} - 16'sd{w.before[axis]}"

    aw = index_bits(edge.words)
    if s.kind == "product":
        assert s.weights is not None
        part = f"{aw}'(part)" if "part" in live else f"{aw}'d0"
        per = schedule.turns(s) // s.groups
        channel = (
            part
            if s.groups == 1
            else f"{part} + {aw}'(({'32' + chr(39) + '(turn)' if 'turn' in live else '0'} / {per}) * {cw // s.groups})"
        )
    else:
        channel = f"{aw}'(turn)" if "turn" in live else f"{aw}'d0"
    need, done = schedule.pixel_need(s).reshape(-1) * w.channels, schedule.pixel_done(s).reshape(-1) * w.channels
    needs, gives = schedule.in_beats(need, done, edge.beat)
    constant = len(set(needs)) == 1 and len(set(gives)) == 1
    need_bits, give_bits = (max(1, int(v.max()).bit_length()) for v in (needs, gives))
    values: dict[str, Any] = {
        **_common(network, s), "xb": xb, "aw": aw, "counters": counters, "fold_first": starts, "fold_end": ends(fold),
        "pixel_end": ends(["turn", *fold]), "frame_end": ends([n for n, _ in names]), "frame_words": w.height * w.width * cw % edge.words,
        "need_constant": int(needs[0]) if constant else None, "give_constant": int(gives[0]), "positions": len(needs),
        "position_bits": index_bits(len(needs)), "need_bits": need_bits, "give_bits": give_bits,
        "y": place("row", "tap_y", 0), "x": place("column", "tap_x", 1), "channel": channel, "cw": cw, "h": w.height, "w": w.width,
        "padded": padded(s), "fill_literal": literal(s.fill, xb), "windex_bits": index_bits(schedule.turns(s) * schedule.folds(s)),
        "burst": s.burst, "burst_bits": s.burst.bit_length(), "tree_registers": schedule.tree(s),
    }  # fmt: skip
    if not constant:
        values["position_file"] = keep(
            f"{s.name}_positions", [int(n) | int(g) << need_bits for n, g in zip(needs, gives)], need_bits + give_bits
        )
    mxb = stream.operand_bits
    lanes = s.simd * s.pe if s.kind == "product" else s.pe
    values |= {"mxb": mxb, "lanes": lanes, "extend": extension("operands", "i", xb, signed)}
    if s.kind in ("product", "depthwise"):
        assert s.weights is not None
        bipolar, rows, wb = s.bipolar, weight_rows(s), s.weight_bits
        stored = 1 if bipolar else wb
        if bipolar:
            rows = [[int(w > 0) for w in r] for r in rows]
        values |= {
            "wb": wb, "stored": stored, "bipolar": bipolar, "pb": mxb + wb, "weight_rows": len(rows),
            "weight_file": keep(f"{s.name}_weights", [pack(r, stored) for r in rows], stored * lanes),
        }  # fmt: skip
    else:
        values["pb"] = mxb
    values |= _tree(s, values["pb"])
    values["sb"] = s.sum_bits(stream)
    values["r"] = _rounding(network, s, values["sb"], keep)
    return values


def padded(s: Stage) -> bool:
    """Whether some tap lies outside the input."""
    w = s.window
    ends = (
        (o - 1) * d + (k - 1) * e - b >= n
        for o, d, k, e, b, n in zip(w.out, w.strides, w.kernel, w.dilations, w.before, (w.height, w.width))
    )
    return any(w.before) or any(ends)


def weight_rows(s: Stage) -> list[list[int]]:
    """By step of a position: the weights of all lanes."""
    assert s.weights is not None
    if s.kind == "depthwise":
        flat = s.weights.reshape(s.outputs, -1)
        return [[int(flat[t * s.pe + i, k]) for i in range(s.pe)] for t in range(s.outputs // s.pe) for k in range(flat.shape[1])]
    flat = s.weights.reshape(s.outputs // s.pe, s.pe, prod(s.window.kernel), -1, s.simd)
    moved = flat.transpose(0, 2, 3, 1, 4).reshape(-1, s.pe * s.simd)
    return [[int(x) for x in row] for row in moved]


def _tree(s: Stage, bits: int) -> dict[str, Any]:
    """The levels of the adder tree."""
    if s.kind != "product":
        return {"tree": [], "terms": "tree0", "tb": bits}
    levels = []
    count, source = s.simd, "tree0"
    total = ceil(log2(count)) if count > 1 else 0
    for n in range(1, total + 1):
        register = n % 2 == 0 or n == total
        levels.append(
            {
                "n": n,
                "count": ceil(count / 2),
                "bits": bits + 1,
                "from_count": count,
                "from_bits": bits,
                "source": source,
                "register": register,
            }
        )
        count, bits, source = ceil(count / 2), bits + 1, f"tree{n}" if register else f"next{n}"
    return {"tree": levels, "terms": source, "tb": bits}


def _input(network: Network, s: Stage, slot: int) -> dict[str, Any]:
    stream, edge = network.streams[s.inputs[slot]], network.edge_into(s.name, slot)
    return {
        "slot": slot, "aw": index_bits(edge.words), "xb": stream.bits, "give": max(1, edge.word // edge.beat), "beat": edge.beat,
        "extend": extension(f"word_{slot}", "i", stream.bits, stream.signed),
    }  # fmt: skip


def _flat(network: Network, s: Stage, keep: Keep) -> dict[str, Any]:
    out = network.streams[s.output]
    values = {**_common(network, s), "fill_literal": literal(s.fill, out.bits)}
    inputs = [_input(network, s, i) for i in range(len(s.inputs))]
    if s.kind == "concat":
        at = 0
        for i, v in enumerate(s.inputs):
            words = network.streams[v].elements // s.window.positions // s.simd
            inputs[i] |= {"first": at, "last": at + words - 1}
            at += words
        values |= {"turns": at, "turn_bits": index_bits(at + 1)}
    elif s.kind == "reorder":
        assert s.index is not None
        stream, edge = network.streams[s.inputs[0]], network.edge_into(s.name, 0)
        bits = index_bits(stream.elements)
        rows = [(1 << bits) if i < 0 else int(i) for i in s.index]
        inputs[0] |= {
            "need": stream.elements // edge.beat,
            "words": stream.elements % edge.words,
            "extend": extension("word_0", "0", stream.bits, stream.signed),
        }
        values |= {"index_bits": bits, "count_bits": index_bits(len(rows)), "index_file": keep(f"{s.name}_index", rows, bits + 1)}
    elif s.kind in ("table", "join", "product_join"):
        for i, (v, t) in enumerate(zip(s.inputs, s.tables)):
            stream = network.streams[v]
            tb = out.bits if s.kind == "table" else width(min(-1, int(t.min())), int(t.max()))
            inputs[i] |= {"tb": tb, "table_file": keep(f"{s.name}_table{i}", table_rows(stream, t), tb)}
    elif s.kind in ("fixed", "float"):
        low, high = (f"19'sh{n & 0x7FFFF:x}" for n in s.total)
        values |= {"exponent": s.exponent, "low": s.total[0], "high": s.total[1], "low_literal": low, "high_literal": high}
    if s.kind in ("join", "product_join", "quantise"):
        values["sb"] = s.sum_bits(network.streams[s.inputs[0]])
        values["r"] = _rounding(network, s, values["sb"], keep)
    return {**values, "inputs": inputs}


def table_rows(stream: Stream, table: np.ndarray) -> list[int]:
    """A table by an element's bits rather than its value."""
    rows = [int(table[0])] * (1 << stream.bits)
    for value in range(stream.low, stream.high + 1):
        rows[value & ((1 << stream.bits) - 1)] = int(table[value - stream.low])
    return rows


@dataclass(frozen=True)
class Allocated:
    """A scalar program with numbers given places: constants (place, bits), loads and results by place, and (op, result, operands)."""

    places: int
    constants: tuple[int, ...]
    loads: tuple[int, ...]
    results: tuple[int, ...]
    code: tuple[tuple[str, int, tuple[int, ...]], ...]


def allocate(s: Stage) -> Allocated:
    """Places for a program's numbers: constants for good, others from their making to their last use."""
    assert s.scalar is not None
    code, results = s.scalar.instructions, s.scalar.results
    last = {i: i for i in range(len(code))}
    for i, (_, operands, _) in enumerate(code):
        for o in operands:
            last[o] = i
    for r in results:
        last[r] = len(code)
    place: dict[int, int] = {}
    constants: list[int] = []
    for i, (op, _, bits) in enumerate(code):
        if op == "const":
            place[i] = len(constants)
            constants.append(bits)
    free: list[int] = []
    used = len(constants)
    ins = sorted((literal_, i) for i, (op, _, literal_) in enumerate(code) if op == "in")
    for _, i in ins:
        place[i] = used
        used += 1
    made = []
    ending: dict[int, list[int]] = {}
    for i, end in last.items():
        if code[i][0] != "const":
            ending.setdefault(end, []).append(i)
    for i, (op, operands, _) in enumerate(code):
        if op not in ("const", "in"):
            if free:
                place[i] = free.pop()
            else:
                place[i] = used
                used += 1
            made.append((op, place[i], tuple(place[o] for o in operands)))
        free += [place[d] for d in ending.get(i, []) if d in place and (code[d][0] != "in" or d <= i)]
    return Allocated(used, tuple(constants), tuple(place[i] for _, i in ins), tuple(place[r] for r in results), tuple(made))


def _scalar(network: Network, s: Stage, keep: Keep) -> dict[str, Any]:
    a = allocate(s)
    nb = index_bits(max(2, a.places))
    rows = []
    for op, result, operands in a.code:
        first, second, third = (*operands, 0, 0)[:3]
        rows.append(((CODES[op] << nb | result) << nb | first) << nb | second)
        rows[-1] = rows[-1] << nb | third
    inputs = []
    at = 0
    for i, v in enumerate(s.inputs):
        stream = network.streams[v]
        inputs.append(
            {
                **_input(network, s, i),
                "from": at,
                "to": at + stream.elements,
                "need": "32'd1",
                "extend": extension(f"word_{i}", "0", stream.bits, stream.signed or stream.raw),
            }
        )
        at += stream.elements
    constants = [*a.constants, *([0] * ((1 << nb) - len(a.constants)))]
    return {
        **_common(network, s), "inputs": inputs, "nb": nb, "count": len(rows), "count_or_one": max(1, len(rows)), "pc_bits": index_bits(max(2, len(rows))),
        "results": len(a.results), "results_bits": index_bits(max(2, len(a.results))), "loads": at, "loads_bits": index_bits(max(2, at)),
        "constants_file": keep(f"{s.name}_constants", constants, 32), "program_file": keep(f"{s.name}_program", rows or [0], 5 + 4 * nb),
        "results_file": keep(f"{s.name}_results", list(a.results), nb), "inputs_file": keep(f"{s.name}_inputs", list(a.loads), nb),
        "codes": CODES, "loaded": schedule.LOADED, "fma_busy": schedule.CYCLES["fma"] - 4, "div_busy": schedule.CYCLES["div"] - 4,
    }  # fmt: skip


def top_values(network: Network, cycles: Cycles) -> dict[str, Any]:
    """What the top module, its simulation and its wrappers are made from."""
    beats = {**network.beats, **{s.output: s.beat for s in network.stages}}

    def port(stream: str, tensor: str) -> dict[str, Any]:
        v, beat = network.streams[stream], beats[stream]
        return {
            "tensor": comment(tensor),
            "beat": beat,
            "bits": v.bits,
            "width": v.bits * beat,
            "padded": -(-v.bits * beat // 8) * 8,
            "beats": v.elements // beat,
            "stream": stream,
        }

    ins = [p.stream for p in network.inputs]
    streams = []
    for v in network.streams.values():
        producer = network.producer(v.name)
        edges = [
            {
                "name": f"e_{v.name}_{e.reader or 'out'}_{e.slot}", "beat": e.beat, "word": e.word, "words": e.words, "aw": index_bits(e.words),
                "output": e.slot if not e.reader else None,
            }
            for e in network.edges_of(v.name)
        ]  # fmt: skip
        burst = producer.burst if producer is not None else 1
        streams.append(
            {
                "name": v.name, "elements": v.elements, "bits": v.bits, "beat": beats[v.name], "edges": edges, "burst": burst,
                "input": ins.index(v.name) if v.name in ins else None,
            }
        )  # fmt: skip
    stages = [
        {"name": s.name, "output": s.output, "edges": [f"e_{v}_{s.name}_{i}" for i, v in enumerate(s.inputs)]} for s in network.stages
    ]
    return {
        "model": comment(network.name), "streams": streams, "stages": stages, "latency": cycles.latency, "interval": cycles.interval,
        "inputs": [port(p.stream, p.tensor) for p in network.inputs], "outputs": [port(p.stream, p.tensor) for p in network.outputs],
        "patience": 4 * cycles.latency + 10000,
    }  # fmt: skip
