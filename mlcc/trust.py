"""Whose files may start programs and write outside their folder: a project that was cloned is a stranger's until its user says otherwise.

`mlcc trust FILE` keeps the file's digest in the configuration folder; a changed file has to be trusted again (as direnv and editors do).
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from mlcc.artifact import plain, write
from mlcc.artifact.keys import config_folder
from mlcc.error import Error


def _place() -> Path:
    return config_folder() / "trust.json"


def _known() -> dict[str, str]:
    try:
        found = json.loads(plain.read(_place()))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError):
        raise Error("usage", "cannot read what you trust", str(_place()), "mend it, or remove it") from None
    return {str(k): str(v) for k, v in found.items()} if isinstance(found, dict) else {}


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def allow(path: Path) -> str:
    """Trust a file as it is now; its digest."""
    try:
        found = digest(plain.read(path.resolve(), code="usage").decode())
    except (OSError, UnicodeDecodeError) as e:
        raise Error("usage", f"cannot read: {e}", str(path)) from None
    body = json.dumps({**_known(), found: str(path.resolve())}, indent=2).encode()
    write.file(body, _place())
    return found


def demand(text: str, where: str, what: str) -> None:
    """Raise Error(usage) unless the file with this text, which wants `what`, is trusted."""
    if digest(text) not in _known():
        raise Error("usage", f"{what}, and this file is not trusted", where, f"read it; if that is what you want: mlcc trust {where}")
