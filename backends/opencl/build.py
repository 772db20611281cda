"""Program → OpenCL C and the library that drives it."""

from __future__ import annotations

import ctypes
import tempfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from mlcc.graph.freeze import Golden
from mlcc.plugin import Binaries, CompileOptions, Environment, Missing, Sources
from mlcc.program.program import Program
from mlcc.target import Target, host_machine
from mlcc_backends import links
from mlcc_backends.cpu.compile import compiler, write
from mlcc_backends.cpu.run import ProcessRunner
from mlcc_backends.cuda.compile import link
from mlcc_backends.cuda.emit import gpu_values, shared_files
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
        library, test = link(folder, name, compiler(target, options), options, UNITS, EXPORTED)
        files = {p: body for p, body in sources.files.items() if not p.startswith("src/")}
        files[f"share/{name}.cl"] = sources.files[f"src/{name}.cl"]
        files[f"lib/lib{name}.so"] = library
        files |= links.files(name, options.model, target, options.version, files)
        return Binaries(name, files, {"test": test})


@cache
def has_opencl() -> bool:
    """Whether an OpenCL driver is installed."""
    try:
        library, count = ctypes.CDLL("libOpenCL.so.1"), ctypes.c_uint32()
        return library.clGetPlatformIDs(0, None, ctypes.byref(count)) == 0 and count.value > 0
    except (OSError, AttributeError):
        return False


def environment(target: Target) -> Environment | Missing:
    """This machine's first OpenCL device."""
    return (
        Environment("native")
        if has_opencl() and host_machine() == target.machine
        else Missing("install an OpenCL driver, such as pocl-opencl-icd")
    )


def runner(binaries: Binaries, target: Target, program: Program) -> ProcessRunner | None:
    """On this machine's first OpenCL device, where there is one (PoCL makes one of the CPU)."""
    found = environment(target)
    return None if isinstance(found, Missing) else ProcessRunner(binaries, program, found.prefix, found.name, False)
