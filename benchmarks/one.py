"""One engine alone in a process: with several threads, a peer's spinning workers would take the cores from whoever runs next.

python -m benchmarks.one ENGINE ARTIFACT MODEL THREADS SECONDS → median milliseconds
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from statistics import median

import mlcc
from mlcc.artifact import manifest
from mlcc.cli.bench import _onnxruntime, _openvino
from mlcc.cli.run import read_inputs


def main(engine: str, artifact: str, model: str, threads: int, seconds: float) -> float:
    feed = read_inputs(manifest.read(Path(artifact))["inputs"], ())
    if engine == "mlcc":
        m = mlcc.load(artifact, threads=threads)
        run = lambda: m(feed)  # noqa: E731
    else:
        run = {"onnxruntime": _onnxruntime, "openvino": _openvino}[engine](Path(model), feed, threads)
    run()
    times = []
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(times) < 5:
        start = time.perf_counter()
        run()
        times.append((time.perf_counter() - start) * 1e3)
    return median(times)


if __name__ == "__main__":
    print(main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]), float(sys.argv[5])))
