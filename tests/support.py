"""Helpers of the tests: run a program's kernels in this process, make small models."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path

import numpy as np

from mlcc.cache.native import shared
from mlcc.cache.store import Store, cache_folder
from mlcc.core.dim import at, symbols
from mlcc.core.graph import DTYPES, CoreGraph, TensorType, canonical_bytes, validate
from mlcc.core.ranges import bind
from mlcc.graph.builder import Builder, Value
from mlcc.program import program as loop
from mlcc.program.lower import lower
from mlcc.program.program import Program, written_out
from mlcc.reference.execute import execute
from mlcc.schedule.tasks import tasks
from mlcc.target import KernelTarget, load
from mlcc.tir.parallel import compile_all
from mlcc.translation.check import prove

GUARD = 64  # bytes around the arena that must stay untouched


def link(objects: list[str], out: Path) -> None:
    """A shared library: by the system's linker, in milliseconds, where there is one."""
    linker, d = shutil.which("ld"), str(out.parent)
    if linker and sys.platform == "linux":
        subprocess.run([linker, "-shared", "-o", str(out), *objects], check=True)
        return
    environment = {"ZIG_GLOBAL_CACHE_DIR": str(cache_folder() / "zig"), "ZIG_LOCAL_CACHE_DIR": d, "PATH": "/usr/bin:/bin", "HOME": d}
    assert not shared(["-o", str(out), *objects], out.parent, environment).returncode


@cache
def kernels() -> Store | None:
    """Objects that all workers of this run share: the cases of a thousand tests have the same few kernels."""
    place = os.environ.get("MLCC_TEST_KERNELS")
    return Store(Path(place)) if place else None


# LLVM's effort where kernels themselves are not the matter (`tests/kernels` and `make test-full` have the whole of it): a third of the time.
EFFORT = {"opt-level": int(os.environ.get("MLCC_TEST_OPT_LEVEL", "0"))}


