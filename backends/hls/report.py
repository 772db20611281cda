"""What a build says of its hardware: JSON, a picture of the stages, and a roofline."""

from __future__ import annotations

from dataclasses import asdict
from math import log10, prod
from typing import Any

from mlcc.names import xml
from mlcc.target import Target
from mlcc_backends.hls import fold, schedule
from mlcc_backends.hls.network import Network, Stage
from mlcc_backends.hls.sections import part_of
from mlcc_backends.hls.simulate import lane
from mlcc_backends.hls.timing import Cycles
from mlcc_backends.hls.verilog_parts import shape_text


def work(s: Stage) -> int:
    """Products and sums of an inference."""
    if s.kind == "product":
        assert s.weights is not None
        return 2 * s.window.positions * int(s.weights.size)
    if s.kind in ("depthwise", "sum", "max"):
        return (2 if s.kind == "depthwise" else 1) * s.window.positions * s.window.channels * prod(s.window.kernel)
    return schedule.steps(s) * s.simd


def report(network: Network, cycles: Cycles, target: Target) -> dict[str, Any]:
    """The build's figures; cycles are exact (the cycle model, which tests hold against RTL simulation), resources are estimates."""
    part = part_of(target)
    total = fold.resources(network, part)
    return {
        "architecture": "dataflow",
        "clock_mhz": part.mhz,
        "latency_cycles": cycles.latency,
        "latency_us": round(cycles.latency / part.mhz, 3),
        "interval_cycles": cycles.interval,
        "inferences_per_second": int(part.mhz * 1e6 / max(1, cycles.interval)),
        "estimate": asdict(total),
        "part": {"luts": part.luts, "registers": 2 * part.luts, "dsps": part.dsps, "rams": part.rams},
        "ports": {
            "inputs": [asdict(lane(network, p)) for p in network.inputs],
            "outputs": [asdict(lane(network, p)) for p in network.outputs],
        },
        "stages": [
            {
                "name": s.name,
                "layer": s.layer,
                "kind": s.kind,
                "shape": shape_text(s, network),
                "operands_a_cycle": s.simd,
                "outputs_a_cycle": s.pe,
                "reuse_factor": work(s) // 2 // max(1, s.window.positions * s.simd * s.pe) if s.kind == "product" else None,
                "cycles": schedule.steps(s),
                "fifo_words": [e.words for e in network.edges if e.reader == s.name],
                "estimate": asdict(fold.stage_resources(network, s, part)),
            }
            for s in network.stages
        ],
    }


def picture(network: Network, cycles: Cycles) -> bytes:
    """The stages from top to bottom, and what lies between them, as SVG."""
    rows = {p.stream: 0 for p in network.inputs}
    for s in network.stages:
        rows[s.output] = 1 + max(rows[v] for v in s.inputs)
    columns: dict[int, int] = {}
    places: dict[str, tuple[int, int]] = {}
    boxes, wires = [], []
    slowest = max(schedule.steps(s) for s in network.stages)

    def box(stream: str, title: str, text: str, share: float) -> None:
        row = rows[stream]
        column = columns.get(row, 0)
        columns[row] = column + 1
        x, y = 20 + column * 330, 20 + row * 90
        places[stream] = (x + 150, y)
        boxes.append(
            f'<rect x="{x}" y="{y}" width="300" height="56" rx="6" fill="#f4f7fb" stroke="#345"/>'
            f'<rect x="{x}" y="{y + 52}" width="{300 * share:.0f}" height="4" fill="#c60"/>'
            f'<text x="{x + 8}" y="{y + 20}" font-weight="bold">{xml(title[-40:])}</text><text x="{x + 8}" '
            f'y="{y + 40}">{xml(text[:48])}</text>'
        )

    for p in network.inputs:
        box(p.stream, f"input {p.tensor}", f"{network.streams[p.stream].elements} of {network.streams[p.stream].bits} bits", 0)
    for s in network.stages:
        box(s.output, f"{s.name}", f"{shape_text(s, network)}; {s.simd}x{s.pe}; {schedule.steps(s):,} cycles", schedule.steps(s) / slowest)
    for s in network.stages:
        for i, v in enumerate(s.inputs):
            (x1, y1), (x2, y2) = places[v], places[s.output]
            e = network.edge_into(s.name, i)
            wires.append(
                f'<path d="M{x1} {y1 + 56} L{x2 + 12 * i} {y2}" stroke="#345" fill="none" marker-end="url(#a)"/>'
                f'<text x="{(x1 + x2) / 2 + 6:.0f}" y="{(y1 + 56 + y2) / 2 + 4:.0f}" fill="#567">{e.words} x {e.word}</text>'
            )
    width, height = 20 + 330 * max(columns.values()), 110 + 90 * max(rows.values())
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" font-family="sans-serif" font-size="12">'
        '<defs><marker id="a" markerWidth="8" markerHeight="8" refX="7" refY="4" orient="auto"><path d="M0 0 L8 4 L0 8 z" '
        'fill="#345"/></marker></defs>'
        f'<rect width="{width}" height="{height}" fill="white"/>{"".join(wires)}{"".join(boxes)}'
        f'<text x="20" y="{height - 14}">{xml(network.name)}: {cycles.latency:,} cycles, one inference every {cycles.interval:,}; '
        "bars: share of the slowest stage; on wires: words x elements of each memory</text></svg>\n"
    ).encode()


def roofline(network: Network, cycles: Cycles, target: Target) -> bytes:
    """Operations a cycle of each layer over operations a byte that it reads and writes, under the lanes that it has, as SVG."""
    points = []
    for s in network.stages:
        if s.kind not in ("product", "depthwise", "sum", "max"):
            continue
        moved = sum(network.streams[v].elements * network.streams[v].bits for v in (*s.inputs, s.output)) / 8
        points.append((work(s) / max(1.0, moved), work(s) / cycles.interval, 2 * (s.simd * s.pe if s.kind == "product" else s.pe), s.name))
    top = max(p[2] for p in points) if points else 1

    def x(v: float) -> float:
        return 70 + 520 * (log10(max(v, 0.01)) + 2) / 6

    def y(v: float) -> float:
        return 330 - 280 * (log10(max(v, 0.01)) + 2) / 6

    marks = [
        f'<circle cx="{x(a):.0f}" cy="{y(b):.0f}" r="4" fill="#c60"><title>{xml(n)}: {b:.2f} of {c} operations a cycle</title></circle>'
        f'<path d="M{x(a) - 6:.0f} {y(c):.0f} h12" stroke="#345"/><text x="{x(a) + 6:.0f}" y="{y(b) - 4:.0f}" font-size="9">{xml(n)}</text>'
        for a, b, c, n in points
    ]
    grid = "".join(
        f'<text x="{x(10.0**k):.0f}" y="348" text-anchor="middle">10^{k}</text><text x="62" y="{y(10.0**k) + 4:.0f}" '
        f'text-anchor="end">10^{k}</text>'
        for k in range(-2, 5)
    )
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" width="640" height="400" font-family="sans-serif" font-size="11"><rect width="640" '
        'height="400" fill="white"/>'
        f'<path d="M70 50 V330 H590" stroke="#345" fill="none"/><path d="M70 {y(top):.0f} H590" stroke="#c60" '
        f'stroke-dasharray="4"/>{grid}{"".join(marks)}'
        '<text x="330" y="368" text-anchor="middle">operations for each byte read or written</text><text x="70" y="40">operations a '
        "cycle (dots), lanes' peak (bars); "
        f"all weights on the chip; one inference every {cycles.interval:,} cycles at {part_of(target).mhz} MHz</text></svg>\n"
    ).encode()
