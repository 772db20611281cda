"""JAX's exported functions (`jax.export`, serialized) and StableHLO modules, as portable artifacts or text, in a process of their own.
Extra: mlcc[jax]."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir

from mlcc.cache.tools import packages
from mlcc.error import Error
from mlcc.importers import apart
from mlcc.importers.onnx import from_proto

suffixes = (".jax", ".stablehlo", ".mlir", ".mlirbc")
PLATFORM = "cpu"
SECONDS = 600
ENVIRONMENT = {"JAX_PLATFORMS": PLATFORM}


def inputs(path: Path, raw: bytes) -> list[tuple[str, Path]]:
    """One file holds all."""
    return []


def tools() -> dict[str, str]:
    return packages("jax", "jaxlib")


def load(path: Path) -> ir.Model:
    """Read an exported function or a module, in another process: MLIR ends the process that gives it what it does not expect."""
    return from_proto(onnx.load_from_string(apart.convert(__name__, path, SECONDS, ENVIRONMENT)))


def _judge(path: Path) -> apart.Runs:
    return apart.judge(__name__, path, ENVIRONMENT)


runtime = ("jax", _judge)


def save(model: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any] | None, folder: Path) -> Path:
    """A function of arrays with example arguments (arrays, jax.ShapeDtypeStruct, trees of these) as a file in a folder, named after it.
    Raises Error(usage, unsupported)."""
    import jax

    name = getattr(model, "__name__", type(model).__name__).strip("<>").lower()
    if not args and not kwargs:
        raise Error("usage", f"{name} has no example arguments", hint="mlcc.build(function, args=(x,), …)")
    try:
        given = model if hasattr(model, "lower") else jax.jit(model if inspect.isroutine(model) else lambda *a, **k: model(*a, **k))
        exported = jax.export.export(given, platforms=(PLATFORM,))(*args, **(kwargs or {}))
    except Exception as e:
        raise Error("unsupported", f"JAX cannot export it: {apart.first_line(e)}", name) from None
    path = folder / f"{name}.jax"
    path.write_bytes(exported.serialize())
    return path


# ---- in the other process ----


def main() -> None:
    def judged(held: tuple[bytes, Any]) -> apart.Runs:
        if held[1] is None:
            raise Error("unsupported", "a module without its function is not judged")
        return run(*held)

    apart.main(lambda path: (raw := path.read_bytes(), read(raw)), lambda held: converted(*held).SerializeToString(), judged)


def read(raw: bytes) -> Any:
    """What jax.export serialized; None where it is a module of StableHLO."""
    from mlcc.importers.stablehlo import MAGIC

    try:
        import jax.export
    except ImportError as e:
        raise Error("usage", f"reading it needs {e.name}", hint="pip install 'mlcc[jax]'") from None
    if raw.startswith(MAGIC) or raw.lstrip()[:1] in (b"#", b"m", b"/"):
        return None
    try:
        return jax.export.deserialize(bytearray(raw))
    except Exception as e:
        what = "neither an exported function of JAX nor a module of StableHLO"
        raise Error("model", f"{what}: {apart.first_line(e)}", hint="write it with jax.export.export(…)(…).serialize()") from None


def converted(raw: bytes, exported: Any) -> onnx.ModelProto:
    from jax._src.interpreters.mlir import make_ir_context

    from mlcc.importers import stablehlo

    try:
        module = stablehlo.parsed(make_ir_context(), raw if exported is None else bytes(exported.mlir_module_serialized))
    except Exception as e:
        raise Error("model", f"not a module of StableHLO: {apart.first_line(e)}") from None
    if exported is None:
        return stablehlo.converted(module)
    which = [np.array(i) for i, p in enumerate(exported.platforms) if p == PLATFORM]  # of several, its first argument says which
    fixed = which if len(exported.platforms) > 1 else []
    return stablehlo.converted(module, [exported.in_avals[i].shape for i in exported.module_kept_var_idx], fixed)


def run(raw: bytes, exported: Any) -> apart.Runs:
    """The function itself. Arguments that it does not read are no inputs, and are zeros here."""
    import jax

    names = [i.name for i in converted(raw, exported).graph.input]

    def answer(feed: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        given = {i: feed[n] for i, n in zip(exported.module_kept_var_idx, names)}
        zeros = [np.zeros([n if isinstance(n, int) else 1 for n in a.shape], a.dtype) for a in exported.in_avals]
        args, kwargs = jax.tree.unflatten(exported.in_tree, [given.get(i, zero) for i, zero in enumerate(zeros)])
        return [np.asarray(a) for a in jax.tree.leaves(exported.call(*args, **kwargs))]

    return answer


if __name__ == "__main__":
    main()
