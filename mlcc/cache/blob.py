"""Several files as one blob: the length of a JSON header, the header (names and sizes), the files one after the other. No code comes of
reading one."""

from __future__ import annotations

import json
from collections.abc import Mapping


def packed(files: Mapping[str, bytes | memoryview]) -> bytes:
    header = json.dumps({name: len(body) for name, body in files.items()}).encode()
    return b"".join([len(header).to_bytes(8, "little"), header, *files.values()])


def unpacked(body: bytes | memoryview) -> dict[str, memoryview]:
    """The files as views: nothing is copied. Raises ValueError where it is none."""
    view = memoryview(body)
    at = 8 + int.from_bytes(view[:8], "little")
    if not 8 <= at <= len(view):
        raise ValueError("damaged")
    found: dict[str, memoryview] = {}
    for name, size in json.loads(bytes(view[8:at])).items():
        found[str(name)] = view[at : at + int(size)]
        at += int(size)
    if at != len(view):
        raise ValueError("damaged")
    return found
