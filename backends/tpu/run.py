"""Run StableHLO by XLA: on a TPU where there is one, else on the CPU."""

from __future__ import annotations

import json
import pickle
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from mlcc.artifact.manifest import Manifest
from mlcc.conformance.check import WIDEST
from mlcc.core.graph import CoreGraph, canonical_bytes
from mlcc.error import Error
from mlcc.plugin import Binaries, Environment, Missing
from mlcc.target import Target, host_machine
from mlcc_backends.tpu.build import worker
from mlcc_backends.tpu.sections import Serving, Xla


class XlaRunner:
    """Computes whole models."""

    big_endian = False
    instructions: int | None = None

    def __init__(self, exported: bytes, exact: bool, batches: Mapping[int, bytes] | None = None, devices: int = 1) -> None:
        self.exported, self.exact, self.batches, self.devices = exported, exact, batches or {}, devices
        self.environment = "XLA"

    def outputs(self, feeds: Sequence[Sequence[np.ndarray]]) -> list[list[np.ndarray]]:
        """The outputs for each feed."""
        made = worker(
            "run", {"model.jax": self.exported, "feeds.pickle": pickle.dumps([list(f) for f in feeds])}, "tpu,cpu" if has_tpu() else "cpu"
        )
        self.environment = json.loads(made["found.json"])["device"]
        found: list[list[np.ndarray]] = pickle.loads(made["outputs.pickle"])
        for size, program in self.batches.items():
            self._compare(size, program, feeds, found)
        return found

    def _compare(self, size: int, program: bytes, feeds: Sequence[Sequence[np.ndarray]], found: Sequence[Sequence[np.ndarray]]) -> None:
        """A batch gives each input's own answer, on as many devices as it is dealt to. Raises Error(conformance) where it does not."""
        which = [i % len(feeds) for i in range(size)]
        batch = [np.stack([feeds[i][k] for i in which]) for k in range(len(feeds[0]))]
        made = worker("run", {"model.jax": program, "feeds.pickle": pickle.dumps([batch])}, devices=self.devices)
        (outputs,) = pickle.loads(made["outputs.pickle"])
        for k, rows in enumerate(outputs):
            for n, i in enumerate(which):
                wrong = self._differs(rows[n], found[i][k])
                if wrong:
                    raise Error("conformance", f"in a batch of {size} on {self.devices} devices input {n} {wrong}", self.environment)

    def _differs(self, got: np.ndarray, want: np.ndarray) -> str:
        """What is wrong with an answer out of a batch; nothing where it is as good as the one alone."""
        if self.exact:
            return "" if canonical_bytes(got) == canonical_bytes(want) else "has another answer than alone"
        a, b = (np.nan_to_num(np.asarray(x).astype(np.float64), nan=0, posinf=0, neginf=0) for x in (got, want))
        near = np.abs(a - b).max(initial=0) <= WIDEST * max(float(np.abs(b).max(initial=0)), 1e-30)
        return "" if near else "is far from its answer alone"


@cache
def has_tpu() -> bool:
    """Whether a TPU's device files are here."""
    return any(Path("/dev").glob("accel[0-9]*"))


def environment(target: Target) -> Environment | Missing:
    """A TPU, else XLA's CPU."""
    xla = target.section(Xla) or Xla()
    if xla.topology and has_tpu() and host_machine() == target.machine:
        return Environment("native")
    if find_spec("jax") is None:
        return Missing("pip install 'mlcc[tpu]'")
    return Environment("XLA:CPU, no TPU here" if xla.topology else "XLA")


def runner(binaries: Binaries, target: Target, graph: CoreGraph) -> XlaRunner | None:
    if isinstance(environment(target), Missing):
        return None
    serving = target.section(Serving) or Serving()
    batches = {n: binaries.private[f"model.b{n}.jax"] for n in serving.batches}
    return XlaRunner(binaries.private["model.jax"], binaries.exact, batches, serving.devices)


def execute(artifact: Path, about: Manifest, feed: Mapping[str, np.ndarray], target: Target) -> dict[str, np.ndarray]:
    exported = (artifact / "lib" / f"{about['name']}.jax").read_bytes()
    (outputs,) = XlaRunner(exported, about["class"] == "exact").outputs([[feed[t["name"]] for t in about["inputs"]]])
    return {t["name"]: y for t, y in zip(about["outputs"], outputs)}
