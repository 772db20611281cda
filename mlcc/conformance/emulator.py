"""What runs a target here: this machine's CPU, or the emulator that the target's TOML names."""

from __future__ import annotations

import re
import shutil
import subprocess
from functools import cache
from importlib.util import find_spec

from mlcc.target import Target, host_machine, runs_here

WASI = """
const { WASI } = require('node:wasi'); const fs = require('node:fs'); const folder = require('node:path').dirname(process.env.MLCC_WASM);
const wasi = new WASI({ version: 'preview1', args: ['test', ...process.argv.slice(1)], preopens: { [folder]: folder }, returnOnExit: true });
WebAssembly.instantiate(fs.readFileSync(process.env.MLCC_WASM), wasi.getImportObject()).then(({ instance }) => process.exit(wasi.start(instance)));
"""


def command(target: Target) -> tuple[list[str], str] | None:
    """(what to put before the test program, how the report names it), or None where nothing here runs the target."""
    if not target.emulated_only and runs_here(target):
        return [], "native"
    if not target.emulator:
        return None
    tool, *rest = target.emulator
    if tool == "host-shim":  # the backend compiles the kernels for this CPU
        return ([], f"the kernels' source on {host_machine()}") if host_machine() in ("x86_64", "aarch64") else None
    if tool == "xla":
        where = "XLA:CPU, no TPU here" if target.topology else "XLA"
        return ([], where) if find_spec("jax") else None
    if tool == "hls":  # the vendors' open headers of types, and Verilator where it is installed
        verilator = shutil.which("verilator")
        return ([], f"C simulation{f', verilator {_version(verilator)}' if verilator else ''}") if find_spec("hls4ml") else None
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


def environment(target: Target) -> str | None:
    """What would run the target here, or None."""
    found = command(target)
    return found[1] if found else None
