"""manifest.json: what an artifact is, for people and programs."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from math import prod
from pathlib import Path
from typing import Any, TypedDict, cast

from mlcc.artifact import plain
from mlcc.core.narrow import NARROW, TEXTS, held
from mlcc.core.ranges import evaluate, out_of_range
from mlcc.error import Error
from mlcc.names import C_TYPES

FILE = "manifest.json"
VERSION = 1


class _Named(TypedDict):
    name: str
    dtype: str
    shape: list[int]


class Tensor(_Named, total=False):
    """An input or output. draw: how golden vectors draw it; the rest is for people (`mlcc.core.describe.Description.entry`)."""

    draw: dict[str, Any]
    element: str  # the narrow type that its bytes stand for (`mlcc.core.narrow`)
    counts: list[tuple[int, str]]  # (axis, the output that says how much of it is meant)
    layout: str
    channels: str
    unit: str
    text: str
    range: list[float]
    labels: list[str]
    open: list[int | str]  # extents where a run decides some (`mlcc.core.terms.public`); `shape` has the largest
    scale: float
    zero_point: int


_Always = TypedDict(
    "_Always",
    {
        "mlcc": int,
        "model": str,
        "name": str,
        "model_digest": str,
        "program_digest": str,
        "output_digest": str,
        "version": str,
        "target": str,
        "resolved_target": str,
        "instruction_sets": list[str],
        "class": str,
        "precision": str,
        "conformance": str,
        "inputs": list[Tensor],
        "outputs": list[Tensor],
        "arena_bytes": int,
        "arena_lower_bound_bytes": int,
        "ram_bytes": int,
        "workspace_bytes": int,
        "constant_bytes": int,
        "library_bytes": int,
        "flash_bytes": int,
        "memory": dict[str, dict[str, int]],
        "parameters": int,
        "operators": dict[str, int],
        "kernels": int,
        "kernel_calls": int,
        "rewrites": dict[str, int],
        "licences": dict[str, str],
    },
)


class Allowed(TypedDict):
    """A size that a run decides: `least` to `most` in steps of `step`."""

    name: str
    least: int
    most: int
    step: int


class Manifest(_Always, total=False):
    """What an artifact is. Beyond these a backend may say more (`Binaries.figures`, `Binaries.facts`)."""

    sizes: list[Allowed]
    about: dict[str, Any]  # `mlcc.core.about`
    bound: dict[str, float]
    instructions: int
    cycles: int
    stack_bytes: int
    selftest_stack_bytes: int
    static_ram_bytes: int
    architectures: list[str]


def dumps(value: Any) -> bytes:
    """JSON with one form only: sorted keys, two spaces, a final newline."""
    return (json.dumps(value, sort_keys=True, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode()


PLAIN = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,90}")
ELEMENTS = 2**31


def _tensors(value: Any) -> bool:
    """Whether these are inputs or outputs: names, types and static shapes."""
    return isinstance(value, list) and all(
        isinstance(t, dict)
        and isinstance(t.get("name"), str)
        and isinstance(t.get("dtype"), str)
        and t["dtype"] in C_TYPES
        and isinstance(t.get("shape"), list)
        and all(_count(n) for n in t["shape"])
        and len(t["shape"]) <= 64
        and prod(t["shape"]) < ELEMENTS
        and _counts(t)
        and _open(t)
        and ("element" not in t or t["element"] in (*NARROW, *TEXTS) and t["dtype"] == held(t["element"]))
        for t in value
    )


def _open(tensor: dict[str, Any]) -> bool:
    """Extents that a run decides, as expressions (`mlcc.core.ranges.evaluate`)."""
    given = tensor.get("open", tensor["shape"])
    return (
        isinstance(given, list)
        and len(given) == len(tensor["shape"])
        and all(_count(n) or isinstance(n, str) and len(n) < 4096 for n in given)
    )


def _sizes(value: Any) -> bool:
    return isinstance(value, list) and all(
        isinstance(s, dict)
        and isinstance(s.get("name"), str)
        and PLAIN.fullmatch(s["name"]) is not None
        and all(_count(s.get(k)) and s[k] > 0 for k in ("least", "most", "step"))
        for s in value
    )


def _counts(tensor: dict[str, Any]) -> bool:
    given = tensor.get("counts", [])
    return isinstance(given, list) and all(
        isinstance(c, list) and len(c) == 2 and _count(c[0]) and c[0] < len(tensor["shape"]) and isinstance(c[1], str) for c in given
    )


def _count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**48


# what programs rely on, and how it must look
FIELDS: dict[str, Callable[[Any], bool]] = {
    "name": lambda v: isinstance(v, str) and PLAIN.fullmatch(v) is not None,
    "inputs": _tensors,
    "outputs": _tensors,
    **dict.fromkeys(("workspace_bytes", "arena_bytes", "library_bytes", "constant_bytes", "parameters", "kernel_calls"), _count),
    **dict.fromkeys(
        ("model", "model_digest", "program_digest", "output_digest", "target", "class", "conformance"), lambda v: isinstance(v, str)
    ),
    "instruction_sets": lambda v: isinstance(v, list) and all(isinstance(x, str) for x in v),
}
OPTIONAL: dict[str, Callable[[Any], bool]] = {
    **dict.fromkeys(
        (
            "instructions",
            "cycles",
            "kernels",
            "arena_lower_bound_bytes",
            "ram_bytes",
            "flash_bytes",
            "static_ram_bytes",
            "stack_bytes",
            "selftest_stack_bytes",
        ),
        _count,
    ),
    "sizes": _sizes,
    "architectures": FIELDS["instruction_sets"],
    "operators": lambda v: isinstance(v, dict),
}


def signature(data: Manifest) -> str:
    """Types and shapes of inputs and outputs, and the workspace's bytes, as the library says them (NAME_signature)."""
    groups = [
        "".join(f" {t['dtype']}[{','.join(map(str, t.get('open', t['shape'])))}]" for t in group)
        for group in (data["inputs"], data["outputs"])
    ]
    return f"{groups[0]} >{groups[1]} > {data['workspace_bytes']}"


