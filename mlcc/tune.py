"""`mlcc build --tune`: measure the cost model's best few schedules of each kernel on this machine. The choice changes no bit, only the
time."""

from __future__ import annotations

import ctypes
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median

import numpy as np

from mlcc.cache.native import shared
from mlcc.core.graph import DTYPES
from mlcc.error import Error
from mlcc.machine import Choice
from mlcc.program.program import KernelCall, Program
from mlcc.schedule.tasks import choices, tasks, work
from mlcc.target import KernelTarget

CANDIDATES = 5
ROUNDS = 7
WORTH = 500_000  # operations below which a schedule makes no difference
SECONDS = 0.002  # of one measurement


def tune(program: Program, target: KernelTarget, jobs: int, progress: Callable[[int, int], None] | None = None) -> dict[str, Choice]:
    """Kernel → its fastest schedule, where that is not the model's own first choice. Raises Error(toolchain)."""
    from mlcc.tir.parallel import compile_all

    calls = {c.kernel: c for c in program.calls}
    found = {k: choices(s, target.machine)[:CANDIDATES] for k, s in program.kernels.items() if work(s) >= WORTH}
    several = {k: options for k, options in found.items() if len(options) > 1}
    names = {(k, c): f"{k}_{'_'.join(str(v) for _, v in c.values)}" for k, options in several.items() for c in options}
    machines = {key: replace(target.machine, choice=key[1]) for key in names}
    objects = compile_all([(n, program.kernels[k], machines[k, c], target.llvm) for (k, c), n in names.items()], None, jobs, progress)
    best: dict[str, Choice] = {}
    with tempfile.TemporaryDirectory(prefix="mlcc-") as d:
        library = _linked(objects, Path(d))
        for k, options in several.items():
            candidates = [Candidate(c, getattr(library, names[k, c]), tasks(program.kernels[k], machines[k, c])) for c in options]
            times = _measure(program, calls[k], candidates)
            first = min(options, key=lambda c: times[c])
            if first != options[0]:
                best[k] = first
    return best


@dataclass(frozen=True)
class Candidate:
    """A schedule, its function, and the tasks that it cuts the kernel into."""

    choice: Choice
    function: Callable[..., None]
    tasks: int


def _linked(objects: Mapping[str, bytes], folder: Path) -> ctypes.CDLL:
    for name, body in objects.items():
        (folder / f"{name}.o").write_bytes(body)
    (folder / "objects.txt").write_text("\n".join(f"{n}.o" for n in objects))
    done = shared(["-o", "tune.so", "@objects.txt"], folder)
    if done.returncode:
        raise Error("toolchain", "the candidates do not link", hint=done.stderr.strip()[-200:])
    return ctypes.CDLL(f"{folder}/tune.so")


def _measure(program: Program, call: KernelCall, candidates: Sequence[Candidate]) -> dict[Choice, float]:
    """Median seconds of each, taking turns on the same data."""
    generator = np.random.default_rng(0)
    arrays, pointers = [], []
    for a in call.arguments:
        b = program.buffers[a.buffer]
        array = generator.standard_normal(b.elements + 16).astype(DTYPES[b.dtype])
        arrays.append(array)
        aligned = array.ctypes.data + -array.ctypes.data % 64
        pointers.append(ctypes.c_void_p(aligned + a.offset * array.dtype.itemsize))
    times: dict[Choice, list[float]] = {c.choice: [] for c in candidates}
    for _ in range(ROUNDS):
        for c in candidates:
            runs, start = 0, time.perf_counter()
            while time.perf_counter() - start < SECONDS:
                c.function(ctypes.c_int32(0), ctypes.c_int32(c.tasks), *pointers)
                runs += 1
            times[c.choice].append((time.perf_counter() - start) / runs)
    return {c: median(v) for c, v in times.items()}
