"""Running artifacts from Python: `mlcc.load`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mlcc.artifact import manifest
from mlcc.runtime.model import Model, Tensor

__all__ = ["Model", "Tensor", "load", "verified"]


def verified(artifact: Path, trust: Sequence[str | Path] = ()) -> None:
    """Raise Error(verification) where no trusted key signed an artifact, or something of it has changed: it is code that is about to
    run."""
    from mlcc.artifact import sign
    from mlcc.artifact.keys import load_public, own_public_keys

    sign.verify(artifact, [load_public(Path(p)) for p in trust] if trust else own_public_keys())


def load(
    artifact: str | Path,
    threads: int = 1,
    variant: str | None = None,
    device: int = 0,
    verify: bool = True,
    trust: Sequence[str | Path] = (),
) -> Model:
    """Load an artifact folder for running; device: which GPU, for a GPU's. A key in `trust` (PEM files; none: your own, and those that you
    trust) must have signed it, and every byte be as signed, unless `verify` is off. Raises Error where it is none, not for this machine, or
    not verified."""
    if verify:
        verified(Path(artifact), trust)
    if manifest.read(Path(artifact)).get("architectures"):
        from mlcc.runtime.gpu import GpuModel

        return GpuModel(Path(artifact), device)
    return Model(Path(artifact), threads, variant)
