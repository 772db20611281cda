"""C text as a loaded library: compiled once by the hermetic compiler, kept in the user's cache."""

from __future__ import annotations

import ctypes
import hashlib
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from mlcc.cache.store import working_folder
from mlcc.error import Error

FLAGS = ("-shared", "-fPIC", "-O2", "-fno-math-errno", "-ffp-contract=off", "-fno-sanitize=all")


def loaded(name: str, text: str, features: Sequence[str] = ()) -> ctypes.CDLL:
    """The library of a C text. Raises Error(toolchain) where it does not compile."""
    key = hashlib.sha256(f"{text}{list(features)}{platform.machine()}{sys.platform}".encode()).hexdigest()[:24]
    path = working_folder() / name / f"{name}-{key}.so"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent) as d:
            (Path(d) / "library.c").write_text(text, "utf-8")
            command = [sys.executable, "-m", "ziglang", "cc", *FLAGS, *features, "library.c", "-o", "library.so"]
            done = subprocess.run(command, cwd=d, capture_output=True, text=True)
            if done.returncode:
                raise Error(
                    "toolchain", f"the {name} library does not compile", done.stderr.strip()[-300:], "is the ziglang package installed?"
                )
            os.replace(Path(d) / "library.so", path)
    return ctypes.CDLL(str(path))


def host_features() -> list[str]:
    """Let the compiler use the host's fma; a baseline build would call fmaf for each multiply-add."""
    if platform.machine().lower() in ("x86_64", "amd64") and Path("/proc/cpuinfo").exists():
        flags = Path("/proc/cpuinfo").read_text().split()
        if "fma" in flags and "avx2" in flags:
            return ["-mcpu=x86_64_v3"]
    return []
