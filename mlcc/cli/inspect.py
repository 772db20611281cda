"""mlcc inspect"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import click

from mlcc.cli.build import parse_shapes
from mlcc.cli.output import human, json_option, print_json, table
from mlcc.core.ranges import Range
from mlcc.error import Error, explained
from mlcc.names import printable


@click.command(epilog="Example:  mlcc inspect model.onnx --shape x=1x3x224x224")
@click.argument("what", type=click.Path(path_type=Path))
@click.option("--shape", "shapes", multiple=True, metavar="NAME=DIMS", help="Shape of an input of a model, such as x=1x3x320x320.")
@click.option("--graph", is_flag=True, help="List every node, and every buffer of the memory plan.")
@json_option
def command(what: Path, shapes: tuple[str, ...], graph: bool, as_json: bool) -> None:
    """Show a model file's or an artifact folder's operators, parameters, work, memory plan and sizes."""
    from mlcc.model_file import entered

    what = what if (what / "manifest.json").exists() else entered(what)
    about = artifact(what) if what.is_dir() else model(what, parse_shapes(shapes), graph)
    if as_json:
        print_json(about)
        return
    for key, value in about.items():
        if isinstance(value, list) and value and isinstance(value[0], dict):
            click.echo(f"{key}:")
            table(
                [[str(v) if not isinstance(v, list) else "x".join(map(str, v)) or "scalar" for v in row.values()] for row in value],
                list(value[0]),
            )
        elif isinstance(value, dict):
            click.echo(f"{printable(key):18} {printable(', '.join(f'{k} {v}' for k, v in value.items()), 4000)}")
        else:
            shown = human(value) + f" ({value})" if key.endswith("bytes") and isinstance(value, int) else printable(str(value))
            click.echo(f"{printable(key):18} {shown}")


def artifact(folder: Path) -> dict[str, Any]:
    from mlcc.artifact import manifest

    files = [{"file": p.relative_to(folder).as_posix(), "bytes": p.stat().st_size} for p in sorted(folder.rglob("*")) if p.is_file()]
    return {**manifest.read(folder), "files": files}


def model(path: Path, shapes: dict[str, tuple[int | Range, ...]], list_nodes: bool) -> dict[str, Any]:
    from mlcc import importers
    from mlcc.core.graph import digest
    from mlcc.graph.normalise import normalise
    from mlcc.graph.passes import optimise
    from mlcc.model_file import model_name
    from mlcc.program.lower import lower
    from mlcc.program.program import lifetimes
    from mlcc.program.statistics import multiply_adds

    source = importers.load(path)
    about: dict[str, Any] = {
        "file": str(path),
        "opset": source.opset_imports.get("", 0),
        "producer": f"{source.producer_name or '?'} {source.producer_version or ''}".strip(),
        "source_operators": dict(sorted(Counter(str(n.op_type) for n in source.graph).items())),
    }
    try:
        with explained("reading the graph", str(path), "model"):
            graph = optimise(normalise(source, model_name(path), shapes, str(path)))
    except Error as e:
        if e.code != "usage":
            raise
        about["inputs"] = [
            {"name": str(v.name), "type": str(v.dtype), "shape": [str(d) for d in (v.shape or [])]} for v in source.graph.inputs
        ]
        about["note"] = f"{e.what}; {e.hint}"
        return about
    program = lower(graph)
    t = graph.types
    about |= {
        "inputs": [{"name": n, "dtype": t[n].dtype, "shape": list(t[n].shape)} for n in graph.inputs],
        "outputs": [{"name": n, "dtype": t[n].dtype, "shape": list(t[n].shape)} for n in graph.outputs],
        "operators": dict(sorted(Counter(n.op for n in graph.nodes).items())),
        "parameters": graph.parameters,
        "multiply_adds": multiply_adds(program),
        "constant_bytes": sum(b.nbytes for b in program.buffers.values() if b.place == "constant"),
        "arena_bytes": program.arena_bytes,
        "arena_lower_bound_bytes": program.arena_lower_bound,
        "kernels": len(program.kernels),
        "kernel_calls": len(program.calls),
        "rewrites": dict(sorted(Counter(r.rule for r in graph.rewrites).items())),
        "program_digest": digest(graph),
    }
    if list_nodes:
        alive = lifetimes(program.calls, program.loops)
        arena = sorted((b for b in program.buffers.values() if b.place == "arena"), key=lambda b: (b.offset, alive[b.name]))
        about["memory_plan"] = [
            {"buffer": b.name, "offset": b.offset, "bytes": b.nbytes, "first_call": alive[b.name][0], "last_call": alive[b.name][1]}
            for b in arena
        ]
        about["nodes"] = [
            {
                "operator": n.op,
                "origin": n.origin,
                "output": n.outputs[0],
                "dtype": t[n.outputs[0]].dtype,
                "shape": list(t[n.outputs[0]].shape),
            }
            for n in graph.nodes
        ]
    return about
