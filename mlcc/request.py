"""What is asked of a build, and what it makes."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mlcc import plugin
from mlcc.core.ranges import Range
from mlcc.error import Error
from mlcc.limits import Limits
from mlcc.names import printable
from mlcc.section import section
from mlcc.target import Target, load, names

PRECISIONS = ("float32", "bf16")
Progress = Callable[[str], None]


@dataclass(frozen=True)
class Request:
    """What to build. shapes: input → dimensions; dims: a dimension's name in the file → its size; compiler: "zig" or a system compiler's
    command; jobs: processes; precision: "float32", or "bf16" for products with weights in bfloat16; lock: an mlcc.lock to follow, and
    with `tune` to write; flash, ram: bytes that a microcontroller has, where its target does not say; emit: names of further
    packagings; version: of the artifact; settings: what backends and packagings are told, by table: {"hardware": {"share": 0.5}}, or
    the table's own dataclass; passes: names of plugins' passes; samples: input → .npy files, real inputs that become golden vectors;
    describe: input or output → what the artifact says of it beyond the file (layout, unit, labels, … as
    `mlcc.core.describe.Description`); limits: what the model may ask for; strict: fail where some operator is not exercised by the
    golden vectors; judge: compare the artifact's outputs with an outside judge's; validate: the graph is checked after
    each pass; trust_pickle: a pickled model is read, which runs what it says; fidelity: how far
    outputs may be from the framework's own (`mlcc.conformance.fidelity.LIMITS`); about: whose model it is and how it was trained
    (`mlcc.core.about`); functions: ONNX files whose functions are operators that the model calls."""

    model: Path
    targets: tuple[str, ...]
    out: Path
    name: str = ""
    shapes: Mapping[str, tuple[int | Range, ...]] = field(default_factory=dict)
    key: Path | None = None
    cache: bool = True
    compiler: str = "zig"
    jobs: int = field(default_factory=lambda: int(os.environ.get("MLCC_JOBS") or os.cpu_count() or 1))
    check: bool = True
    precision: str = "float32"
    lock: Path | None = None
    tune: bool = False
    flash: int | None = None
    ram: int | None = None
    emit: tuple[str, ...] = ()
    version: str = "1.0.0"
    settings: Mapping[str, Any] = field(default_factory=dict)
    passes: tuple[str, ...] = ()
    samples: Mapping[str, tuple[Path, ...]] = field(default_factory=dict)
    describe: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    limits: Limits = field(default_factory=Limits)
    strict: bool = False
    judge: bool = True
    validate: bool = False
    dims: Mapping[str, int | Range] = field(default_factory=dict)
    trust_pickle: bool = False
    fidelity: Mapping[str, float] = field(default_factory=dict)
    about: Mapping[str, Any] = field(default_factory=dict)
    functions: tuple[Path, ...] = ()


@dataclass(frozen=True)
class Frozen:
    """A model past the freeze: what every target shares."""

    name: str
    model_digest: str
    identity: str
    outputs: str
    graph: Any
    program: Any
    meaning: Any  # the outputs in terms (mlcc.translation): what every program of the graph must compute
    vectors: Any
    coverage: Any  # what the vectors exercise
    verdict: Any  # the outside judge's
    about: Mapping[str, Any]  # whose model it is (`mlcc.core.about`)
    notes: list[str]


@dataclass(frozen=True)
class Built:
    """One target's result, as kept in the cache."""

    summary: dict[str, Any]
    files: Mapping[str, bytes | memoryview]
    layout: Mapping[str, bytes | memoryview]


@dataclass(frozen=True)
class Settled:
    """A request held against what is installed. options: of the packagings, by name; notes: what is asked that some targets have no use
    for."""

    targets: tuple[Target, ...]
    options: Mapping[str, Any]
    notes: tuple[str, ...]

    def packagings(self, request: Request, target: Target) -> dict[str, plugin.Packaging]:
        """Those that are asked for and take a target."""
        known = plugin.packagings() if request.emit else {}
        return {kind: known[kind] for kind in request.emit if not known[kind].refuses(target)}


def settle(request: Request, targets: Sequence[Target]) -> Settled:
    """Raises Error(usage) where something is asked that is unknown, or that no target has a use for."""
    if not targets:
        raise Error("usage", "no target", hint="name one: --target native")
    if request.precision not in PRECISIONS:
        raise Error("usage", f"no precision {request.precision}", hint=f"precisions: {', '.join(PRECISIONS)}")
    if not re.fullmatch(r"\d+(\.\d+){0,3}([-+][0-9A-Za-z.-]+)?", request.version):
        raise Error("usage", f"version {printable(request.version)} is not of the form 1.2.3")
    for name in request.passes:
        plugin.graph_pass(name)
    notes = _unused(request, targets)
    known = plugin.packagings() if request.emit or request.settings else {}
    options = {kind: known[kind].options() for kind in request.emit}
    for title, given in request.settings.items():
        kinds = {t.name: kind for t in targets if (kind := plugin.backend(t.backend).settings.get(title))}
        if title in known:
            if title in options:
                options[title] = filled(known[title].options, given, title)
        elif kinds:
            targets = [t.having(filled(kinds[t.name], given, title)) if t.name in kinds else t for t in targets]
        else:
            raise _useless(title, targets)
    return Settled(tuple(targets), options, tuple(notes))


def tables() -> dict[str, type]:
    """All tables of settings that are known: installed backends' and packagings'."""
    found = {title: kind for b in plugin.backends().values() for title, kind in b.settings.items()}
    return {**found, **{title: p.options for title, p in plugin.packagings().items()}}


def filled(kind: type[Any], given: Any, title: str, where: str = "") -> Any:
    """A table of settings as its dataclass."""
    return given if isinstance(given, kind) else section(kind, given, lambda key: where or (f"{title}.{key}" if key else f"[{title}]"))


def _useless(title: str, targets: Sequence[Target]) -> Error:
    """Settings that are for other targets, or for none."""
    for name, b in plugin.backends().items():
        if title in b.settings:
            such = [n for n in names() if load(n).backend == name]
            return Error(
                "usage", f"[{title}] is for other targets", ", ".join(t.name for t in targets), f"such as {' and '.join(such[:2])}"
            )
    return Error("usage", f"no settings are called {printable(title)}", hint=f"there are {', '.join(tables())}")


def _unused(request: Request, targets: Sequence[Target]) -> list[str]:
    """What is asked that some targets have no use for, in words. Raises Error(usage) where none has, or where a packaging is unknown."""
    notes = []
    known = plugin.packagings() if request.emit else {}
    for kind in request.emit:
        if kind not in known:
            raise Error("usage", f"cannot emit {printable(kind)}", hint=f"one of {', '.join(known)}")
        refused = {t.name: purpose for t in targets if (purpose := known[kind].refuses(t))}
        if len(refused) == len(targets):
            raise Error("usage", f"--emit {kind} is for {next(iter(refused.values()))}", ", ".join(refused))
        if refused:
            notes.append(f"{', '.join(refused)}: no {kind}, which is for {next(iter(refused.values()))}")
    for option, value in (("--flash", request.flash), ("--ram", request.ram)):
        others = [t.name for t in targets if not plugin.backend(t.backend).lowering(t).bounded]
        if value is not None and len(others) == len(targets):
            hint = "on other targets the manifest says what is needed"
            raise Error("usage", f"{option} is for microcontrollers", ", ".join(others), hint)
        if value is not None and others:
            notes.append(f"{', '.join(others)}: {option} is not checked, since it is for microcontrollers")
    return notes
