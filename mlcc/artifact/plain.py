"""Reading files that a stranger may have made: regular ones alone, opened without following a link or waiting for a pipe, and no larger
than said."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path

from mlcc.error import Error

SMALL = 64 << 20  # bytes of a manifest, a statement, a key


@contextmanager
def opened(path: Path, most: int = SMALL, code: str = "verification") -> Iterator[BufferedReader]:
    """A regular file of at most `most` bytes. Raises Error(code) where it is none; OSError where it cannot be opened."""
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0))
    try:
        about = os.fstat(descriptor)
        if not stat.S_ISREG(about.st_mode):
            raise Error(code, "is no plain file", str(path))
        if about.st_size > most:
            raise Error(code, f"has {about.st_size:,} bytes, at most {most:,} belong here", str(path))
        with open(descriptor, "rb", closefd=False) as f:
            yield f
    finally:
        os.close(descriptor)


def read(path: Path, most: int = SMALL, code: str = "verification") -> bytes:
    """Its contents."""
    with opened(path, most, code) as f:
        return f.read(most + 1)[:most]


def sha256(path: Path, most: int) -> str:
    """SHA-256 of a file of at most `most` bytes, read piece by piece."""
    with opened(path, most) as f:
        return hashlib.file_digest(f, "sha256").hexdigest()
