"""XLA: binary32 in integers is binary32, the core operators are the reference's, artifacts say how exact they are. On XLA:CPU; TPUs by
compiling."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

os.environ.setdefault("JAX_PLATFORMS", "cpu")  # before JAX is imported
jax = pytest.importorskip("jax", reason="no JAX here: pip install 'mlcc[tpu]'")
jax.config.update("jax_enable_x64", True)

import mlcc  # noqa: E402
from mlcc import build as build_model  # noqa: E402
from mlcc.conformance import check as conformance  # noqa: E402
from mlcc.core.graph import canonical_bytes  # noqa: E402
from mlcc.error import Error  # noqa: E402
from mlcc.reference import native  # noqa: E402
from mlcc.reference.elementwise import cast, requantize  # noqa: E402
from mlcc.reference.execute import execute  # noqa: E402
from mlcc.target import Target  # noqa: E402
from mlcc.target import load as load_target  # noqa: E402
from mlcc_backends.tpu import build, operators, soft  # noqa: E402
from mlcc_backends.tpu.floats import ExactFloats  # noqa: E402
from mlcc_backends.tpu.run import XlaRunner  # noqa: E402
from mlcc_backends.tpu.sections import Serving  # noqa: E402
from tests import hardware  # noqa: E402
from tests.backends.models import dense  # noqa: E402
from tests.conftest import Mlcc  # noqa: E402
from tests.graph.open_models import MODELS  # noqa: E402
from tests.graph.test_onnx_cases import attempt, cases  # noqa: E402
from tests.support import SPECIALS, graph_of, numbers  # noqa: E402


def floats(seed: int, n: int = 100_000) -> np.ndarray:
    """Any bits, ordinary numbers of many sizes, special values."""
    r = np.random.default_rng(seed)
    any_bits = r.integers(0, 2**32, n, dtype=np.uint32).view(np.float32)
    ordinary = (r.standard_normal(n) * np.exp2(r.integers(-30, 30, n))).astype(np.float32)
    which = r.random(n)
    return np.where(which < 0.3, any_bits, np.where(which < 0.5, r.choice(SPECIALS, n), ordinary)).astype(np.float32)


def same(got: Any, want: np.ndarray) -> None:
    assert canonical_bytes(np.asarray(got)) == canonical_bytes(np.asarray(want))


def test_binary32_in_integers() -> None:
    a, b, c = floats(1), floats(2), floats(3)
    with np.errstate(all="ignore"):
        c = np.where(np.random.default_rng(4).random(len(a)) < 0.3, -(a * b), c)  # what cancels
        same(jax.jit(soft.fma)(a, b, c), native.fma(a, b, c))
        for ours, theirs in ((soft.add, np.add), (soft.sub, np.subtract), (soft.mul, np.multiply), (soft.div, np.divide)):
            same(jax.jit(ours)(a, b), theirs(a, b))
        for one, other in (
            (soft.sqrt, np.sqrt),
            (soft.floor, np.floor),
            (soft.round_even, np.rint),
            (soft.neg, np.negative),
            (soft.magnitude, np.abs),
        ):
            same(jax.jit(one)(a), other(a))
        same(jax.jit(soft.less)(a, b), a < b)
        same(jax.jit(soft.equal)(a, b), a == b)
        for to in ("int8", "uint8", "int32"):
            info = np.iinfo(to)
            same(jax.jit(lambda x, i=info, t=to: soft.to_integer(x, int(i.min), int(i.max)).astype(t))(a), cast(a, to))
    whole = np.random.default_rng(5).integers(-(2**31), 2**31, 100_000).astype(np.int32)
    same(jax.jit(soft.from_integer)(whole), whole.astype(np.float32))


@pytest.mark.parametrize(("zero", "low", "high", "to"), [(0, -128, 127, "int8"), (7, -100, 100, "int8"), (128, 0, 255, "uint8")])
def test_requantisation(zero: int, low: int, high: int, to: str) -> None:
    r, n = np.random.default_rng(zero), 200_000
    x = np.where(r.random(n) < 0.5, r.integers(-(2**31), 2**31, n), r.integers(-3000, 3000, n)).astype(np.int32)
    scale = np.where(r.random(n) < 0.3, np.exp2(r.integers(-12, 3, n)), np.exp2(r.uniform(-40, 5, n))).astype(np.float32)  # ties, and not
    scale = np.where(r.random(n) < 0.1, r.choice(SPECIALS, n), scale)
    with np.errstate(all="ignore"):
        same(jax.jit(lambda x, s: soft.requantize(x, s, zero, low, high).astype(to))(x, scale), requantize(x, scale, to, zero, low, high))


@pytest.mark.slow
@pytest.mark.parametrize("shard", [pytest.param(i, marks=[] if i == 0 else pytest.mark.full) for i in range(320)])
def test_exact_operators_on_node_cases(shard: int) -> None:
    """ONNX's node cases: the bits of the reference, floats included."""
    checked = 0
    for case in cases()[shard::320]:
        prepared = attempt(case)
        if prepared is None:
            continue
        graph, feed, _ = prepared
        want = execute(graph, feed)
        found = jax.jit(operators.function(graph, ExactFloats()))(*(np.asarray(feed[n]) for n in graph.inputs))
        for name, got in zip(graph.outputs, found):
            assert np.asarray(got).dtype == want[name].dtype and canonical_bytes(np.asarray(got)) == canonical_bytes(want[name]), case.name
        checked += 1
    assert checked > 2


