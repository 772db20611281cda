"""Gradient-boosted trees beside ONNX Runtime, TL2cgen and m2cgen, trained here, in one process → docs/trees.md.

    pip install xgboost onnxmltools skl2onnx scikit-learn onnxruntime tl2cgen treelite m2cgen
    python -m benchmarks.trees

Times are medians of paired runs on one thread. m2cgen's C is compiled by `cc -O2` and called row by row, as it is written; TL2cgen's with its
own defaults. Flash is what the model takes on a Cortex-M4 with an FPU: of m2cgen's C at -Os by arm-none-eabi-gcc.
"""

from __future__ import annotations

import ctypes
import json
import subprocess
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

import mlcc

TREES, DEPTH, FEATURES = 100, 8, 28
BATCHES = (1, 100, 10_000)
ROUNDS = 41
PAGE = Path(__file__).parents[1] / "docs" / "trees.md"


def trained(folder: Path) -> Any:
    """An XGBoost regressor of TREES trees of depth DEPTH, on numbers made here, and its files."""
    import xgboost

    r = np.random.default_rng(0)
    x = r.standard_normal((40_000, FEATURES)).astype(np.float32)
    y = np.sin(3 * x[:, 0]) + x[:, 1] * x[:, 2] + np.abs(x[:, 3:9]).sum(1) + r.standard_normal(len(x))
    model = xgboost.XGBRegressor(n_estimators=TREES, max_depth=DEPTH, tree_method="hist", base_score=0.5, n_jobs=1).fit(x, y)
    model.get_booster().save_model(folder / "trees.json")
    return model


def onnx_of(model: Any, folder: Path) -> Path:
    import onnxmltools
    from onnxmltools.convert.common.data_types import FloatTensorType

    path = folder / "trees.onnx"
    path.write_bytes(onnxmltools.convert_xgboost(model, initial_types=[("X", FloatTensorType([None, FEATURES]))]).SerializeToString())
    return path


def onnxruntime_of(path: Path) -> Callable[[np.ndarray], np.ndarray]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return lambda x: session.run(None, {"X": x})[0]


def tl2cgen_of(folder: Path) -> Callable[[np.ndarray], np.ndarray]:
    import tl2cgen
    import treelite

    model = treelite.frontend.load_xgboost_model(str(folder / "trees.json"))
    tl2cgen.export_lib(model, toolchain="gcc", libpath=str(folder / "tl2cgen.so"), params={"parallel_comp": 8}, verbose=False)
    predictor = tl2cgen.Predictor(str(folder / "tl2cgen.so"), nthread=1, verbose=False)
    return lambda x: predictor.predict(tl2cgen.DMatrix(x, dtype="float32"))


def m2cgen_of(model: Any, folder: Path) -> tuple[Callable[[np.ndarray], np.ndarray], int]:
    """(the function, bytes on a Cortex-M4)."""
    import m2cgen

    source, loop = folder / "m2cgen.c", folder / "loop.c"
    source.write_text(m2cgen.export_to_c(model))
    loop.write_text(
        "double score(double *); void all(const float *x, float *y, int rows, int n) "
        "{ for (int i = 0; i < rows; i++) { double row[64]; for (int j = 0; j < n; j++) row[j] = x[i * n + j]; y[i] = (float)score(row); } }"
    )
    subprocess.run(["cc", "-O2", "-shared", "-fPIC", "-o", folder / "m2cgen.so", source, loop, "-lm"], check=True)
    library = ctypes.CDLL(str(folder / "m2cgen.so"))

    def run(x: np.ndarray) -> np.ndarray:
        y = np.empty(len(x), np.float32)
        library.all(x.ctypes.data_as(ctypes.c_void_p), y.ctypes.data_as(ctypes.c_void_p), len(x), x.shape[1])
        return y

    arm = [
        "arm-none-eabi-gcc",
        "-mcpu=cortex-m4",
        "-mthumb",
        "-mfloat-abi=hard",
        "-mfpu=fpv4-sp-d16",
        "-Os",
        "-c",
        source,
        "-o",
        folder / "m.o",
    ]
    subprocess.run(arm, check=True)
    sizes = (
        subprocess.run(["arm-none-eabi-size", folder / "m.o"], check=True, capture_output=True, text=True).stdout.splitlines()[1].split()
    )
    return run, int(sizes[0]) + int(sizes[1])


