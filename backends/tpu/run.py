"""Run StableHLO by XLA: on a TPU where there is one, else on the CPU."""

from __future__ import annotations

import json
import pickle
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mlcc.conformance.emulator import command
from mlcc.graph.core import CoreGraph
from mlcc.target import Target, has_tpu
from mlcc_backends.interface import Binaries
from mlcc_backends.tpu.build import worker


class XlaRunner:
    """Computes whole models."""

    big_endian = False
    instructions: int | None = None

    def __init__(self, exported: bytes, exact: bool) -> None:
        self.exported, self.exact = exported, exact
        self.environment = "XLA"

    def outputs(self, feeds: Sequence[Sequence[np.ndarray]]) -> list[list[np.ndarray]]:
        """The outputs for each feed."""
        made = worker(
            "run", {"model.jax": self.exported, "feeds.pickle": pickle.dumps([list(f) for f in feeds])}, "tpu,cpu" if has_tpu() else "cpu"
        )
        self.environment = json.loads(made["found.json"])["device"]
        found: list[list[np.ndarray]] = pickle.loads(made["outputs.pickle"])
        return found


def runner(binaries: Binaries, target: Target, graph: CoreGraph) -> XlaRunner | None:
    return XlaRunner(binaries.private["model.jax"], binaries.exact) if command(target) else None


def execute(artifact: Path, about: Mapping[str, Any], feed: Mapping[str, np.ndarray], target: Target) -> dict[str, np.ndarray]:
    exported = (artifact / "lib" / f"{about['name']}.jax").read_bytes()
    (outputs,) = XlaRunner(exported, about["class"] == "exact").outputs([[feed[t["name"]] for t in about["inputs"]]])
    return {t["name"]: y for t, y in zip(about["outputs"], outputs)}
