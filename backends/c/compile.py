"""Sources → an artifact of sources, compiled here only to test them."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from mlcc.artifact.manifest import Manifest
from mlcc.plugin import Binaries, CompileOptions, Sources
from mlcc.target import Target
from mlcc_backends.cpu.compile import compiler, run, write
from mlcc_backends.cpu.run import byte_order, call_program

STRICT = ("-std=c99", "-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Wshadow", "-Werror")
FLAGS = ("-O2", "-ffp-contract=off", "-fno-math-errno", "-fno-sanitize=all", "-ffunction-sections", "-fdata-sections", "-g0")


def compile(sources: Sources, target: Target, options: CompileOptions) -> Binaries:
    """The files to ship, and a test program for this machine. Any warning in the model's file is an error."""
    name = sources.name
    with tempfile.TemporaryDirectory(prefix="mlcc-") as d:
        folder = Path(d)
        write(sources, folder)
        cc = compiler(target, options)
        run([*cc, *STRICT, *FLAGS, "-Iinclude", "-c", f"src/{name}.c", "-o", "model.o"], folder, f"compiling {name}.c")
        run(
            [*cc, *FLAGS, "-Iinclude", "-Isrc", "-o", "test", "model.o", "src/selftest.c", "src/main.c", "-lm", "-s"],
            folder,
            "linking the test program",
        )
        files = {f"include/{name}.h": sources.files[f"include/{name}.h"], f"src/{name}.c": sources.files[f"src/{name}.c"]}
        files |= {f"share/selftest/{p}": sources.files[f"src/{p}"] for p in ("main.c", "selftest.c", "internal.h")}
        return Binaries(name, files, {"test": (folder / "test").read_bytes()})


def execute(artifact: Path, about: Manifest, feed: Mapping[str, np.ndarray], target: Target) -> dict[str, np.ndarray]:
    """Compile the artifact's sources with its own main program and run that."""
    root, name = artifact.resolve(), about["name"]
    with tempfile.TemporaryDirectory(prefix="mlcc-") as d:
        folder = Path(d)
        units = [f"{root}/src/{name}.c", f"{root}/share/selftest/selftest.c", f"{root}/share/selftest/main.c"]
        flags = [*FLAGS, f"-I{root}/include", f"-I{root}/share/selftest"]
        run([*compiler(target, CompileOptions()), *flags, "-o", "test", *units, "-lm", "-s"], folder, "compiling the artifact")
        return call_program(folder / "test", [], "native", about, feed, byte_order(target))
