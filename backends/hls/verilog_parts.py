"""Pieces of SystemVerilog that stages of several kinds have: widths, words, memories, roundings."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from mlcc.names import comment
from mlcc_backends.hls import schedule
from mlcc_backends.hls.network import Network, Stage, Stream

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


def common(network: Network, s: Stage) -> dict[str, Any]:
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


def input_values(network: Network, s: Stage, slot: int) -> dict[str, Any]:
    stream, edge = network.streams[s.inputs[slot]], network.edge_into(s.name, slot)
    return {
        "slot": slot, "aw": index_bits(edge.words), "xb": stream.bits, "give": max(1, edge.word // edge.beat), "beat": edge.beat,
        "extend": extension(f"word_{slot}", "i", stream.bits, stream.signed),
    }  # fmt: skip


def rounding_values(network: Network, s: Stage, sum_bits: int, keep: Keep) -> dict[str, Any]:
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


def table_rows(stream: Stream, table: np.ndarray) -> list[int]:
    """A table by an element's bits rather than its value."""
    rows = [int(table[0])] * (1 << stream.bits)
    for value in range(stream.low, stream.high + 1):
        rows[value & ((1 << stream.bits) - 1)] = int(table[value - stream.low])
    return rows
