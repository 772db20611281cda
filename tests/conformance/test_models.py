"""Models × targets: one answer each. Emulated targets run where their emulator is installed (make test installs them where it can)."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from benchmarks.corpus import MODELS, fetch
from mlcc.plugin import runs
from mlcc.target import load, names
from mlcc_backends.hls.sections import Part

# parts without HLS take integer models alone, as SystemVerilog (tests/backends/test_hls.py)
INTEGERS = [n for n in names() if (part := load(n).section(Part)) is not None and part.flavour == "rtl"]
ALL = [n for n in names() if n not in ("native", *INTEGERS)]


# whose matrix units add floats in an order of their own; no other target may promise less than the one answer
BOUNDED = {"stablehlo", "xla-cpu", "xla-cuda", "tpu-v4", "tpu-v5e", "tpu-v5p", "tpu-v6e"}


def runnable() -> list[str]:
    return [n for n in ALL if runs(load(n)) is not None]


def test_where_there_are_emulators_all_are_found() -> None:
    """`make test` installs them together: one that is not found is broken detection, which would pass as "not-run"."""
    if not shutil.which("qemu-aarch64-static") or not shutil.which("qemu-system-arm"):
        pytest.skip("no emulators here: make system")
    assert set(ALL) - set(runnable()) <= {n for n in ALL if n.startswith("x86_64") or n in ("opencl", "wasm32-wasi")}


FAMILIES = {f: [n for n in ALL if load(n).backend == f] for f in sorted({load(n).backend for n in ALL})}
# soft floats, vectors, 64 bits; tests/backends/test_mcu.py has all cores in each run, by another model
CORES = ("cortex-m0plus", "cortex-m55", "rv64imac")
# and of the others, what the next test has not: it takes one model of all types to the other instruction sets
SOME = {
    "mcu": CORES,
    "cuda": ("cuda", "cuda-sm75"),
    "cpu": ("x86_64-linux", "aarch64-linux", "riscv64-v-linux"),
    "tpu": ("stablehlo", "tpu-v5e"),
}
CHOSEN = [
    *(pytest.param(SOME.get(f, names), id=f, marks=[pytest.mark.full] if f == "mcu" else []) for f, names in FAMILIES.items()),
    *(pytest.param(FAMILIES[f], id=f"{f}-all", marks=pytest.mark.full) for f in SOME),
]


@pytest.mark.slow
@pytest.mark.parametrize("names", CHOSEN)
def test_a_small_model_has_one_answer_on_every_target(names: Sequence[str], small_model: Path, tmp_path: Path) -> None:
    """Built and tested for each, and each finished artifact runs on other inputs: the answer is the portable C's."""
    import mlcc
    from mlcc.artifact import manifest
    from mlcc.conformance.execute import execute

    targets = ["c99", *(n for n in names if n != "c99")]
    result = mlcc.build(small_model, targets, {"x": (1, 3, 8, 8)}, tmp_path)
    assert {a["target"]: a["conformance"] for a in result["artifacts"]} == {n: "passed" if n in runnable() else "not-run" for n in targets}
    assert {a["target"] for a in result["artifacts"] if a["class"] != "exact"} == BOUNDED & set(targets)
    here = [str(x).encode() for x in (Path(__file__).parents[2], sys.prefix, tmp_path)]
    named = [p for p in tmp_path.rglob("*") if p.is_file() and any(h in p.read_bytes() for h in here)]
    assert not named, "artifacts name places of the machine that made them"
    feed = {"x": np.random.default_rng(11).standard_normal((1, 3, 8, 8)).astype(np.float32)}
    answers = {}
    for a in result["artifacts"]:
        if a["conformance"] == "passed":
            outputs, _ = execute(Path(a["path"]), manifest.read(Path(a["path"])), feed)
            answers[a["target"]] = outputs["y"]
    bits = {t: y.tobytes() for t, y in answers.items() if t not in BOUNDED}
    assert "c99" in bits and len(set(bits.values())) == 1
    assert all(np.allclose(y, answers["c99"], rtol=0.1, atol=0.01) for y in answers.values())


def every_type(path: Path) -> Path:
    """A model that computes in every element type and converts between them: what compilers turn into calls of their own library differs by
    CPU."""
    kinds = ["float32", "float64", "float16", "bfloat16", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "bool"]
    onnx_type = {k: helper.np_dtype_to_tensor_dtype(np.dtype(k)) for k in kinds if k != "bfloat16"} | {"bfloat16": TensorProto.BFLOAT16}
    nodes, outputs = [helper.make_node("Abs", ["x"], ["size"]), helper.make_node("Mul", ["size", "three"], ["scaled"])], []
    for k in kinds:
        nodes.append(helper.make_node("Cast", ["scaled"], [k], to=onnx_type[k]))
        done = [k]
        if k != "bool":
            done = [k, f"{k}.square", f"{k}.quotient"]
            nodes += [helper.make_node("Mul", [k, k], [done[1]]), helper.make_node("Cast", ["three"], [f"{k}.three"], to=onnx_type[k])]
            nodes += [helper.make_node("Div", [done[1], f"{k}.three"], [done[2]])]
        for v in done:
            for to in ("float32", "float16", "int64", "uint8") if v == k else ("float32",):
                nodes.append(helper.make_node("Cast", [v], [f"{v}.{to}"], to=onnx_type[to]))
                outputs.append(helper.make_tensor_value_info(f"{v}.{to}", onnx_type[to], [67]))
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, [67])]
    graph = helper.make_graph(nodes, "types", inputs, outputs, [helper.make_tensor("three", TensorProto.FLOAT, [], [3.0])])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), path)
    return path


