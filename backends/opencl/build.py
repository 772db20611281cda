"""Program → OpenCL C and the library that drives it."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

from mlcc.conformance.emulator import command
from mlcc.graph.freeze import Golden
from mlcc.program.program import Program
from mlcc.target import Target
from mlcc_backends.cpu.compile import compiler, write
from mlcc_backends.cpu.run import ProcessRunner
from mlcc_backends.cuda.compile import link
from mlcc_backends.cuda.emit import gpu_values, shared_files
from mlcc_backends.interface import Binaries, CompileOptions, Sources
from mlcc_backends.render import render

UNITS = ("opencl", "source", "selftest", "weights")
EXPORTED = (
    "run",
    "error",
    "workspace_bytes",
    "selftest",
    "selftest_bytes",
    "selftest_vector",
    "signature",
    "run_arrays",
    "variant_runs",
    "variant_name",
)


def emit(program: Program, target: Target, vectors: Sequence[Golden]) -> Sources:
    """Pure: the same program and target give the same bytes."""
    values = gpu_values(program, target, vectors, matrix=False)
    name = values["name"]
    files = {
        f"include/{name}.h": render("opencl.h.j2", **values),
        f"src/{name}.cl": render("kernels.cl.j2", **values),
        "src/internal.h": render("opencl_internal.h.j2", **values),
        "src/opencl.c": render("opencl.c.j2", **values),
        "src/source.c": render("source.c.j2", **values),
    }
    return Sources(name, files | shared_files(values), ())


def compile(sources: Sources, target: Target, options: CompileOptions) -> Binaries:
    """lib/libNAME.so, and privately a test program."""
    name = sources.name
    with tempfile.TemporaryDirectory(prefix="mlcc-") as d:
        folder = Path(d)
        write(sources, folder)
        library, test = link(folder, name, compiler(target, options), UNITS, EXPORTED)
        files = {p: body for p, body in sources.files.items() if not p.startswith("src/")}
        files[f"share/{name}.cl"] = sources.files[f"src/{name}.cl"]
        files[f"lib/lib{name}.so"] = library
        return Binaries(name, files, {"test": test})


def runner(binaries: Binaries, target: Target, program: Program) -> ProcessRunner | None:
    """On this machine's first OpenCL device, where there is one (PoCL makes one of the CPU)."""
    found = command(target)
    return ProcessRunner(binaries, program, *found, False) if found else None
