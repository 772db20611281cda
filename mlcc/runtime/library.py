"""Loading a shared library as it lies there now."""

from __future__ import annotations

import ctypes
import threading
from pathlib import Path

from mlcc.error import Error

_lock = threading.Lock()
_known: dict[Path, list[tuple[int, int]]] = {}  # a file's path → the files that have lain there: device and inode
_states: dict[tuple[int, int], tuple[int, int]] = {}  # of each, when it was loaded: bytes, time of change


def fresh(path: Path) -> ctypes.CDLL:
    """The library that lies at a path. The dynamic linker goes by names: of one built again in the same place it would give the former. So
    each file gets a spelling of its own (`./` as often as files lay there before). Raises OSError, or Error(usage) for a file that was
    written over while it was loaded."""
    path = path.resolve()
    about = path.stat()
    file, state = (about.st_dev, about.st_ino), (about.st_size, about.st_mtime_ns)
    with _lock:
        if _states.setdefault(file, state) != state:
            what = "the library was written over while it was loaded"
            raise Error("usage", what, str(path), "start a new process, and replace files instead of writing into them")
        files = _known.setdefault(path, [])
        if file not in files:
            files.append(file)
        return ctypes.CDLL(f"{path.parent}/{'./' * files.index(file)}{path.name}")
