"""C text as a loaded library: compiled once by the hermetic compiler, kept in the user's cache."""

from __future__ import annotations

import ctypes
import hashlib
import os
import platform
import sys
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from mlcc.cache.native import shared
from mlcc.cache.store import ours, working_folder
from mlcc.error import Error

FLAGS = ("-fPIC", "-O2", "-fno-math-errno", "-ffp-contract=off")


def loaded(name: str, text: str, features: Sequence[str] = ()) -> ctypes.CDLL:
    """The library of a C text. Raises Error(toolchain) where it does not compile."""
    return ctypes.CDLL(str(compiled(name, text, features)))


def compiled(name: str, text: str, features: Sequence[str] = ()) -> Path:
    """The file of a C text's library. Raises Error(toolchain) where it does not compile."""
    key = hashlib.sha256(f"{text}{list(features)}{platform.machine()}{sys.platform}".encode()).hexdigest()[:24]
    place = working_folder() / name / key
    if not whole(place, name):
        place.parent.mkdir(parents=True, exist_ok=True)
        with suppress(OSError):  # another's folder is refused below
            place.parent.chmod(0o755)
        with tempfile.TemporaryDirectory(dir=place.parent) as d:
            made = Path(d) / "made"
            made.mkdir()
            (Path(d) / "library.c").write_text(text, "utf-8")
            done = shared([*FLAGS, *features, "library.c", "-o", f"made/{name}.so"], Path(d))
            if done.returncode:
                raise Error(
                    "toolchain", f"the {name} library does not compile", done.stderr.strip()[-300:], "is the ziglang package installed?"
                )
            (made / "sha256").write_text(hashlib.sha256((made / f"{name}.so").read_bytes()).hexdigest())
            for file in (made, *made.iterdir()):
                file.chmod(0o755)
            if not whole(place, name):  # what another process made meanwhile stays: its bytes differ, and someone may have loaded them
                with suppress(FileNotFoundError):
                    os.replace(place, Path(d) / "damaged")
                with suppress(OSError):
                    os.replace(made, place)
        if not whole(place, name):
            raise Error(
                "toolchain",
                "others may change files in the cache",
                str(place.parent),
                "chmod o-w it, or set MLCC_CACHE to a folder of your own",
            )
    return place / f"{name}.so"


def whole(place: Path, name: str) -> bool:
    """Whether a folder's library is what this user once compiled: nobody else's, and of the digest that was noted."""
    library, said = place / f"{name}.so", place / "sha256"
    try:
        return ours(library, place.parent) and ours(said) and said.read_text("ascii") == hashlib.sha256(library.read_bytes()).hexdigest()
    except (OSError, UnicodeDecodeError):
        return False


def host_features() -> list[str]:
    """Let the compiler use the host's fma; a baseline build would call fmaf for each multiply-add."""
    if platform.machine().lower() in ("x86_64", "amd64") and Path("/proc/cpuinfo").exists():
        flags = Path("/proc/cpuinfo").read_text().split()
        if "fma" in flags and "avx2" in flags:
            return ["-mcpu=x86_64_v3"]
    return []
