"""The command as users type it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper

import mlcc as package
from mlcc import pipeline, tune
from mlcc.plugin import runs
from mlcc.target import load
from tests.conftest import Mlcc

SHAPE = "x=1x3x8x8"


@pytest.fixture(scope="module")
def artifact(small_model: Path, tmp_path_factory: pytest.TempPathFactory, mlcc: Mlcc) -> Path:
    out = tmp_path_factory.mktemp("out")
    done = mlcc("build", small_model, "--target", "x86_64-linux", "--shape", SHAPE, "-o", out, "--json")
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout)
    assert set(summary) >= {"model", "program_digest", "output_digest", "artifacts", "seconds"}
    one = summary["artifacts"][0]
    assert set(one) >= {"target", "path", "oci", "digest", "class", "conformance", "arena_bytes", "library_bytes", "flash_bytes"}
    assert (one["class"], one["conformance"], summary["model"]) == ("exact", "passed", "small")
    return Path(one["path"])


def test_help_is_quick_and_shows_examples(mlcc: Mlcc) -> None:
    from mlcc.cli import COMMANDS

    assert "Example:" in mlcc("--help").stdout
    for name in COMMANDS:
        done = mlcc(name, "--help")
        assert done.returncode == 0 and "Example:" in done.stdout, name


def test_light_commands_import_nothing_heavy(artifact: Path) -> None:
    code = (
        "import sys; import mlcc; m = mlcc.load(sys.argv[1]); import numpy as np; m(x=np.zeros((1, 3, 8, 8), np.float32));"
        "bad = [n for n in ('tvm', 'onnx', 'onnx_ir', 'torch', 'jinja2') if n in sys.modules]; assert not bad, bad"
    )
    subprocess.run([sys.executable, "-c", code, artifact], check=True)
    subprocess.run(
        [
            sys.executable,
            "-c",
            "import sys; import mlcc.cli; bad = [n for n in ('tvm', 'onnx', 'numpy', 'rich') if n in sys.modules]; assert not bad, bad",
        ],
        check=True,
    )


def test_run_with_a_file_and_outputs(artifact: Path, tmp_path: Path, mlcc: Mlcc) -> None:
    import mlcc as package

    x = np.random.default_rng(1).standard_normal((1, 3, 8, 8)).astype(np.float32)
    np.save(tmp_path / "x.npy", x)
    results = [
        json.loads(
            mlcc("run", artifact, "--input", f"x={tmp_path / 'x.npy'}", "--threads", n, "--output", tmp_path / "out", "--json").stdout
        )
        for n in (1, 2, 7)
    ]
    assert len({r["output_digest"] for r in results}) == 1
    assert np.array_equal(np.load(results[0]["outputs"]["y"]), package.load(artifact)(x=x)["y"])


def test_run_with_an_image(artifact: Path, tmp_path: Path, mlcc: Mlcc) -> None:
    from PIL import Image

    Image.new("RGB", (20, 10), (255, 0, 0)).save(tmp_path / "red.png")
    done = mlcc("run", artifact, "--input", f"x={tmp_path / 'red.png'}")
    assert done.returncode == 0 and "1x10" in done.stdout


def test_run_compares_with_onnxruntime(artifact: Path, small_model: Path, mlcc: Mlcc) -> None:
    done = mlcc("run", artifact, "--compare", "onnxruntime", "--model", small_model, "--json")
    assert json.loads(done.stdout)["comparison"]["y"]["max_abs"] < 1e-5
    assert mlcc("run", artifact, "--compare", "onnxruntime").returncode == 0, "it is found where it was built from"
    assert mlcc("run", artifact, "--compare", "onnxruntime", "--model", artifact / "manifest.json").returncode == 2


def test_inspect_model_and_artifact(artifact: Path, small_model: Path, mlcc: Mlcc) -> None:
    about = json.loads(mlcc("inspect", small_model, "--shape", SHAPE, "--json").stdout)
    assert about["multiply_adds"] == 8 * 27 * 64 + 128 * 10 and about["arena_bytes"] >= about["arena_lower_bound_bytes"] > 0
    assert json.loads(mlcc("inspect", artifact, "--json").stdout)["target"] == "x86_64-linux"
    full = mlcc("inspect", small_model, "--shape", SHAPE, "--graph").stdout
    assert "relu" in full and "memory_plan" in full


def test_targets(mlcc: Mlcc) -> None:
    names = [t["name"] for t in json.loads(mlcc("targets", "--json").stdout)]
    assert {
        "x86_64-v2",
        "x86_64-v3",
        "x86_64-v4",
        "native",
        "x86_64-linux",
        "aarch64-linux",
        "riscv64-linux",
        "riscv64-v-linux",
        "armv7-linux",
        "s390x-linux",
        "ppc64le-linux",
        "wasm32-wasi",
    } <= set(names)
    assert json.loads(mlcc("targets", "x86_64-v3", "--json").stdout)["instruction_sets"] == ["x86_64-v3"]


def test_profile(artifact: Path, mlcc: Mlcc) -> None:
    done = json.loads(mlcc("bench", artifact, "--profile", "--seconds", "0.1", "--json").stdout)
    assert done["machine"]["gflops"] > 0 and sum(c["share"] for c in done["calls"]) == pytest.approx(1)
    assert {c["bound"] for c in done["calls"]} <= {"fma", "memory", "instructions"}
    text = mlcc("bench", artifact, "--profile", "--seconds", "0.1").stdout
    assert "Dot 8x8 · 3x9 · 8" in text and "GB/s from cache" in text


def test_precision(small_model: Path, tmp_path: Path, mlcc: Mlcc) -> None:
    """The bf16 profile: other bits than float32's, the same on every target, and the artifact says so."""
    built = [
        json.loads(mlcc("build", small_model, *targets, "--precision", p, "-o", tmp_path / p, "--json").stdout)
        for p, targets in (("float32", ("-t", "native")), ("bf16", ("-t", "native", "-t", "x86_64-linux", "-t", "aarch64-linux")))
    ]
    assert built[0]["output_digest"] != built[1]["output_digest"]
    wanted = {"native": "passed", "x86_64-linux": "passed", "aarch64-linux": "passed" if runs(load("aarch64-linux")) else "not-run"}
    assert {a["target"]: a["conformance"] for a in built[1]["artifacts"]} == wanted
    assert all(a["class"] == "exact" for a in built[1]["artifacts"])
    about = json.loads((Path(built[1]["artifacts"][0]["path"]) / "manifest.json").read_text())
    assert about["precision"] == "bf16" and about["rewrites"]["precision-bf16"] == 2
    assert mlcc("build", small_model, "-t", "native", "--precision", "fp8", "-o", tmp_path).returncode == 2