def test_float_products_in_the_contracts_order() -> None:
    w = numbers(3, (40, 9), "float32")
    graph = graph_of({"x": ("float32", (5, 40))}, lambda b, x: b("MatMul", x, b.constant(w)))
    x = numbers(4, (5, 40), "float32", True)
    (found,) = jax.jit(operators.function(graph, ExactFloats()))(x)
    same(found, execute(graph, {"x": x})["y0"])


@pytest.mark.slow
@pytest.mark.parametrize(
    "generations", [("tpu-v5e",), pytest.param(("tpu-v4", "tpu-v5e", "tpu-v5p", "tpu-v6e"), marks=pytest.mark.full)], ids=len
)
def test_quantised_models_are_exact_on_every_generation(generations: tuple[str, ...], tiny: Callable[[str], Path], tmp_path: Path) -> None:
    pytest.importorskip("libtpu", reason="no libtpu here")
    targets = [*generations, "stablehlo"]
    result = mlcc.build(tiny("ad01_int8"), target=targets, out=tmp_path)
    assert {a["target"]: (a["class"], a["conformance"]) for a in result["artifacts"]} == dict.fromkeys(targets, ("exact", "passed"))
    root = tmp_path / "ad01_int8"
    portable = {(root / t / "lib/ad01_int8.stablehlo").read_bytes() for t in targets}
    assert all(p.startswith(b"ML\xefR") for p in portable), "MLIR bytecode"
    assert len({(root / t / "lib/ad01_int8.stablehlo").read_bytes() for t in targets if t != "stablehlo"}) == 1, (
        "one program for all generations"
    )
    executables = {(root / t / "lib/ad01_int8.tpu").read_bytes() for t in targets if t != "stablehlo"}
    assert len(executables) == len(generations) and not (root / "stablehlo/lib/ad01_int8.tpu").exists()
    about = json.loads((root / "tpu-v5e/xla.json").read_text())
    assert about["flops"] > 0 and about["bytes_accessed"] > 0 and about["optimal_microseconds"] > 0


