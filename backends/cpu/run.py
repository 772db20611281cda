"""Run a built library where it can be run: in this machine's CPU, or under a user-mode emulator."""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from mlcc.error import Error
from mlcc.program.program import Program
from mlcc.target import Target, cpu_flags, host_machine
from mlcc_backends.interface import Binaries

WASI = """
const { WASI } = require('node:wasi'); const fs = require('node:fs');
const wasi = new WASI({ version: 'preview1', args: ['test', ...process.argv.slice(1)], preopens: { '/': '/' }, returnOnExit: true });
WebAssembly.instantiate(fs.readFileSync(process.env.MLCC_WASM), wasi.getImportObject()).then(({ instance }) => process.exit(wasi.start(instance)));
"""


def command(target: Target) -> tuple[list[str], str] | None:
    """(what to put before the test program, how the report names it), or None where nothing here runs the target."""
    if not target.emulated_only and target.machine == host_machine() and set(target.requires) <= cpu_flags():
        return [], "native"
    if not target.emulator:
        return None
    tool, *rest = target.emulator
    if tool == "node-wasi":
        node = shutil.which("node")
        return ([node, "--no-warnings", "-e", WASI, "--"], f"node {_version(node)}") if node else None
    found = shutil.which(tool) or shutil.which(tool.removesuffix("-static"))
    return ([found, *rest], f"{tool.removesuffix('-static')} {_version(found)}") if found else None


@cache
def _version(tool: str) -> str:
    text = subprocess.run([tool, "--version"], capture_output=True, text=True).stdout
    found = re.search(r"\d+\.\d+(\.\d+)?", text)
    return found.group(0) if found else "?"


def execute_program(path: Path, prefix: Sequence[str], environment: str, arguments: Sequence[str], name: str) -> str:
    """Run a test program and return what it printed. Raises Error(conformance) where it fails."""
    path.chmod(0o755)
    line = [*prefix, *arguments] if environment.startswith("node") else [*prefix, str(path), *arguments]
    done = subprocess.run(line, capture_output=True, text=True, cwd=path.parent, env={"MLCC_WASM": str(path), "PATH": "/usr/bin:/bin"})
    if done.returncode:
        how = f"signal {-done.returncode}" if done.returncode < 0 else f"exit {done.returncode}"
        raise Error("conformance", f"the test program ended with {how}", f"{name} under {environment}", done.stderr.strip()[-200:])
    return done.stdout


class ProcessRunner:
    """Runs the test program, natively or emulated."""

    def __init__(self, binaries: Binaries, program: Program, prefix: list[str], environment: str, big_endian: bool) -> None:
        self.binaries, self.program, self.prefix, self.environment, self.big_endian = binaries, program, prefix, environment, big_endian

    def _execute(self, folder: Path, arguments: Sequence[str]) -> str:
        path = folder / "test"
        path.write_bytes(self.binaries.private["test"])
        return execute_program(path, self.prefix, self.environment, arguments, self.binaries.name)

    def golden(self, vector: int, variant: int = -1) -> str | None:
        with tempfile.TemporaryDirectory(prefix="mlcc-") as d:
            found = self._execute(Path(d), ["test", str(vector), str(variant)]).split()[0]
        return None if found == "unavailable" else found

    def run(self, inputs: Sequence[bytes], steps: int = -1) -> tuple[list[bytes], bytes]:
        with tempfile.TemporaryDirectory(prefix="mlcc-") as d:
            folder = Path(d)
            ins = [folder / f"in{i}" for i in range(len(inputs))]
            outs = [folder / f"out{i}" for i in range(len(self.program.outputs))]
            for path, body in zip(ins, inputs):
                path.write_bytes(body)
            self._execute(folder, ["run", str(steps), *map(str, ins), *map(str, outs), str(folder / "arena")])
            return [p.read_bytes() for p in outs], (folder / "arena").read_bytes()


def runner(binaries: Binaries, target: Target, program: Program) -> ProcessRunner | None:
    """A runner, or None where no CPU or emulator here runs the target."""
    found = command(target)
    return ProcessRunner(binaries, program, *found, target.endianness == "big") if found else None