def test_tune(tmp_path: Path, mlcc: Mlcc, monkeypatch: pytest.MonkeyPatch) -> None:
    """Candidates are measured; a lock changes kernels and no output bit; a build that follows one is reproducible; damage is found."""
    w = helper.make_tensor("w", 1, [128, 256], np.random.default_rng(0).standard_normal(128 * 256))
    ends = [helper.make_tensor_value_info(n, 1, [128, size]) for n, size in (("x", 128), ("y", 256))]
    graph = helper.make_graph([helper.make_node("MatMul", ["x", "w"], ["y"])], "g", ends[:1], ends[1:], [w])
    model, lock = tmp_path / "m.onnx", tmp_path / "mlcc.lock"
    onnx.save(helper.make_model(graph, ir_version=8), model)

    def build(**options: Any) -> tuple[dict[str, Any], bytes]:
        found = package.build(model, "native", out=tmp_path / "out", lock=lock, **options)
        return found, (tmp_path / "out/m/native/lib/libm.so").read_bytes()

    real, seen = tune._measure, []

    def slowest_first(program: Any, call: Any, candidates: Any) -> Any:
        seen.append(real(program, call, candidates))
        return {c.choice: -n for n, c in enumerate(candidates)}

    plain, library = build()
    monkeypatch.setattr(tune, "_measure", slowest_first)
    tuned, other = build(tune=True)
    assert len(seen) == 1 and len(seen[0]) >= 2 and all(t > 0 for t in seen[0].values())
    text = json.loads(lock.read_text())
    assert text["version"] == 2 and [len(kernels) for kernels in text["choices"].values()] == [1]
    assert plain["output_digest"] == tuned["output_digest"] and library != other
    ((name, kernels),) = text["choices"].items()
    ((kernel, chosen),) = kernels.items()
    assert set(chosen) == {"family", "rows", "panels"} and chosen["family"] == "dot"
    lock.write_text(json.dumps({"version": 1, "tiles": {name: {kernel: [chosen["rows"], chosen["panels"]]}}}))  # as older files say it
    again, same = build()
    assert again["artifacts"][0]["digest"] == tuned["artifacts"][0]["digest"] and same == other
    lock.write_text("{}")
    assert mlcc("build", model, "-t", "native", "-o", tmp_path / "out", cwd=tmp_path).returncode == 2


def test_bench(artifact: Path, small_model: Path, mlcc: Mlcc) -> None:
    done = json.loads(mlcc("bench", artifact, "--seconds", "0.1", "--against", "onnxruntime", "--model", small_model, "--json").stdout)
    assert set(done["engines"]) == {"mlcc", "onnxruntime"} and done["engines"]["mlcc"]["runs"] >= 5


def test_init_then_build_without_arguments(small_model: Path, tmp_path: Path, mlcc: Mlcc) -> None:
    shutil.copy(small_model, tmp_path / "small.onnx")
    assert mlcc("init", "small.onnx", cwd=tmp_path).returncode == 0
    assert mlcc("init", "small.onnx", cwd=tmp_path).returncode == 2
    done = mlcc("build", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "dist" / "small" / "native" / "manifest.json").exists()


