"""Models that a framework holds in this process, rather than in a file."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mlcc.error import Error


def saved(model: Any, args: Sequence[Any], kwargs: Mapping[str, Any] | None, dynamic_shapes: Any, folder: Path) -> Path:
    """A model that a framework holds in this process, as that framework's own file in a folder. Raises Error(usage, unsupported)."""
    torch, jax = (sys.modules.get(n) for n in ("torch", "jax"))  # whoever holds a model has its framework
    if torch is not None and isinstance(model, torch.nn.Module | torch.export.ExportedProgram):
        from mlcc.importers.torch import save

        return save(model, args, kwargs, dynamic_shapes, folder)
    if jax is not None and callable(model):
        from mlcc.importers.jax import save as save_function

        if dynamic_shapes:
            raise Error(
                "usage", "dynamic_shapes are PyTorch's", hint="give jax.ShapeDtypeStruct(jax.export.symbolic_shape('b, 3'), …) in args"
            )
        return save_function(model, args, kwargs, folder)
    what = f"a {type(model).__name__} is no model"
    raise Error("usage", what, hint="give a file's path, or a torch.nn.Module or function of JAX and args=(example, …)")
