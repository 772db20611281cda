"""mlcc.toml: what a folder builds when `mlcc build` is called without arguments."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mlcc import toml, trust
from mlcc.artifact import plain
from mlcc.core import about
from mlcc.core.ranges import Range, parse_range
from mlcc.error import Error
from mlcc.names import library_name, printable, quoted
from mlcc.request import filled, tables

FILE = "mlcc.toml"
KEYS: dict[str, type] = {
    "model": str,
    "stage": list,  # of these, and of outputs, `mlcc.importers.composed` knows what may stand there
    "outputs": list,
    "targets": list,
    "out": str,
    "name": str,
    "key": str,
    "precision": str,
    "shapes": dict,
    "dims": dict,
    "samples": dict,
    "describe": dict,
    "fidelity": dict,
    "about": dict,
}


@dataclass(frozen=True)
class Project:
    """A parsed project file; paths are relative to its folder."""

    model: Path
    targets: tuple[str, ...]
    out: Path
    name: str
    key: Path | None
    shapes: dict[str, tuple[int | Range, ...]]
    precision: str
    settings: dict[str, dict[str, Any]] = field(default_factory=dict)
    samples: dict[str, tuple[Path, ...]] = field(default_factory=dict)
    describe: dict[str, dict[str, Any]] = field(default_factory=dict)
    dims: dict[str, int | Range] = field(default_factory=dict)
    fidelity: dict[str, float] = field(default_factory=dict)
    about: dict[str, Any] = field(default_factory=dict)


def load(path: Path) -> Project:
    """Read and check a project file. Raises Error(usage) naming file and line."""
    try:
        text = plain.read(path.resolve(), code="usage").decode()
    except FileNotFoundError:
        raise Error(
            "usage", f"no model given, and no {FILE} in this folder", hint="mlcc build MODEL --target T, or write one with: mlcc init MODEL"
        ) from None
    except (OSError, UnicodeDecodeError) as e:
        raise Error("usage", f"cannot read: {e}", str(path)) from None
    data = toml.parse(text, str(path))
    for key, value in data.items():
        line = next((i for i, row in enumerate(text.splitlines(), 1) if row.strip().lstrip("[").startswith(key)), 1)
        if isinstance(value, dict) and key not in KEYS and key in tables():
            filled(tables()[key], value, key, f"{path}, [{key}]")
            continue
        if key not in KEYS:
            raise Error("usage", f"unknown key {key}", f"{path}, line {line}", f"keys: {', '.join(KEYS)}")
        if not isinstance(value, KEYS[key]):
            raise Error("usage", f"{key} must be a {KEYS[key].__name__}", f"{path}, line {line}")
    for key in ("model", "targets"):
        if key not in data and not (key == "model" and "stage" in data):
            raise Error("usage", f"{key} is missing", str(path))
    if "model" in data and "stage" in data:
        raise Error("usage", "both model and [[stage]]", str(path), 'a model among stages is [[stage]] with model = "…"')
    root = path.parent
    place = (root / data.get("out", "dist")).resolve()
    if not place.is_relative_to(root.resolve()):
        trust.demand(text, str(path), f"it writes to {printable(str(place))}, outside its folder")
    return Project(
        root / data.get("model", path.name),
        tuple(_strings(data["targets"], path)),
        root / data.get("out", "dist"),
        data.get("name", "" if "model" in data else library_name(root.resolve().name)),
        root / data["key"] if "key" in data else None,
        {k: _dims(v, f"{path}, shapes.{k}") for k, v in data.get("shapes", {}).items()},
        data.get("precision", ""),
        {k: v for k, v in data.items() if k not in KEYS},
        {k: _files(v, root, f"{path}, samples.{k}") for k, v in data.get("samples", {}).items()},
        {k: _described(v, root, f"{path}, describe.{k}") for k, v in data.get("describe", {}).items()},
        {k: _size(v, f"{path}, dims.{k}") for k, v in data.get("dims", {}).items()},
        _limits(data.get("fidelity", {}), f"{path}, [fidelity]"),
        about.checked(data.get("about", {}), f"{path}, [about]"),
    )


def _section(data: dict[str, Any], known: dict[str, tuple[type, ...]], where: str) -> None:
    """Raise where a section has a key that is not known, or of another type."""
    for key, value in data.items():
        if key not in known:
            raise Error("usage", f"unknown key {key}", where, f"keys: {', '.join(known)}")
        if not isinstance(value, known[key]) or isinstance(value, bool) and bool not in known[key]:
            raise Error("usage", f"{key} must be a {known[key][0].__name__}", where)


def _limits(given: dict[str, Any], where: str) -> dict[str, float]:
    """How far outputs may be from the framework's own (`mlcc.conformance.fidelity`)."""
    _section(given, {"max_ulp": (int, float), "max_abs": (float, int), "argmax": (float, int)}, where)
    return {k: float(v) for k, v in given.items()}


DESCRIBE: dict[str, tuple[type, ...]] = {
    "layout": (str,),
    "channels": (str,),
    "unit": (str,),
    "text": (str,),
    "range": (list,),
    "labels": (list, str),
    "scale": (float, int),
    "zero_point": (int,),
}


