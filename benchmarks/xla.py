"""Real models as StableHLO and as executables of four TPU generations, with XLA's own estimates → docs/tpu-models.md. No TPU is needed.

    python -m benchmarks.xla [FOLDER with MLPerf Tiny, default ../shared/models/mlperf-tiny]

Two numbers are measured here (size, distance from the reference on XLA:CPU); operations, bytes and microseconds are XLA's cost analysis.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mlcc
from benchmarks.corpus import MODELS, fetch

TPUS = ("tpu-v4", "tpu-v5e", "tpu-v5p", "tpu-v6e")
HEAD = """# Models on TPUs

Written by `python -m benchmarks.xla`, not by hand, on a machine without a TPU. An executable's size, and the distance of the outputs from the reference's on
XLA:CPU (relative to the largest; `exact` means equal bit for bit), are measured; operations, bytes moved and the estimated time are XLA's cost analysis.

| model | portable, KB | class | operations, million | executables, KB: v4, v5e, v5p, v6e | bytes moved, MB: v4, v5e, v5p, v6e | XLA's estimate, µs: v4, v5e, v5p, v6e |
|---|---|---|---|---|---|---|
"""


def models(tiny: Path) -> Iterator[tuple[str, Path, dict[str, tuple[int, ...]]]]:
    for name, entry in MODELS.items():
        yield name, fetch(name), entry.shapes
    for path in sorted(tiny.glob("*.onnx")):
        yield path.stem, path, {}


def row(name: str, path: Path, shapes: dict[str, tuple[int, ...]], out: Path) -> str:
    built = mlcc.build(path, target=[*TPUS, "stablehlo"], out=out, shapes=shapes)
    by: dict[str, dict[str, Any]] = {a["target"]: a for a in built["artifacts"]}
    found = {t: json.loads((Path(by[t]["path"]) / "xla.json").read_text()) for t in TPUS}
    bound = by["stablehlo"].get("bound")
    kind = "exact" if bound is None else f"bounded, {bound['relative']:.1e}"

    def sized(target: str, pattern: str) -> int:
        return sum(p.stat().st_size for p in (Path(by[target]["path"]) / "lib").glob(pattern)) // 1024

    cells = [
        name,
        f"{sized('stablehlo', '*.stablehlo'):,}",
        kind,
        f"{found['tpu-v5e']['flops'] / 1e6:,.1f}",
        ", ".join(f"{sized(t, '*.tpu'):,}" for t in TPUS),
        ", ".join(f"{found[t]['bytes_accessed'] / 1e6:.1f}" for t in TPUS),
        ", ".join(estimate(found[t]["optimal_microseconds"]) for t in TPUS),
    ]
    return "| " + " | ".join(cells) + " |\n"


def estimate(microseconds: float) -> str:
    """XLA's cost analysis sums −1 s for each operation that it has no model of."""
    return f"{microseconds:.0f}" if microseconds >= 0 else "not known"


def main() -> None:
    root = Path(__file__).resolve().parents[1]
    tiny = Path(sys.argv[1]) if len(sys.argv) > 1 else root.parent / "shared" / "models" / "mlperf-tiny"
    text = HEAD
    with tempfile.TemporaryDirectory() as d:
        for name, path, shapes in models(tiny):
            try:
                text += row(name, path, shapes, Path(d))
            except mlcc.Error as e:
                text += f"| {name} | refused: {e} | | | | | |\n"
            print(text.splitlines()[-1], flush=True)
    (root / "docs" / "tpu-models.md").write_text(text)


if __name__ == "__main__":
    main()
