"""What runs a program here: this machine's CPU, or the emulator that the target's file names."""

from __future__ import annotations

import re
import shutil
import subprocess
from functools import cache

from mlcc.error import Error
from mlcc.plugin import Environment, Missing
from mlcc.target import Target, runs_here

WASI = """
const { WASI } = require('node:wasi'); const fs = require('node:fs'); const folder = require('node:path').dirname(process.env.MLCC_WASM);
const wasi = new WASI({ version: 'preview1', args: ['test', ...process.argv.slice(1)], preopens: { [folder]: folder }, returnOnExit: true });
WebAssembly.instantiate(fs.readFileSync(process.env.MLCC_WASM), wasi.getImportObject()).then(({ instance }) => process.exit(wasi.start(instance)));
"""


def environment(target: Target) -> Environment | Missing:
    """This CPU, QEMU or Node."""
    if not target.emulated_only and runs_here(target):
        return Environment("native")
    if not target.emulator:
        return Missing()
    tool, *rest = target.emulator
    if tool == "node-wasi":
        node = shutil.which("node")
        return Environment(f"node {version(node)}", (node, "--no-warnings", "-e", WASI, "--")) if node else Missing("install node")
    name = tool.removesuffix("-static")
    found = shutil.which(tool) or shutil.which(name)
    return Environment(f"{name} {version(found)}", (found, *rest)) if found else Missing(f"install {tool}")


def demanded(found: Environment | Missing, target: Target, artifact: str) -> Environment:
    """What runs the target. Raises Error(unsupported) where there is nothing."""
    if isinstance(found, Missing):
        raise Error("unsupported", f"nothing here runs {target.name}", artifact, found.hint)
    return found


@cache
def version(tool: str) -> str:
    """The number that a program gives as its version."""
    text = subprocess.run([tool, "--version"], capture_output=True, text=True).stdout
    found = re.search(r"\d+\.\d+(\.\d+)?", text)
    return found.group(0) if found else "?"
