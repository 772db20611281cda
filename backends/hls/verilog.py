"""Network → SystemVerilog, and the files that its memories start with."""

from __future__ import annotations

from math import ceil
from typing import Any

from mlcc.names import comment
from mlcc_backends.hls.network import Network, Stage, width
from mlcc_backends.hls.timing import Cycles
from mlcc_backends.hls.verilog_parts import (
    WINDOWED,
    Keep,
    common,
    extension,
    index_bits,
    input_values,
    literal,
    rounding_values,
    table_rows,
)
from mlcc_backends.hls.verilog_scalar import scalar_values
from mlcc_backends.hls.verilog_window import window_values
from mlcc_backends.render import render as rendered


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
        values = {"scalar.sv.j2": scalar_values, "window.sv.j2": window_values, "flat.sv.j2": _flat}[template](network, s, keep)
        files[f"{prefix}_{s.name}.sv"] = render(template, s=values, module=f"{prefix}_{s.name}")
    values = top_values(network, cycles)
    files[f"{prefix}.sv"] = render("top.sv.j2", **values)
    files[f"{prefix}_simulate.cpp"] = render("simulate.cpp.j2", **values)
    return files


def _flat(network: Network, s: Stage, keep: Keep) -> dict[str, Any]:
    out = network.streams[s.output]
    values = {**common(network, s), "fill_literal": literal(s.fill, out.bits)}
    inputs = [input_values(network, s, i) for i in range(len(s.inputs))]
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
        values["r"] = rounding_values(network, s, values["sb"], keep)
    return {**values, "inputs": inputs}


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
