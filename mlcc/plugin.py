"""What others may add without touching a file of ours: backends, importers, packagings, passes and targets, found by entry points.

A plugin is whatever its entry point names: a module or an object that has what the protocol says. Groups: mlcc.backends, mlcc.importers,
mlcc.packagings, mlcc.passes (each name → plugin) and mlcc.targets (name → a package that holds TOML files).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

from mlcc.error import Error

if TYPE_CHECKING:
    import numpy as np
    import onnx_ir

    from mlcc.artifact.manifest import Manifest
    from mlcc.cache.store import Store
    from mlcc.core.graph import CoreGraph
    from mlcc.graph.freeze import Golden
    from mlcc.program.kernel import Kernel
    from mlcc.program.program import Program
    from mlcc.target import KernelTarget, Target


# ---- backends ----


@dataclass(frozen=True)
class KernelJob:
    """A kernel to be compiled: its symbol, what it computes, what for."""

    symbol: str
    kernel: Kernel
    target: KernelTarget


@dataclass(frozen=True)
class Sources:
    """Everything that `compile` needs: text and binary files by relative path, kernels by symbol."""

    name: str
    files: Mapping[str, bytes]
    jobs: tuple[KernelJob, ...]


@dataclass(frozen=True)
class Binaries:
    """What goes into the artifact (by relative path), what only the runner needs, and figures for the manifest (flash_bytes, …)."""

    name: str
    files: Mapping[str, bytes]
    private: Mapping[str, bytes] = field(default_factory=dict)
    figures: Mapping[str, int] = field(default_factory=dict)
    frames: Mapping[str, int] = field(default_factory=dict)  # bytes of stack that a measured figure lacks: of the callers above what is run
    exact: bool = True  # whether the contract holds for all of its arithmetic
    facts: Mapping[str, Any] = field(default_factory=dict)  # what the manifest and the summary say besides


@dataclass(frozen=True)
class CompileOptions:
    """store: the cache (None: ignore caches); compiler: "zig", or a system compiler's command; jobs: worker processes; model: the file's
    name and version: of what is built, for what names them."""

    store: Store | None = None
    compiler: str = "zig"
    jobs: int = 2
    progress: Callable[[str, int, int], None] | None = None
    model: str = ""
    version: str = "1.0.0"


@dataclass(frozen=True)
class Lowering:
    """The program that a backend wants of a target. compact: for small memories; vectors: weights packed for vectors; narrow: weights may
    lie as float16, or as bytes times a scale (kernel.Dot); bounded: flash and RAM are the chip's, so what does not fit is refused, or cut
    in strips; loops: calls may be repeated (else each turn is written out); open: sizes may be decided by a run."""

    compact: bool = False
    vectors: bool = False
    narrow: bool = False
    bounded: bool = False
    loops: bool = False
    open: bool = False


@dataclass(frozen=True)
class Environment:
    """What runs a target here. name: for reports ("native", "qemu-aarch64 7.2.0", …); prefix: what stands before a program."""

    name: str
    prefix: tuple[str, ...] = ()


@dataclass(frozen=True)
class Missing:
    """Nothing here runs a target. hint: what to install."""

    hint: str = "run it on such a machine"


class StepRunner(Protocol):
    """Of a backend that consumes programs: runs built binaries call by call, so that a difference can be traced to an operator."""

    big_endian: bool
    environment: str
    instructions: int | None  # of one inference, where that is counted: set by golden(0)
    figures: dict[str, int]  # what runs measured besides, for the manifest: stack_bytes, … (runners that measure nothing need not have it)
    passes: int  # runs of a golden vector, each over memory that holds another pattern

    def golden(self, vector: int, variant: int = -1) -> str | None:
        """The digest of the outputs for a golden vector, by the artifact's own self-test; None where this CPU lacks the variant."""

    def run(self, inputs: Sequence[bytes], steps: int = -1) -> tuple[list[bytes], bytes]:
        """(outputs, arena) after `steps` calls (all: −1)."""


class WholeRunner(Protocol):
    """Of a backend that consumes graphs: runs whole models at once."""

    environment: str
    exact: bool

    def outputs(self, feeds: Sequence[Sequence[np.ndarray]]) -> list[list[np.ndarray]]:
        """The outputs for each feed."""


class Backend(Protocol):
    """What turns a program, or a core graph, into an artifact's files.

    target_sections: tables of target files that are this backend's, each with its frozen dataclass (`Target.section`). settings: the same
    for tables of mlcc.toml and `--set TABLE.KEY=VALUE`. A class of either may have `commands`: what it would start, which a stranger's file
    needs the user's word for."""

    consumes: Literal["graph", "program"]
    target_sections: Mapping[str, type]
    settings: Mapping[str, type]
    packagings: Mapping[str, Packaging]

    def lowering(self, target: Target) -> Lowering: ...

    def emit(self, subject: Any, target: Target, vectors: Sequence[Golden]) -> Sources:
        """Pure: the same subject (Program, or CoreGraph where it consumes that) and target give the same bytes."""

    def compile(self, sources: Sources, target: Target, options: CompileOptions) -> Binaries: ...

    def environment(self, target: Target) -> Environment | Missing:
        """What would run the target here."""

    def runner(self, binaries: Binaries, target: Target, subject: Any) -> Any:
        """A StepRunner or a WholeRunner; None where nothing here runs the target."""

    def execute(self, artifact: Path, about: Manifest, feed: Mapping[str, np.ndarray], target: Target) -> dict[str, np.ndarray]:
        """Run a finished artifact under what `environment` names, where it is not native."""

    def tools(self, target: Target) -> Mapping[str, str]:
        """Name → version of all that decides the bytes, besides mlcc itself: part of cache keys, SBOM and provenance."""


