"""Sizes as people write them: 65536, 64K, 1.5M."""

from __future__ import annotations

import re
from fractions import Fraction

from mlcc.error import Error

UNITS = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}


def whole(text: str, digits: int) -> int | None:
    """A whole number of at most so many digits, or with K, M, G or T behind it; None where it is none."""
    number, unit = (text[:-1], UNITS[text[-1].upper()]) if text[-1:].upper() in UNITS else (text, 1)
    return int(number) * unit if number.isascii() and number.isdigit() and len(number) <= digits else None


def parse_size(text: str, option: str) -> int:
    """Bytes, also in parts of a unit and with B, KB or KiB behind it. Raises Error(usage) naming the option."""
    digits = text.upper().removesuffix("B").removesuffix("I")
    unit = UNITS.get(digits[-1:], 1)
    number = digits[:-1] if digits[-1:] in UNITS else digits
    size = Fraction(number) * unit if re.fullmatch(r"\d{1,15}(\.\d{1,9})?", number) else Fraction(0)
    if size < 1 or size.denominator != 1:
        raise Error("usage", f"{option} {text} is no size", hint="such as 65536, 64K or 1.5M")
    return int(size)
