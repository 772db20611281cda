"""TOML files that a stranger may have written."""

from __future__ import annotations

import json
import tomllib
from typing import Any

from mlcc.error import Error
from mlcc.names import printable


def parse(text: str, where: str) -> dict[str, Any]:
    """The file's tables. Raises Error(usage) where it is not TOML."""
    try:
        found = tomllib.loads(text)
        if "\0" in json.dumps(found, default=str, ensure_ascii=False).replace("\\u0000", "\0"):
            raise ValueError("a NUL character")  # no path, name or command has one
        return found
    except tomllib.TOMLDecodeError as e:
        raise Error("usage", f"not valid TOML: {printable(str(e))}", where) from None
    except (RecursionError, ValueError, OverflowError) as e:
        why = "nested too deeply" if isinstance(e, RecursionError) else printable(str(e))
        raise Error("usage", f"not valid TOML: {why}", where) from None
