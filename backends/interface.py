"""What a backend is: three functions over a Program. Registered in the entry-point group `mlcc.backends`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from math import prod
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from mlcc.cache.store import Store
from mlcc.error import Error
from mlcc.graph.core import DTYPES, ByteOrder, from_bytes
from mlcc.graph.freeze import Golden
from mlcc.names import printable
from mlcc.program.kernel import Kernel
from mlcc.program.program import Program
from mlcc.target import KernelTarget, Target


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


@dataclass(frozen=True)
class CompileOptions:
    """store: the cache (None: ignore caches); compiler: "zig", or a system compiler's command; jobs: worker processes."""

    store: Store | None = None
    compiler: str = "zig"
    jobs: int = 2
    progress: Callable[[str, int, int], None] | None = None


def received(raw: bytes, t: Mapping[str, Any], order: ByteOrder, artifact: str) -> np.ndarray:
    """An output that an artifact's program wrote, as its manifest says it is. Raises Error(verification) where it is of another size."""
    if len(raw) != DTYPES[t["dtype"]].itemsize * prod(t["shape"]):
        raise Error("verification", f"the program gives {len(raw)} bytes for {printable(t['name'])}, the manifest says otherwise", artifact)
    return from_bytes(raw, t["dtype"], order).reshape(t["shape"])


class Runner(Protocol):
    """Runs built binaries here."""

    big_endian: bool
    environment: str  # what ran it, for the report: "native", "qemu-aarch64 7.2.0", …
    instructions: int | None  # of one inference, where that is counted: set by golden(0)
    figures: dict[str, int]  # what runs measured besides, for the manifest: stack_bytes, … (runners that measure nothing need not have it)
    passes: int  # runs of a golden vector, each over memory that holds another pattern

    def golden(self, vector: int, variant: int = -1) -> str | None:
        """The digest of the outputs for a golden vector, by the artifact's own self-test; None where this CPU lacks the variant."""

    def run(self, inputs: Sequence[bytes], steps: int = -1) -> tuple[list[bytes], bytes]:
        """(outputs, arena) after `steps` calls (all: −1)."""


class Backend(Protocol):
    """A backend whose module says CONSUMES = "graph" is given the core graph where others are given the program; one that says
    NARROW = True takes weights that lie as float16, or as bytes times a scale (kernel.Dot)."""

    def emit(self, program: Program, target: Target, vectors: Sequence[Golden]) -> Sources: ...

    def compile(self, sources: Sources, target: Target, options: CompileOptions) -> Binaries: ...

    def runner(self, binaries: Binaries, target: Target, program: Program) -> Runner | None:
        """None where nothing here can run the target."""

    def execute(self, artifact: Path, about: Mapping[str, Any], feed: Mapping[str, np.ndarray], target: Target) -> dict[str, np.ndarray]:
        """Run a finished artifact under what `environment` names, where it is not native."""


def load(name: str) -> Backend:
    """The backend registered under a name."""
    found = {e.name: e for e in entry_points(group="mlcc.backends")}
    if name not in found:
        raise Error("usage", f"no backend {name} is installed", hint=f"installed: {', '.join(sorted(found)) or 'none'}")
    return found[name].load()
