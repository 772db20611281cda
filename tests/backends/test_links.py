"""The first build for a kind of CPU: nothing is made for it that the artifact does not hold."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

import mlcc
from tests.backends.models import small


def test_a_first_build_makes_no_library_that_nothing_calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No C library, no run-time of sanitizers, none of the compiler's own functions: half a minute and more for each kind of CPU."""
    monkeypatch.setattr(importlib.import_module("mlcc_backends.cpu.compile"), "working_folder", lambda: tmp_path / "cache")
    mlcc.build(small(tmp_path / "small.onnx"), target=["x86_64-v3", "aarch64-linux", "cortex-m4f"], out=tmp_path, cache=False)
    made = {p.name for p in (tmp_path / "cache/zig").rglob("*") if p.suffix in (".a", ".o")}
    assert made and not {n for n in made if "_rt" in n or n == "libc.a"}, made
