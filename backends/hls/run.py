"""Simulate a design: its C++ against the vendors' types, its RTL under Verilator where that is installed, at full speed and with
back-pressure."""

from __future__ import annotations

import json
import pickle
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from mlcc.artifact.manifest import Manifest
from mlcc.core.graph import CoreGraph, canonical_bytes, from_bytes, to_bytes
from mlcc.error import Error
from mlcc.plugin import Binaries, Environment, Missing
from mlcc.target import Target
from mlcc_backends.environment import version
from mlcc_backends.hls import csim, simulate
from mlcc_backends.hls.build import Design
from mlcc_backends.hls.sections import part_of

SEEDS = (0, 7)  # of back-pressure; 0: none
ENGINE_FLAGS = ("-O2", "-fno-strict-aliasing", "-fwrapv")


class HardwareRunner:
    """Computes whole models, by simulation."""

    big_endian = False
    exact = True
    instructions: int | None = None

    def __init__(self, files: Mapping[str, bytes], design: Design, graph: CoreGraph, environment: str, cpp: bool) -> None:
        self.files, self.design, self.graph, self.environment, self.cpp, self.most = files, design, graph, environment, cpp, design.most

    def outputs(self, feeds: Sequence[Sequence[np.ndarray]]) -> list[list[np.ndarray]]:
        """The outputs for each feed. Raises Error(conformance) where the RTL differs from the C++, or from its cycle model."""
        design, shapes = self.design, [self.graph.types[v].shape for v in self.graph.outputs]
        with tempfile.TemporaryDirectory(prefix="mlcc-") as d:
            folder = Path(d)
            if design.network is None:
                return self._engine(folder, feeds)
            found: list[list[np.ndarray]] | None = None
            if self.cpp:
                program = csim.build(self._under("hls"), [f"{design.name}.cpp", f"{design.name}_test.cpp"], folder, design.catapult)
                network = design.network
                ports = [[simulate.lane(network, p) for p in group] for group in (network.inputs, network.outputs)]
                found = csim.run(ports[0], ports[1], program, feeds, shapes)
            if simulate.verilator() is not None:
                (folder / "rtl").mkdir()
                executable = simulate.build(design.network, self._under("rtl"), folder / "rtl")
                for seed in SEEDS:
                    made, cycles = simulate.run(design.network, executable, feeds, shapes, seed)
                    self._agree(found or made, made, f"seed {seed}")
                    found = found or made
                    if (
                        seed == 0
                        and design.cycles is not None
                        and len(feeds) > 2
                        and (cycles.latency, cycles.interval) != (design.cycles.latency, design.cycles.interval)
                    ):
                        raise Error(
                            "conformance", f"the RTL takes {cycles.latency} and {cycles.interval} cycles, not {design.cycles.latency} "
                                f"and {design.cycles.interval}",
                            design.name, "this is a bug in mlcc; please report it with the model",
                        )  # fmt: skip
            assert found is not None
            return found

    def _under(self, place: str) -> dict[str, bytes]:
        return {n.removeprefix(f"{place}/"): bytes(b) for n, b in self.files.items() if n.startswith(f"{place}/")}

    def _agree(self, first: Sequence[Sequence[np.ndarray]], second: Sequence[Sequence[np.ndarray]], where: str) -> None:
        for i, (a, b) in enumerate(zip(first, second)):
            if any(canonical_bytes(x) != canonical_bytes(y) for x, y in zip(a, b)):
                raise Error(
                    "conformance",
                    f"the RTL differs from the C++ on vector {i} ({where})",
                    self.design.name,
                    "this is a bug in mlcc; please report it",
                )

    def _engine(self, folder: Path, feeds: Sequence[Sequence[np.ndarray]]) -> list[list[np.ndarray]]:
        graph = self.graph
        return engine(
            self.design.name, self._under("hls"), folder, feeds, [(graph.types[v].dtype, graph.types[v].shape) for v in graph.outputs]
        )


def engine(
    name: str,
    files: Mapping[str, bytes],
    folder: Path,
    feeds: Sequence[Sequence[np.ndarray]],
    outputs: Sequence[tuple[str, tuple[int, ...]]],
) -> list[list[np.ndarray]]:
    """C simulation of an engine: the outputs, of these types and shapes, for each feed."""
    test = csim.program(files, [f"{name}.cpp", f"{name}_test.cpp"], ENGINE_FLAGS, folder)
    for i in range(len(feeds[0])):
        (folder / "vectors" / f"in{i}.bin").write_bytes(b"".join(to_bytes(f[i], "<") for f in feeds))
    done = subprocess.run([str(test), "vectors", str(len(feeds)), "write"], cwd=folder, capture_output=True, text=True)
    if done.returncode:
        raise Error("conformance", f"the C simulation ended with exit {done.returncode}", name, done.stdout.strip()[-200:])
    found: list[list[np.ndarray]] = [[] for _ in feeds]
    for i, (dtype, shape) in enumerate(outputs):
        raw = (folder / "vectors" / f"out{i}.bin").read_bytes()
        size = len(raw) // len(feeds)
        for n in range(len(feeds)):
            found[n].append(from_bytes(raw[n * size : (n + 1) * size], dtype, "<").reshape(shape))
    return found


def environment(target: Target) -> Environment | Missing:
    """C simulation by the vendors' open headers of types, and Verilator where it is installed."""
    tool = shutil.which("verilator")
    if part_of(target).flavour == "rtl":
        return Environment(f"verilator {version(tool)}") if tool else Missing("install verilator")
    if find_spec("hls4ml") is None:
        return Missing("pip install 'mlcc[hls]'")
    return Environment(f"C simulation{f', verilator {version(tool)}' if tool else ''}")


def runner(binaries: Binaries, target: Target, graph: CoreGraph) -> HardwareRunner | None:
    found = environment(target)
    if isinstance(found, Missing):
        return None
    design: Design = pickle.loads(binaries.private["design"])
    where = found.name if design.network is not None else "C simulation"
    return HardwareRunner(binaries.files, design, graph, where, part_of(target).flavour != "rtl")


def execute(artifact: Path, about: Manifest, feed: Mapping[str, np.ndarray], target: Target) -> dict[str, np.ndarray]:
    """Simulate an artifact's C++."""
    files = {str(p.relative_to(artifact / "hls")): p.read_bytes() for p in (artifact / "hls").rglob("*") if p.is_file()}
    if not files:
        hint = f"`make` in {artifact / 'rtl'} makes a bitstream; `mlcc build` simulated its golden vectors"
        raise Error("unsupported", "SystemVerilog alone does not run here", str(artifact), hint)
    said = json.loads((artifact / "report" / "report.json").read_text("utf-8"))
    feeds, name = [[feed[t["name"]] for t in about["inputs"]]], about["name"]
    outputs = [(t["dtype"], tuple(t["shape"])) for t in about["outputs"]]
    with tempfile.TemporaryDirectory(prefix="mlcc-") as d:
        if said["architecture"] == "engine":
            (made,) = engine(name, files, Path(d), feeds, outputs)
        else:
            catapult = part_of(target).flavour == "catapult"
            program = csim.build(files, [f"{name}.cpp", f"{name}_test.cpp"], Path(d), catapult)
            ports = [[simulate.Lane(**p) for p in said["ports"][k]] for k in ("inputs", "outputs")]
            (made,) = csim.run(ports[0], ports[1], program, feeds, [shape for _, shape in outputs])
    return {t["name"]: y for t, y in zip(about["outputs"], made)}
