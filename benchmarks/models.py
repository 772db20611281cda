"""Whole models beside ONNX Runtime and OpenVINO (where they are installed), engines taking turns run by run. `make bench`

Writes docs/performance.md: ratios at float32 and with the bf16 profile, load time, memory, sizes, build times, and what they were measured
on; and a roofline for each model beside it.
"""

from __future__ import annotations

import contextlib
import json
import math
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import Any

import mlcc
from benchmarks.corpus import MODELS, fetch
from benchmarks.roofline import draw
from mlcc.artifact import manifest
from mlcc.cli.run import read_inputs
from mlcc.profile import Core, core, profile
from mlcc.target import load as load_target
from mlcc.target import native

SECONDS = 4
ROUNDS = 3
DOCS = Path(__file__).parents[1] / "docs"
NAMES = {"openvino": "openvino f32", "openvino-default": "openvino default"}


def main() -> None:
    float32 = [e for e in ("onnxruntime", "openvino") if find_spec(e)]
    default = ["openvino-default"] if find_spec("openvino") else []
    machine = core(load_target(native()).variants[0].machine.vector_bits // 8)
    installed = ", ".join(f"{n} {version(n)}" for n in ("apache-tvm", "ziglang", *float32))
    with tempfile.TemporaryDirectory() as d:
        place = Path(d)
        lines = [
            "# Performance",
            "",
            "Written by `make bench`, not by hand: medians, static shapes. One thread: engines take turns run by run in one process.",
            "Two threads: each engine in a process of its own, taking turns, since a peer's spinning workers would take the cores from",
            "whoever runs next. A ratio above 1 means that mlcc is faster.",
            "",
            f"Measured on {platform.machine()}, {native()}, {installed}. One core in the same run: {machine.gflops:.0f} GFLOP/s of",
            f"float32 fma, {machine.cache_gbs:.0f} GB/s from the second-level cache, {machine.memory_gbs:.0f} GB/s from memory.",
            "",
        ]
        for threads in (1, 2):
            lines += comparison(f"native, float32, {threads} thread{'s' * (threads > 1)}", "native", "float32", float32, threads, place)
        lines += comparison("x86_64-v3, float32, 1 thread", "x86_64-v3", "float32", float32, 1, place) if native() != "x86_64-v3" else []
        for threads in (1, 2):
            lines += comparison(
                f"native, --precision bf16, {threads} thread{'s' * (threads > 1)}, against OpenVINO's default",
                "native",
                "bf16",
                default,
                threads,
                place,
            )
        lines += compilers(place)
        lines += loading(["mlcc", *float32], place) + sizes(place) + rooflines(machine, place)
    (DOCS / "performance.md").write_text("\n".join(lines) + "\n")


def artifact(name: str, target: str, precision: str, place: Path) -> str:
    built = mlcc.build(fetch(name), target=target, shapes=MODELS[name].shapes, out=place / precision, precision=precision)
    return str(built["artifacts"][0]["path"])


def comparison(title: str, target: str, precision: str, engines: Sequence[str], threads: int, place: Path) -> list[str]:
    """A table of medians and ratios."""
    lines = [
        f"## {title}",
        "",
        "| model | mlcc ms | " + " | ".join(f"{NAMES.get(n, n)} ms | ratio" for n in engines) + " | mlcc GFLOP/s |",
        "|---|---|" + "---|---|" * len(engines) + "---|",
    ]
    logs: dict[str, list[float]] = {n: [] for n in engines}
    for name in MODELS:
        built = artifact(name, target, precision, place)
        t = bench(built, fetch(name), engines, threads)
        flops = 2 * sum(c["multiply_adds"] for c in json.loads((Path(built) / "steps.json").read_bytes()))
        own = t["mlcc"]
        for n in engines:
            logs[n].append(math.log(t[n] / own))
        ratios = " | ".join(f"{t[n]:.3f} | {t[n] / own:.2f}" for n in engines)
        lines.append(f"| {name} | {own:.3f} | {ratios} | {flops / own / 1e6:.0f} |")
        print(lines[-1], flush=True)
    return [*lines, "| geometric mean | | " + " | ".join(f"| {math.exp(sum(v) / len(v)):.2f}" for v in logs.values()) + " | |", ""]


def bench(built: str, model: Path, engines: Sequence[str], threads: int) -> dict[str, float]:
    """Median ms by engine: one thread, interleaved in one process; more, alone in a process each, taking turns."""
    if threads == 1:
        line = ["bench", built, "--against", ",".join(engines), "--model", str(model), "--seconds", str(SECONDS), "--json"]
        done = subprocess.run([sys.executable, "-m", "mlcc.cli", *line], check=True, capture_output=True, text=True)
        return {n: t["median_ms"] for n, t in json.loads(done.stdout)["engines"].items()}
    found: dict[str, list[float]] = {n: [] for n in ("mlcc", *engines)}
    for _ in range(ROUNDS):
        for n, times in found.items():
            times.append(alone(n, built, model, threads, SECONDS / ROUNDS / 2)["median_ms"])
    return {n: median(t) for n, t in found.items()}


def alone(engine: str, built: str, model: Path, threads: int, seconds: float) -> dict[str, float]:
    line = [sys.executable, "-m", "benchmarks.one", engine, built, str(model), str(threads), str(seconds)]
    found: dict[str, float] = json.loads(subprocess.run(line, check=True, capture_output=True, text=True).stdout.splitlines()[-1])
    return found


def compilers(place: Path) -> list[str]:
    """IREE and TVM, each alone in a process; they take turns. A dash: it does not take the model."""
    names = [n for n, package in (("iree", "iree.compiler"), ("tvm", "tvm")) if _installed(package)]
    lines = [
        "## Beside ahead-of-time compilers, native, float32, 1 thread",
        "",
        "TVM is untuned. A dash: the engine refuses the model.",
        "",
        "| model | mlcc ms | " + " | ".join(f"{n} ms | ratio" for n in names) + " |",
        "|---|---|" + "---|---|" * len(names),
    ]
    logs: dict[str, list[float]] = {n: [] for n in names}
    for name in MODELS:
        built, found = artifact(name, "native", "float32", place), {}
        for n in ("mlcc", *names):
            with contextlib.suppress(subprocess.CalledProcessError):
                found[n] = median(alone(n, built, fetch(name), 1, SECONDS / ROUNDS / 2)["median_ms"] for _ in range(2))
        for n in names:
            if n in found:
                logs[n].append(math.log(found[n] / found["mlcc"]))
        cells = [f"{found[n]:.1f} | {found[n] / found['mlcc']:.1f}" if n in found else "– | –" for n in names]
        lines.append(f"| {name} | {found['mlcc']:.3f} | " + " | ".join(cells) + " |")
        print(lines[-1], flush=True)
    means = [f"| {math.exp(sum(v) / len(v)):.1f}" if v else "| –" for v in logs.values()]
    return [*lines, "| geometric mean | | " + " | ".join(means) + " |", ""]


def _installed(package: str) -> bool:
    try:
        return find_spec(package) is not None
    except ModuleNotFoundError:
        return False


def loading(engines: Sequence[str], place: Path) -> list[str]:
    """Open to first result, and the process's peak memory (Python, NumPy and the engine's own libraries included)."""
    lines = [
        "## Open to first result, and peak memory of a process that does it, one thread",
        "",
        "| model | " + " | ".join(f"{n} ms | MiB" for n in engines) + " |",
        "|---|" + "---|---|" * len(engines),
    ]
    for name in MODELS:
        built, cells = artifact(name, "native", "float32", place), []
        for n in engines:
            runs = [alone(n, built, fetch(name), 1, 0) for _ in range(ROUNDS)]
            cells.append(f"{median(r['first_ms'] for r in runs):.1f} | {median(r['peak_mib'] for r in runs):.0f}")
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
        print(lines[-1], flush=True)
    return [*lines, ""]


def sizes(place: Path) -> list[str]:
    lines = [
        "## Sizes, memory and build time",
        "",
        "| model | library | without weights | arena | lower bound | cold build, native | nothing changed |",
        "|---|---|---|---|---|---|---|",
    ]
    return [*lines, *(build_facts(name, place / "sizes" / name) for name in MODELS), ""]


def build_facts(name: str, folder: Path) -> str:
    """A row of the sizes table: a cold build (no cache at all), then the same again."""
    model, shapes = fetch(name), MODELS[name].shapes
    start = time.perf_counter()
    built = Path(mlcc.build(model, target="native", shapes=shapes, out=folder / "cold", cache=False)["artifacts"][0]["path"])
    cold = time.perf_counter() - start
    line = [sys.executable, "-m", "mlcc.cli", "build", str(model), "-t", "native", "-o", str(folder / "warm")]
    line += [x for k, v in shapes.items() for x in ("--shape", f"{k}={'x'.join(map(str, v))}")]
    times = []
    for _ in range(3):
        start = time.perf_counter()
        subprocess.run(line, check=True, capture_output=True)
        times.append(time.perf_counter() - start)
    about = manifest.read(built)
    code = about["library_bytes"] - about["constant_bytes"]
    figures = (about["library_bytes"], code, about["arena_bytes"], about["arena_lower_bound_bytes"])
    return f"| {name} | {' | '.join(f'{v / 1024:.0f} KiB' for v in figures)} | {cold:.1f} s | {median(times[1:]):.2f} s |"


def rooflines(machine: Core, place: Path) -> list[str]:
    """Each kernel call of the float32 builds against the core's bounds."""
    lines = ["## Rooflines, native float32, one thread", ""]
    for name in MODELS:
        folder = Path(artifact(name, "native", "float32", place))
        rows: list[dict[str, Any]] = profile(
            mlcc.load(folder), read_inputs(manifest.read(folder)["inputs"], ()), folder, machine, SECONDS / 2
        )
        draw(f"{name}, native, float32, one thread", machine, rows, DOCS / "roofline" / name)
        total = sum(r["ms"] for r in rows)
        fma = sum(r["ms"] for r in rows if r["bound"] == "fma") / total
        memory = sum(r["ms"] for r in rows if r["bound"] == "memory") / total
        lines.append(f"![{name}](roofline/{name}.svg)")
        lines.append(f"{name}: {fma:.0%} of the time in calls bound by fma, {memory:.0%} by memory, the rest by other instructions.")
        lines.append("")
    return lines


if __name__ == "__main__":
    main()
