"""Run a built library where it can be run: in this machine's CPU, or under a user-mode emulator."""

from __future__ import annotations

import errno
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from math import prod
from pathlib import Path
from types import MappingProxyType

import numpy as np

from mlcc.artifact.manifest import Manifest, Tensor, extents, sizes_given
from mlcc.core.graph import DTYPES, ByteOrder, from_bytes, to_bytes
from mlcc.error import Error
from mlcc.names import printable
from mlcc.plugin import Binaries, CompileOptions, Missing
from mlcc.program.program import Program
from mlcc.target import Target
from mlcc_backends.cpu.compile import LARGE, program
from mlcc_backends.environment import demanded, environment


def execute_program(path: Path, prefix: Sequence[str], environment: str, arguments: Sequence[str], name: str) -> str:
    """Run a test program and return what it printed. Raises Error(conformance) where it fails."""
    path.chmod(0o755)
    line = [*prefix, *arguments] if environment.startswith("node") else [*prefix, str(path), *arguments]
    done = _run_fresh(line, path.parent, {"MLCC_WASM": str(path), "PATH": "/usr/bin:/bin"})
    if done.returncode:
        how = f"signal {-done.returncode}" if done.returncode < 0 else f"exit {done.returncode}"
        raise Error("conformance", f"the test program ended with {how}", f"{name} under {environment}", done.stderr.strip()[-200:])
    return done.stdout


def _run_fresh(line: Sequence[str], folder: Path, environment: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """Run a program that was written just now. Another thread that starts a process in that moment may hold the file open for writing until
    its own program runs (ETXTBSY): then again."""
    for _ in range(200):
        try:
            return subprocess.run(line, capture_output=True, text=True, cwd=folder, env=environment)
        except OSError as e:
            if e.errno != errno.ETXTBSY:
                raise
            time.sleep(0.01)
    raise Error("conformance", "the test program stays busy", line[-1])


def said(sizes: Mapping[str, int]) -> list[str]:
    """Sizes as the test program takes them, in the order of their names; none where it takes none."""
    return ["x".join(str(sizes[name]) for name in sorted(sizes))] if sizes else []


def steady(found: str, name: str, environment: str) -> str:
    """A digest. Raises Error(conformance) where the outputs depend on what memory held before."""
    if found == "unsteady":
        where = f"{name} under {environment}"
        raise Error(
            "conformance",
            "the outputs depend on what the workspace held before",
            where,
            "this is a bug in mlcc; please report it with the model",
        )
    return found


class ProcessRunner:
    """Runs the test program, natively or emulated."""

    instructions: int | None = None
    apart = True  # each run is a process, in a folder of its own
    passes = 2  # runs of each vector, over memory that holds other patterns

    def __init__(self, binaries: Binaries, program: Program, prefix: Sequence[str], environment: str, big_endian: bool) -> None:
        self.binaries, self.program, self.prefix, self.environment, self.big_endian = binaries, program, prefix, environment, big_endian

    def _execute(self, folder: Path, arguments: Sequence[str]) -> str:
        path = folder / "test"
        path.write_bytes(self.binaries.private["test"])
        return execute_program(path, self.prefix, self.environment, arguments, self.binaries.name)

    def golden(self, vector: int, variant: int = -1) -> str | None:
        with tempfile.TemporaryDirectory(prefix="mlcc-") as d:
            found = self._execute(Path(d), ["test", str(vector), str(variant), str(self.passes)]).split()[0]
        return None if found == "unavailable" else steady(found, self.binaries.name, self.environment)

    def run(self, inputs: Sequence[bytes], steps: int = -1, sizes: Mapping[str, int] = MappingProxyType({})) -> tuple[list[bytes], bytes]:
        with tempfile.TemporaryDirectory(prefix="mlcc-") as d:
            folder = Path(d)
            ins = [folder / f"in{i}" for i in range(len(inputs))]
            outs = [folder / f"out{i}" for i in range(len(self.program.outputs))]
            for path, body in zip(ins, inputs):
                path.write_bytes(body)
            self._execute(folder, ["run", str(steps), *said(sizes), *map(str, ins), *map(str, outs), str(folder / "arena")])
            return [p.read_bytes() for p in outs], (folder / "arena").read_bytes()


def runner(binaries: Binaries, target: Target, program: Program) -> ProcessRunner | None:
    """A runner, or None where no CPU or emulator here runs the target."""
    found = environment(target)
    return None if isinstance(found, Missing) else ProcessRunner(binaries, program, found.prefix, found.name, target.endianness == "big")


def byte_order(target: Target) -> ByteOrder:
    return ">" if target.endianness == "big" else "<"


def execute(artifact: Path, about: Manifest, feed: Mapping[str, np.ndarray], target: Target) -> dict[str, np.ndarray]:
    """Link the artifact's own main program against its static library and run that. Raises Error(unsupported) where nothing runs it."""
    runs = demanded(environment(target), target, str(artifact))
    root, order = artifact.resolve(), byte_order(target)
    with tempfile.TemporaryDirectory(prefix="mlcc-") as d:
        main = [f"{root}/share/selftest/main.c", f"-I{root}/include", f"-I{root}/share/selftest"]
        library = root / f"lib/lib{about['name']}.a"
        test = program(Path(d), main, [str(library)], target, CompileOptions(), library.stat().st_size > LARGE)
        return call_program(test, runs.prefix, runs.name, about, feed, order)


def received(raw: bytes, t: Tensor, order: ByteOrder, artifact: str, sizes: Mapping[str, int]) -> np.ndarray:
    """An output that an artifact's program wrote, as its manifest says it is. Raises Error(verification) where it is of another size."""
    shape = extents(t, sizes)
    if len(raw) != DTYPES[t["dtype"]].itemsize * prod(shape):
        raise Error("verification", f"the program gives {len(raw)} bytes for {printable(t['name'])}, the manifest says otherwise", artifact)
    return from_bytes(raw, t["dtype"], order).reshape(shape)


def call_program(
    program: Path, prefix: Sequence[str], environment: str, about: Manifest, feed: Mapping[str, np.ndarray], order: ByteOrder
) -> dict[str, np.ndarray]:
    """Run an artifact's main program on inputs, by way of files beside it."""
    folder = program.parent
    ins = [folder / f"in{i}" for i in range(len(about["inputs"]))]
    outs = [folder / f"out{i}" for i in range(len(about["outputs"]))]
    for path, t in zip(ins, about["inputs"]):
        path.write_bytes(to_bytes(feed[t["name"]], order))
    sizes = sizes_given(about, {n: a.shape for n, a in feed.items()})
    execute_program(
        program, prefix, environment, ["run", "-1", *said(sizes), *map(str, ins), *map(str, outs), str(folder / "arena")], about["name"]
    )
    return {t["name"]: received(p.read_bytes(), t, order, about["name"], sizes) for t, p in zip(about["outputs"], outs)}
