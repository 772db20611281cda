"""mlcc.lock: tiles that `mlcc build --tune` chose, so that later builds, anywhere, make the same kernels. No bit of an output depends on
it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from mlcc.error import Error
from mlcc.target import Target

FILE = "mlcc.lock"
VERSION = 1
Tiles = Mapping[str, Mapping[str, tuple[int, int]]]  # instruction set → kernel → (rows, panels)


def read(path: Path) -> dict[str, dict[str, tuple[int, int]]]:
    """The choices of a lock file; none where there is no file. Raises Error(usage) where it is damaged."""
    try:
        data = json.loads(path.read_bytes())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, RecursionError) as e:
        raise Error("usage", f"cannot read: {e}", str(path), "delete it, and build with --tune to make another") from None
    try:
        if data["version"] != VERSION:
            raise Error("usage", f"a lock of version {data['version']}, not {VERSION}", str(path), "build with --tune to make another")
        return {str(t): {str(k): _tile(v) for k, v in tiles.items()} for t, tiles in data["tiles"].items()}
    except (KeyError, TypeError, ValueError, AttributeError):
        raise Error("usage", "not a lock file", str(path), "delete it, and build with --tune to make another") from None


def _tile(value: Any) -> tuple[int, int]:
    rows, panels = value
    if not (isinstance(rows, int) and isinstance(panels, int) and 1 <= rows <= 64 and 1 <= panels <= 16):
        raise ValueError(value)
    return rows, panels


def dumps(tiles: Tiles) -> bytes:
    """One form only: sorted, a kernel a line."""
    return (json.dumps({"version": VERSION, "tiles": tiles}, sort_keys=True, indent=2) + "\n").encode()


def locked(target: Target, tiles: Tiles) -> Target:
    """The target with a lock's choices for its instruction sets."""
    return replace(target, variants=tuple(replace(v, tiles=tuple(sorted(tiles.get(v.name, {}).items()))) for v in target.variants))
