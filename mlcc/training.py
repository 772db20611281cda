"""Stages in training: the bits that devices will compute, from NumPy or torch."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from mlcc.error import Error


class Stage:
    """A stage's file (`mlcc.importers.composed`), or any model's, as a function of arrays. It is built for this machine, once where its
    file bounds its open sizes, else once for each shape that it is given; tensors of torch give tensors, which have no gradients."""

    def __init__(self, path: str | Path, **options: Any) -> None:
        from mlcc import importers
        from mlcc.model_file import entered

        self.path, self.options = entered(Path(path)), options
        model = importers.load(self.path, bool(options.get("trust_pickle")))
        held = {v.name for v in model.graph.initializers.values()}
        self.inputs = tuple(str(v.name) for v in model.graph.inputs if v.name not in held)
        self._open = importers.DIMS in model.metadata_props
        self._built: dict[Any, Any] = {}
        self._folder = tempfile.TemporaryDirectory(prefix="mlcc-")

    def __call__(self, *args: Any, **named: Any) -> Any:
        """One output as it is, several by name. Raises Error(usage) where inputs are missing or too many."""
        given = {**dict(zip(self.inputs, args)), **named}
        if set(given) != set(self.inputs) or len(args) + len(named) != len(given):
            raise Error("usage", f"inputs are {', '.join(self.inputs)}", str(self.path))
        torch: Any = sys.modules.get("torch")
        tensors = torch is not None and any(isinstance(a, torch.Tensor) for a in given.values())
        arrays = {n: a.detach().cpu().numpy() if hasattr(a, "detach") else np.asarray(a) for n, a in given.items()}
        found = self._model(arrays)(arrays)
        results = {n: torch.from_numpy(np.ascontiguousarray(a)) for n, a in found.items()} if tensors else dict(found)
        return next(iter(results.values())) if len(results) == 1 else results

    def _model(self, arrays: dict[str, np.ndarray]) -> Any:
        from mlcc.pipeline import build
        from mlcc.runtime import load

        key = None if self._open else tuple(a.shape for a in arrays.values())
        if key not in self._built:
            shapes = None if self._open else {n: a.shape for n, a in arrays.items()}
            out = Path(self._folder.name) / str(len(self._built))
            made = build(self.path, "native", shapes, out, **self.options)
            self._built[key] = load(made["artifacts"][0]["path"])
        return self._built[key]


def stage(path: str | Path, **options: Any) -> Stage:
    """A stage for training, or a whole model, from its file; options: as `mlcc.build` takes them. Raises mlcc.Error.

    >>> mel = mlcc.stage("mel.toml")
    >>> features = mel(audio)
    """
    return Stage(path, **options)
