"""Program → OpenCL C and the library that drives it."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

from mlcc.conformance.emulator import command
from mlcc.graph.freeze import Golden
from mlcc.program.program import Program
from mlcc.target import Target
from mlcc_backends.cpu.compile import FLAGS, compiler, run, write
from mlcc_backends.cpu.run import ProcessRunner
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
    return Sources(name, files | shared_files(program, target, values), ())


def compile(sources: Sources, target: Target, options: CompileOptions) -> Binaries:
    """lib/libNAME.so, and privately a test program."""
    name = sources.name
    with tempfile.TemporaryDirectory(prefix="mlcc-") as d:
        folder = Path(d)
        write(sources, folder)
        cc = compiler(target, options)
        for unit in UNITS:
            run([*cc, *FLAGS, "-fPIC", "-c", f"src/{unit}.c", "-o", f"{unit}.o"], folder, f"compiling {unit}.c")
        (folder / "exports.map").write_text(f"{{ global: {' '.join(f'{name}_{e};' for e in EXPORTED)} local: *; }};\n")
        link = [
            "-shared",
            f"-Wl,-soname,lib{name}.so",
            "-Wl,--version-script=exports.map",
            "-Wl,--build-id=none",
            "-s",
            "-lpthread",
            "-ldl",
        ]
        objects = [f"{unit}.o" for unit in UNITS]
        run([*cc, "-o", f"lib{name}.so", *objects, *link], folder, "linking the shared library")
        run([*cc, *FLAGS, "-o", "test", "src/main.c", *objects, "-lpthread", "-ldl", "-s"], folder, "linking the test program")
        files = {p: body for p, body in sources.files.items() if not p.startswith("src/")}
        files[f"share/{name}.cl"] = sources.files[f"src/{name}.cl"]
        files[f"lib/lib{name}.so"] = (folder / f"lib{name}.so").read_bytes()
        return Binaries(name, files, {"test": (folder / "test").read_bytes()})


def runner(binaries: Binaries, target: Target, program: Program) -> ProcessRunner | None:
    """On this machine's first OpenCL device, where there is one (PoCL makes one of the CPU)."""
    found = command(target)
    return ProcessRunner(binaries, program, *found, False) if found else None
