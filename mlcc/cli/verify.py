"""mlcc verify"""

from __future__ import annotations

from pathlib import Path

import click

from mlcc.cli.output import json_option, print_json


@click.command(epilog="Example:  mlcc verify dist/model/x86_64-linux --trust builder.pub")
@click.argument("artifact", type=click.Path(path_type=Path))
@click.option(
    "--trust",
    "trust",
    multiple=True,
    type=click.Path(path_type=Path),
    help="A public key (PEM) to trust, instead of your own; may be given again.",
)
@json_option
def command(artifact: Path, trust: tuple[Path, ...], as_json: bool) -> None:
    """Check that a trusted key signed ARTIFACT and that not one byte of it has changed. Exit 0, or 5 where it does not hold."""
    from mlcc.artifact.keys import load_public, own_public_keys
    from mlcc.artifact.sign import verify

    keys = [load_public(p) for p in trust] if trust else own_public_keys()
    statement = verify(artifact, keys)
    if as_json:
        print_json(
            {
                "artifact": str(artifact),
                "verified": True,
                "files": len(statement["subject"]),
                "builder": statement["predicate"]["runDetails"]["builder"]["id"],
            }
        )
    else:
        click.echo(f"{artifact}: signature holds, {len(statement['subject'])} files unchanged")