def _described(value: Any, root: Path, where: str) -> dict[str, Any]:
    """What the project says of an input or output; labels may be a file with one on each line."""
    if not isinstance(value, dict):
        raise Error("usage", 'what an input is, in a table, such as x = { layout = "NHWC", unit = "dB" }', where)
    _section(value, DESCRIBE, where)
    found = dict(value)
    labels = found.get("labels")
    if isinstance(labels, str):
        try:
            found["labels"] = plain.read(root / labels, code="usage").decode().splitlines()
        except (OSError, UnicodeDecodeError) as e:
            raise Error("usage", f"cannot read: {e}", f"{where}.labels") from None
    if not all(isinstance(x, str) for x in found.get("labels", [])):
        raise Error("usage", "labels are texts, or the name of a file with one on each line", where)
    ends = found.get("range", [0, 0])
    if len(ends) != 2 or not all(isinstance(x, int | float) and not isinstance(x, bool) for x in ends):
        raise Error("usage", "range is two numbers: the lowest and the highest", where)
    return found


def _strings(values: list[Any], path: Path) -> list[str]:
    if not values or not all(isinstance(v, str) for v in values):
        raise Error("usage", "targets must be a list of names", str(path), "`mlcc targets` lists them")
    return values


def _files(value: Any, root: Path, where: str) -> tuple[Path, ...]:
    names = [value] if isinstance(value, str) else value
    if not isinstance(names, list) or not all(isinstance(n, str) for n in names):
        raise Error("usage", 'samples are .npy files, such as x = "x.npy" or x = ["a.npy", "b.npy"]', where)
    return tuple(root / n for n in names)


def _dims(value: Any, where: str) -> tuple[int | Range, ...]:
    if not isinstance(value, list):
        raise Error("usage", 'a shape is a list of sizes, such as [1, 3, 224, "32..640:32"]', where)
    return tuple(_size(n, where) for n in value)


def _size(value: Any, where: str) -> int | Range:
    try:
        if isinstance(value, bool):
            raise ValueError
        return parse_range(str(value))
    except ValueError:
        raise Error("usage", f'{printable(str(value))} is no size, such as 224 or "1..512"', where) from None


def render(model: str, inputs: list[tuple[str, str, list[int | str]]]) -> str:
    """A commented project file for a model."""

    def dims(shape: list[int | str]) -> str:
        return ", ".join(str(d) if isinstance(d, int) else "1" for d in shape)

    lines = [
        "# What `mlcc build` builds here. Every key is listed; those behind # have the value shown.",
        "",
        f"model = {quoted(model)}",
        "",
        '# Targets: `mlcc targets` lists them. "native" is this machine.',
        'targets = ["native"]',
        "",
        '# out = "dist"        # artifacts go to out/<name>/<target>/',
        '# name = "…"         # of the library and its functions; by default from the file\'s name',
        '# key = "key.pem"     # Ed25519 key to sign with; by default your own, or $MLCC_SIGNING_KEY',
        "",
        "# Shapes of the inputs. A dimension that the model fixes must have the model's value.",
        "[shapes]",
    ]
    for name, dtype, shape in inputs:
        open_dims = [printable(str(d)) for d in shape if not isinstance(d, int)]
        note = f"  # {dtype}; the model leaves {', '.join(open_dims)} open: set what you need" if open_dims else f"  # {dtype}"
        lines.append(f"{'' if open_dims else '# '}{quoted(name)} = [{dims(shape)}]{note}")
    lines += [
        "",
        '# Sizes of dimensions that the model names; a range ("1..512", or "32..640:32") makes one artifact for all of its sizes.',
        "# [dims]",
        "",
        "# Real inputs (.npy) that become golden vectors, one file or a list for each input.",
        "# [samples]",
        *(f"# {quoted(name)} = {quoted('sample.npy')}" for name, _, _ in inputs[:1]),
        "",
        "# What users of the artifact must know of an input or output beyond the file: layout, channels, unit, range, labels, scale, "
        "zero_point, text.",
        "# [describe]",
        *(f'# {quoted(name)} = {{ unit = "dB" }}' for name, _, _ in inputs[:1]),
        "",
        "# Whose model it is and how it was trained, for manifest, README and SBOM; what the file says itself need not be said.",
        "# [about]",
        '# licence = "Apache-2.0"   # SPDX',
        '# author = "…"',
        '# description = "…"',
        '# dataset = "…"            # and dataset_sha256, revision (of the training code)',
        "# metrics = { accuracy = 0.93 }",
        "",
        "# For XLA's targets: programs for batches, dealt to several chips.",
        "# [serving]",
        "# batches = [4, 16]",
        '# chips = "v5e:2x2"',
        "# donate = false",
        "",
        "# For FPGAs and ASICs.",
        "# [hardware]",
        '# architecture = "dataflow"  # or "circuit", "engine"; by default whichever fits',
        "# interval = 0              # most cycles between inferences; 0: as few as fit",
        "# share = 0.7               # of the part",
    ]
    return "\n".join(lines) + "\n"
