"""What the store holds, and how much it may: the entries that were used last are kept."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from mlcc.cache.store import Store
from mlcc.error import Error
from mlcc.sizes import whole

LIMIT = 10 << 30  # bytes
VARIABLE = "MLCC_CACHE_LIMIT"
PAUSE = 600  # seconds between two looks at a store's size
LEFT = 86_400  # seconds after which a temporary file is nobody's


@dataclass(frozen=True)
class Entry:
    path: Path
    bytes: int
    used: float  # seconds since the epoch


def limit() -> int:
    """Bytes that the store may take: $MLCC_CACHE_LIMIT, such as 500M or 20G. Raises Error(usage) where it is no size."""
    text = os.environ.get(VARIABLE, "").strip()
    if not text:
        return LIMIT
    size = whole(text, 15)
    if size is None:
        raise Error("usage", f"{VARIABLE}={text} is no size", hint="such as 500M or 20G")
    return size


def entries(folder: Path) -> Iterator[Entry]:
    """The store's files, in no order; those of other processes may go while we look."""
    for part in sorted(folder.glob("[0-9a-f][0-9a-f]")):
        with suppress(OSError), os.scandir(part) as found:
            for file in found:
                with suppress(OSError):
                    about = file.stat(follow_symlinks=False)
                    yield Entry(Path(file.path), about.st_size, about.st_mtime)


def trim(folder: Path, most: int) -> tuple[int, int]:
    """Remove what was used longest ago until `most` bytes are left, and what killed processes left behind: (entries, bytes) removed."""
    known, now, removed, freed = list(entries(folder)), time.time(), 0, 0
    total = sum(e.bytes for e in known)
    for e in sorted(known, key=lambda e: e.used):
        stale = e.path.name.startswith("tmp") and now - e.used > LEFT
        if total <= most and not stale:
            continue
        with suppress(OSError):
            e.path.unlink()
            total, removed, freed = total - e.bytes, removed + 1, freed + e.bytes
    return removed, freed


def keep(folder: Path) -> None:
    """Trim a store to its limit, every ten minutes at most; where that is not possible, the next one does."""
    mark = folder / ".looked"
    with suppress(OSError):
        if mark.exists() and time.time() - mark.stat().st_mtime < PAUSE:
            return
        if folder.is_dir():
            mark.touch()
            trim(folder, limit())


def clear(folder: Path) -> tuple[int, int]:
    """Remove all entries: (entries, bytes)."""
    return trim(folder, -1)


def damaged(folder: Path) -> list[Path]:
    """Entries that are not what was put under their key; they are removed."""
    store, found = Store(folder), []
    for e in entries(folder):
        if not e.path.name.startswith("tmp") and store.get(e.path.parent.name + e.path.name) is None:
            found.append(e.path)
            with suppress(OSError):
                e.path.unlink()
    return found
