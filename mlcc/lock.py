"""mlcc.lock: schedules that `mlcc build --tune` chose, so that later builds, anywhere, make the same kernels. No bit of an output depends
on it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from mlcc.error import Error
from mlcc.machine import Choice
from mlcc.schedule import dot
from mlcc.schedule.tasks import MOST
from mlcc.target import Target

FILE = "mlcc.lock"
VERSION = 2  # of version 1, which knew rows and panels of products only, files are read
Choices = Mapping[str, Mapping[str, Choice]]  # instruction set → kernel → its schedule


def read(path: Path) -> dict[str, dict[str, Choice]]:
    """The choices of a lock file; none where there is no file. Raises Error(usage) where it is damaged."""
    try:
        data = json.loads(path.read_bytes())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, RecursionError) as e:
        raise Error("usage", f"cannot read: {e}", str(path), "delete it, and build with --tune to make another") from None
    try:
        if data["version"] not in (1, VERSION):
            raise Error("usage", f"a lock of version {data['version']}, not {VERSION}", str(path), "build with --tune to make another")
        key, one = ("tiles", _tile) if data["version"] == 1 else ("choices", _choice)
        return {str(t): {str(k): one(v) for k, v in kernels.items()} for t, kernels in data[key].items()}
    except (KeyError, TypeError, ValueError, AttributeError):
        raise Error("usage", "not a lock file", str(path), "delete it, and build with --tune to make another") from None


def _choice(value: Any) -> Choice:
    """Raises ValueError or KeyError where a family has no such choice."""
    family, values = value["family"], {k: v for k, v in value.items() if k != "family"}
    most = MOST[family]
    if set(values) != set(most) or not all(type(v) is int and 1 <= v <= most[k] for k, v in values.items()):
        raise ValueError(value)
    return Choice(family, tuple(sorted(values.items())))


def _tile(value: Any) -> Choice:
    rows, panels = value
    return _choice({"family": dot.FAMILY, "rows": rows, "panels": panels})


def dumps(choices: Choices) -> bytes:
    """One form only: sorted, a number a line."""
    kernels = {t: {k: {"family": c.family, **dict(c.values)} for k, c in own.items()} for t, own in choices.items()}
    return (json.dumps({"version": VERSION, "choices": kernels}, sort_keys=True, indent=2) + "\n").encode()


def locked(target: Target, choices: Choices) -> Target:
    """The target with a lock's choices for its instruction sets."""
    found = (replace(v, choices=tuple(sorted(choices.get(v.name, {}).items(), key=lambda c: c[0]))) for v in target.variants)
    return replace(target, variants=tuple(found))
