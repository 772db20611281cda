"""The identity of mlcc's own code and tools, part of every cache key."""

from __future__ import annotations

import hashlib
from functools import cache
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path

from mlcc import plugin
from mlcc.cache.tools import EVERY


@cache
def code_digest() -> str:
    """SHA-256 over every source file of mlcc and of all plugins, and the versions of the tools that decide the output."""
    digest = hashlib.sha256()
    for package in sorted({"mlcc", *plugin.packages()}):
        root = Path(str(files(package)))
        for path in sorted(root.rglob("*")):
            if path.is_file() and path.suffix != ".pyc":
                digest.update(f"{package}/{path.relative_to(root)}".encode() + b"\0" + path.read_bytes() + b"\0")
    for tool in EVERY:
        digest.update(f"{tool}=={version(tool)}".encode())
    return digest.hexdigest()
