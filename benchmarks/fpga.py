"""Models as hardware: cycles and resources, beside yosys's counts, da4ml's circuits and what hls4ml and FINN measured →
docs/fpga-models.md.

    python -m benchmarks.fpga [FOLDER with MLPerf Tiny, default ../shared/models/mlperf-tiny] [KWS-W3A3.onnx]

Cycles are the cycle model's, which every build holds against Verilator. da4ml is hls4ml's distributed arithmetic: its own circuit of the
jet tagger, written by its own code, goes through the same yosys as ours. KWS-W3A3.onnx is FINN's keyword spotter, of
github.com/mlcommons/tiny_results_v0.7: open/hls4ml-finn/code/kws/KWS-W3A3/training/training_checkpoint/QONNX_model.onnx. `pip install
da4ml`, `apt install verilator yosys`.
"""

from __future__ import annotations

import json
import sys
import tempfile
from concurrent.futures import ProcessPoolExecutor
from functools import partial
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
from mlcc_backends.hls import circuit, circuit_verilog, fold, synth
from mlcc_backends.hls.map import network
from mlcc_backends.hls.network import Network
from mlcc_backends.hls.sections import part_of
from mlcc_backends.render import render
from tests import hardware

HEADS = {
    "models": """# Models as hardware

Written by `python -m benchmarks.fpga`, not by hand. The C++ and RTL of each gave the reference's bits, and Verilator counted the cycles that are printed.

## On a Zynq UltraScale+ (`hls-zu3eg`, 250 MHz)

Resources are the build's estimates; 70 % of the part may be used.

| model | architecture | latency, cycles | interval, cycles | latency, µs | lookup tables | registers | multipliers | block memories |
|---|---|---|---|---|---|---|---|---|
""",
    "counted": """## Estimates / yosys's counts

| model | target | lookup tables | registers | multipliers | block memories |
|---|---|---|---|---|---|
""",
    "da4ml": """## Beside da4ml (hls4ml's distributed arithmetic)

The jet tagger as a circuit, each through the same yosys (`synth_xilinx -family xcup`); no multipliers, an inference a cycle. Stages are those of logic.

| levels of adders a stage | stages: mlcc | da4ml | lookup tables: mlcc | da4ml | registers: mlcc | da4ml |
|---|---|---|---|---|---|---|
""",
    "published": """## Beside what was measured on a Pynq-Z2

MLPerf Tiny v0.7, open division: a Zynq 7020 at 100 MHz, one inference at a time, with its processor's part of it. Ours: `hls-z7020`, cycles of the hardware alone.

| task | theirs | their cycles an inference | ours | latency, cycles | interval, cycles |
|---|---|---|---|---|---|
""",
}
MADE = {
    "jet tagger 16-64-32-32-5, 6 bits": hardware.jet_mlp,
    "100 trees of depth 4": hardware.forest,
    "CNV, binary, 64 channels": lambda: hardware.cnv(1, 64),
    "CNV, 2 bits, 8 channels": lambda: hardware.cnv(2, 8),
    "MLP 16-24-5, 16-bit fixed point": lambda: hardware.fixed_mlp(16),
}
TINY = {
    "keyword spotting, int8": "kws_ref_model",
    "anomaly detection, int8": "ad01_int8",
    "image classification, int8": "pretrainedResnet_quant",
    "visual wake words, int8": "vww_96_int8",
}
COUNTED = [
    ("6-8-3 MLP", hardware.small_mlp, "ice40-up5k"),
    ("6-8-3 MLP", hardware.small_mlp, "ecp5-85k"),
    ("100 trees of depth 4", hardware.forest, "hls-zu3eg"),
    ("CNV, 2 bits, 8 channels", lambda: hardware.cnv(2, 8), "hls-z7020"),
    ("keyword spotting, int8", "kws_ref_model", "ecp5-85k"),
]
# inferences a second on a Pynq-Z2 at 100 MHz, one at a time, with the processor that feeds it: MLPerf Tiny v0.7, open division
PUBLISHED = [
    ("keyword spotting", "FINN, KWS-W3A3", 57_268.1, "kws_w3a3", "the same model"),
    ("image classification", "FINN, CNV-W1A1", 661.473, "cnv", "the same layers, drawn weights"),
    ("image classification", "hls4ml, RN07", 36.596, "pretrainedResnet_quant", "MLPerf Tiny's int8 model"),
    ("anomaly detection", "hls4ml, AD08", 53_365.4, "ad01_int8", "MLPerf Tiny's int8 model"),
]


def built(model: Path, which: str, out: Path) -> tuple[Path, dict[str, Any]]:
    result = mlcc.build(model, target=[which], out=out)
    assert result["artifacts"][0]["conformance"] == "passed"
    place = Path(result["artifacts"][0]["path"])
    return place, json.loads((place / "report" / "report.json").read_text())


def cells(about: dict[str, Any]) -> list[str]:
    return [f"{about['estimate'][k]:,}" for k in ("luts", "registers", "dsps", "rams")]


def row(title: str, about: dict[str, Any]) -> str:
    cycles = (about["latency_cycles"], about["interval_cycles"])
    figures = [about["architecture"], *(f"{c:,}" for c in cycles), f"{cycles[0] / about['clock_mhz']:,.3g}"]
    return f"| {title} | " + " | ".join([*figures, *cells(about)]) + " |\n"


