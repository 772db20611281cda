"""Run StableHLO by XLA: on a TPU where there is one, else on the CPU."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from mlcc.artifact.manifest import Manifest, sizes_given
from mlcc.conformance.check import WIDEST
from mlcc.core.graph import CoreGraph, canonical_bytes
from mlcc.core.ranges import numbers_from, sizes_at
from mlcc.error import Error
from mlcc.plugin import Binaries, Environment, Missing
from mlcc.target import Target, host_machine
from mlcc_backends.tpu.build import tag, worker
from mlcc_backends.tpu.sections import Serving, Xla

Feed = Sequence[np.ndarray]


class XlaRunner:
    """Computes whole models."""

    big_endian = False
    instructions: int | None = None

    def __init__(
        self, programs: Mapping[str, bytes], program: Callable[[Feed], str], exact: bool, batches: Sequence[int] = (), devices: int = 1
    ) -> None:
        """programs: by file name, those of batches too; program: the file for a feed."""
        self.programs, self.program, self.exact, self.batches, self.devices = programs, program, exact, batches, devices
        self.environment = "XLA"

    def outputs(self, feeds: Sequence[Feed]) -> list[list[np.ndarray]]:
        """The outputs for each feed."""
        made = self._run([(self.program(f), list(f)) for f in feeds], "tpu,cpu" if has_tpu() else "cpu")
        self.environment = json.loads(made["found.json"])["device"]
        found: list[list[np.ndarray]] = pickle.loads(made["outputs.pickle"])
        for size in self.batches:
            self._compare(size, feeds, found)
        return found

    def _run(self, feeds: list[tuple[str, list[np.ndarray]]], platform: str = "cpu", devices: int = 1) -> dict[str, bytes]:
        files = {name: self.programs[name] for name, _ in feeds}
        return worker("run", {**files, "feeds.pickle": pickle.dumps(feeds)}, platform, devices)

    def _compare(self, size: int, feeds: Sequence[Feed], found: Sequence[Sequence[np.ndarray]]) -> None:
        """A batch gives each input's own answer, on as many devices as it is dealt to. Raises Error(conformance) where it does not."""
        which = [i % len(feeds) for i in range(size)]
        batch = [np.stack([feeds[i][k] for i in which]) for k in range(len(feeds[0]))]
        made = self._run([(f"model.b{size}.jax", batch)], devices=self.devices)
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

    def program(feed: Feed) -> str:
        shapes = [(graph.types[v].shape, a.shape, v) for v, a in zip(graph.inputs, feed)]
        return file_of(list(sizes_at(numbers_from(shapes), graph.sizes).values()))

    return XlaRunner(binaries.private, program, binaries.exact, serving.batches, serving.devices)


def file_of(sizes: Sequence[int]) -> str:
    """The program for the sizes of a run, in the order of their names."""
    return f"model.{tag(sizes)}.jax" if sizes else "model.jax"


def execute(artifact: Path, about: Manifest, feed: Mapping[str, np.ndarray], target: Target) -> dict[str, np.ndarray]:
    file = file_of(list(sizes_given(about, {n: a.shape for n, a in feed.items()}).values()))
    exported = (artifact / "lib" / file.replace("model", about["name"], 1)).read_bytes()
    runner = XlaRunner({file: exported}, lambda _: file, about["class"] == "exact")
    (outputs,) = runner.outputs([[feed[t["name"]] for t in about["inputs"]]])
    return {t["name"]: y for t, y in zip(about["outputs"], outputs)}
