"""A local content-addressed store: key (a SHA-256 of everything that an action reads) → one file.

    >>> store = Store(folder)
    >>> store.get(key) or store.put(key, make())

Entries carry a digest over their key and body, so that a damaged file, or another key's, is a miss, never a wrong result.
"""

from __future__ import annotations

import atexit
import hashlib
import os
import shutil
import stat
import tempfile
from contextlib import suppress
from functools import cache
from pathlib import Path

import platformdirs


def cache_folder() -> Path:
    """$MLCC_CACHE, or the user's cache folder."""
    return Path(os.environ.get("MLCC_CACHE") or platformdirs.user_cache_dir("mlcc"))


def key_of(*parts: str | bytes) -> str:
    """SHA-256 over length-prefixed parts, so that no two lists collide."""
    digest = hashlib.sha256()
    for part in parts:
        raw = part.encode() if isinstance(part, str) else part
        digest.update(len(raw).to_bytes(8, "little") + raw)
    return digest.hexdigest()


def _bound(key: str, body: bytes | memoryview) -> bytes:
    digest = hashlib.sha256(key.encode())
    digest.update(body)
    return digest.digest()


@cache
def working_folder() -> Path:
    """Where tools and compiled helpers may be kept: the cache, or where that cannot be written a folder of this process alone."""
    place = cache_folder()
    try:
        place.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=place):
            return place
    except OSError:
        own = tempfile.mkdtemp(prefix="mlcc-")
        atexit.register(shutil.rmtree, own, True)
        return Path(own)


def ours(path: Path, *above: Path) -> bool:
    """Whether nobody but this user (or the system) may have put a file there: code is loaded from no other place. above: further folders
    that must be so."""
    if os.name != "posix":
        return True
    try:
        found = [os.lstat(path), os.stat(path.parent), *map(os.stat, above)]
    except OSError:
        return False
    plain = stat.S_ISREG(found[0].st_mode)
    return plain and all(s.st_uid in (0, os.getuid()) and not s.st_mode & 0o002 for s in found)


class Store:
    """Blobs by key in a folder; safe for many processes at once (write to a temporary name, then rename)."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def _path(self, key: str) -> Path:
        return self.folder / key[:2] / key[2:]

    def get(self, key: str) -> memoryview | None:
        try:
            raw = memoryview(self._path(key).read_bytes())
        except OSError:
            return None
        digest, body = raw[:32], raw[32:]
        if _bound(key, body) != digest:
            return None
        with suppress(OSError):
            os.utime(self._path(key))  # when it was last used, whatever the file system notes
        return body

    def put(self, key: str, body: bytes) -> bytes:
        path = self._path(key)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as f:
                try:
                    f.write(_bound(key, body) + body)
                    f.close()
                    os.replace(f.name, path)
                except BaseException:
                    os.unlink(f.name)
                    raise
        except OSError:
            pass  # a cache that cannot be written is no reason to fail a build
        return body
