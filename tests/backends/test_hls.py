"""Hardware: roundings, the mapping of layers, C simulation, RTL under Verilator and its cycles, circuits, the engine, bad input."""

from __future__ import annotations

import json
import math
import shutil
import subprocess
import tempfile
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper
from onnx import numpy_helper as nh

import mlcc
from mlcc.conformance.execute import execute as run_artifact
from mlcc.core.graph import CoreGraph, canonical_bytes
from mlcc.error import Error
from mlcc.graph.freeze import golden_vectors
from mlcc.graph.normalise import normalise
from mlcc.graph.passes import optimise
from mlcc.importers.onnx import load
from mlcc.reference.elementwise import requantize
from mlcc.reference.execute import execute
from mlcc.target import load as target
from mlcc_backends.hls import adders, csim, fixed, fold, rounding, schedule, simulate, synth, timing, verilog
from mlcc_backends.hls.gates import Builder
from mlcc_backends.hls.map import network
from mlcc_backends.hls.network import Network
from mlcc_backends.hls.sections import Hardware, part_of
from tests import hardware

TINY = Path(__file__).resolve().parents[3] / "shared" / "models" / "mlperf-tiny"
needs_verilator = pytest.mark.skipif(simulate.verilator() is None, reason="Verilator is not installed")
needs_headers = pytest.mark.skipif(csim.headers(False) is None, reason="the hls extra is not installed")


def core(model: onnx.ModelProto, folder: Path, name: str = "m") -> CoreGraph:
    path = folder / f"{name}.onnx"
    onnx.save(model, path)
    return optimise(normalise(load(path), name, {}, str(path)), "float32")


def report(result: dict[str, Any], which: str) -> dict[str, Any]:
    place = next(a["path"] for a in result["artifacts"] if a["target"] == which)
    return json.loads((Path(place) / "report" / "report.json").read_text())


# roundings


@given(st.floats(2.0**-14, 0.875, width=32), st.integers(-128, 127), st.integers(100, 200_000), st.booleans())
@settings(max_examples=60, deadline=None)
def test_a_rounding_equals_requantize_everywhere(scale: float, zero: int, reach: int, relu: bool) -> None:
    """Not at the steps alone: at every sum of the range."""

    def function(x: np.ndarray) -> np.ndarray:
        return requantize(x.astype(np.int32), np.float32(scale), "int8", zero, zero if relu else -128, 127).astype(np.int64)

    low, high = np.array([-reach]), np.array([reach])
    found = rounding.solve(function, low, high)
    every = np.arange(-reach, reach + 1)[:, None]
    assert np.array_equal(rounding.apply(found, every), function(every))


@given(st.integers(0, 12), st.integers(-100, 100), st.integers(1, 3))
@settings(max_examples=40, deadline=None)
def test_ties_to_even_have_a_formula(shift: int, zero: int, factor: int) -> None:
    def function(x: np.ndarray) -> np.ndarray:
        return np.clip(np.rint(x * factor / 2.0**shift) + zero, -128, 127).astype(np.int64)

    low, high = np.array([-5000]), np.array([5000])
    found = rounding.solve(function, low, high)
    every = np.arange(-5000, 5001)[:, None]
    assert np.array_equal(rounding.apply(found, every), function(every))


# circuits


def test_canonical_digits_are_the_number() -> None:
    for n in range(-300, 300):
        parts = adders.digits(n)
        assert sum(sign << at for at, sign in parts) == n
        places = [at for at, _ in parts]
        assert all(b - a > 1 for a, b in zip(places, places[1:]))


def evaluated(b: Builder, inputs: dict[int, int]) -> list[int]:
    """What each gate is, by its definition."""
    found: list[int] = []
    for i, g in enumerate(b.gates):
        x = [found[o] for o in g.operands]
        if g.op == "add":
            found.append((x[0] << g.numbers[0]) + (-x[1] if g.numbers[2] else x[1]) * 2 ** g.numbers[1])
        elif g.op == "shift":
            found.append(x[0] << g.numbers[0])
        elif g.op == "round":
            shift, even, low, high = g.numbers
            exact = Fraction(x[0], 1 << shift) - Fraction(even, 2)
            found.append(min(max(round(exact) if even else math.floor(exact), low), high))
        else:
            found.append(g.low if g.op == "const" else inputs[i])
        assert g.low <= found[-1] <= g.high
    return found


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_shared_sums_are_the_sums_and_no_deeper_than_they_must_be(data: st.DataObject) -> None:
    columns, rows = data.draw(st.integers(1, 9)), data.draw(st.integers(1, 9))
    number = st.integers(-40, 40)
    matrix = data.draw(st.lists(st.lists(number, min_size=columns, max_size=columns), min_size=rows, max_size=rows))
    constants = data.draw(st.lists(st.integers(-500, 500), min_size=rows, max_size=rows))
    ranges = [sorted(r) for r in data.draw(st.lists(st.tuples(number, number), min_size=columns, max_size=columns))]
    b = Builder()
    x = [b.gate("in", (), (i,), low, high) if low < high else b.const(low) for i, (low, high) in enumerate(ranges)]
    ends = adders.sums(b, [dict_of(x, row) for row in matrix], constants)
    for pick in (min, max, lambda r: data.draw(st.integers(*r))):
        values = [pick(r) for r in ranges]
        found = evaluated(b, dict(zip(x, values)))
        assert [found[e] for e in ends] == [c + sum(w * v for w, v in zip(row, values)) for row, c in zip(matrix, constants)]
    digits = max(1 + sum(len(adders.digits(w)) for g, w in dict_of(x, row).items() if b.gates[g].op != "const") for row in matrix)
    assert max(b.depths[e] for e in ends) <= math.ceil(math.log2(digits))


