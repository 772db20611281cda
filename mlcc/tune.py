"""`mlcc build --tune`: measure the cost model's best few tiles of each product on this machine. The choice changes no bit, only the
time."""

from __future__ import annotations

import ctypes
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from statistics import median

import numpy as np

from mlcc.core.graph import DTYPES
from mlcc.error import Error
from mlcc.program.kernel import Dot
from mlcc.program.program import KernelCall, Program
from mlcc.schedule.tiles import Tile, dot_tiles, work
from mlcc.target import KernelTarget

CANDIDATES = 5
ROUNDS = 7
WORTH = 500_000  # operations below which a product's tile makes no difference
SECONDS = 0.002  # of one measurement


def tune(
    program: Program, target: KernelTarget, jobs: int, progress: Callable[[int, int], None] | None = None
) -> dict[str, tuple[int, int]]:
    """Kernel → (rows, panels) of its fastest tile, where that is not the model's own first choice. Raises Error(toolchain)."""
    from mlcc.tir.parallel import compile_all

    calls = {c.kernel: c for c in program.calls}
    products = {k: s for k, s in program.kernels.items() if isinstance(s, Dot) and work(s) >= WORTH}
    tiles = {k: dot_tiles(s, target.machine)[:CANDIDATES] for k, s in products.items()}
    names = {(k, t): f"{k}_{t.rows}_{t.panels}" for k, ts in tiles.items() for t in ts}
    work_list = [
        (names[k, t], products[k], replace(target.machine, tile=(t.rows, t.panels)), target.llvm) for k, ts in tiles.items() for t in ts
    ]
    objects = compile_all(work_list, None, jobs, progress)
    found: dict[str, tuple[int, int]] = {}
    with tempfile.TemporaryDirectory(prefix="mlcc-") as d:
        for name, body in objects.items():
            Path(d, f"{name}.o").write_bytes(body)
        Path(d, "objects.txt").write_text("\n".join(f"{n}.o" for n in objects))
        line = [sys.executable, "-m", "ziglang", "cc", "-shared", "-o", "tune.so", "@objects.txt", "-lm"]
        done = subprocess.run(line, cwd=d, capture_output=True, text=True)
        if done.returncode:
            raise Error("toolchain", "the candidates do not link", hint=done.stderr.strip()[-200:])
        library = ctypes.CDLL(f"{d}/tune.so")
        for k, choices in tiles.items():
            times = _measure(program, calls[k], [(getattr(library, names[k, t]), t) for t in choices])
            best = min(choices, key=lambda t: times[t])
            if best != choices[0]:
                found[k] = (best.rows, best.panels)
    return found


def _measure(program: Program, call: KernelCall, choices: list[tuple[Callable[..., None], Tile]]) -> dict[Tile, float]:
    """Median seconds of each, taking turns on the same data."""
    generator = np.random.default_rng(0)
    arrays, pointers = [], []
    for a in call.arguments:
        b = program.buffers[a.buffer]
        array = generator.standard_normal(b.elements + 16).astype(DTYPES[b.dtype])
        arrays.append(array)
        aligned = array.ctypes.data + -array.ctypes.data % 64
        pointers.append(ctypes.c_void_p(aligned + a.offset * array.dtype.itemsize))
    times: dict[Tile, list[float]] = {t: [] for _, t in choices}
    for _ in range(ROUNDS):
        for function, t in choices:
            spec = program.kernels[call.kernel]
            assert isinstance(spec, Dot)
            end, runs = t.row_tiles * t.column_tiles * int(np.prod(spec.batch)), 0
            start = time.perf_counter()
            while time.perf_counter() - start < SECONDS:
                function(ctypes.c_int32(0), ctypes.c_int32(end), *pointers)
                runs += 1
            times[t].append((time.perf_counter() - start) / runs)
    return {t: median(v) for t, v in times.items()}
