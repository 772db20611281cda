"""manifest.json: what an artifact is, for people and programs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from mlcc.artifact import plain
from mlcc.error import Error

FILE = "manifest.json"
VERSION = 1


def dumps(value: Any) -> bytes:
    """JSON with one form only: sorted keys, two spaces, a final newline."""
    return (json.dumps(value, sort_keys=True, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode()


def read(folder: Path) -> dict[str, Any]:
    """The manifest of an artifact folder. Raises Error(verification) where it is none."""
    path = folder / FILE
    if not folder.is_dir():
        raise Error("usage", "no such artifact", str(folder), "give a folder that `mlcc build` wrote: DIR/<model>/<target>")
    try:
        data = json.loads(plain.read(path))
    except (OSError, ValueError, RecursionError):
        raise Error(
            "verification", f"no readable {FILE}", str(folder), "give a folder that `mlcc build` wrote: DIR/<model>/<target>"
        ) from None
    if not isinstance(data, dict) or data.get("mlcc") != VERSION:
        raise Error("verification", f"{FILE} is of another version", str(folder))
    return data