class Compiled:
    """A program's kernels, callable on this machine."""

    def __init__(self, program: Program, target: KernelTarget | None = None) -> None:
        self.program, self.target = program, target or load("native").variants[0]
        with tempfile.TemporaryDirectory() as d:
            objects = []
            llvm = tuple({**dict(self.target.llvm), **EFFORT}.items())
            jobs = [(key, spec, self.target.machine, llvm) for key, spec in program.kernels.items()]
            for key, body in compile_all(jobs, kernels(), 1).items():
                path = Path(d) / f"{key}.o"
                path.write_bytes(body)
                objects.append(str(path))
            if not objects:
                self.library = None
                return
            out = Path(d) / "kernels.so"
            link(objects, out)
            self.library = ctypes.CDLL(str(out))

    def __call__(self, inputs: Mapping[str, np.ndarray], split: int = 1, numbers: Mapping[str, int] | None = None) -> dict[str, np.ndarray]:
        """Run all calls, each cut into `split` ranges that run in reverse order, as threads might; `numbers`: of what a run decides."""
        p, numbers = self.program, numbers or {}
        p = written_out(bind(p, numbers) if numbers else p)
        arena = np.full(p.arena_bytes + 2 * GUARD + 64, 0xA5, np.uint8)
        base = (arena.ctypes.data + GUARD + 63) & ~63
        outputs = {n: np.zeros(t.shape, DTYPES[t.dtype]) for n, t in p.outputs}
        arrays = {n: np.ascontiguousarray(inputs[n]) for n, _ in p.inputs}
        constants = {n: np.ascontiguousarray(a) for n, a in p.constants.items()}
        where: dict[str, int] = {}
        for name, b in p.buffers.items():
            if b.place == "arena":
                where[name] = base + b.offset
            elif b.place == "constant":
                where[name] = constants[name].ctypes.data
            else:
                where[name] = (arrays if b.place == "input" else outputs)[name.split(".", 1)[1]].ctypes.data
        for call in p.calls:
            spec = self.program.kernels[call.kernel]
            total = at(tasks(spec, self.target.machine), numbers)
            sizes = [ctypes.c_int32(numbers[s.name]) for s in sorted(symbols(spec))]
            pointers = [ctypes.c_void_p(where[a.buffer] + a.offset * DTYPES[p.buffers[a.buffer].dtype].itemsize) for a in call.arguments]
            cuts = [total * i // split for i in range(split + 1)]
            for begin, end in reversed(list(zip(cuts, cuts[1:]))):
                if begin < end:
                    getattr(self.library, call.kernel)(ctypes.c_int32(begin), ctypes.c_int32(end), *sizes, *pointers)
        start = base - arena.ctypes.data
        assert (arena[:start] == 0xA5).all() and (arena[start + p.arena_bytes :] == 0xA5).all(), "a kernel wrote outside the arena"
        return outputs


def graph_of(inputs: Mapping[str, tuple[str, tuple[int, ...]]], make: Callable[..., Value | tuple[Value, ...]]) -> CoreGraph:
    """A core graph: `make(builder, *inputs)` gives its outputs y0, y1, …"""
    b = Builder()
    values = [b.input(n, TensorType(dtype, shape)) for n, (dtype, shape) in inputs.items()]
    made = make(b, *values)
    graph = b.finish("test", [(f"y{i}", v) for i, v in enumerate(made if isinstance(made, tuple) else (made,))])
    validate(graph)
    return graph


def assert_same_bits(found: np.ndarray, want: np.ndarray, what: str, graph: CoreGraph) -> None:
    """A kernel's output and the reference's, every NaN the same; says where they first differ."""
    if canonical_bytes(found) != canonical_bytes(want):
        wrong = np.argwhere(~((found == want) | ((found != found) & (want != want))))
        at = tuple(wrong[0]) if len(wrong) else ()
        ops = [n.op for n in graph.nodes]
        raise AssertionError(f"{what}{list(at)}: kernel {found[at]!r}, reference {want[at]!r}; {len(wrong)} differ; {ops}")


def assert_exact(
    graph: CoreGraph, feed: Mapping[str, np.ndarray], target: KernelTarget | None = None, split: int = 3
) -> dict[str, np.ndarray]:
    """The translation is proven, and kernels and reference agree bit for bit, whole and split; returns the outputs."""
    program = lower(graph, narrow=not os.environ.get("MLCC_TEST_CUDA"))
    loop.validate(program)
    prove(program, graph)
    expected = execute(graph, feed)
    if os.environ.get("MLCC_TEST_CUDA"):  # the same test of the CUDA kernels, on the host
        from tests.backends.on_host import assert_exact_on_host

        assert_exact_on_host(graph, feed, (2,))
        return expected
    compiled = Compiled(program, target)
    for parts in (1, split):
        found = compiled(feed, parts)
        for name, want in expected.items():
            assert found[name].dtype == want.dtype and found[name].shape == want.shape
            assert_same_bits(found[name], want, name, graph)
    return expected


SPECIALS = np.array(
    [
        0.0,
        -0.0,
        1.0,
        -1.0,
        np.inf,
        -np.inf,
        np.nan,
        1e-45,
        -1e-45,
        1.1754942e-38,
        3.4028235e38,
        -3.4028235e38,
        0.5,
        2.5,
        1e-20,
        88.8,
        -104.5,
    ],
    np.float32,
)


def numbers(seed: int, shape: tuple[int, ...], dtype: str, special: bool = False) -> np.ndarray:
    """Reproducible test data; `special` plants infinities, NaNs, signed zeros and subnormals."""
    r = np.random.default_rng(seed)
    if dtype == "bool":
        return r.random(shape) < 0.5
    if dtype.startswith(("int", "uint")):
        info = np.iinfo(dtype)
        small = r.integers(max(info.min, -100), min(info.max, 100), shape)
        return (
            np.where(r.random(shape) < 0.1, r.choice(np.array([info.min, info.max, 0, 1], dtype), shape), small).astype(dtype)
            if special
            else small.astype(dtype)
        )
    x = r.standard_normal(shape)
    x = np.asarray(np.where(r.random(shape) < 0.25, r.choice(SPECIALS, shape), x) if special else x)
    with np.errstate(all="ignore"):
        return x.astype(DTYPES[dtype])
