"""Run a core graph by the portable C that is written for it."""

from __future__ import annotations

import ctypes
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from mlcc.core.graph import DTYPES, CoreGraph
from mlcc.core.ranges import bind
from mlcc.program import program as loop
from mlcc.program.lower import lower
from mlcc.reference.execute import execute
from mlcc.target import load
from mlcc_backends.c.emit import emit
from tests.support import assert_same_bits

WARNINGS = ("-std=c99", "-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Wshadow", "-Werror")
GUARD = 64


class InC:
    """A program as the portable C that is written for it, compiled without a warning. Raises AssertionError otherwise."""

    def __init__(self, program: loop.Program, flags: tuple[str, ...] = ()) -> None:
        self.program = program
        sources = emit(program, load("c99"), ())
        self.name = sources.name
        with tempfile.TemporaryDirectory() as d:
            for path, body in sources.files.items():
                (Path(d) / path).parent.mkdir(exist_ok=True)
                (Path(d) / path).write_bytes(body)
            command = ["gcc", "-shared", "-fPIC", "-O1", *WARNINGS, *flags, "-Iinclude", f"src/{sources.name}.c", "-o", "model.so", "-lm"]
            done = subprocess.run(command, cwd=d, capture_output=True, text=True)
            assert done.returncode == 0, done.stderr[:2000]
            self.library = ctypes.CDLL(f"{d}/model.so")

    def __call__(self, feed: Mapping[str, np.ndarray], numbers: Mapping[str, int] | None = None) -> dict[str, np.ndarray]:
        """Output name → array; nothing outside the workspace is written. numbers: of the sizes that a run decides."""
        program = bind(self.program, numbers) if numbers else self.program
        sizes = [(numbers or {})[s.name] * s.step + s.rest for s in self.program.sizes]
        given = (ctypes.c_int32 * max(1, len(sizes)))(*sizes)
        inputs = [np.ascontiguousarray(feed[n]) for n, _ in program.inputs]
        outputs = [np.full(t.shape, 0x5A, np.uint8).astype(DTYPES[t.dtype]) for _, t in program.outputs]
        arena = np.full(program.arena_bytes + 64 + 2 * GUARD, 0xA5, np.uint8)
        base = (arena.ctypes.data + GUARD + 63) & ~63
        ins = (ctypes.c_void_p * (len(inputs) + 1))(*[a.ctypes.data for a in inputs], ctypes.addressof(given))
        outs = (ctypes.c_void_p * (len(outputs) + 1))(*[a.ctypes.data for a in outputs], None)
        status = getattr(self.library, f"{self.name}_run_arrays")(ins, outs, ctypes.c_void_p(base), None, None, 0, -1, -1)
        assert status == 0
        start = base - arena.ctypes.data
        assert (arena[:start] == 0xA5).all() and (arena[start + program.arena_bytes :] == 0xA5).all(), "written outside the workspace"
        return {n: a for (n, _), a in zip(program.outputs, outputs)}


def assert_exact_in_c(
    graph: CoreGraph, feed: Mapping[str, np.ndarray], target: Any = None, split: int = 1, flags: tuple[str, ...] = (), vectors: bool = False
) -> dict[str, np.ndarray]:
    """The file compiles without a warning, and its bits are the reference's; nothing outside the workspace is written."""
    program = lower(graph, compact=True, vectors=vectors)
    loop.validate(program)
    expected = execute(graph, feed)
    for name, got in InC(program, flags)(feed).items():
        assert_same_bits(got, expected[name], name, graph)
    return expected