ONE_ROW = """
#define _POSIX_C_SOURCE 200809L
#include "trees.h"
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
double score(double *);
enum { ROWS = 1000, FEATURES = %d, ROUNDS = %d };
static float x[ROWS][FEATURES];
static _Alignas(64) uint8_t workspace[TREES_WORKSPACE_BYTES];
static double now(void) { struct timespec t; clock_gettime(CLOCK_MONOTONIC, &t); return t.tv_sec * 1e9 + t.tv_nsec; }
static int order(const void *a, const void *b) { return (*(const double *)a > *(const double *)b) - (*(const double *)a < *(const double *)b); }
int main(void) {
    static double ours[ROUNDS], theirs[ROUNDS];
    volatile double kept = 0;
    srand(1);
    float *all = &x[0][0];
    for (int i = 0; i < ROWS * FEATURES; i++) { float s = 0; for (int k = 0; k < 12; k++) s += (float)rand() / (float)RAND_MAX; all[i] = s - 6; }
    for (int r = 0; r < ROUNDS; r++) {
        double start = now();
        for (int i = 0; i < ROWS; i++) {
            float y;
            const trees_inputs in = {x[i]};
            const trees_outputs out = {&y};
            if (trees_run(&in, &out, workspace) != TREES_OK) return 1;
            kept += y;
        }
        ours[r] = (now() - start) / ROWS, start = now();
        for (int i = 0; i < ROWS; i++) { double row[FEATURES]; for (int j = 0; j < FEATURES; j++) row[j] = x[i][j]; kept += score(row); }
        theirs[r] = (now() - start) / ROWS;
    }
    qsort(ours, ROUNDS, sizeof *ours, order), qsort(theirs, ROUNDS, sizeof *theirs, order);
    printf("%%f %%f\\n", ours[ROUNDS / 2], theirs[ROUNDS / 2]);
    return 0;
}
"""  # numbers that are almost normal: sums of twelve that are uniform


def one_row(folder: Path, artifact: Path) -> tuple[float, float]:
    """Nanoseconds of a row from C, ours and m2cgen's: other rows each call, medians of paired rounds."""
    (folder / "one.c").write_text(ONE_ROW % (FEATURES, ROUNDS))
    library = next((artifact / "lib").glob("*.a"))
    line = ["cc", "-O2", "-DNDEBUG", f"-I{artifact / 'include'}", "one.c", "m2cgen.c", str(library), "-o", "one", "-lm", "-lpthread"]
    subprocess.run(line, cwd=folder, check=True)
    ours, theirs = map(float, subprocess.run(["./one"], cwd=folder, check=True, capture_output=True, text=True).stdout.split())
    return ours, theirs


def paired(engines: dict[str, Callable[[np.ndarray], Any]], x: np.ndarray) -> dict[str, float]:
    """Median seconds of each, taking turns."""
    found: dict[str, list[float]] = {n: [] for n in engines}
    for _ in range(ROUNDS):
        for name, run in engines.items():
            start = time.perf_counter()
            run(x)
            found[name].append(time.perf_counter() - start)
    return {n: median(t) for n, t in found.items()}


def main() -> None:
    with tempfile.TemporaryDirectory() as d:
        folder = Path(d)
        model = trained(folder)
        path = onnx_of(model, folder)
        m2cgen, their_flash = m2cgen_of(model, folder)
        peers = {"ONNX Runtime": onnxruntime_of(path), "TL2cgen": tl2cgen_of(folder), "m2cgen": m2cgen}
        rows = []
        for n in BATCHES:
            place = Path(mlcc.build(folder / "trees.json", "native", {"X": (n, FEATURES)}, folder / str(n))["artifacts"][0]["path"])
            artifact = mlcc.load(place)
            x = np.random.default_rng(n).standard_normal((n, FEATURES)).astype(np.float32)
            wanted = model.predict(x)
            engines: dict[str, Callable[[np.ndarray], Any]] = {"mlcc": lambda x, a=artifact: next(iter(a(X=x).values())), **peers}
            for name, run in engines.items():
                np.testing.assert_allclose(np.asarray(run(x)).reshape(-1), wanted, rtol=1e-4, atol=1e-4, err_msg=name)
            seconds = paired(engines, x)
            print(n, {k: f"{v * 1e6:.1f} µs" for k, v in seconds.items()}, flush=True)
            cells = [f"{v * 1e6:,.1f} µs ({v / seconds['mlcc']:.1f})" for v in seconds.values()]
            rows.append(f"| {n:,} | {' | '.join(cells)} |")
            if n == 1:
                ours, theirs = one_row(folder, place)
                print(f"from C: {ours:.0f} ns, m2cgen {theirs:.0f} ns", flush=True)
        made = mlcc.build(folder / "trees.json", "cortex-m4f", {"X": (1, FEATURES)}, folder / "m4")["artifacts"][0]
        flash = json.loads((Path(made["path"]) / "manifest.json").read_text())["flash_bytes"]
        packages = ", ".join(f"{n} {version(n)}" for n in ("xgboost", "onnxruntime", "tl2cgen", "m2cgen"))
        inner = sum(t.count("<") for t in model.get_booster().get_dump())
        PAGE.write_text(
            f"# Trees\n\nWritten by `python -m benchmarks.trees`, not by hand. {packages}; {TREES} trees of depth {DEPTH}, {inner:,} inner nodes, "
            f"{FEATURES} features, one thread, called from Python (by ctypes for m2cgen); in parentheses the time beside mlcc's.\n\n"
            f"| rows | {' | '.join(['mlcc', *peers])} |\n|---|{'---|' * (len(peers) + 1)}\n" + "\n".join(rows) + "\n\n"
            f"A row from C, other rows each call: mlcc {ours / 1e3:.1f} µs, m2cgen {theirs / 1e3:.1f} µs ({theirs / ours:.1f}).\n\n"
            f"Flash on a Cortex-M4F: mlcc {flash:,} bytes, m2cgen {their_flash:,}.\n"
        )
        print(PAGE.read_text())


if __name__ == "__main__":
    main()
