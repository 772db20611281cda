"""A local content-addressed store: key (a SHA-256 of everything that an action reads) → one file.

    >>> store = Store(folder)
    >>> store.get(key) or store.put(key, make())

Entries carry their own digest, so that a damaged or foreign file is a miss, never a wrong result.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
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
        return body if hashlib.sha256(body).digest() == digest else None

    def put(self, key: str, body: bytes) -> bytes:
        path = self._path(key)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as f:
                f.write(hashlib.sha256(body).digest() + body)
            os.replace(f.name, path)
        except OSError:
            pass  # a cache that cannot be written is no reason to fail a build
        return body