# ---- packagings ----


@dataclass(frozen=True)
class Packed:
    """What a packaging may read: all that a build knows of one target. version: the artifact's; key: the PEM file that artifacts are signed
    with, where it is one; files: the artifact's so far, by path."""

    model: str
    version: str
    target: Target
    identity: str
    program: Program
    sources: Sources
    binaries: Binaries
    key: Path | None

    @property
    def files(self) -> Mapping[str, bytes]:
        return self.binaries.files


@dataclass(frozen=True)
class NoOptions:
    """Of packagings that are told nothing."""


class Packaging(Protocol):
    """A further form of an artifact (`--emit NAME`). options: its frozen dataclass, filled from `--set NAME.KEY=VALUE` and from mlcc.toml's
    [NAME]."""

    @property
    def options(self) -> type: ...

    def refuses(self, target: Target) -> str:
        """What it is for, where that is not this target: "microcontrollers"; else ""."""

    def files(self, built: Packed, options: Any) -> Mapping[str, bytes]:
        """Files to add, by path within the artifact."""

    def tools(self) -> Mapping[str, str]:
        """Name → version of what decides the bytes."""


# ---- importers and passes ----


class Importer(Protocol):
    """Reads a framework's files. Where a model is a folder, it has `folder`, the name of the file in it that says so; where reading some
    suffixes runs what a file says, `executes`, a tuple of these; where a file names other models, `within`, which gives their paths; where
    the framework can judge, `runtime`: its distribution's name, and what makes of a file a function from inputs by name to outputs in order
    (`mlcc.conformance.judge`); and where its inner values can be had too, `layers`, the same to all values by the imported model's
    names."""

    suffixes: tuple[str, ...]

    def inputs(self, path: Path, raw: bytes) -> Sequence[tuple[str, Path]]:
        """(name in the model, file) of what belongs to the model besides the file itself, whose bytes are `raw`: part of digests and
        depfiles."""

    def load(self, path: Path) -> onnx_ir.Model:
        """The file as an ONNX model. Raises Error(model) where it is not what it claims to be."""

    def tools(self) -> Mapping[str, str]:
        """Name → version of the framework's packages that take part."""


class Pass(Protocol):
    """A rewrite of the core graph that runs where it is asked for (`--pass NAME`). changes_rounding: whether results may differ from the
    model's own arithmetic; the reference, and every target, then compute the rewritten graph."""

    changes_rounding: bool

    def run(self, graph: CoreGraph) -> CoreGraph:
        """The graph with its rewrites noted. It is validated afterwards."""


# ---- finding them ----


@cache
def installed(group: str) -> Mapping[str, EntryPoint]:
    """Entry points of a group ("backends", …) by name. Raises Error(usage) where two packages claim one name."""
    found: dict[str, EntryPoint] = {}
    for e in entry_points(group=f"mlcc.{group}"):
        other = found.setdefault(e.name, e)
        if other.value != e.value:
            raise Error(
                "usage", f"two of mlcc.{group} are called {e.name}: {other.value} and {e.value}", hint="uninstall one of the packages"
            )
    return found


@cache
def _loaded(group: str, name: str) -> Any:
    return installed(group)[name].load()


def backend(name: str) -> Backend:
    """The backend of a name. Raises Error(usage)."""
    if name not in installed("backends"):
        raise Error("usage", f"no backend {name} is installed", hint=f"installed: {', '.join(sorted(installed('backends'))) or 'none'}")
    found: Backend = _loaded("backends", name)
    return found


def backends() -> dict[str, Backend]:
    return {name: backend(name) for name in sorted(installed("backends"))}


def importers() -> dict[str, Importer]:
    """By suffix."""
    found = {}
    for name in sorted(installed("importers")):
        one: Importer = _loaded("importers", name)
        found.update({suffix: one for suffix in one.suffixes})
    return found


def importer(model: Path) -> Importer | None:
    """What reads a file, by its suffix."""
    return importers().get(model.suffix.lower())


def folders() -> set[str]:
    """Names of the files that make a folder a model."""
    return {name for one in importers().values() if (name := getattr(one, "folder", ""))}


def within(model: Path) -> list[Path]:
    """Model files that a model names, which other importers read."""
    ask = getattr(importer(model), "within", None)
    return list(ask(model)) if ask else []


def runtime(model: Path) -> Any:
    """The runtime by which a model's own framework judges; None where it has none, as ONNX."""
    return getattr(importer(model), "runtime", None)


def packagings() -> dict[str, Packaging]:
    """The backends' own, and those that stand alone."""
    alone = {name: _loaded("packagings", name) for name in sorted(installed("packagings"))}
    return {**{k: p for b in backends().values() for k, p in b.packagings.items()}, **alone}


def graph_pass(name: str) -> Pass:
    """The pass of a name. Raises Error(usage)."""
    if name not in installed("passes"):
        raise Error("usage", f"no pass {name} is installed", hint=f"installed: {', '.join(sorted(installed('passes'))) or 'none'}")
    found: Pass = _loaded("passes", name)
    return found


def packages() -> tuple[str, ...]:
    """Top-level packages of all plugins: their code is part of every cache key."""
    groups = ("backends", "importers", "packagings", "passes", "targets")
    return tuple(sorted({e.module.partition(".")[0] for g in groups for e in installed(g).values()}))


def environment(target: Target) -> Environment | Missing:
    """What runs a target here."""
    return backend(target.backend).environment(target)


def runs(target: Target) -> str | None:
    """Its name; None where there is nothing."""
    found = environment(target)
    return found.name if isinstance(found, Environment) else None
