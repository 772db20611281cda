"""Run a finished artifact: in this process, or as its backend knows (an emulator)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from mlcc import plugin
from mlcc.artifact.manifest import Manifest
from mlcc.error import Error
from mlcc.target import load


def execute(
    artifact: Path, about: Manifest, feed: Mapping[str, np.ndarray], threads: int = 1, variant: str | None = None
) -> tuple[dict[str, np.ndarray], str]:
    """(outputs, what ran them). Whether the artifact may be trusted is the caller's to know."""
    target = load(about["target"])
    found = plugin.environment(target)
    if isinstance(found, plugin.Missing):
        raise Error("unsupported", f"nothing here runs {target.name}", str(artifact), found.hint)
    if found.name == "native" and target.shared:
        from mlcc.runtime import load as load_model

        return load_model(artifact, threads, variant, verify=False).stored(feed), found.name
    return plugin.backend(target.backend).execute(artifact, about, feed, target), found.name
