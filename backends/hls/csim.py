"""C simulation of the emitted C++, against the vendors' open headers of types (which the hls4ml package brings)."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from mlcc.cache.native import zig
from mlcc.error import Error
from mlcc.plugin import Sources
from mlcc_backends.cpu.compile import run as tool
from mlcc_backends.cpu.compile import write
from mlcc_backends.hls.cpp import lines
from mlcc_backends.hls.simulate import Lane, from_beats

INSTALL = "pip install 'mlcc[hls]'"
# The header declares std::complex by itself, which libc++ keeps in an inline namespace
# (https://github.com/Xilinx/HLS_arbitrary_Precision_Types).
NO_COMPLEX = ("-D__AP_INT_SPECIAL_H__", "-D__AP_FIXED_SPECIAL_H__")


def headers(catapult: bool) -> Path | None:
    """The folder of ap_int.h or ac_int.h, if it is installed."""
    spec = find_spec("hls4ml")
    if spec is None or not spec.submodule_search_locations:
        return None
    root = Path(spec.submodule_search_locations[0]) / "templates"
    found = root / "catapult" / "ac_types" / "include" if catapult else root / "vivado" / "ap_types"
    return found if found.is_dir() else None


def build(files: Mapping[str, bytes], sources: Sequence[str], folder: Path, catapult: bool) -> Path:
    """The test program. Raises Error(toolchain)."""
    include = headers(catapult)
    if include is None:
        raise Error("toolchain", "the headers of HLS types are not installed", "hls4ml", INSTALL)
    return program(files, sources, ("-O1", *NO_COMPLEX, f"-I{include}"), folder)


def program(files: Mapping[str, bytes], sources: Sequence[str], flags: Sequence[str], folder: Path) -> Path:
    """A simulation's files in a folder, and the program of its C++ sources: by g++ where there is one, as Verilator's are (nothing of it is in
    the artifact), since the hermetic compiler must build a C++ library first, which takes over a minute."""
    write(Sources("", files, ()), folder)
    compiler = ["g++"] if shutil.which("g++") else [*zig(), "c++"]
    line = [*compiler, "-std=c++17", "-fno-sanitize=all", "-w", *flags, *sources, "-o", "test"]
    tool(line, folder, f"compiling {sources[0]}")
    return folder / "test"


def run(
    inputs: Sequence[Lane], outputs: Sequence[Lane], test: Path, feeds: Sequence[Sequence[np.ndarray]], shapes: Sequence[tuple[int, ...]]
) -> list[list[np.ndarray]]:
    """Outputs for each feed."""
    with tempfile.TemporaryDirectory(prefix="mlcc-") as d:
        for i, stream in enumerate(inputs):
            (Path(d) / f"in{i}.txt").write_bytes(b"".join(lines(stream, f[i]) for f in feeds))
        done = subprocess.run([str(test), d, str(len(feeds)), "write"], capture_output=True, text=True)
        if done.returncode:
            raise Error("conformance", f"the C simulation ended with exit {done.returncode}", test.name, done.stdout.strip()[-200:])
        found: list[list[np.ndarray]] = [[] for _ in feeds]
        for i, (stream, shape) in enumerate(zip(outputs, shapes)):
            beats = [int(row, 16) for row in (Path(d) / f"out{i}.txt").read_text().split()]
            count = len(beats) // len(feeds)
            for n in range(len(feeds)):
                found[n].append(from_beats(stream, beats[n * count : (n + 1) * count], shape))
        return found
