"""Names in C for a model and its tensors."""

from __future__ import annotations

import re
from collections.abc import Sequence

# of C23 and C++23, since headers serve both
KEYWORDS = frozenset(
    re.findall(
        r"\w+",
        """alignas alignof and and_eq asm auto bitand bitor bool break case catch char char8_t char16_t char32_t class co_await co_return co_yield compl
    concept const const_cast consteval constexpr constinit continue decltype default delete do double dynamic_cast else enum explicit export
    extern false float for friend goto if inline int long mutable namespace new noexcept not not_eq nullptr operator or or_eq private protected
    public register reinterpret_cast requires restrict return short signed sizeof static static_assert static_cast struct switch template this
    thread_local throw true try typedef typeid typename typeof typeof_unqual union unsigned using virtual void volatile wchar_t while xor
    xor_eq""",
    )
)


def identifier(name: str) -> str:
    """An identifier in C and C++ close to a model's or tensor's name."""
    text = re.sub(r"\W", "_", name)
    return text if text and not text[0].isdigit() and text not in KEYWORDS else f"m_{text}"


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