@pytest.mark.slow
@pytest.mark.parametrize("batches", [[4], pytest.param([4, 8], marks=pytest.mark.full)], ids=str)
def test_batches_are_dealt_to_chips(batches: list[int], mlcc: Mlcc, tmp_path: Path) -> None:
    """As mlcc.toml says: data parallel over four chips, simulated by as many devices of XLA:CPU; each input has its own answer."""
    targets = ["tpu-v5e" if find_spec("libtpu") else "stablehlo"]
    serving = f'[serving]\nbatches = {batches}\nchips = "v5e:2x2"\ndonate = true\n'
    onnx.save(hardware.small_mlp(), tmp_path / "mlp.onnx")
    (tmp_path / "mlcc.toml").write_text(f'model = "mlp.onnx"\ntargets = {json.dumps(targets)}\n{serving}')
    done = mlcc("build", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    for a in json.loads(done.stdout)["artifacts"]:
        assert (a["class"], a["conformance"]) == ("exact", "passed")
        about = json.loads((tmp_path / a["path"] / "xla.json").read_text())
        assert {n: b["chips"] for n, b in about["batches"].items()} == {str(n): 4 for n in batches}
        largest = f"mlp.b{batches[-1]}"
        assert (tmp_path / a["path"] / "lib" / f"{largest}.stablehlo").exists()
        assert (tmp_path / a["path"] / "lib" / f"{largest}.tpu").exists() == (a["target"] == "tpu-v5e")


def test_a_batch_with_another_answer_does_not_pass(tmp_path: Path) -> None:
    graph = graph_of({"x": ("int8", (1, 8))}, lambda b, x: b("Add", x, x))
    double, other = (
        build.worker("compile", dict(build.emit(g, _dealt(n), ()).files), devices=2)
        for g, n in ((graph, 2), (graph_of({"x": ("int8", (1, 8))}, lambda b, x: b("Sub", x, x)), 2))
    )
    feed = [[numbers(1, (1, 8), "int8")], [numbers(2, (1, 8), "int8")]]
    XlaRunner(double, lambda _: "model.jax", True, (2,), 2).outputs(feed)
    with pytest.raises(Error, match="in a batch of 2 on 2 devices input 0 has another answer"):
        XlaRunner({**double, "model.b2.jax": other["model.b2.jax"]}, lambda _: "model.jax", True, (2,), 2).outputs(feed)


def _dealt(count: int) -> Target:
    return load_target("stablehlo").having(Serving((count,), f"v5e:1x{count}"))


@pytest.mark.parametrize(
    ("serving", "words"),
    [
        ('batches = [3]\nchips = "v5e:2x2"', "a batch of 3 cannot be dealt to 4 chips"),
        ('chips = "four"', "no topology: four"),
        ("batches = [0]", "whole numbers from 1 on"),
        ("batch = 4", "unknown key batch"),
    ],
)
def test_wrong_serving_is_said(serving: str, words: str, mlcc: Mlcc, tmp_path: Path) -> None:
    (tmp_path / "mlcc.toml").write_text(f'model = "m.onnx"\ntargets = ["stablehlo"]\n[serving]\n{serving}\n')
    done = mlcc("build", cwd=tmp_path)
    assert done.returncode == 2 and words in done.stderr


def test_each_size_is_a_program(mlcc: Mlcc, tmp_path: Path) -> None:
    """Of open sizes: one artifact, a program a size, each with the CPU's answer."""
    nodes = [onnx.helper.make_node("Mul", ["x", "x"], ["xx"]), onnx.helper.make_node("Concat", ["x", "xx"], ["y"], axis=0),
             onnx.helper.make_node("ReduceSum", ["y"], ["total"])]  # fmt: skip
    x = onnx.helper.make_tensor_value_info("x", onnx.TensorProto.INT32, ["time", 5])
    graph = onnx.helper.make_graph(nodes, "g", [x], [onnx.ValueInfoProto(name=n) for n in ("y", "total")])
    onnx.save(onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=9), tmp_path / "m.onnx")
    made = build_model(tmp_path / "m.onnx", ["stablehlo", "native"], {"x": ["2..6:4", 5]}, tmp_path)
    xla, native = made["artifacts"]
    assert xla["class"] == "exact" and xla["conformance"] == "passed"
    assert sorted(p.name for p in (Path(xla["path"]) / "lib").glob("*.jax")) == ["m.2.jax", "m.6.jax"]
    for size in (2, 6):
        digests = [json.loads(mlcc("run", a["path"], "--dim", f"time={size}", "--json").stdout)["output_digest"] for a in (xla, native)]
        assert digests[0] == digests[1]
    with pytest.raises(Error, match="each of which is a program of its own"):
        build_model(tmp_path / "m.onnx", "stablehlo", {"x": ["2..60", 5]}, tmp_path)


