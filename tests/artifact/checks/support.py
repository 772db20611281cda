"""Errors that say what they have always said."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization

from mlcc.error import Error

MESSAGES = Path(__file__).with_name("messages.txt")
FILES = {"manifest.json": b"{}\n", "lib/libm.a": b"code", "include/m.h": b"", "a": b"xyz"}


def refused(code: str, what: str, call: Callable[..., Any], *arguments: Any) -> Error:
    """The error of a call, which says what it has always said: every line that users see is in messages.txt, for review."""
    with pytest.raises(Error) as e:
        call(*arguments)
    assert e.value.code == code and what in e.value.what, (e.value.code, e.value.what)
    assert isinstance(e.value.hint, str) and isinstance(e.value.where, str) and "None" not in e.value.where
    assert e.value.where or code == "usage", "an error says where"
    said(e.value)
    return e.value


def said(error: Error) -> None:
    line = " | ".join((error.code, error.what, error.where, error.hint)).replace("\n", "⏎")
    line = re.sub(r"/\S*/pytest-of-[^/]+/pytest-\d+/(popen-gw\d+/)?[^/ ]+", "TMP", line)
    line = re.sub(r"(not a \.npy file|no image layout of an artifact): [^|]*", r"\1: … ", line)  # NumPy's words, and Python's
    line = re.sub(r"\b([0-9a-f]{16}(?=…)|[0-9a-f]{64}\b)", "DIGEST", line)
    known = MESSAGES.read_text().splitlines() if MESSAGES.exists() else []
    if os.environ.get("MLCC_GOLDEN") == "write" and line not in known:
        MESSAGES.write_text("\n".join(sorted({*known, line})) + "\n")
        return
    assert line in known, f"messages.txt lacks this line (MLCC_GOLDEN=write adds it): {line}"


def pem(private: Any) -> bytes:
    return private.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
