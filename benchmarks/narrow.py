"""Products of few rows whose weights lie as float16 or as bytes times a scale, beside the same product with weights that need 32 bits.

python -m benchmarks.narrow [TARGET …]
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

import mlcc

DEPTH, COLUMNS, ROWS, TURNS = 768, 3072, (1, 2, 4, 5), 60


def product(path: Path, rows: int, weights: np.ndarray) -> Path:
    ends = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [rows, s]) for n, s in (("x", DEPTH), ("y", COLUMNS))]
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])], "g", ends[:1], ends[1:], [numpy_helper.from_array(weights, "w")]
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


def timed(model: Any, x: np.ndarray) -> float:
    start = time.perf_counter()
    for _ in range(10):
        model(x=x)
    return (time.perf_counter() - start) / 10


def main(targets: list[str]) -> None:
    r = np.random.default_rng(0)
    wide = r.standard_normal((DEPTH, COLUMNS)).astype(np.float32)
    kinds = {
        "float32": wide,
        "float16": wide.astype(np.float16).astype(np.float32),
        "bytes": r.integers(-127, 128, wide.shape).astype(np.float32) * np.float32(0.013),
    }
    print(f"{DEPTH} x {COLUMNS}, one thread, medians of {TURNS} turns\n")
    print("| target | rows | float32 µs | float16 µs | bytes µs | float16 | bytes | library, KiB |\n|---|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as d:
        for target in targets:
            for rows in ROWS:
                models, sizes = {}, []
                for kind, weights in kinds.items():
                    built = mlcc.build(
                        product(Path(d) / f"{kind}.onnx", rows, weights), target=target, out=Path(d) / f"{target}{rows}", judge=False
                    )
                    models[kind] = mlcc.load(built["artifacts"][0]["path"], threads=1)
                    sizes.append(built["artifacts"][0]["library_bytes"] >> 10)
                x = r.standard_normal((rows, DEPTH)).astype(np.float32)
                turns = [[timed(m, x) for m in models.values()] for _ in range(TURNS)]
                a, b, c = np.median(np.array(turns), 0) * 1e6
                print(
                    f"| {target} | {rows} | {a:.0f} | {b:.0f} | {c:.0f} | {a / b:.2f} × | {a / c:.2f} × | {', '.join(map(str, sizes))} |",
                    flush=True,
                )


if __name__ == "__main__":
    main(sys.argv[1:] or ["native", "x86_64-v3"])