def test_turns_of_each_size_are_written_out(tmp_path: Path) -> None:
    onnx.save(MODELS["LSTM"]()[0], tmp_path / "m.onnx")
    (about,) = build_model(tmp_path / "m.onnx", "stablehlo", {"x": ["2..4:2", 2, 5]}, tmp_path)["artifacts"]
    assert about["class"] == "bounded" and about["conformance"] == "passed"


def test_same_bytes_again(tmp_path: Path) -> None:
    graph = graph_of({"x": ("float32", (5, 40))}, lambda b, x: b("Exp", b("MatMul", x, b.constant(numbers(3, (40, 9), "float32")))))
    target = load_target("tpu-v5e" if find_spec("libtpu") else "stablehlo")
    sources = build.emit(graph, target, ())
    first, second = (build.worker("compile", dict(sources.files)) for _ in range(2))
    assert first == second and set(first) >= {"model.stablehlo", "model.jax", "found.json"}


def test_float_models_have_a_measured_bound(mlcc: Mlcc, tmp_path: Path) -> None:
    model = dense(tmp_path / "dense.onnx")
    (about,) = build_model(model, target="stablehlo", out=tmp_path)["artifacts"]
    assert about["class"] == "bounded" and about["conformance"] == "passed"
    assert 0 <= about["bound"]["relative"] < 1e-3 and about["bound"]["most_ulps"] >= about["bound"]["median_ulps"]
    (exact,) = build_model(model, target="stablehlo-exact", out=tmp_path)["artifacts"]
    assert exact["class"] == "exact" and exact["conformance"] == "passed"
    for target in ("stablehlo", "stablehlo-exact"):
        done = mlcc("run", tmp_path / "dense" / target, "--json")
        assert done.returncode == 0 and json.loads(done.stdout)["environment"].startswith("XLA"), done.stderr


@pytest.mark.parametrize("exact", [True, False])
def test_wrong_outputs_do_not_pass(exact: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A tenth of the largest value off, in one element."""
    real = XlaRunner.outputs

    def wrong(self: XlaRunner, feeds: Any) -> Any:
        found = real(self, feeds)
        for outputs in found:
            outputs[0] = outputs[0].copy()
            outputs[0].reshape(-1)[0] += np.abs(outputs[0]).max() / 10
        return found

    monkeypatch.setattr(XlaRunner, "outputs", wrong)
    with pytest.raises(Error) as e:
        mlcc.build(dense(tmp_path / "dense.onnx"), target="stablehlo-exact" if exact else "stablehlo", out=tmp_path, cache=False)
    assert e.value.code == "conformance" and conformance.WIDEST == 0.02


def test_too_large_to_be_exact(tmp_path: Path) -> None:
    graph = graph_of({"x": ("float32", (512, 512))}, lambda b, x: b("MatMul", x, b.constant(numbers(1, (512, 512), "float32"))))
    with pytest.raises(Error, match="operations on floats") as e:
        build.emit(graph, load_target("stablehlo-exact"), ())
    assert e.value.code == "unsupported" and "--target stablehlo" in (e.value.hint or "")


def test_missing_extra_gives_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build, "find_spec", lambda name: None)
    with pytest.raises(Error) as e:
        build.worker("compile", {})
    assert e.value.code == "toolchain" and e.value.hint == "pip install 'mlcc[tpu]'"
