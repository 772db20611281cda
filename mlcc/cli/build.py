"""mlcc build"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from mlcc.cli.output import human, json_option, print_json, progress, table
from mlcc.core.ranges import Range, parse_range
from mlcc.error import Error


def parse_shapes(values: tuple[str, ...]) -> dict[str, tuple[int | Range, ...]]:
    """NAME=1x3x320x320 …, or with ranges: NAME=1x3x(32..640:32)x1..512"""
    found = {}
    for text in values:
        name, separator, dims = text.rpartition("=")
        try:
            shape = tuple(parse_range(d) for d in dims.split("x")) if dims else ()
            if not separator or not name:
                raise ValueError
        except ValueError:
            raise Error("usage", f"--shape {text} is not of the form NAME=1x3x320x320, or with ranges such as 1..512") from None
        found[name] = shape
    return found


def parse_dims(values: tuple[str, ...]) -> dict[str, int | Range]:
    """NAME=1..512 …"""
    found = {}
    for text in values:
        name, separator, size = text.rpartition("=")
        try:
            if not name:
                raise ValueError
            found[name] = parse_range(size)
        except ValueError:
            raise Error("usage", f"--dim {text} is not of the form NAME=1..512") from None
    return found


def parse_settings(values: tuple[str, ...], slot: str | None, key: Path | None) -> dict[str, dict[str, Any]]:
    """TABLE.KEY=VALUE …, the value as TOML writes it, or plain text."""
    found: dict[str, dict[str, Any]] = {}
    for text in values:
        name, separator, value = text.partition("=")
        table, dot, entry = name.partition(".")
        if not separator or not dot or not table or not entry:
            raise Error("usage", f"--set {text} is not of the form TABLE.KEY=VALUE", hint="such as hardware.share=0.5")
        try:
            parsed = tomllib.loads(f"x = {value}")["x"]
        except (tomllib.TOMLDecodeError, KeyError, RecursionError):
            parsed = value
        found.setdefault(table, {})[entry] = parsed
    for entry, given in (("slot", slot), ("key", str(key) if key else None)):
        if given is not None:
            found.setdefault("mcuboot", {})[entry] = given
    return found


@click.command(epilog="Example:  mlcc build model.onnx --target x86_64-linux --target aarch64-linux --shape input=1x3x224x224 -o dist")
@click.argument("model", type=click.Path(path_type=Path), required=False)
@click.option(
    "--target", "-t", "targets", multiple=True, metavar="T", help="A target's name (`mlcc targets`), or a TOML file; may be given again."
)
@click.option(
    "--shape", "shapes", multiple=True, metavar="NAME=DIMS",
    help="Shape of an input, such as x=1x3x320x320; ranges as 1..512 or (32..640:32) make one artifact for all of their sizes. "
    "Text whose letters a model reads takes one number more, the most characters: words=3x128.",
)  # fmt: skip
@click.option("--dim", "dims", multiple=True, metavar="NAME=SIZE", help="Size of a dimension that the model names, such as seq=1..512.")
@click.option("-o", "--out", type=click.Path(path_type=Path), help="Folder for artifacts [default: dist].")
@click.option("--name", default="", help="Name of the library and its functions [default: from the file's name].")
@click.option(
    "--key", type=click.Path(path_type=Path), help="Ed25519 private key (PEM) to sign with [default: $MLCC_SIGNING_KEY, else your own]."
)
@click.option("--compiler", default="zig", metavar="CC", help="C compiler and linker: the built-in one, or a system compiler's command.")
@click.option("--depfile", type=click.Path(path_type=Path), help="Write the files that were read, for Make and Ninja.")
@click.option("--jobs", "-j", type=int, default=0, help="Processes [default: one a core].")
@click.option(
    "--precision",
    type=click.Choice(["float32", "bf16"]),
    help="bf16: products with weights in bfloat16, sums in binary32; other bits, the same on every target [default: float32].",
)
@click.option(
    "--tune", is_flag=True, help="Measure kernels' tiles on this machine and write the best to the lock file; bits stay the same."
)
@click.option("--lock", type=click.Path(path_type=Path), help="The lock file [default: mlcc.lock in this folder, where there is one].")
@click.option("--flash", metavar="SIZE", help="Flash that a microcontroller has, such as 256K: fail early where the model does not fit.")
@click.option("--ram", metavar="SIZE", help="RAM that a microcontroller has, such as 64K.")
@click.option(
    "--emit",
    metavar="LIST",
    default="",
    help="Further packagings, with commas: for microcontrollers zephyr, platformio, arduino, esp-idf, cmsis-pack, mcuboot; for FPGAs "
    "bitstream; and plugins'.",
)
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="TABLE.KEY=VALUE",
    help="What mlcc.toml's tables say, such as hardware.share=0.5; may be given again.",
)
@click.option("--pass", "passes", multiple=True, metavar="NAME", help="A plugin's rewrite of the graph; may be given again.")
@click.option("--version", "version", default="1.0.0", help="Version of what --emit makes [default: 1.0.0].")
@click.option(
    "--model-slot", metavar="ADDRESS:SIZE", help="Flash slot of the mcuboot image, such as 0x08080000:256K; as --set mcuboot.slot."
)
@click.option("--image-key", type=click.Path(path_type=Path), help="Key (PEM) to sign the mcuboot image with [default: the artifact's].")
@click.option(
    "--sample", "samples", multiple=True, metavar="NAME=FILE", help="A real input (.npy) as a further golden vector; may be given again."
)
@click.option(
    "--limit",
    "limits",
    multiple=True,
    metavar="NAME=N",
    help="Let the model ask for more: operators, value, memory (bytes), work, such as memory=8G.",
)
@click.option("--strict", is_flag=True, help="Fail where some operator is not exercised by the golden vectors.")
@click.option("--check", is_flag=True, help="Validate the graph after each pass, its types inferred again: to find which pass is at fault.")
@click.option(
    "--trust-pickle", is_flag=True, help="Read a pickled model (.joblib, .pkl), which runs what it says, in a process of its own."
)
@click.option(
    "--functions", "functions", multiple=True, metavar="FILE", type=click.Path(path_type=Path),
    help="An ONNX file whose functions are operators that the model calls; may be given again.",
)  # fmt: skip
@click.option("--no-judge", is_flag=True, help="Do not compare the artifact's outputs with ONNX Runtime's (the report then says so).")
@click.option("--no-cache", is_flag=True, help="Ignore every cache.")
@click.option("--no-test", is_flag=True, help="Do not run the golden vectors (the artifact then says so).")
@json_option
def command(
    model: Path | None,
    targets: tuple[str, ...],
    shapes: tuple[str, ...],
    dims: tuple[str, ...],
    out: Path | None,
    name: str,
    key: Path | None,
    compiler: str,
    depfile: Path | None,
    jobs: int,
    precision: str | None,
    tune: bool,
    lock: Path | None,
    flash: str | None,
    ram: str | None,
    emit: str,
    settings: tuple[str, ...],
    passes: tuple[str, ...],
    version: str,
    model_slot: str | None,
    image_key: Path | None,
    samples: tuple[str, ...],
    limits: tuple[str, ...],
    strict: bool,
    check: bool,
    trust_pickle: bool,
    functions: tuple[Path, ...],
    no_judge: bool,
    no_cache: bool,
    no_test: bool,
    as_json: bool,
) -> None:
    """Build MODEL for one or more targets: signed, tested and reproducible. Without MODEL, build what mlcc.toml says."""
    from mlcc import project
    from mlcc.limits import parse as parse_limits
    from mlcc.lock import FILE as LOCK
    from mlcc.model_file import entered, neighbours
    from mlcc.pipeline import run
    from mlcc.request import Request
    from mlcc.sizes import parse_size

    given, told = parse_shapes(shapes), parse_settings(settings, model_slot, image_key)
    from_project: dict[str, tuple[Path, ...]] = {}
    describe: dict[str, dict[str, Any]] = {}
    named: Mapping[str, int | Range] = {}
    fidelity: Mapping[str, float] = {}
    about: Mapping[str, Any] = {}
    files = [project.FILE] if model is None else []
    if model is None:
        p = project.load(Path(project.FILE))
        model, targets, out, name = p.model, targets or p.targets, out or p.out, name or p.name
        from_project, describe, named, fidelity, about = p.samples, p.describe, p.dims, p.fidelity, p.about
        told = {title: {**p.settings.get(title, {}), **told.get(title, {})} for title in {**p.settings, **told}}
        key, given, precision = key or p.key, {**p.shapes, **given}, precision or p.precision
    model = entered(model)
    if not targets:
        raise Error("usage", "no target given", hint="name one: --target native")
    if lock is None and (tune or Path(LOCK).exists()):
        lock = Path(LOCK)
    options: dict[str, Any] = {"jobs": jobs} if jobs > 0 else {}
    request = Request(
        model,
        targets,
        out or Path("dist"),
        name,
        given,
        key,
        not no_cache,
        compiler,
        check=not no_test,
        precision=precision or "float32",
        lock=lock,
        tune=tune,
        flash=parse_size(flash, "--flash") if flash is not None else None,
        ram=parse_size(ram, "--ram") if ram is not None else None,
        emit=tuple(k for k in emit.split(",") if k),
        version=version,
        settings=told,
        passes=passes,
        samples=_samples(samples) or from_project,
        describe=describe,
        dims={**named, **parse_dims(dims)},
        limits=parse_limits(limits),
        strict=strict,
        judge=not no_judge,
        validate=check,
        trust_pickle=trust_pickle,
        fidelity=fidelity,
        about=about,
        functions=functions,
        **options,
    )
    with progress() as report:
        result = run(request, report)
    if depfile:
        outputs = [f"{a['path']}/manifest.json" for a in result["artifacts"]]
        theirs = [str(file) for _, file in neighbours(model, model.read_bytes() if model.is_file() else b"")]
        _write_depfile(depfile, outputs, [str(model), *files, *map(str, functions), *theirs])
    if as_json:
        print_json(result)
        return
    for note in result["notes"]:
        click.echo(f"note: {note}")
    table(
        [
            [a["target"], a["class"], a["conformance"], human(a["library_bytes"]), human(a["arena_bytes"]), a["path"]]
            for a in result["artifacts"]
        ],
        ["target", "class", "conformance", "library", "arena", "artifact"],
    )
    click.echo(
        f"{result['model']}: program {result['program_digest'][:16]}, outputs {result['output_digest'][:16]}, {result['seconds']:.1f} s"
    )


def _samples(values: tuple[str, ...]) -> dict[str, tuple[Path, ...]]:
    """NAME=FILE …"""
    found: dict[str, tuple[Path, ...]] = {}
    for text in values:
        name, separator, path = text.rpartition("=")
        if not separator or not name or not path:
            raise Error("usage", f"--sample {text} is not of the form NAME=FILE.npy")
        found[name] = (*found.get(name, ()), Path(path))
    return found


def _write_depfile(path: Path, outputs: list[str], inputs: list[str]) -> None:
    """`outputs: inputs` with blanks, # and $ escaped as Make and Ninja read them."""
    from mlcc.artifact.write import file

    def escape(text: str) -> str:
        if not set(text).isdisjoint("\n\r\t\v\f\0"):
            raise Error("usage", "Make and Ninja have no way to write this file's name", text, "rename it, or leave --depfile away")
        return text.replace("\\", "\\\\").replace("$", "$$").replace("#", "\\#").replace(" ", "\\ ")

    file((" ".join(map(escape, outputs)) + ": " + " ".join(map(escape, inputs)) + "\n").encode(), path)
