"""A home of a test's own."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MLCC_CONFIG", str(tmp_path / "config"))
    monkeypatch.delenv("MLCC_SIGNING_KEY", raising=False)
    return tmp_path / "config"