def test_fidelity_may_be_narrowed(small_model: Path, tmp_path: Path, mlcc: Mlcc) -> None:
    """mlcc.toml says how far outputs may be from ONNX Runtime's."""
    project = f"model = '{small_model}'\ntargets = ['c99']\nout = 'out'\n[shapes]\nx = [1, 3, 8, 8]\n[fidelity]\n"
    for limits, wanted in (
        ("max_abs = 1e-4\nargmax = 1.0", ""),
        ("max_abs = 1e-30", "max_abs is"),
        ("max_ulp = 'x'", "must be a int"),
        ("nothing = 1", "unknown key"),
    ):
        (tmp_path / "mlcc.toml").write_text(project + limits)
        done = mlcc("build", cwd=tmp_path)
        assert (done.returncode == 0) == (not wanted) and wanted in done.stderr, done.stderr
    (tmp_path / "mlcc.toml").write_text(project + "max_ulp = 9")
    done = mlcc("build", "--no-judge", cwd=tmp_path)
    assert done.returncode and "asks for a judge" in done.stderr


def test_depfile_escapes(small_model: Path, tmp_path: Path, mlcc: Mlcc) -> None:
    odd = tmp_path / "a b$c" / "small.onnx"
    odd.parent.mkdir()
    shutil.copy(small_model, odd)
    assert mlcc("build", odd, "-t", "x86_64-v3", "--shape", SHAPE, "-o", tmp_path / "o", "--depfile", tmp_path / "d").returncode == 0
    text = (tmp_path / "d").read_text()
    assert text.startswith(f"{tmp_path}/o/small/x86_64-v3/manifest.json: ") and "a\\ b$$c/small.onnx" in text


def test_a_second_build_comes_from_the_cache(small_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is built again; without the cache everything is."""

    def build(out: str, **options: Any) -> Any:
        return package.build(small_model, "x86_64-v3", {"x": (1, 3, 8, 8)}, tmp_path / out, **options)["artifacts"][0]["digest"]

    def built(*arguments: Any) -> Any:
        raise AssertionError("built again")

    first = build("1")
    monkeypatch.setattr(pipeline, "_build", built)
    assert build("2") == first
    with pytest.raises(package.Error, match="built again"):
        build("3", cache=False)


def many_kernels(path: Path) -> Path:
    """A model of enough different kernels for worker processes."""
    sizes = [3 + 2 * i for i in range(16)]
    weights = [helper.make_tensor(f"w{i}", 1, [a, b], np.linspace(-1, 1, a * b)) for i, (a, b) in enumerate(zip(sizes, sizes[1:]))]
    nodes = [helper.make_node("MatMul", [f"x{i}", f"w{i}"], [f"x{i + 1}"]) for i in range(len(weights))]
    ends = [helper.make_tensor_value_info(n, 1, [5, s]) for n, s in (("x0", sizes[0]), (f"x{len(weights)}", sizes[-1]))]
    onnx.save(helper.make_model(helper.make_graph(nodes, "g", ends[:1], ends[1:], weights), ir_version=8), path)
    return path


def test_a_script_without_a_guard_builds(tmp_path: Path) -> None:
    """Worker processes do not run the caller's script again."""
    model = many_kernels(tmp_path / "m.onnx")
    script = tmp_path / "script.py"
    script.write_text(
        f"import mlcc\nprint('once')\nprint(mlcc.build({str(model)!r}, out={str(tmp_path / 'o')!r}, cache=False, jobs=2)['model'])\n"
    )
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "once\nm\n", "")


@pytest.mark.parametrize("seconds", [1.5, *(pytest.param(s, marks=pytest.mark.full) for s in (0.7, 2.5))])
def test_interrupted_workers_end(seconds: float, tmp_path: Path) -> None:
    model = many_kernels(tmp_path / "m.onnx")
    command = [sys.executable, "-m", "mlcc.cli", "build", model, "-t", "x86_64-linux", "-o", tmp_path / "o", "--no-cache"]
    environment = {**os.environ, "MLCC_JOBS": "2"}
    run = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True, env=environment)
    time.sleep(seconds)
    os.killpg(run.pid, signal.SIGINT)
    _, errors = run.communicate(timeout=60)
    if run.returncode == 0:
        pytest.skip("the build was done before the interrupt")
    assert run.returncode == 130 and "interrupted" in errors and "Traceback" not in errors
    for _ in range(50):
        try:
            os.killpg(run.pid, 0)
        except ProcessLookupError:
            return
        time.sleep(0.1)
    raise AssertionError("processes of the build are still there")


def test_interrupt_leaves_nothing_behind(small_model: Path, tmp_path: Path) -> None:
    run = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "mlcc.cli",
            "build",
            small_model,
            "-t",
            "x86_64-linux",
            "--shape",
            SHAPE,
            "-o",
            tmp_path / "o",
            "--no-cache",
        ],
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    time.sleep(1.2)
    os.killpg(run.pid, signal.SIGINT)
    _, errors = run.communicate(timeout=60)
    if run.returncode == 0:
        pytest.skip("the build was done before the interrupt")
    assert run.returncode == 130 and "interrupted" in errors and "Traceback" not in errors
    assert not [p for p in tmp_path.rglob("*") if p.is_file()]
