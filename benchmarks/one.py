"""One engine alone in a process: with several threads, a peer's spinning workers would take the cores from whoever runs next; and load
time and memory are a process's own.

python -m benchmarks.one ENGINE ARTIFACT MODEL THREADS SECONDS → JSON: median_ms, first_ms (open to first result), peak_mib (of the process)
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import mlcc
from benchmarks.compilers import COMPILERS
from mlcc.artifact import manifest
from mlcc.cli.bench import engine
from mlcc.cli.run import read_inputs


def peak_mib() -> float:
    """The most memory that this process held (getrusage would count the parent's as it was at the fork)."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def main(name: str, artifact: str, model: str, threads: int, seconds: float) -> dict[str, float]:
    feed = read_inputs(manifest.read(Path(artifact))["inputs"], ())
    if name == "onnxruntime":  # imports are no part of opening a model
        import onnxruntime  # noqa: F401
    elif name.startswith("openvino"):
        import openvino  # noqa: F401
    start = time.perf_counter()
    run: Callable[[], Any]
    if name == "mlcc":
        m = mlcc.load(artifact, threads=threads)
        run = lambda: m(feed)  # noqa: E731
    elif name in COMPILERS:
        run = COMPILERS[name](Path(model), feed, threads)
    else:
        run = engine(name, Path(model), feed, threads)
    run()
    first = time.perf_counter() - start
    peak = peak_mib()
    times = []
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(times) < 5:
        start = time.perf_counter()
        run()
        times.append((time.perf_counter() - start) * 1e3)
    return {"median_ms": median(times), "first_ms": first * 1e3, "peak_mib": peak}


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]), float(sys.argv[5]))))
