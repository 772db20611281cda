"""Run a core graph's CUDA kernels on this machine's CPU, threads in orders of the caller's choice."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from mlcc.core.graph import DTYPES, CoreGraph
from mlcc.core.ranges import bind
from mlcc.plugin import Sources
from mlcc.program import program as loop
from mlcc.program.lower import lower
from mlcc.program.program import Program
from mlcc.reference.execute import execute
from mlcc.target import load
from mlcc_backends.cpu.compile import write
from mlcc_backends.cpu.run import execute_program
from mlcc_backends.cuda.compile import shim_program
from mlcc_backends.cuda.emit import emit
from mlcc_backends.cuda.nvrtc import compile_image
from tests.support import assert_same_bits

ORDERS = (0, 1, 2, 3)  # first to last, last to first, two that are mixed


def sources_of(program: Program) -> Sources:
    return emit(program, load("cuda"), ())


def run_kernels(
    program: Program,
    feed: Mapping[str, np.ndarray],
    orders: Sequence[int] = ORDERS,
    change: Callable[[str], str] = lambda text: text,
    numbers: Mapping[str, int] | None = None,
) -> list[dict[str, np.ndarray]]:
    """The outputs for each order. change: of the kernels' text, to see that a test can fail; numbers: of the sizes that a run decides."""
    sources = sources_of(program)
    kernels = f"src/{sources.name}.cu"
    found = []
    with tempfile.TemporaryDirectory() as d:
        folder = Path(d)
        changed = change(sources.files[kernels].decode())
        write(Sources(sources.name, {**sources.files, kernels: changed.encode()}, ()), folder)
        test = shim_program(folder)
        ins = [folder / f"in{i}" for i in range(len(program.inputs))]
        outs = [folder / f"out{i}" for i in range(len(program.outputs))]
        for path, (name, _) in zip(ins, program.inputs):
            path.write_bytes(np.ascontiguousarray(feed[name]).tobytes())
        sizes = "x".join(str((numbers or {})[s.name] * s.step + s.rest) for s in program.sizes)
        bound = bind(program, numbers) if numbers else program
        for order in orders:
            arguments = ["run", "-1", *([sizes] if sizes else []), *map(str, ins), *map(str, outs), str(folder / "arena"), str(order)]
            execute_program(test, [], "the host", arguments, program.name)
            found.append({n: np.frombuffer(p.read_bytes(), DTYPES[t.dtype]).reshape(t.shape) for p, (n, t) in zip(outs, bound.outputs)})
    return found


def assert_exact_on_host(graph: CoreGraph, feed: Mapping[str, np.ndarray], orders: Sequence[int] = ORDERS) -> Program:
    """The kernels' bits are the reference's, in whatever order threads run."""
    program = lower(graph)
    loop.validate(program)
    sources = sources_of(program)
    compile_image(sources.files[f"src/{sources.name}.cu"], sources.name, "sm_75")
    expected = execute(graph, feed)
    for order, found in zip(orders, run_kernels(program, feed, orders)):
        for name, right in expected.items():
            assert_same_bits(found[name], right, f"{name}, order {order}", graph)
    return program
