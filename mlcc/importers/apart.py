"""A framework in a process of its own, `python -m MODULE WHAT FILE`: WHAT is `convert`, which writes an ONNX model to stdout, or `judge`,
which answers inputs with outputs until stdin ends. Its current folder is its own, empty, and goes with it. One that fails says so on
stderr, as an Error."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import tempfile
import weakref
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, TypeVar

import numpy as np

from mlcc.error import Error

MARK = "mlcc-apart:"
CODES = ("usage", "model", "unsupported")
T = TypeVar("T")
Runs = Callable[[Mapping[str, np.ndarray]], list[np.ndarray]]


# ---- in the parent ----


def convert(module: str, path: Path, seconds: int, environment: Mapping[str, str] | None = None) -> bytes:
    """The model as ONNX. Raises Error with what the other process said."""
    with tempfile.TemporaryDirectory(prefix="mlcc-") as d:
        line = [sys.executable, "-P", "-m", module, "convert", str(path.resolve())]
        try:
            done = subprocess.run(line, capture_output=True, timeout=seconds, cwd=d, env={**os.environ, **(environment or {})})
        except subprocess.TimeoutExpired:
            raise Error("model", f"reading it takes more than {seconds} s", str(path)) from None
    if done.returncode:
        raise _error(done.stderr, done.returncode, path)
    return done.stdout


def judge(module: str, path: Path, environment: Mapping[str, str] | None = None) -> Runs:
    """The framework itself: a function from inputs by name to outputs in the model's order. Raises Error where it refuses the file or
    inputs; its process ends with the function."""
    errors = tempfile.TemporaryFile()  # noqa: SIM115  (closed with the process)
    folder = tempfile.TemporaryDirectory(prefix="mlcc-")
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", module, "judge", str(path.resolve())],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, cwd=folder.name, env={**os.environ, **(environment or {})},
    )  # fmt: skip
    assert process.stdin is not None and process.stdout is not None
    to, back = process.stdin, process.stdout

    def run(feed: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        try:
            _send(to, feed)
            answer = _received(back)
        except (OSError, EOFError):
            process.wait()
            errors.seek(0)
            raise _error(errors.read(), process.returncode, path) from None
        if "refused" in answer:
            raise Error("model", str(answer["refused"]), str(path))
        return [answer[str(i)] for i in range(len(answer))]

    weakref.finalize(run, _end, process, errors, folder)
    return run


def _end(process: subprocess.Popen[bytes], errors: IO[bytes], folder: tempfile.TemporaryDirectory[str]) -> None:
    process.kill()
    process.communicate()
    errors.close()
    folder.cleanup()


def _error(stderr: bytes, status: int, path: Path) -> Error:
    text = stderr.decode(errors="replace").strip()
    code, _, rest = text.rpartition(MARK)[2].strip().partition(" ")
    what, _, hint = rest.partition("\n")
    if code in CODES:
        return Error(code, what, str(path), hint.strip())
    last = (text.splitlines() or [""])[-1].strip()
    return Error("model", f"reading it ended with {status}{': ' if last else ''}{last[:200]}", str(path))


# ---- in the process apart ----


def output() -> IO[bytes]:
    """Where the answer goes. What the framework prints goes to stderr from here on."""
    out = os.dup(1)
    os.dup2(2, 1)
    sys.dont_write_bytecode = True
    return os.fdopen(out, "wb")


def main(read: Callable[[Path], T], converted: Callable[[T], bytes], runs: Callable[[T], Runs] | None = None) -> None:
    """What was asked of this process, for what `read` makes of the file."""
    what, path, out = sys.argv[1], Path(sys.argv[2]), output()
    try:
        model = read(path)
        if what == "judge" and runs is not None:
            serve(runs(model), out)
        else:
            out.write(converted(model))
            out.flush()
    except Error as e:
        sys.exit(f"{MARK} {e.code} {e.what}\n{e.hint}")


def serve(run: Runs, out: IO[bytes]) -> None:
    """Answer inputs until there are no more."""
    while True:
        try:
            feed = _received(sys.stdin.buffer)
        except EOFError:
            return
        try:
            answer = {str(i): np.asarray(a) for i, a in enumerate(run(feed))}
        except Exception as e:  # whatever a framework raises
            answer = {"refused": np.array(first_line(e))}
        _send(out, answer)


def first_line(e: BaseException) -> str:
    """What an exception says, in a line."""
    return (str(e).strip().splitlines() or [type(e).__name__])[0][:200]


# ---- both ----


def _send(to: IO[bytes], arrays: Mapping[str, np.ndarray]) -> None:
    """Names and arrays, text as NumPy's fixed-width strings; eight bytes before them say how many."""
    body = io.BytesIO()
    values = [a.astype(str) if a.dtype.kind == "O" else a for a in arrays.values()]
    np.savez(body, np.array(list(arrays), str), *values)
    to.write(len(body.getvalue()).to_bytes(8, "little") + body.getvalue())
    to.flush()


def _received(source: IO[bytes]) -> dict[str, np.ndarray]:
    size = source.read(8)
    if len(size) < 8:
        raise EOFError
    with np.load(io.BytesIO(source.read(int.from_bytes(size, "little")))) as held:
        return {str(name): held[f"arr_{i + 1}"] for i, name in enumerate(held["arr_0"])}