def dict_of(gates: list[int], row: list[int]) -> dict[int, int]:
    total: dict[int, int] = {}
    for g, w in zip(gates, row):
        total[g] = total.get(g, 0) + w
    return total


@given(st.integers(-200, 200), st.integers(0, 200), st.integers(0, 9), st.booleans(), st.integers(-70, 70), st.integers(0, 70))
@settings(max_examples=100, deadline=None)
def test_a_round_gate_is_within_its_range(start: int, size: int, shift: int, even: bool, low: int, more: int) -> None:
    b = Builder()
    x = b.gate("in", (), (0,), start, start + size)
    b.round(x, shift, low, low + more, even and shift > 0)
    reached = [evaluated(b, {x: v})[-1] for v in range(start, start + size + 1)]
    assert len(b.gates) == 1 or (min(reached), max(reached)) == (b.gates[-1].low, b.gates[-1].high)


# layers


def simulated(graph: CoreGraph, n: Network, folder: Path, seeds: tuple[int, ...] = (0, 5)) -> None:
    """RTL outputs equal the reference's and its cycles the model's."""
    vectors = golden_vectors(graph)
    sized, cycles = timing.sized(n)
    program = simulate.build(sized, verilog.emit(sized, cycles), folder)
    feeds = [[g.inputs[v] for v in graph.inputs] for g in vectors]
    for seed in seeds:
        found, counted = simulate.run(sized, program, feeds, [graph.types[v].shape for v in graph.outputs], seed)
        for g, outputs in zip(vectors, found):
            for v, y in zip(graph.outputs, outputs):
                assert canonical_bytes(y) == canonical_bytes(g.outputs[v]), (g.kind, v)
        if seed == 0:
            assert (counted.latency, counted.interval) == (cycles.latency, cycles.interval)


def layer(
    kind: str, size: tuple[int, int], channels: int, out: int, kernel: tuple[int, int], stride: int, pads: list[int], groups: int, seed: int
) -> onnx.ModelProto:
    """One quantised convolution or pool."""
    r = np.random.default_rng(seed)
    constants: list[onnx.TensorProto] = []

    def const(a: np.ndarray) -> str:
        constants.append(nh.from_array(np.asarray(a), f"c{len(constants)}"))
        return f"c{len(constants) - 1}"

    zero, scale = const(np.int8(int(r.integers(-20, 20)))), const(np.float32(0.05))
    nodes = [helper.make_node("DequantizeLinear", ["x", scale, zero], ["f"])]
    if kind == "conv":
        w = r.integers(-127, 128, (out, channels // groups, *kernel)).astype(np.int8)
        nodes += [
            helper.make_node("DequantizeLinear", [const(w), const(r.uniform(0.001, 0.02, out).astype(np.float32)), const(np.zeros(out, np.int8))], ["w"], axis=0),
            helper.make_node("Conv", ["f", "w"], ["y"], kernel_shape=list(kernel), strides=[stride] * 2, pads=pads, group=groups),
        ]  # fmt: skip
    elif kind == "mean":
        nodes.append(helper.make_node("AveragePool", ["f"], ["y"], kernel_shape=list(kernel), strides=[stride] * 2))
    if kind == "max":
        nodes = [helper.make_node("MaxPool", ["x"], ["q"], kernel_shape=list(kernel), strides=[stride] * 2, pads=pads)]
    else:
        nodes.append(helper.make_node("QuantizeLinear", ["y", const(np.float32(0.07)), zero], ["q"]))
    graph = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info("x", TensorProto.INT8, [1, channels, *size])], [helper.make_tensor_value_info("q", TensorProto.INT8, None)], constants
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=9)


CASES = [  # kind, size, channels, out, kernel, stride, pads, groups; how many lanes
    ("conv", (5, 7), 3, 4, (3, 3), 1, [1, 1, 1, 1], 1, 1),
    ("conv", (6, 5), 4, 8, (3, 2), 2, [0, 1, 1, 0], 1, 4),
    ("conv", (4, 4), 6, 6, (3, 3), 1, [1, 1, 1, 1], 6, 2),
    ("conv", (6, 6), 8, 4, (1, 1), 2, [0, 0, 0, 0], 1, 8),
    ("conv", (5, 5), 4, 6, (3, 3), 1, [2, 0, 0, 2], 2, 2),
    ("max", (6, 6), 4, 4, (2, 2), 2, [0, 0, 0, 0], 1, 2),
    ("max", (5, 5), 3, 3, (3, 3), 2, [1, 1, 1, 1], 1, 1),
    ("mean", (4, 6), 4, 4, (2, 3), 2, [0, 0, 0, 0], 1, 4),
]


