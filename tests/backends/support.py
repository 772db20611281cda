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
from mlcc.program import program as loop
from mlcc.program.lower import lower
from mlcc.reference.execute import execute
from mlcc.target import load
from mlcc_backends.c.emit import emit
from tests.support import assert_same_bits

WARNINGS = ("-std=c99", "-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Wshadow", "-Werror")
GUARD = 64


def assert_exact_in_c(
    graph: CoreGraph, feed: Mapping[str, np.ndarray], target: Any = None, split: int = 1, flags: tuple[str, ...] = (), vectors: bool = False
) -> dict[str, np.ndarray]:
    """The file compiles without a warning, and its bits are the reference's; nothing outside the workspace is written."""
    program = lower(graph, compact=True, vectors=vectors)
    loop.validate(program)
    expected = execute(graph, feed)
    sources = emit(program, load("c99"), ())
    with tempfile.TemporaryDirectory() as d:
        for path, body in sources.files.items():
            (Path(d) / path).parent.mkdir(exist_ok=True)
            (Path(d) / path).write_bytes(body)
        command = ["gcc", "-shared", "-fPIC", "-O1", *WARNINGS, *flags, "-Iinclude", f"src/{sources.name}.c", "-o", "model.so", "-lm"]
        done = subprocess.run(command, cwd=d, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[:2000]
        library = ctypes.CDLL(f"{d}/model.so")
        inputs = [np.ascontiguousarray(feed[n]) for n, _ in program.inputs]
        outputs = [np.full(t.shape, 0x5A, np.uint8).astype(DTYPES[t.dtype]) for _, t in program.outputs]
        arena = np.full(program.arena_bytes + 64 + 2 * GUARD, 0xA5, np.uint8)
        base = (arena.ctypes.data + GUARD + 63) & ~63
        ins = (ctypes.c_void_p * (len(inputs) + 1))(*[a.ctypes.data for a in inputs], None)
        outs = (ctypes.c_void_p * (len(outputs) + 1))(*[a.ctypes.data for a in outputs], None)
        status = getattr(library, f"{sources.name}_run_arrays")(ins, outs, ctypes.c_void_p(base), None, None, 0, -1, -1)
        assert status == 0
        start = base - arena.ctypes.data
        assert (arena[:start] == 0xA5).all() and (arena[start + program.arena_bytes :] == 0xA5).all(), "written outside the workspace"
    for (name, _), got in zip(program.outputs, outputs):
        assert_same_bits(got, expected[name], name, graph)
    return expected
