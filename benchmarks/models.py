"""Whole models beside ONNX Runtime (and OpenVINO where it is installed), engines taking turns run by run. `make bench`

Writes docs/performance.md: ratios, sizes, memory against its lower bound, build times, and what they were measured on.
"""

from __future__ import annotations

import ctypes
import json
import math
import platform
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from statistics import median

import mlcc
from benchmarks.corpus import MODELS, fetch
from mlcc.artifact import manifest
from mlcc.target import native

SECONDS = 4
ROUNDS = 3
TARGETS = ("x86_64-v3", "native")

PEAK = """
#include <immintrin.h>
void peak(long n, float *out) {
    volatile float one = 1.0f, zero = 0.0f; /* so that the compiler cannot see through */
    WIDE acc[12], a = SET(one), b = SET(zero);
    for (int i = 0; i < 12; i++) acc[i] = SET((float)i);
    for (long k = 0; k < n; k++)
        for (int i = 0; i < 12; i++) acc[i] = FMA(a, acc[i], b);
    for (int i = 1; i < 12; i++) acc[0] = ADD(acc[0], acc[i]);
    STORE(out, acc[0]);
}
"""


def peak_gflops(avx512: bool) -> float:
    """The core's fma peak: twelve independent chains."""
    prefix, wide = ("_mm512", "__m512") if avx512 else ("_mm256", "__m256")
    names = {
        "WIDE": wide,
        "SET": f"{prefix}_set1_ps",
        "FMA": f"{prefix}_fmadd_ps",
        "ADD": f"{prefix}_add_ps",
        "STORE": f"{prefix}_storeu_ps",
    }
    with tempfile.TemporaryDirectory() as d:
        source = "".join(f"#define {k} {v}\n" for k, v in names.items()) + PEAK
        (Path(d) / "p.c").write_text(source)
        cpu = "-mcpu=x86_64_v4" if avx512 else "-mcpu=x86_64_v3"
        subprocess.run(
            [sys.executable, "-m", "ziglang", "cc", "-O2", "-fno-sanitize=all", cpu, "-shared", "-fPIC", "p.c", "-o", "p.so"],
            cwd=d,
            check=True,
        )
        function = ctypes.CDLL(f"{d}/p.so").peak
        out, best, n = (ctypes.c_float * 16)(), 0.0, 2_000_000
        for _ in range(7):
            start = time.perf_counter()
            function(ctypes.c_long(n), out)
            best = max(best, n * 12 * (16 if avx512 else 8) * 2 / (time.perf_counter() - start) / 1e9)
    return best


def bench(artifact: str, model: Path, engines: list[str], threads: int) -> dict[str, float]:
    """Median ms by engine: one thread, interleaved in one process; more, alone in a process each, taking turns."""
    if threads == 1:
        line = [
            "bench",
            artifact,
            "--against",
            ",".join(engines),
            "--model",
            str(model),
            "--threads",
            "1",
            "--seconds",
            str(SECONDS),
            "--json",
        ]
        done = subprocess.run([sys.executable, "-m", "mlcc.cli", *line], check=True, capture_output=True, text=True)
        return {n: t["median_ms"] for n, t in json.loads(done.stdout)["engines"].items()}
    found: dict[str, list[float]] = {n: [] for n in ("mlcc", *engines)}
    for _ in range(ROUNDS):
        for n, times in found.items():
            line = [sys.executable, "-m", "benchmarks.one", n, artifact, str(model), str(threads), str(SECONDS / ROUNDS / 2)]
            times.append(float(subprocess.run(line, check=True, capture_output=True, text=True).stdout))
    return {n: median(t) for n, t in found.items()}


