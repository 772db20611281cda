"""Run a model on an emulated board (QEMU, semihosting); instructions are counted exactly."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from threading import Lock
from types import MappingProxyType

import numpy as np

from mlcc.artifact.manifest import Manifest, sizes_given
from mlcc.cache.library import compiled
from mlcc.core.graph import to_bytes
from mlcc.error import Error
from mlcc.plugin import Binaries, CompileOptions, Missing
from mlcc.program.program import Program
from mlcc.target import Target
from mlcc_backends.cpu.compile import compiler, link
from mlcc_backends.cpu.run import received, said, steady
from mlcc_backends.environment import demanded, environment
from mlcc_backends.mcu.compile import FLAGS, LINK, SMALL
from mlcc_backends.mcu.cycles import Timing, counted, timing

LIMIT = 900  # seconds of emulation


def emulate(prefix: Sequence[str], firmware: Path, arguments: Sequence[str], where: str) -> str:
    """Run a firmware with a command line and return what it printed. Raises Error(conformance) where it fails."""
    semihosting = "enable=on,target=native" + "".join(f",arg={a}" for a in ("firmware", *arguments))
    line = [*prefix, "-display", "none", "-icount", "shift=0", "-semihosting-config", semihosting, "-kernel", str(firmware)]
    try:
        done = subprocess.run(line, capture_output=True, text=True, cwd=firmware.parent, timeout=LIMIT, stdin=subprocess.DEVNULL)
    except subprocess.TimeoutExpired:
        raise Error("conformance", f"the firmware did not end within {LIMIT} s", where) from None
    if done.returncode:
        raise Error("conformance", f"the firmware ended with exit {done.returncode}", where, done.stderr.strip()[-200:])
    return done.stdout + done.stderr


class BoardRunner:
    """Runs the test firmware."""

    big_endian = False
    apart = True  # each run is a process, in a folder of its own
    passes = 2  # runs of each vector, over memory that holds other patterns

    def __init__(self, binaries: Binaries, program: Program, prefix: Sequence[str], environment: str, timing: Timing | None = None) -> None:
        self.binaries, self.program, self.prefix, self.environment = binaries, program, prefix, environment
        self.timing = timing
        self.instructions: int | None = None
        self.figures: dict[str, int] = {}
        self._writing = Lock()

    def _emulate(self, folder: Path, arguments: Sequence[str]) -> str:
        path = folder / "test"
        path.write_bytes(self.binaries.private["test"])
        return emulate(self.prefix, path, arguments, f"{self.binaries.name} under {self.environment}")

    def golden(self, vector: int, variant: int = -1) -> str | None:
        with tempfile.TemporaryDirectory(prefix="mlcc-") as d:
            words = self._emulate(Path(d), ["test", str(vector), str(self.passes)]).split()
            if vector == 0 and self.passes > 1 and self.timing is not None:
                self._cycles(Path(d), int(words[2]), self.timing)
        digest = words[0]
        steady(digest, self.binaries.name, self.environment)
        if vector == 0:
            self.instructions = int(words[2])
        with self._writing:
            for what, bytes in zip(("stack_bytes", "selftest_stack_bytes"), words[3:]):
                self.figures[what] = max(self.figures.get(what, 0), int(bytes) + self.binaries.frames.get(what, 0))
        return digest

    def _cycles(self, folder: Path, instructions: int, core: Timing) -> None:
        """Run once more with each block of code counted. No figure where the emulator takes no plugins, or where the counts disagree."""
        try:
            plugin = compiled("count", resources.files("mlcc_backends.mcu").joinpath("count.c").read_text("utf-8"))
            prefix = [*self.prefix, "-plugin", f"{plugin},out={folder / 'blocks'}"]
            emulate(prefix, folder / "test", ["test", "0", "1"], self.binaries.name)
            found, cycles = counted((folder / "blocks").read_text("ascii"), core)
        except (Error, OSError):
            return
        if abs(found - instructions) <= 0.01 * instructions + 500:  # the clock's own
            self.figures["cycles"] = cycles

    def run(self, inputs: Sequence[bytes], steps: int = -1, sizes: Mapping[str, int] = MappingProxyType({})) -> tuple[list[bytes], bytes]:
        with tempfile.TemporaryDirectory(prefix="mlcc-") as d:
            folder = Path(d)
            ins, outs = [f"in{i}" for i in range(len(inputs))], [f"out{i}" for i in range(len(self.program.outputs))]
            for name, body in zip(ins, inputs):
                (folder / name).write_bytes(body)
            self._emulate(folder, ["run", str(steps), *said(sizes), *ins, *outs, "arena"])
            return [(folder / n).read_bytes() for n in outs], (folder / "arena").read_bytes()


def runner(binaries: Binaries, target: Target, program: Program) -> BoardRunner | None:
    found = environment(target)
    return None if isinstance(found, Missing) else BoardRunner(binaries, program, found.prefix, found.name, timing(target.cpu))


def execute(artifact: Path, about: Manifest, feed: Mapping[str, np.ndarray], target: Target) -> dict[str, np.ndarray]:
    """Link the artifact's library with its own firmware and run that."""
    found = demanded(environment(target), target, str(artifact))
    root, name = artifact.resolve(), about["name"]
    with tempfile.TemporaryDirectory(prefix="mlcc-") as d:
        folder, share = Path(d), f"{root}/share/selftest"
        units = [f"{share}/firmware.c", f"-Wl,-T,{share}/firmware.ld", f"{root}/lib/lib{name}.a"]
        link(
            [*compiler(target, CompileOptions()), *FLAGS, SMALL, *LINK, f"-I{root}/include", f"-I{share}", "-o", "test", *units],
            folder,
            "linking the artifact",
        )
        for i, t in enumerate(about["inputs"]):
            (folder / f"in{i}").write_bytes(to_bytes(feed[t["name"]], "<"))
        names = [f"{kind}{i}" for kind, group in (("in", about["inputs"]), ("out", about["outputs"])) for i in range(len(group))]
        sizes = sizes_given(about, {n: a.shape for n, a in feed.items()})
        emulate(found.prefix, folder / "test", ["run", "-1", *said(sizes), *names, "arena"], f"{name} under {found.name}")
        return {t["name"]: received((folder / f"out{i}").read_bytes(), t, "<", name, sizes) for i, t in enumerate(about["outputs"])}
