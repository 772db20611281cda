"""mlcc init"""

from __future__ import annotations

from pathlib import Path

import click

from mlcc.cli.output import json_option, print_json
from mlcc.error import Error


@click.command(epilog="Example:  mlcc init model.onnx && mlcc build")
@click.argument("model", type=click.Path(path_type=Path))
@json_option
@click.option("--force", is_flag=True, help="Overwrite an existing mlcc.toml.")
def command(model: Path, force: bool, as_json: bool) -> None:
    """Write a commented mlcc.toml for MODEL, ready for `mlcc build`."""
    from mlcc import importers, project
    from mlcc.artifact.write import file
    from mlcc.graph.rules.elementwise import ONNX_DTYPES
    from mlcc.model_file import entered

    place = Path(project.FILE)
    if place.exists() and not force:
        raise Error("usage", "it exists already", str(place), "--force overwrites it")
    graph = importers.load(entered(model)).graph
    initial = {v.name for v in graph.initializers.values()}
    inputs = [
        (
            str(v.name),
            ONNX_DTYPES.get(int(v.dtype), "?") if v.dtype is not None else "?",
            [d if isinstance(d, int) else str(d) for d in (v.shape or [])],
        )
        for v in graph.inputs
        if v.name not in initial
    ]
    file(project.render(model.as_posix(), inputs).encode(), place)
    if as_json:
        print_json({"wrote": str(place), "inputs": [{"name": n, "dtype": d, "shape": s} for n, d, s in inputs]})
        return
    click.echo(f"wrote {place}: `mlcc build` builds it")