def counted(title: str, model: Path, which: str, out: Path) -> str:
    """Estimates beside yosys's counts."""
    place, about = built(model, which, out)
    part, files = part_of(target(which)), {p.name: p.read_bytes() for p in (place / "rtl").iterdir()}
    with tempfile.TemporaryDirectory() as d:
        found = synth.synthesise(files, module_name(model.stem), part, Path(d))
    pairs = (f"{mine} / {found[k]:,}" for mine, k in zip(cells(about), ("luts", "registers", "dsps", "rams")))
    return f"| {title} | `{which}` | " + " | ".join(pairs) + " |\n"


def mapped(model: onnx.ModelProto) -> Network:
    with tempfile.TemporaryDirectory() as d:
        onnx.save(model, f"{d}/jet.onnx")
        return network(optimise(normalise(load(Path(f"{d}/jet.onnx")), "jet", {}, "jet"), "float32"))


def beside_da4ml(levels: int) -> str:
    """The jet tagger as a circuit, ours and da4ml's, through the same synthesis."""
    n, part = mapped(hardware.jet_mlp()), part_of("hls-zu3eg")
    c = circuit.build(n, levels)
    stages, theirs = da4ml_circuit(n, levels)
    figures = []
    for source, top in ((circuit_verilog.emit(fold.unfolded(n), c), "jet"), (theirs, "jet_da")):
        with tempfile.TemporaryDirectory() as d:
            figures.append(synth.synthesise(source | {synth.ADDERS: render(synth.ADDERS)}, top, part, Path(d)))
    pairs = " | ".join(f"{figures[0][k]:,} | {figures[1][k]:,}" for k in ("luts", "registers"))
    return f"| {levels} | {c.latency} | {stages} | {pairs} |\n"


def da4ml_circuit(n: Network, levels: int) -> tuple[int, dict[str, bytes]]:
    """Stages and Verilog. Its roundings send halves up, since it has none to even."""
    from da4ml.codegen import RTLModel
    from da4ml.trace import FixedVariableArrayInput, HWConfig, comb_trace, to_pipeline
    from da4ml.trace.ops import quantize, relu

    first = n.streams[n.stages[0].inputs[0]]
    given = FixedVariableArrayInput((first.elements,), hwconf=HWConfig(1, -1, -1))
    x = quantize(given, 1, first.bits - 1, 0)
    for s in n.stages:
        assert s.weights is not None and s.rounding is not None and s.rounding.offset is not None
        y = (x @ s.weights.reshape(s.outputs, -1).T.astype(float) + s.rounding.offset.astype(float)) * 2.0**-s.rounding.shift
        high = n.streams[s.output].high
        x = (
            quantize(relu(quantize(y, 1, 20, 0, "WRAP", "RND")), 0, high.bit_length(), 0, "SAT")
            if s.rounding.low == 0
            else quantize(y, 1, 7, 0, "SAT", "RND")
        )
    logic = comb_trace(given, x)
    with tempfile.TemporaryDirectory() as d:
        RTLModel(logic, "jet_da", d, latency_cutoff=levels).write()
        found = [p for p in Path(d, "src").rglob("*.v") if p.stem not in ("lookup_table", "jet_da_wrapper")]
        files = {f"{p.stem}.sv": p.read_bytes() for p in found}
    return len(to_pipeline(logic, levels, verbose=False).solutions), files


def made(what: Any, tiny: Path, folder: str) -> Path:
    """A model by its name in MLPerf Tiny, by its path, or from what makes it."""
    if isinstance(what, str):
        return tiny / f"{what}.onnx"
    if isinstance(what, Path):
        return what
    onnx.save(what(), f"{folder}/m.onnx")
    return Path(f"{folder}/m.onnx")


def line(job: tuple[str, int], tiny: Path, spotter: Path | None) -> str:
    """One row of one table: a process of its own."""
    table, i = job
    with tempfile.TemporaryDirectory() as d:
        if table == "models":
            title, what = list((MADE | TINY).items())[i]
            text = row(title, built(made(what, tiny, d), "hls-zu3eg", Path(d))[1])
        elif table == "counted":
            title, what, which = COUNTED[i]
            text = counted(title, made(what, tiny, d), which, Path(d))
        elif table == "da4ml":
            text = beside_da4ml(i)
        else:
            task, theirs, rate, name, note = PUBLISHED[i]
            what = spotter if name == "kws_w3a3" else MADE["CNV, binary, 64 channels"] if name == "cnv" else name
            about = built(made(what, tiny, d), "hls-z7020", Path(d))[1]
            text = f"| {task} | {theirs} | {1e8 / rate:,.0f} | {note} | {about['latency_cycles']:,} | {about['interval_cycles']:,} |\n"
    print(text, end="", flush=True)
    return text


def main() -> None:
    root = Path(__file__).resolve().parents[1]
    tiny = Path(sys.argv[1]) if len(sys.argv) > 1 else root.parent / "shared" / "models" / "mlperf-tiny"
    spotter = Path(sys.argv[2]) if len(sys.argv) > 2 else None
    tables = {
        "models": range(len(MADE | TINY)),
        "counted": range(len(COUNTED)),
        "da4ml": (3, 4) if find_spec("da4ml") else (),
        "published": [i for i, p in enumerate(PUBLISHED) if p[3] != "kws_w3a3" or spotter],
    }
    jobs = [(table, i) for table, rows in tables.items() for i in rows]
    with ProcessPoolExecutor(2) as pool:
        found = dict(zip(jobs, pool.map(partial(line, tiny=tiny, spotter=spotter), jobs)))
    text = "\n".join(HEADS[table] + "".join(found[table, i] for i in rows) for table, rows in tables.items() if rows)
    (root / "docs" / "fpga-models.md").write_text(text)


if __name__ == "__main__":
    main()
