"""Where an artifact's time goes: each kernel call beside what this core can do at most (the roofline model of Williams, Waterman and
Patterson, "Roofline: an insightful visual performance model", 2009)."""

from __future__ import annotations

import ctypes
import json
import subprocess
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from mlcc.cache.native import zig
from mlcc.error import Error
from mlcc.runtime import Model

CACHE_BYTES, MEMORY_BYTES = 512 << 10, 256 << 20  # what the two bandwidths are measured over
SLACK = 2.0  # times its bound from which a call is held up by something else: latency, call overhead, other instructions

PROBE = """
typedef float wide __attribute__((vector_size(BYTES)));
void peak(long n, float *out) {
    volatile float one = 1.0f, zero = 0.0f; /* so that the compiler cannot see through */
    wide acc[12], a = one - (wide){0}, b = zero - (wide){0};
    for (int i = 0; i < 12; i++) acc[i] = (float)i - (wide){0};
    for (long k = 0; k < n; k++)
        for (int i = 0; i < 12; i++) acc[i] = __builtin_elementwise_fma(a, acc[i], b);
    for (int i = 1; i < 12; i++) acc[0] += acc[i];
    *(wide *)out = acc[0];
}
void stream(long n, const float *in, float *out) {
    wide acc[8] = {0};
    for (long k = 0; k < n; k += 8 * BYTES / 4)
        for (int i = 0; i < 8; i++) acc[i] += *(const wide *)(in + k + i * (BYTES / 4));
    for (int i = 1; i < 8; i++) acc[0] += acc[i];
    *(wide *)out = acc[0];
}
"""


@dataclass(frozen=True)
class Core:
    """What one core of this machine does at most: binary32 fma (GFLOP/s, an fma is two), reading from cache and memory (GB/s)."""

    gflops: float
    cache_gbs: float
    memory_gbs: float

    def seconds(self, multiply_adds: int, moved: int, threads: int = 1) -> tuple[float, str]:
        """The least time for that much work, and what sets it."""
        compute = 2e-9 * multiply_adds / self.gflops / threads
        transfer = 1e-9 * moved / (self.cache_gbs * threads if moved <= 2 * CACHE_BYTES else self.memory_gbs)
        return (compute, "fma") if compute >= transfer else (transfer, "memory")


def core(vector_bytes: int) -> Core:
    """Measure this machine. Raises Error(toolchain) where the compiler does not work."""
    with tempfile.TemporaryDirectory(prefix="mlcc-") as d:
        Path(d, "p.c").write_text(f"#define BYTES {vector_bytes}\n" + PROBE)
        line = [
            *zig(),
            "cc",
            "-O3",
            "-fno-sanitize=all",
            "-mcpu=native",
            "-mprefer-vector-width=512",
            "-shared",
            "-fPIC",
            "p.c",
            "-o",
            "p.so",
        ]
        done = subprocess.run(line, cwd=d, capture_output=True, text=True)
        if done.returncode:
            raise Error("toolchain", "the probe for the machine's peak does not compile", hint=done.stderr.strip()[-200:])
        library = ctypes.CDLL(f"{d}/p.so")
        out = np.zeros(64 + vector_bytes, np.float32)
        at = ctypes.c_void_p(out.ctypes.data + -out.ctypes.data % 64)

        def best(function: Any, n: int, *arguments: Any) -> float:
            times = []
            for _ in range(9):
                start = time.perf_counter()
                function(ctypes.c_long(n), *arguments, at)
                times.append(time.perf_counter() - start)
            return min(times)

        fmas = 1_000_000
        gflops = fmas * 12 * (vector_bytes / 4) * 2 / best(library.peak, fmas) / 1e9
        rates = []
        for size in (CACHE_BYTES, MEMORY_BYTES):
            data = np.ones(size // 4 + 16, np.float32)
            start = ctypes.c_void_p(data.ctypes.data + -data.ctypes.data % 64)
            rates.append(size / best(library.stream, size // 4, start) / 1e9)
        return Core(gflops, *rates)


def profile(model: Model, feed: Mapping[str, Any], folder: Path, machine: Core, seconds: float) -> list[dict[str, Any]]:
    """Each kernel call: origin, kind, shape, median milliseconds, share of the whole, GFLOP/s, share of its bound and what binds it."""
    costs = json.loads((folder / "steps.json").read_bytes())
    model(feed)
    runs: list[list[float]] = []
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(runs) < 5:
        runs.append(model.step_seconds(feed, len(costs)))
    times = [median(t) for t in zip(*runs)]
    total = sum(times) or 1.0
    rows = []
    for cost, t in zip(costs, times):
        bound, what = machine.seconds(cost["multiply_adds"], cost["bytes"], model.threads)
        rows.append(
            {
                "origin": cost["origin"],
                "kernel": f"{cost['kind']} {cost['shape']}",
                "ms": t * 1e3,
                "share": t / total,
                "gflops": 2e-9 * cost["multiply_adds"] / t if t else 0.0,
                "of_bound": min(1.0, bound / t) if t else 0.0,
                "bound": what if t <= SLACK * bound else "instructions",
                "intensity": 2 * cost["multiply_adds"] / max(1, cost["bytes"]),
            }
        )
    return rows
