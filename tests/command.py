"""`mlcc` as a process of its own, without its start: a server that has imported what commands use, and forks for each.

A third of this suite's time was Python importing the same modules. What a test sees is a process: its own memory, environment, folder,
descriptors and exit code. Where the start itself matters (interrupts, strange folders, two hash seeds), tests start a real one.
"""

from __future__ import annotations

import atexit
import importlib
import json
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, NoReturn

MODULES = (
    "mlcc.pipeline", "mlcc.freezing", "mlcc.package", "mlcc.importers.onnx", "mlcc.importers.tflite", "mlcc.conformance.judge", "mlcc.conformance.check",
    "mlcc.tir.kernels", "mlcc.tir.codegen", "mlcc.artifact.bill", "onnx", "onnx_ir", "onnxruntime",
)  # fmt: skip


class Server:
    """Runs commands, one at a time."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None

    def run(self, arguments: list[str], cwd: Path | None, environment: dict[str, str], memory: int = 0) -> subprocess.CompletedProcess[str]:
        if self._process is None:
            self._process = subprocess.Popen([sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self._process.stdin and self._process.stdout
        with tempfile.TemporaryDirectory() as d:
            said = [Path(d) / "out", Path(d) / "err"]
            request = {
                "arguments": arguments,
                "cwd": str(cwd or Path.cwd()),
                "environment": environment,
                "memory": memory,
                "said": list(map(str, said)),
            }
            print(json.dumps(request), file=self._process.stdin, flush=True)
            code = int(self._process.stdout.readline())
            out, err = (p.read_text(errors="backslashreplace") for p in said)
            return subprocess.CompletedProcess(arguments, code, out, err)

    def end(self) -> None:
        if self._process is not None:
            self._process.communicate()  # it ends with its input


def _child(request: dict[str, Any]) -> NoReturn:
    """In the forked process: never returns."""
    from mlcc.cli import main

    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["environment"])
    nothing = os.open(os.devnull, os.O_RDONLY)
    for number, place in ((0, nothing), *((n, os.open(p, os.O_WRONLY | os.O_CREAT, 0o600)) for n, p in zip((1, 2), request["said"]))):
        os.dup2(place, number)
    if request["memory"]:
        resource.setrlimit(resource.RLIMIT_AS, (request["memory"],) * 2)
    code: Any = 0
    try:
        main(request["arguments"])
    except SystemExit as e:
        code = e.code
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code if isinstance(code, int) else int(code is not None))  # libraries' own ends wait for threads that a fork lacks


def _serve() -> None:
    from mlcc import plugin
    from mlcc.cli import COMMANDS

    for name in (*MODULES, *(f"mlcc.cli.{command}" for command in COMMANDS)):
        importlib.import_module(name)
    plugin.backends()
    reply = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            reply.close()
            _child(json.loads(line))
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), file=reply, flush=True)


if __name__ == "__main__":
    _serve()
