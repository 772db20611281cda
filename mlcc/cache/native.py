"""Shared libraries for this machine alone, by the C compiler that comes with mlcc: native loops, candidates of a tuning."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import ziglang

# Before its first link zig builds functions that compilers call (ten seconds) and a run-time of sanitizers (half a minute).
BARE = ("-nostdlib", "-Wl,-z,defs", "-lc", "-lm") if sys.platform == "linux" else ("-lm",)


def zig() -> list[str]:
    """The hermetic compiler's command: the program in its package itself, where a Python in between would only start it."""
    program = Path(ziglang.__file__).with_name("zig")
    return [str(program)] if os.name == "posix" and program.exists() else [sys.executable, "-m", "ziglang"]


def shared(arguments: Sequence[str], folder: Path, environment: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Compile or link a shared library in a folder: without the compiler's own functions unless something calls them."""
    line = [*zig(), "cc", "-shared", "-fno-sanitize=all", *arguments]
    done = subprocess.run([*line, *BARE], cwd=folder, capture_output=True, text=True, env=environment)
    return done if not done.returncode else subprocess.run([*line, "-lm"], cwd=folder, capture_output=True, text=True, env=environment)
