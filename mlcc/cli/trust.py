"""mlcc trust"""

from __future__ import annotations

from pathlib import Path

import click


@click.command(epilog="Example:  mlcc trust boards/mine.toml")
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
def command(files: tuple[Path, ...]) -> None:
    """Allow FILES of a project, as they are now, to start programs of their own and to write outside their folder: target files with an
    emulator or linker flags that mlcc's own targets lack, an mlcc.toml with `out` elsewhere. Read them first."""
    from mlcc import trust

    for path in files:
        click.echo(f"{path}: trusted as it is now (SHA-256 {trust.allow(path)[:16]}…)")