def main() -> None:
    names = [e for e in ("onnxruntime", "openvino") if find_spec(e)]
    lines = [
        "# Performance",
        "",
        "Written by `make bench`, not by hand: medians, float32, static shapes. One thread: engines take turns run by run in one process.",
        "Two threads: each engine in a process of its own, taking turns, since a peer's spinning workers would take the cores from whoever",
        "runs next. A ratio above 1 means that mlcc is faster.",
        "",
        f"Measured on {platform.machine()}, {native()}, {', '.join(f'{n} {version(n)}' for n in ('apache-tvm', 'ziglang', *names))}. "
        f"Fma peak of one core in the same run: {peak_gflops(False):.0f} GFLOP/s with AVX2"
        + (f", {peak_gflops(True):.0f} with AVX-512." if native() == "x86_64-v4" else "."),
        "",
    ]
    sizes = [
        "## Sizes, memory and build time",
        "",
        "| model | library | without weights | arena | lower bound | cold build, native | nothing changed |",
        "|---|---|---|---|---|---|---|",
    ]
    for threads in (1, 2):
        for target in TARGETS:
            lines += [
                f"## {target}, {threads} thread{'s' * (threads > 1)}",
                "",
                "| model | mlcc ms | " + " | ".join(f"{n} ms | ratio" for n in names) + " | mlcc GFLOP/s |",
                "|---|---|" + "---|---|" * len(names) + "---|",
            ]
            logs: dict[str, list[float]] = {n: [] for n in names}
            for name, entry in MODELS.items():
                model = fetch(name)
                with tempfile.TemporaryDirectory() as d:
                    if threads == 1 and target == "native":
                        sizes.append(build_facts(name, model, entry.shapes, Path(d)))
                    artifact = mlcc.build(model, target=target, shapes=entry.shapes, out=d)["artifacts"][0]["path"]
                    t = bench(artifact, model, names, threads)
                    flops = (
                        2
                        * json.loads(
                            subprocess.run(
                                [
                                    sys.executable,
                                    "-m",
                                    "mlcc.cli",
                                    "inspect",
                                    str(model),
                                    "--json",
                                    *(x for k, v in entry.shapes.items() for x in ("--shape", f"{k}={'x'.join(map(str, v))}")),
                                ],
                                check=True,
                                capture_output=True,
                                text=True,
                            ).stdout
                        )["multiply_adds"]
                    )
                own = t["mlcc"]
                for n in names:
                    logs[n].append(math.log(t[n] / own))
                lines.append(
                    f"| {name} | {own:.3f} | "
                    + " | ".join(f"{t[n]:.3f} | {t[n] / own:.2f}" for n in names)
                    + f" | {flops / own / 1e6:.0f} |"
                )
                print(lines[-1], flush=True)
            lines += ["| geometric mean | | " + " | ".join(f"| {math.exp(sum(v) / len(v)):.2f}" for v in logs.values()) + " | |", ""]
    (Path(__file__).parents[1] / "docs" / "performance.md").write_text("\n".join([*lines, *sizes]) + "\n")


def build_facts(name: str, model: Path, shapes: dict[str, tuple[int, ...]], folder: Path) -> str:
    """A row of the sizes table: a cold build (no cache at all), then the same again."""
    start = time.perf_counter()
    artifact = Path(mlcc.build(model, target="native", shapes=shapes, out=folder / "cold", cache=False)["artifacts"][0]["path"])
    cold = time.perf_counter() - start
    line = [
        sys.executable,
        "-m",
        "mlcc.cli",
        "build",
        str(model),
        "-t",
        "native",
        "-o",
        str(folder / "warm"),
        *(x for k, v in shapes.items() for x in ("--shape", f"{k}={'x'.join(map(str, v))}")),
    ]
    times = []
    for _ in range(3):
        start = time.perf_counter()
        subprocess.run(line, check=True, capture_output=True)
        times.append(time.perf_counter() - start)
    about = manifest.read(artifact)
    kib = [
        f"{v / 1024:.0f} KiB"
        for v in (
            about["library_bytes"],
            about["library_bytes"] - about["constant_bytes"],
            about["arena_bytes"],
            about["arena_lower_bound_bytes"],
        )
    ]
    return f"| {name} | {' | '.join(kib)} | {cold:.1f} s | {median(times[1:]):.2f} s |"


if __name__ == "__main__":
    main()