@pytest.mark.slow
@pytest.mark.parametrize(
    "wanted",
    [
        "x86_64-v2 aarch64-linux s390x-linux c99",  # vectors of two kinds, the other byte order, C
        pytest.param(
            "x86_64-linux aarch64-linux armv7-linux riscv64-linux riscv64-v-linux ppc64le-linux wasm32-wasi c99 cortex-m0plus rv64imac opencl",
            marks=pytest.mark.full,
        ),
    ],
)
def test_every_type_on_every_instruction_set(wanted: str, tmp_path: Path) -> None:
    import mlcc

    chosen = [n for n in wanted.split() if n in runnable()]
    result = mlcc.build(every_type(tmp_path / "types.onnx"), target=chosen, out=tmp_path)
    assert {a["target"]: (a["class"], a["conformance"]) for a in result["artifacts"]} == {n: ("exact", "passed") for n in chosen}


@pytest.mark.parametrize(
    "name", ["kws_ref_model_float32", "ad01_int8", *(pytest.param(n, marks=pytest.mark.full) for n in ("pretrainedResnet", "vww_96_int8"))]
)
def test_mlperf_tiny(name: str, tiny: Callable[[str], Path], tmp_path: Path) -> None:
    import mlcc

    chosen = [n for n in ("x86_64-linux", "aarch64-linux", "riscv64-linux") if n in runnable()]
    result = mlcc.build(tiny(name), target=chosen, out=tmp_path)
    assert all(a["class"] == "exact" and a["conformance"] == "passed" for a in result["artifacts"])
    about = json.loads((Path(result["artifacts"][0]["path"]) / "manifest.json").read_text())
    assert about["arena_bytes"] <= 1.1 * about["arena_lower_bound_bytes"]


@pytest.mark.slow
@pytest.mark.parametrize("further", ["x86_64-v2", *(pytest.param(t, marks=pytest.mark.full) for t in ("aarch64-linux", "riscv64-linux"))])
@pytest.mark.parametrize("name", [n if n == "magika" else pytest.param(n, marks=pytest.mark.full) for n in sorted(MODELS)])
def test_real_models_have_one_answer(name: str, further: str, tmp_path: Path) -> None:
    """The corpus on three instruction sets: exact, within the memory bound, near ONNX Runtime, the same at 1, 2 and 7 threads."""
    import onnxruntime

    import mlcc

    try:
        model = fetch(name)
    except OSError as e:
        pytest.skip(str(e))
    chosen = [n for n in ("x86_64-linux", further) if n in runnable()]
    result = mlcc.build(model, target=chosen, shapes=MODELS[name].shapes, out=tmp_path)
    assert all(a["class"] == "exact" and a["conformance"] == "passed" for a in result["artifacts"])
    place = Path(result["artifacts"][0]["path"])
    about = json.loads((place / "manifest.json").read_text())
    assert about["arena_bytes"] <= 1.1 * about["arena_lower_bound_bytes"]
    one = mlcc.load(place)
    feed = {t.name: np.random.default_rng(5).standard_normal(t.shape).astype(t.dtype) for t in one.inputs}
    if name == "magika":
        feed = {"bytes": np.random.default_rng(5).integers(0, 256, (1, 2048)).astype(np.int32)}
        assert about["library_bytes"] < about["constant_bytes"] + 300_000
    outputs = one(feed)
    for n in (2, 7):
        other = mlcc.load(place, threads=n)(feed)
        assert all(other[k].tobytes() == v.tobytes() for k, v in outputs.items())
    session = onnxruntime.InferenceSession(str(model), providers=["CPUExecutionProvider"])
    for o, theirs in zip(session.get_outputs(), session.run(None, feed)):
        np.testing.assert_allclose(outputs[o.name], theirs, rtol=2e-2, atol=2e-4)


def test_many_instances_and_threads_at_once(small_model: Path, tmp_path: Path) -> None:
    from concurrent.futures import ThreadPoolExecutor

    import mlcc

    place = mlcc.build(small_model, target="native", shapes={"x": (1, 3, 8, 8)}, out=tmp_path)["artifacts"][0]["path"]
    models = [mlcc.load(place, threads=n) for n in (1, 1, 2)]
    feeds = [np.random.default_rng(i).standard_normal((1, 3, 8, 8)).astype(np.float32) for i in range(24)]
    want = [models[0](x=x)["y"].tobytes() for x in feeds]
    with ThreadPoolExecutor(8) as pool:
        got = list(pool.map(lambda i: models[i % 3](x=feeds[i])["y"].tobytes(), range(24)))
    assert got == want


def test_a_mismatch_names_the_first_operator(small_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A kernel that computes something else (here: Relu as negation) is found, and the node that it belongs to is named."""
    import mlcc
    from mlcc.tir.kernels import body

    original = body.scalar
    monkeypatch.setattr(body, "scalar", lambda op, dtype: original("Neg" if op == "Relu" else op, dtype))
    with pytest.raises(mlcc.Error) as e:
        mlcc.build(small_model, target="x86_64-v3", shapes={"x": (1, 3, 8, 8)}, out=tmp_path, cache=False, jobs=1)
    assert e.value.exit_code == 7 and "first operator that differs is relu" in str(e.value)
    assert not [p for p in tmp_path.rglob("*") if p.is_file()]
