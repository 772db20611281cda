"""mlcc cache"""

from __future__ import annotations

import click

from mlcc.cli.output import human, json_option, print_json
from mlcc.error import Error


@click.command(epilog="Example:  mlcc cache clear")
@click.argument("what", type=click.Choice(["show", "clear", "verify"]), default="show")
@json_option
def command(what: str, as_json: bool) -> None:
    """Show what the cache holds, clear it, or verify each of its entries against the digest that it was kept with. MLCC_CACHE says where it
    is, MLCC_CACHE_LIMIT how much it may hold (10G): what was used longest ago goes first. A damaged entry is never used; `verify` removes
    those, exit 5."""
    from mlcc.cache import bound
    from mlcc.cache.store import cache_folder

    folder = cache_folder() / "actions"
    found: dict[str, object] = {"folder": str(folder), "limit_bytes": bound.limit()}
    damaged = []
    if what == "clear":
        removed, freed = bound.clear(folder)
        found |= {"removed": removed, "removed_bytes": freed}
    elif what == "verify":
        damaged = bound.damaged(folder)
        found["damaged"] = [str(p) for p in damaged]
    known = list(bound.entries(folder))
    size = sum(e.bytes for e in known)
    found |= {"entries": len(known), "bytes": size}
    if as_json:
        print_json(found)
    else:
        if what == "clear":
            click.echo(f"{found['removed']} entries removed, {human(freed)}")
        click.echo(f"{folder}: {len(known)} entries, {human(size)} of at most {human(bound.limit())}")
    if damaged:
        raise Error("verification", f"{len(damaged)} damaged entries, removed", str(folder), "is the disk all right?")
