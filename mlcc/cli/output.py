"""What commands print: JSON or tables on stdout, progress on stderr only where it is a terminal."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from mlcc.names import printable

json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON object and nothing else on stdout.")


def print_json(value: Any) -> None:
    click.echo(json.dumps(value, indent=2))


@contextmanager
def progress(quiet: bool = False) -> Iterator[Callable[[str], None]]:
    """A one-line status on a terminal; elsewhere nothing but lines that announce a new key."""
    if quiet or not sys.stderr.isatty():

        def plain(text: str) -> None:
            if text.startswith("made a signing key"):
                print(f"mlcc: {text}", file=sys.stderr)

        yield plain
        return
    from rich.console import Console

    console = Console(stderr=True)
    with console.status("starting") as status:

        def show(text: str) -> None:
            if text.startswith("made a signing key"):
                console.print(text)
            else:
                status.update(text)

        yield show


def table(rows: list[list[Any]], header: list[str]) -> None:
    """Plain columns."""
    cells = [[printable(str(c), 2000) for c in r] for r in (header, *rows)]
    widths = [max(len(r[i]) for r in cells) for i in range(len(header))]
    for i, row in enumerate(cells):
        line = "  ".join(c.ljust(w) for c, w in zip(row, widths)).rstrip()
        click.secho(line, bold=(i == 0) and sys.stdout.isatty())


def human(nbytes: int) -> str:
    """Bytes for people."""
    size, unit = float(nbytes), "B"
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024 or unit == "GiB":
            break
        size /= 1024
    return f"{int(size)} B" if unit == "B" else f"{size:.1f} {unit}"


def trust_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """--trust and --no-verify, of commands that run what an artifact holds."""
    trust = click.option(
        "--trust",
        multiple=True,
        type=click.Path(path_type=Path),
        help="A public key (PEM) to trust, instead of your own; may be given again.",
    )
    verify = click.option("--no-verify", is_flag=True, help="Run it without looking at its signature.")
    return trust(verify(command))
