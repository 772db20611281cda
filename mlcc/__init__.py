"""mlcc: deploying a trained model as cross-compilation. One model, one answer.

>>> import mlcc
>>> mlcc.build("model.onnx", target="native", out="dist")
>>> m = mlcc.load("dist/model/native", threads=2)
>>> m(x=array)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mlcc import later
from mlcc.error import Error
from mlcc.version import __version__

if TYPE_CHECKING:
    from mlcc.pipeline import build
    from mlcc.runtime import Model, load
    from mlcc.training import stage

later.install()

__all__ = ["Error", "Model", "__version__", "build", "load", "stage"]


def __getattr__(name: str) -> Any:
    """Loaded on use: `load` needs neither TVM nor onnx, and `import mlcc` needs nothing."""
    if name in ("load", "Model"):
        import mlcc.runtime

        return getattr(mlcc.runtime, name)
    if name == "build":
        from mlcc.pipeline import build

        return build
    if name == "stage":
        from mlcc.training import stage

        return stage
    raise AttributeError(f"module 'mlcc' has no attribute '{name}'")
