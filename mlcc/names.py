"""Names in C for a model and its tensors."""

from __future__ import annotations

import re
from collections.abc import Sequence


def identifier(name: str) -> str:
    """A C identifier close to a model's or tensor's name."""
    text = re.sub(r"\W", "_", name)
    return text if text and not text[0].isdigit() else f"m_{text}"


def comment(text: str) -> str:
    """A text that may stand in a C comment."""
    return text.replace("*/", "").replace("\\", "/")


def unique(names: Sequence[str]) -> list[str]:
    """Identifiers for names, told apart where they collide."""
    found: list[str] = []
    for n in names:
        base = text = identifier(n)
        count = 2
        while text in found:
            text, count = f"{base}_{count}", count + 1
        found.append(text)
    return found
