"""The tools that decide an artifact's bytes, with their versions: part of cache keys, of the SBOM and of the provenance."""

from __future__ import annotations

import shlex
import subprocess
from collections.abc import Mapping
from functools import cache
from importlib.metadata import PackageNotFoundError, version

SHIPPED = ("apache-tvm", "ziglang")  # whose code ends up in libraries: named in every artifact
EVERY = ("apache-tvm", "jinja2", "ml_dtypes", "numpy", "onnx", "onnx_ir", "ziglang")


def tools(compiler: str, *theirs: Mapping[str, str]) -> dict[str, str]:
    """Name → version of all that takes part in a build: ours, the system compiler's, and what plugins say of theirs."""
    found = packages(*EVERY) | (programs(compiler) if compiler != "zig" else {})
    for more in theirs:
        found |= more
    return found


def packages(*names: str) -> dict[str, str]:
    """Versions of installed Python packages; what is not installed is left out, since it cannot take part."""
    return {name: v for name in names if (v := _package(name))}


def programs(*commands: str) -> dict[str, str]:
    """What programs say of their versions, those that are there."""
    return {command: v for command in commands if (v := _program(command))}


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
