"""mlcc targets"""

from __future__ import annotations

import click

from mlcc.cli.output import json_option, print_json, table


@click.command(epilog="Example:  mlcc targets x86_64-linux")
@click.argument("name", required=False)
@json_option
def command(name: str | None, as_json: bool) -> None:
    """List the targets, or describe NAME: what it compiles for and what runs it here."""
    from mlcc import plugin
    from mlcc.target import load, names

    chosen = [load(name)] if name else [load(n) for n in names()]
    rows = []
    for t in chosen:
        rows.append(
            {
                "name": t.name,
                "description": t.description,
                "backend": t.backend,
                "instruction_sets": [v.name for v in t.variants],
                "link": t.zig,
                "runs_here": plugin.runs(t),
                "resolved": t.resolved or t.name,
            }
        )
    if as_json:
        print_json(rows[0] if name else rows)
    elif name:
        for key, value in rows[0].items():
            shown = ", ".join(value) if isinstance(value, list) else value
            click.echo(f"{key:18} {shown if shown is not None else 'no: no such CPU, no emulator installed'}")
    else:
        table([[r["name"], r["runs_here"] or "no", r["description"]] for r in rows], ["target", "runs here", "what it is"])
