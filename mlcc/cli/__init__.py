"""The command line. Commands are loaded when called, so that `mlcc --help` answers at once."""

from __future__ import annotations

import os
import signal
import threading


def _at_once(number: int, frame: object) -> None:
    """Ctrl-C while modules are imported: nothing is half-made yet."""
    os.write(2, b"mlcc: interrupted\n")
    os._exit(130)


_ours = signal.getsignal(signal.SIGINT) is signal.default_int_handler and threading.current_thread() is threading.main_thread()
if _ours:
    signal.signal(signal.SIGINT, _at_once)

import atexit
import importlib
import io
import sys
from contextlib import AbstractContextManager, nullcontext
from typing import NoReturn

import click

from mlcc import __version__
from mlcc.error import Error

if _ours:
    signal.signal(signal.SIGINT, signal.default_int_handler)

COMMANDS = {
    "build": "Build a model for one or more targets.",
    "run": "Run an artifact on given or random inputs.",
    "verify": "Check an artifact's signature and every byte of it.",
    "inspect": "Show a model's or an artifact's graph, operators, sizes and memory plan.",
    "targets": "List the targets, or describe one.",
    "bench": "Time an artifact, side by side with other engines.",
    "init": "Write a commented mlcc.toml for a model.",
    "cache": "Show, clear or verify the cache.",
    "trust": "Allow a project's files to start programs and to write elsewhere.",
}


class Lazy(click.Group):
    """One module a command."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        found: click.Command = importlib.import_module(f"mlcc.cli.{name}").command
        return found

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(
    cls=Lazy,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Example:  mlcc build model.onnx --target x86_64-linux --target aarch64-linux",
)
@click.version_option(__version__, prog_name="mlcc")
def group() -> None:
    """mlcc deploys trained models by cross-compilation: one model, one answer, bit for bit, on every target."""


_interrupted: list[int] = []
_signalled: list[int] = []  # signals that asked for an end


def _leave() -> None:
    """Runs last of what runs at exit, workers being gone. A signal that came inside exec() (as in a dataclass's making) would else be the
    process's end, whatever code sys.exit was given."""
    if _interrupted:
        sys.stdout.flush()
        os._exit(_interrupted[0])


def _key_withheld() -> AbstractContextManager[None]:
    """No program that a command starts finds the signing key in its environment."""
    if "MLCC_SIGNING_KEY" not in os.environ:
        return nullcontext()
    from mlcc.artifact.keys import withheld

    return withheld()


def _terminate(number: int, frame: object) -> None:
    _signalled.append(number)
    raise KeyboardInterrupt


def _end_interrupted() -> NoReturn:
    print("mlcc: interrupted", file=sys.stderr, flush=True)
    _interrupted.append(130)
    sys.exit(130)


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit with its code: 0 done, 2 usage, 3 bad model, 4 unsupported, 5 verification, 6 toolchain, 7 conformance,
    130 interrupted."""
    atexit.register(_leave)
    signal.signal(signal.SIGTERM, _terminate)  # ends as Ctrl-C does: nothing half-made stays behind
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _terminate)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # names of a model may not be in the terminal's alphabet
    try:
        with _key_withheld():
            group.main(arguments, prog_name="mlcc", standalone_mode=False)
        sys.stdout.flush()
    except click.exceptions.Exit as e:
        sys.exit(e.exit_code)
    except click.ClickException as e:
        e.show()
        sys.exit(2)
    except (KeyboardInterrupt, click.Abort):
        _end_interrupted()
    except Error as e:
        if _signalled:
            _end_interrupted()
        print(f"mlcc: error: {e}", file=sys.stderr)
        sys.exit(e.exit_code)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except MemoryError:
        print("mlcc: error: not enough memory for this model", file=sys.stderr)
        sys.exit(4)
    except Exception as e:
        if _signalled:  # a library under us made another exception of it, as NumPy does while it is imported
            _end_interrupted()
        if os.environ.get("MLCC_DEBUG"):
            raise
        print(
            f"mlcc: error: internal: {type(e).__name__}: {' '.join(str(e).split())[:300]}\n  this is a bug in mlcc; MLCC_DEBUG=1 "
            f"shows where",
            file=sys.stderr,
        )
        sys.exit(1)