@needs_verilator
@pytest.mark.parametrize("case", CASES, ids=lambda c: f"{c[0]}-{c[1][0]}x{c[1][1]}x{c[2]}-{c[4][0]}x{c[4][1]}s{c[5]}g{c[7]}l{c[8]}")
def test_layers_in_rtl(case: tuple[Any, ...], tmp_path: Path) -> None:
    *shape, lanes = case
    graph = core(layer(*shape, seed=1), tmp_path)
    n = network(graph)
    slowest = max(schedule.steps(s) for s in n.stages)
    folded = fold._folded(n, max(1, slowest // lanes))
    assert folded is not None
    simulated(graph, fold.with_edges(folded), tmp_path)


@pytest.mark.full
@needs_verilator
@given(
    st.sampled_from(["conv", "max"]), st.integers(1, 7), st.integers(2, 7), st.integers(1, 5), st.integers(1, 5), st.integers(1, 3), st.integers(1, 3),
    st.integers(1, 3), st.lists(st.integers(0, 1), min_size=4, max_size=4), st.integers(1, 6),
)  # fmt: skip
@settings(max_examples=20, deadline=None)
def test_any_window_in_rtl(kind: str, h: int, w: int, c: int, out: int, kh: int, kw: int, stride: int, pads: list[int], lanes: int) -> None:
    pads = [min(p, k - 1) for p, k in zip(pads, (kh, kw, kh, kw))]
    assume(not (h + pads[0] + pads[2] < kh or w + pads[1] + pads[3] < kw))
    with tempfile.TemporaryDirectory() as d:
        graph = core(layer(kind, (h, w), c, out, (kh, kw), stride, pads, 1, seed=2), Path(d))
        n = network(graph)
        folded = fold._folded(n, max(1, max(schedule.steps(s) for s in n.stages) // lanes))
        simulated(graph, fold.with_edges(folded or n), Path(d))


@needs_verilator
def test_a_concat_a_sum_of_branches_and_a_turned_image(tmp_path: Path) -> None:
    """Fork, join, concat, transpose: what one branch makes is kept until the other comes."""
    r = np.random.default_rng(0)
    constants = [
        nh.from_array(np.float32(0.1), "s"), nh.from_array(np.int8(3), "z"), nh.from_array(np.int8(0), "z0"), nh.from_array(np.float32(0.01), "ws"),
        nh.from_array(r.integers(-99, 99, (4, 4, 3, 3)).astype(np.int8), "wq"), nh.from_array(np.array([1, -1], np.int64), "flat"),
    ]  # fmt: skip
    nodes = [
        helper.make_node("DequantizeLinear", ["x", "s", "z"], ["f"]),
        helper.make_node("DequantizeLinear", ["wq", "ws", "z0"], ["w"]),
        helper.make_node("Conv", ["f", "w"], ["c"], kernel_shape=[3, 3], pads=[1] * 4),
        helper.make_node("QuantizeLinear", ["c", "s", "z"], ["cq"]),
        helper.make_node("DequantizeLinear", ["cq", "s", "z"], ["cf"]),
        helper.make_node("Add", ["cf", "f"], ["a"]),
        helper.make_node("QuantizeLinear", ["a", "s", "z"], ["aq"]),
        helper.make_node("Concat", ["aq", "cq"], ["both"], axis=1),
        helper.make_node("Transpose", ["both"], ["turned"], perm=[0, 2, 3, 1]),
        helper.make_node("Slice", ["turned", "one", "five", "axes"], ["part"]),
    ]
    constants += [nh.from_array(np.array([v], np.int64), n) for n, v in (("one", 1), ("five", 5), ("axes", 1))]
    graph_ = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info("x", TensorProto.INT8, [1, 4, 6, 5])], [helper.make_tensor_value_info("part", TensorProto.INT8, None)], constants
    )  # fmt: skip
    graph = core(helper.make_model(graph_, opset_imports=[helper.make_opsetid("", 13)], ir_version=9), tmp_path)
    n = network(graph)
    assert {"join", "concat", "reorder"} <= {s.kind for s in n.stages}
    folded = fold._folded(n, max(schedule.steps(s) for s in n.stages) // 2)
    simulated(graph, fold.with_edges(folded or n), tmp_path)


@needs_verilator
def test_the_tail_in_float(tmp_path: Path) -> None:
    """A softmax of bytes: exp, sum, quotient and rounding on single numbers, over the edges too."""
    constants = [
        nh.from_array(np.float32(0.6), "s"),
        nh.from_array(np.int8(5), "z"),
        nh.from_array(np.float32(1 / 256), "o"),
        nh.from_array(np.int8(-128), "oz"),
    ]
    nodes = [
        helper.make_node("DequantizeLinear", ["x", "s", "z"], ["f"]),
        helper.make_node("Softmax", ["f"], ["p"], axis=1),
        helper.make_node("QuantizeLinear", ["p", "o", "oz"], ["q"]),
    ]
    graph_ = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info("x", TensorProto.INT8, [1, 7])], [helper.make_tensor_value_info("q", TensorProto.INT8, [1, 7]), helper.make_tensor_value_info("p", TensorProto.FLOAT, [1, 7])], constants
    )  # fmt: skip
    graph = core(helper.make_model(graph_, opset_imports=[helper.make_opsetid("", 13)], ir_version=9), tmp_path)
    simulated(graph, fold.with_edges(network(graph)), tmp_path)


# fixed point


@given(st.integers(2, 16), st.integers(-8, 20), st.booleans())
@settings(max_examples=25, deadline=None)
def test_fixed_point_is_found(bits: int, exponent: int, signed: bool) -> None:
    """From the places where the reference steps; other scales are none."""
    low, high = (-(1 << bits - 1), (1 << bits - 1) - 1) if signed else (0, (1 << bits) - 1)
    for factor, wanted in ((1.0, exponent), (1.25, None)):
        scale = np.float32(factor * 2.0**-exponent)

        def function(keys: np.ndarray) -> np.ndarray:
            with np.errstate(over="ignore"):
                return np.clip(np.rint(fixed.float_of(keys) / scale), low, high).astype(np.int64)

        ends = (np.array([k]) for k in fixed.FLOAT_KEYS)
        assert fixed.fixed_exponent(rounding.steps_of(function, *ends, low, high)[0], low) == wanted


@needs_verilator
@needs_headers
@pytest.mark.parametrize("bits", [6, 13, 16])
def test_floats_become_fixed_point_and_floats_again(bits: int, tmp_path: Path) -> None:
    """Values near halves, tiny, huge, of all exponents, and those that are no numbers: RTL and C++ against the reference."""
    w = hardware.Writer(0)
    graph = core(w.model(("x", TensorProto.FLOAT, [1, 1, 8, 8]), w.quant("x", 2.0**-5, bits), [1, 1, 8, 8]), tmp_path)
    r = np.random.default_rng(bits)
    halves = (r.integers(-(2**bits), 2**bits, (6, 1, 1, 8, 8)) + 0.5) / 32
    near = np.nextafter(halves, r.choice([-np.inf, np.inf], halves.shape), dtype=np.float32)
    every = r.integers(0, 2**32, (6, 1, 1, 8, 8)).astype(np.uint32).view(np.float32)
    feeds = [np.asarray(a, np.float32) for a in (*halves, *near, *every)]
    n = fold.with_edges(network(graph))
    assert [s.kind for s in n.stages][0] == "fixed" and [s.kind for s in n.stages][-1] == ("float" if bits > 8 else "table")
    sized, cycles = timing.sized(n)
    wanted = [list(execute(graph, {"x": x}).values())[0] for x in feeds]
    found, counted = simulate.run(
        sized, simulate.build(sized, verilog.emit(sized, cycles), tmp_path), [[x] for x in feeds], [graph.types[graph.outputs[0]].shape], 0
    )
    assert (counted.latency, counted.interval) == (cycles.latency, cycles.interval)
    for (y,), z in zip(found, wanted):
        assert canonical_bytes(y) == canonical_bytes(z)


@pytest.mark.slow
@needs_verilator
@needs_headers
@pytest.mark.parametrize(
    ("model", "architecture"),
    [
        pytest.param("mlp12", "circuit", marks=pytest.mark.full),
        pytest.param("mlp16", "circuit", marks=pytest.mark.full),
        pytest.param("mlp16", "dataflow", marks=pytest.mark.full),
        pytest.param("cnv", "dataflow", marks=pytest.mark.full),
        pytest.param("pooled", "dataflow", marks=pytest.mark.full),
    ],
)
def test_fixed_point_of_many_bits(model: str, architecture: str, tmp_path: Path) -> None:
    make = {
        "mlp12": lambda: hardware.fixed_mlp(12), "mlp16": lambda: hardware.fixed_mlp(16), "cnv": hardware.fixed_cnv, "pooled": hardware.pooled_cnv,
    }[model]  # fmt: skip
    onnx.save(make(), tmp_path / "m.onnx")
    result = mlcc.build(
        tmp_path / "m.onnx", target=["native", "hls-zu3eg"], out=tmp_path / "dist", settings={"hardware": {"architecture": architecture}}
    )
    assert {(a["class"], a["conformance"]) for a in result["artifacts"]} == {("exact", "passed")}
    assert len({json.loads((Path(a["path"]) / "manifest.json").read_text())["output_digest"] for a in result["artifacts"]}) == 1
    assert report(result, "hls-zu3eg")["architecture"] == architecture


# whole models


def again(artifact: str) -> None:
    """`mlcc run` on a finished artifact gives the golden outputs."""
    root = Path(artifact)
    about = json.loads((root / "manifest.json").read_text())
    feed = {t["name"]: np.load(root / "golden" / "0" / f"input_{i}.npy") for i, t in enumerate(about["inputs"])}
    outputs, where = run_artifact(root, about, feed)
    assert "C simulation" in where
    for i, t in enumerate(about["outputs"]):
        assert canonical_bytes(outputs[t["name"]]) == canonical_bytes(np.load(root / "golden" / "0" / f"output_{i}.npy"))


@pytest.mark.slow
@needs_headers
@pytest.mark.parametrize("name", [*(pytest.param(n, marks=pytest.mark.full) for n in ("jet", "cnv1", "cnv2", "forest")), "small"])
def test_models_made_for_fpgas(name: str, tmp_path: Path) -> None:
    """One answer: C simulation, RTL and x86 agree with the reference."""
    model = {
        "jet": hardware.jet_mlp, "cnv1": lambda: hardware.cnv(1, 4), "cnv2": lambda: hardware.cnv(2, 4), "forest": lambda: hardware.forest(20, 3),
        "small": hardware.small_mlp,
    }[name]()  # fmt: skip
    onnx.save(model, tmp_path / f"{name}.onnx")
    result = mlcc.build(tmp_path / f"{name}.onnx", target=["native", "hls-zu3eg", "hls-catapult"], out=tmp_path / "dist")
    assert {(a["class"], a["conformance"]) for a in result["artifacts"]} == {("exact", "passed")}
    assert len({json.loads((Path(a["path"]) / "manifest.json").read_text())["output_digest"] for a in result["artifacts"]}) == 1
    vitis, catapult = ("".join(p.read_text() for p in (Path(a["path"]) / "hls").glob("*.cpp")) for a in result["artifacts"][1:])
    assert "#pragma HLS" not in catapult and catapult.count("pipeline_init_interval 1") == vitis.count("PIPELINE II=1")
    about = report(result, "hls-zu3eg")
    if name in ("jet", "forest"):
        assert about["architecture"] == "circuit" and about["interval_cycles"] == 1
    if name.startswith("cnv"):
        assert about["architecture"] == "dataflow"
    if shutil.which("yosys") is not None:
        rtl = Path(result["artifacts"][1]["path"]) / "rtl"
        subprocess.run(["yosys", "-q", "-p", "read_verilog -sv " + " ".join(p.name for p in rtl.glob("*.sv"))], cwd=rtl, check=True)
    if name in ("cnv2", "forest"):
        again(result["artifacts"][1]["path"])
        again(result["artifacts"][2]["path"])


@pytest.mark.slow
@needs_headers
@pytest.mark.full
@pytest.mark.parametrize("name", ["kws_ref_model", "pretrainedResnet_quant"])
def test_mlperf_tiny(name: str, tmp_path: Path) -> None:
    if not TINY.is_dir():
        pytest.skip(f"no MLPerf Tiny models in {TINY}")
    result = mlcc.build(TINY / f"{name}.onnx", target=["hls-zu3eg"], out=tmp_path)
    assert [(a["class"], a["conformance"]) for a in result["artifacts"]] == [("exact", "passed")]
    assert report(result, "hls-zu3eg")["architecture"] == "dataflow"


@needs_headers
def test_the_engine_takes_floats(tmp_path: Path) -> None:
    """Subnormals, infinities and NaN included: the golden vectors have them."""
    w = hardware.Writer(1)
    y = w.op("Conv", "x", w.const(w.r.normal(0, 1, (5, 3, 3, 3)).astype(np.float32)), kernel_shape=[3, 3], pads=[1] * 4)
    y = w.op("Softmax", w.op("GlobalAveragePool", w.op("Sigmoid", y)), axis=1)
    onnx.save(w.model(("x", TensorProto.FLOAT, [1, 3, 6, 6]), y, [1, 5, 1, 1]), tmp_path / "f.onnx")
    result = mlcc.build(tmp_path / "f.onnx", target=["hls-u250", "hls-catapult"], out=tmp_path / "dist")
    assert {(a["class"], a["conformance"]) for a in result["artifacts"]} == {("exact", "passed")}
    about = report(result, "hls-u250")
    assert about["architecture"] == "engine" and "float32" in about["why"]
    again(result["artifacts"][0]["path"])


def test_reading_qonnx_agrees_with_its_meaning(tmp_path: Path) -> None:
    """Against NumPy in float64: integers are exact there."""
    r = np.random.default_rng(4)
    weights = r.integers(-3, 4, (6, 5)).astype(np.float32) * np.float32(0.25)
    w = hardware.Writer(0)
    x = w.quant("x", 0.5, 4)
    y = w.op("MatMul", x, w.quant(w.const(weights), 0.25, 3))
    graph = core(w.model(("x", TensorProto.FLOAT, [1, 6]), y, [1, 5]), tmp_path)
    assert any(r.rule == "integer-products" for r in graph.rewrites)
    for g in golden_vectors(graph):
        given = g.inputs["x"].astype(np.float64)
        q = np.clip(np.rint(np.nan_to_num(given / 0.5, nan=0)), -8, 7)
        assert np.array_equal(g.outputs[graph.outputs[0]], (q * 0.5) @ np.clip(np.rint(weights / 0.25), -4, 3) * 0.25)


@given(st.integers(2, 8), st.integers(1, 6), st.sampled_from(["FLOOR", "CEIL", "ROUND"]), st.booleans(), st.sampled_from([0.5, 0.3]))
@settings(max_examples=20, deadline=None)
def test_truncated_numbers(bits: int, fewer: int, mode: str, scaled: bool, scale: float) -> None:
    """Trunc in both its versions, after a sum of quantised numbers, against NumPy."""
    w, f = hardware.Writer(0), np.float32
    x = w.quant("x", scale, bits)
    out = max(1, bits - fewer)
    outwards = [w.const(f(scale * 2.0**fewer))] if scaled else []
    y = w.op(
        "Trunc",
        x,
        *(w.const(f(v)) for v in (scale, 0, bits)),
        *outwards,
        w.const(f(out)),
        domain=hardware.QONNX,
        rounding_mode=mode,
        signed=1,
    )
    with tempfile.TemporaryDirectory() as d:
        graph = core(w.model(("x", TensorProto.FLOAT, [1, 40]), y, [1, 40]), Path(d))
    given = (np.linspace(-(2**bits), 2**bits, 40) * scale).astype(f)[None]
    n = np.clip(np.rint(given / f(scale)), -(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
    round_ = {"FLOOR": np.floor, "CEIL": np.ceil, "ROUND": np.rint}[mode]
    if scaled:
        wanted = round_(np.clip(n / f(2.0**fewer), -(2 ** (out - 1)), 2 ** (out - 1) - 1)) * f(scale * 2.0**fewer)
    else:
        wanted = round_(n / f(2.0 ** (bits - out))) * f(scale)
    assert np.array_equal(next(iter(execute(graph, {"x": given}).values())), wanted.astype(f))


@given(st.integers(1, 12), st.integers(1, 4), st.integers(1, 3), st.integers(0, 1000))
@settings(max_examples=10, deadline=None)
def test_forests_agree_with_onnxruntime(trees: int, depth: int, outputs: int, seed: int) -> None:
    ort = pytest.importorskip("onnxruntime")
    from mlcc.reference.execute import execute

    model = hardware.forest(trees, depth, 5, outputs, seed)
    with tempfile.TemporaryDirectory() as d:
        graph = core(model, Path(d))
    session = ort.InferenceSession(model.SerializeToString())
    for x in np.random.default_rng(seed).normal(size=(8, 1, 5)).astype(np.float32):
        assert np.array_equal(execute(graph, {"x": x})[graph.outputs[0]], session.run(None, {"x": x})[0])


# drivers, tools


@needs_headers
@pytest.mark.skipif(shutil.which("gcc") is None, reason="no gcc")
def test_the_driver_packs_what_the_simulation_reads(tmp_path: Path) -> None:
    """hls/vectors, byte for byte, from the golden inputs, and golden outputs from it."""
    onnx.save(hardware.cnv(2, 4), tmp_path / "cnv.onnx")
    result = mlcc.build(tmp_path / "cnv.onnx", target=["hls-zu3eg"], out=tmp_path / "dist", check=False)  # simulated elsewhere
    root = Path(result["artifacts"][0]["path"])
    text = (root / "hls" / "vectors" / "in0.txt").read_text().split()
    (tmp_path / "main.c").write_text(
        '#include "cnv_driver.h"\n#include <stdio.h>\n#include <stdlib.h>\n'
        "int main(void) { static float x[3 * 32 * 32]; static uint8_t s[CNV_IN0_BYTES]; if (fread(x, 4, 3 * 32 * 32, stdin) != 3 * 32 * "
        "32) return 1;\n"
        "cnv_pack_in0(x, s); fwrite(s, 1, sizeof s, stdout); return 0; }\n"
    )
    line = ["gcc", "-Wall", "-Wextra", "-Werror", f"-I{root / 'driver'}", "main.c", str(root / "driver" / "cnv_driver.c"), "-o", "main"]
    subprocess.run(line, cwd=tmp_path, check=True, capture_output=True)
    x = np.load(root / "golden" / "0" / "input_0.npy")
    made = subprocess.run(["./main"], cwd=tmp_path, input=x.tobytes(), capture_output=True, check=True).stdout
    beats = len(text) // 3
    size = len(made) // beats
    assert [int.from_bytes(made[i : i + size], "little") for i in range(0, len(made), size)] == [int(t, 16) for t in text[:beats]]


AXI = """
#include "Vm_axil.h"
#include <cstdio>
static Vm_axil t;
static void tick() { t.aclk = 0; t.eval(); t.aclk = 1; t.eval(); }
static unsigned read(int at) {
    t.s_axil_araddr = at, t.s_axil_arvalid = 1;
    for (t.eval(); !t.s_axil_arready; t.eval()) tick();
    tick();
    t.s_axil_arvalid = 0, t.s_axil_rready = 1;
    while (!t.s_axil_rvalid) tick();
    unsigned v = t.s_axil_rdata;
    tick();
    return v;
}
static void write(int at, unsigned v) {
    t.s_axil_awaddr = at, t.s_axil_awvalid = 1, t.s_axil_wdata = v, t.s_axil_wstrb = 15, t.s_axil_wvalid = 1, t.s_axil_bready = 1;
    for (t.eval(); !t.s_axil_awready; t.eval()) tick();
    tick();
    t.s_axil_awvalid = t.s_axil_wvalid = 0;
    while (!t.s_axil_bvalid) tick();
    tick();
}
int main() {
    for (int i = 0; i < 8; i++) tick();
    t.aresetn = 1;
    for (int i = 0; i < 8; i++) tick();
    const signed char x[2][6] = {{1, -2, 3, 40, -50, 60}, {7, 7, 7, -7, -7, -7}};
    printf("%x %x %u %u %u", read(0), read(8), read(12), read(0x14), read(0x18));
    for (int frame = 0; frame < 2; frame++) {
        int sent = 0, lasts = 0, got = 0;
        for (int c = 0; c < 20000 && !lasts; c++) {
            t.s0_axis_tvalid = sent < 6 / BEAT, t.m0_axis_tready = 1;
            if (sent < 6 / BEAT) { unsigned long long d = 0; for (int i = 0; i < BEAT; i++) d |= (unsigned long long)(unsigned char)x[frame][sent * BEAT + i] << 8 * i; t.s0_axis_tdata = d; }
            t.aclk = 0, t.eval();
            if (t.s0_axis_tvalid && t.s0_axis_tready) sent++;
            if (t.m0_axis_tvalid) { printf(" %llx", (unsigned long long)t.m0_axis_tdata); got++; lasts += t.m0_axis_tlast; }
            t.aclk = 1, t.eval();
        }
    }
    t.s0_axis_tvalid = 0;
    printf(" %u", read(12));
    write(4, 1);
    printf(" %u %u", read(4), read(12));
    write(4, 0);
    printf(" %u\\n", read(4));
}
"""


@needs_verilator
@needs_headers
def test_axi_registers_and_streams(tmp_path: Path) -> None:
    """Identity, counters and reset over AXI4-Lite; two inferences over AXI4-Stream, the last beat of each marked."""
    from mlcc.reference.execute import execute

    onnx.save(hardware.small_mlp(), tmp_path / "m.onnx")
    result = mlcc.build(tmp_path / "m.onnx", target=["hls-zu3eg"], out=tmp_path / "dist", check=False)
    root, about = Path(result["artifacts"][0]["path"]), report(result, "hls-zu3eg")
    bits = {b for b in (root / "rtl" / "m_axil.sv").read_text().split("\n") if "s0_axis_tdata," in b}
    wide = int(bits.pop().split("[")[1].split(":")[0]) + 1
    (tmp_path / "main.cpp").write_text(AXI.replace("BEAT", str(wide // 8)))
    sources = [str(p) for p in (root / "rtl").glob("*.sv") if not p.name.endswith("_board.sv")]
    line = [
        "verilator",
        "--cc",
        "--exe",
        "--build",
        "-Wno-lint",
        "-Wno-fatal",
        "-CFLAGS",
        "-O0",
        "--top-module",
        "m_axil",
        "-o",
        "run",
        str(tmp_path / "main.cpp"),
        *sources,
    ]
    subprocess.run(line, cwd=tmp_path, check=True, capture_output=True)
    found = subprocess.run([str(tmp_path / "obj_dir" / "run")], cwd=root / "rtl", check=True, capture_output=True, text=True).stdout.split()
    graph = core(hardware.small_mlp(), tmp_path)
    want = []
    for x in ([1, -2, 3, 40, -50, 60], [7, 7, 7, -7, -7, -7]):
        want += [int(v) & 0xFF for v in execute(graph, {"x": np.array([x], np.int8)})[graph.outputs[0]].reshape(-1)]
    assert found[:2] == ["6d6c6363", f"{int(result['program_digest'][:8], 16):x}"]
    assert [int(v) for v in found[2:5]] == [0, about["latency_cycles"], about["interval_cycles"]]
    beats = [int(v, 16) for v in found[5:-4]]
    lanes, n = 6 // len(beats), network(graph)
    width = n.streams[n.outputs[0].stream].bits
    assert [b >> width * i & (1 << width) - 1 for b in beats for i in range(lanes)] == want
    assert found[-4:] == ["2", "1", "0", "0"]


@needs_verilator
@pytest.mark.parametrize("which", ["ice40-up5k", pytest.param("ecp5-85k", marks=pytest.mark.slow)])
def test_a_bitstream_and_the_estimate(which: str, tmp_path: Path) -> None:
    part = part_of(target(which))
    assert part is not None
    if not all(shutil.which(t) or shutil.which(f"yowasp-{t}") for t in ("yosys", part.place[0])):
        pytest.skip("no yosys, no nextpnr")
    onnx.save(hardware.small_mlp(), tmp_path / "small.onnx")  # `small` is a word of SystemVerilog
    result = mlcc.build(tmp_path / "small.onnx", target=[which], out=tmp_path / "dist", emit=("bitstream",))
    root = Path(result["artifacts"][0]["path"])
    found, about = json.loads((root / "report" / "bitstream.json").read_text()), report(result, which)
    assert (root / "rtl" / "m_small.bit").stat().st_size > 100_000
    assert 0.5 < about["estimate"]["luts"] / found["resources"]["luts"] < 2
    assert found["max_mhz"] >= about["clock_mhz"]
    assert synth.tool("yosys")


@pytest.mark.slow
@needs_headers
@pytest.mark.full
@pytest.mark.parametrize(("bits", "off"), [(2, 0.25), (4, 0.1)])
def test_yosys_counts_what_was_estimated(bits: int, off: float, tmp_path: Path) -> None:
    """A circuit's lookup tables and registers."""
    part = part_of(target("hls-zu3eg"))
    if shutil.which("yosys") is None or part is None:
        pytest.skip("no yosys")
    onnx.save(hardware.jet_mlp(bits=bits), tmp_path / "jet.onnx")
    result = mlcc.build(tmp_path / "jet.onnx", target=["hls-zu3eg"], out=tmp_path / "dist", check=False)  # simulated by other tests
    rtl = Path(result["artifacts"][0]["path"]) / "rtl"
    found = synth.synthesise({p.name: p.read_bytes() for p in rtl.iterdir()}, "jet", part, tmp_path)
    estimate = report(result, "hls-zu3eg")["estimate"]
    for what in ("luts", "registers"):
        assert estimate[what] == pytest.approx(found[what], rel=off), what


# bad input


def test_what_does_not_fit_is_named(tmp_path: Path) -> None:
    graph = core(hardware.cnv(2, 64, 32), tmp_path)
    with pytest.raises(Error) as e:
        fold.fold(network(graph), part_of(target("ice40-up5k")), "ice40-up5k", Hardware())
    text = f"{e.value} {e.value.hint}"
    assert "are needed with one lane a layer, ice40-up5k has" in text and "takes" in text and "room for it" in text


def test_the_nearest_interval_is_named(tmp_path: Path) -> None:
    graph = core(hardware.cnv(2, 4), tmp_path)
    part = part_of(target("hls-zu3eg"))
    assert part is not None
    with pytest.raises(Error, match="nearest that fits is"):
        fold.fold(network(graph), replace(part, luts=20000, dsps=40), "a part", Hardware(interval=10))


def test_unmappable_layers_are_named(tmp_path: Path) -> None:
    w = hardware.Writer(0)
    y = w.op("Conv", "x", w.const(np.ones((2, 3, 3, 3), np.float32)), kernel_shape=[3, 3])
    onnx.save(w.model(("x", TensorProto.FLOAT, [1, 3, 5, 5]), y, [1, 2, 3, 3]), tmp_path / "f.onnx")
    with pytest.raises(Error, match="no dataflow hardware for Conv of float32") as e:
        mlcc.build(tmp_path / "f.onnx", target="hls-zu3eg", out=tmp_path, settings={"hardware": Hardware("dataflow")})
    assert e.value.code == "unsupported"


@pytest.mark.slow
@pytest.mark.parametrize("shard", [0, *(pytest.param(i, marks=pytest.mark.full) for i in range(1, 96))])
def test_every_onnx_case_is_mapped_or_refused(shard: int) -> None:
    """Some operators have no dataflow form; none makes the mapping fail in a way of its own. Some are also simulated."""
    from tests.graph.test_onnx_cases import attempt, cases

    made = 0
    for i, case in enumerate(cases()[shard::96]):
        try:
            prepared = attempt(case)
        except Error:
            continue
        if prepared is None:
            continue
        graph = replace(prepared[0], name="m")
        try:
            n = fold.with_edges(network(graph))
        except Error as e:
            assert e.code == "unsupported"
            continue
        sized, cycles = timing.sized(n)
        files = verilog.emit(sized, cycles) if all(s.kind != "trees" for s in n.stages) else {}
        made += bool(files)
        if simulate.verilator() is not None and files and i % 10 == shard % 10:
            with tempfile.TemporaryDirectory() as d:
                simulated(graph, n, Path(d), (0,))
    assert made > 2


@pytest.mark.parametrize("change", ["children", "feature", "root", "empty"])
def test_hostile_forests(change: str, tmp_path: Path) -> None:
    model = hardware.forest(2, 2)
    node = model.graph.node[0]
    values = {a.name: a for a in node.attribute}
    if change == "children":
        values["nodes_truenodeids"].ints[0] = 99
    elif change == "feature":
        values["nodes_featureids"].ints[0] = 10**6
    elif change == "root":
        values["nodes_truenodeids"].ints[1] = 0
    else:
        for a in node.attribute:
            if a.name.startswith("nodes_"):
                del a.ints[:], a.floats[:], a.strings[:]
    with pytest.raises(Error) as e:
        core(model, tmp_path)
    assert e.value.code == "model"