def sizes_given(data: Manifest, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, int]:
    """The sizes that inputs of these shapes have, of those that a run decides. Raises Error(usage) where one is not allowed, or
    two differ."""
    allowed = {s["name"]: range(s["least"], s["most"] + 1, s["step"]) for s in data.get("sizes", [])}
    found: dict[str, int] = {}
    for t in data["inputs"] if allowed else ():
        for name, n in zip(t.get("open", ()), shapes[t["name"]]):
            if isinstance(name, str) and found.setdefault(name, n) != n:
                raise Error("usage", f"{name} is {n} here, and {found[name]} in another input", f"input {t['name']}")
    for name, n in found.items():
        if n not in allowed[name]:
            raise out_of_range(name, n, allowed[name], data["name"])
    return {name: found[name] for name in allowed}


def extents(tensor: Tensor, sizes: Mapping[str, int]) -> tuple[int, ...]:
    """A tensor's shape at some sizes."""
    return tuple(evaluate(n, sizes) for n in tensor.get("open", tensor["shape"]))


def read(folder: Path) -> Manifest:
    """The manifest of an artifact folder. Raises Error(verification) where it is none."""
    path = folder / FILE
    if not folder.is_dir():
        raise Error("usage", "no such artifact", str(folder), "give a folder that `mlcc build` wrote: DIR/<model>/<target>")
    try:
        data = json.loads(plain.read(path))
    except (OSError, ValueError, RecursionError):
        raise Error(
            "verification", f"no readable {FILE}", str(folder), "give a folder that `mlcc build` wrote: DIR/<model>/<target>"
        ) from None
    if not isinstance(data, dict) or data.get("mlcc") != VERSION:
        raise Error("verification", f"{FILE} is of another version", str(folder))
    for key, fits in (*FIELDS.items(), *((k, f) for k, f in OPTIONAL.items() if k in data)):
        if key not in data or not fits(data[key]):
            raise Error("verification", f"{FILE} is damaged: {key}", str(folder), "build the artifact again, or fetch it again")
    names = [t["name"] for t in data["inputs"]]
    if len(set(names)) != len(names):
        raise Error("verification", f"{FILE} is damaged: two inputs of one name", str(folder))
    if not {n for t in data["inputs"] for n in t.get("open", ()) if isinstance(n, str)} <= {s["name"] for s in data.get("sizes", ())}:
        raise Error("verification", f"{FILE} is damaged: a size that it does not name", str(folder))
    return cast(Manifest, data)
