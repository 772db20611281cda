"""Models as hardware: cycles, and resources beside yosys's, and adders beside da4ml's → docs/fpga-models.md.

    python -m benchmarks.fpga [FOLDER with MLPerf Tiny, default ../shared/models/mlperf-tiny]

Cycles are the cycle model's, which every build holds against Verilator. da4ml (hls4ml's distributed arithmetic) is compared on the jet tagger's
matrices: bits of all adders, and levels of the deepest output. `pip install da4ml`, `apt install verilator yosys`.
"""

from __future__ import annotations

import json
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import onnx

import mlcc
from mlcc.graph.normalise import normalise
from mlcc.graph.passes import optimise
from mlcc.importers.onnx import load
from mlcc.names import module_name
from mlcc.target import load as target
from mlcc_backends.hls import circuit, synth
from mlcc_backends.hls.map import network
from tests import hardware

TARGET = "hls-zu3eg"
HEAD = f"""# Models as hardware

Written by `python -m benchmarks.fpga`, not by hand. Each was built for `{TARGET}`; its C++ and its RTL gave the reference's bits, and Verilator counted the cycles
that are printed. Resources are the build's estimates; where yosys took less than ten minutes, its counts (`synth_xilinx -family xcup`) stand behind the stroke.

| model | architecture | latency, cycles | interval, cycles | latency, µs at 250 MHz | lookup tables | registers | multipliers | block memories |
|---|---|---|---|---|---|---|---|---|
"""
MADE = {
    "jet tagger 16-64-32-32-5, 6 bits": ("jet", hardware.jet_mlp, True),
    "100 trees of depth 4": ("forest", hardware.forest, True),
    "CNV, binary, 64 channels": ("cnv_w1a1", lambda: hardware.cnv(1, 64), False),
    "CNV, 2 bits, 8 channels": ("cnv_w2a2", lambda: hardware.cnv(2, 8), False),
}
TINY = {
    "keyword spotting, int8": "kws_ref_model",
    "anomaly detection, int8": "ad01_int8",
    "image classification, int8": "pretrainedResnet_quant",
    "visual wake words, int8": "vww_96_int8",
}


def row(title: str, path: Path, out: Path, counted: bool) -> str:
    built = mlcc.build(path, target=[TARGET], out=out)
    place = Path(built["artifacts"][0]["path"])
    assert built["artifacts"][0]["conformance"] == "passed"
    about: dict[str, Any] = json.loads((place / "report" / "report.json").read_text())
    estimate, found = about["estimate"], {}
    if counted:
        part = target(TARGET).part
        assert part is not None
        with tempfile.TemporaryDirectory() as d:
            files = {p.name: p.read_bytes() for p in (place / "rtl").iterdir() if p.suffix in (".sv", ".hex")}
            found = synth.synthesise(files, module_name(str(built["model"])), part, Path(d))
    cells = [f"{estimate[k]:,}" + (f" / {found[k]:,}" if found else "") for k in ("luts", "registers", "dsps", "rams")]
    figures = [
        about["architecture"],
        f"{about['latency_cycles']:,}",
        f"{about['interval_cycles']:,}",
        f"{about['latency_cycles'] / 250:,.3g}",
    ]
    return f"| {title} | " + " | ".join([*figures, *cells]) + " |\n"


def beside_da4ml() -> str:
    """The jet tagger's constant matrices by both."""
    import numpy as np
    from da4ml import cmvm
    from da4ml.cmvm import QInterval

    with tempfile.TemporaryDirectory() as d:
        onnx.save(hardware.jet_mlp(), f"{d}/jet.onnx")
        graph = optimise(normalise(load(Path(f"{d}/jet.onnx")), "jet", {}, "jet"), "float32")
    n = network(graph)
    text = "\n## Beside da4ml\n\n| matrix | adder bits: mlcc | da4ml | levels: mlcc | da4ml |\n|---|---|---|---|---|\n"
    for s in n.stages:
        if s.weights is None:
            continue
        stream = n.streams[s.inputs[0]]
        weights = s.weights.reshape(s.outputs, -1)
        b = circuit.Builder()
        x = [b.gate("in", (), (i, 0), stream.low, stream.high) for i in range(weights.shape[1])]
        rows = circuit.share(b, circuit.terms(s, x))
        ends = [circuit.tree(b, r) for r in rows]
        theirs = cmvm.solve(
            weights.T.astype(np.float32), qintervals=[QInterval(float(stream.low), float(stream.high), 1.0)] * len(x), adder_size=1
        )
        ours = sum(g.bits for g in b.gates if g.op == "add")
        text += f"| {weights.shape[1]}x{weights.shape[0]} | {ours:,} | {theirs.cost:,.0f} | {max(b.depths(e) for e in ends)} | {max(theirs.latency):.0f} |\n"
    return text


def main() -> None:
    root = Path(__file__).resolve().parents[1]
    tiny = Path(sys.argv[1]) if len(sys.argv) > 1 else root.parent / "shared" / "models" / "mlperf-tiny"
    text = HEAD
    with tempfile.TemporaryDirectory() as d:
        for title, (name, make, counted) in MADE.items():
            onnx.save(make(), f"{d}/{name}.onnx")
            text += row(title, Path(f"{d}/{name}.onnx"), Path(d), counted)
            print(text.splitlines()[-1], flush=True)
        for title, name in TINY.items():
            text += row(title, tiny / f"{name}.onnx", Path(d), False)
            print(text.splitlines()[-1], flush=True)
    if find_spec("da4ml"):
        text += beside_da4ml()
    (root / "docs" / "fpga-models.md").write_text(text)


if __name__ == "__main__":
    main()
