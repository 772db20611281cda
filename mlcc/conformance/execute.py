"""Run a finished artifact: in this process, or as its backend knows (an emulator)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from mlcc.error import Error


def execute(
    artifact: Path, about: Mapping[str, Any], feed: Mapping[str, np.ndarray], threads: int = 1, variant: str | None = None
) -> tuple[dict[str, np.ndarray], str]:
    """(outputs, what ran them). Whether the artifact may be trusted is the caller's to know."""
    from mlcc.conformance import emulator
    from mlcc.target import load
    from mlcc_backends import interface

    target = load(about["target"])
    environment = emulator.environment(target)
    if environment is None:
        hint = f"install {target.emulator[0]}" if target.emulator else "run it on such a machine"
        extras = {"xla": "pip install 'mlcc[tpu]'", "hls": "pip install 'mlcc[hls]'"}
        hint = extras.get(" ".join(target.emulator), hint)
        raise Error("unsupported", f"nothing here runs {target.name}", str(artifact), hint)
    if environment == "native" and target.shared:
        from mlcc.runtime import load as load_model

        return load_model(artifact, threads, variant, verify=False)(feed), environment
    return interface.load(target.backend).execute(artifact, about, feed, target), environment
