"""PyTorch exported programs (`torch.export.save`, .pt2), through torch's own ONNX exporter; modules with example inputs are exported first.
Extra: mlcc[torch]."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir

from mlcc.cache.tools import packages
from mlcc.error import Error
from mlcc.importers import DIMS
from mlcc.importers.apart import first_line

OPSET = 20
NAMES = "mlcc.json"  # in a program that we save: how its open sizes are called
MOST = 1 << 20  # what a size that has no bound is said to be below
suffixes = (".pt2",)


def inputs(path: Path, raw: bytes) -> list[tuple[str, Path]]:
    """One file holds all."""
    return []


def tools() -> dict[str, str]:
    return packages("torch", "onnxscript")


def load(path: Path) -> ir.Model:
    """Read an exported program; needs the extra `torch`. Sizes that it leaves open keep their bounds."""
    told = {NAMES: ""}
    program = _read(path, told)
    return with_sizes(convert(program, str(path)), program, json.loads(told[NAMES] or "{}"))


def with_sizes(model: ir.Model, program: Any, names: Mapping[str, str]) -> ir.Model:
    """The open sizes of inputs under the names that they were given (`names`: "input.axis" → name), and what the program says of their
    range."""
    renamed = {}
    for i, value in enumerate(model.graph.inputs):
        for axis, dim in enumerate(value.shape or ()):
            if isinstance(dim, ir.SymbolicDim) and dim.value and f"{i}.{axis}" in names:
                renamed[str(dim.value)] = names[f"{i}.{axis}"]
    ranges = {}
    for symbol, bound in program.range_constraints.items():
        if str(bound.upper).isdigit() and int(bound.upper) < MOST:  # it may be infinite
            ranges[renamed.get(str(symbol), str(symbol))] = f"{max(1, int(bound.lower))}..{int(bound.upper)}"
    for value in (*model.graph.inputs, *(v for node in model.graph for v in node.outputs)):
        if value.shape is not None:
            sizes = [renamed.get(str(d.value), d.value) if isinstance(d, ir.SymbolicDim) else d for d in value.shape]
            value.shape = ir.Shape(sizes)
    if ranges:
        model.metadata_props[DIMS] = json.dumps(ranges)
    return model


def _read(path: Path, extra: dict[str, str] | None = None) -> Any:
    try:
        import torch
    except ImportError:
        raise Error("usage", "reading .pt2 needs PyTorch", str(path), "pip install 'mlcc[torch]'") from None
    logging.getLogger("torch.export").setLevel(logging.CRITICAL)  # it logs a traceback beside the exception
    try:
        return torch.export.load(str(path), extra_files=extra)
    except Exception as e:
        raise Error("model", f"not a PyTorch exported program: {first_line(e)}", str(path), "write it with torch.export.save") from None


def _judge(path: Path) -> Callable[[Mapping[str, np.ndarray]], list[np.ndarray]]:
    """PyTorch itself: the exported program's own code."""
    import torch
    from torch.utils import _pytree as trees

    program = _read(path)
    names = [str(n) for n in program.graph_signature.user_inputs if isinstance(n, str)]
    example, spec = trees.tree_flatten(program.example_inputs)
    places = [i for i, leaf in enumerate(example) if isinstance(leaf, torch.Tensor)]
    module = program.module()

    def run(feed: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        leaves = list(example)
        for i, name in zip(places, names):
            leaves[i] = torch.from_numpy(np.ascontiguousarray(feed[name])).to(example[i].dtype)
        args, kwargs = trees.tree_unflatten(leaves, spec)
        with torch.no_grad():
            found = module(*args, **kwargs)
        return [
            t.detach().cpu().float().numpy() if t.dtype == torch.bfloat16 else t.detach().cpu().numpy() for t in trees.tree_leaves(found)
        ]

    return run


runtime = ("torch", _judge)


def layers(path: Path) -> Callable[[Mapping[str, np.ndarray]], dict[str, np.ndarray]]:
    """What PyTorch computes within: the exporter keeps its nodes' names."""
    import torch

    program = _read(path).run_decompositions()
    found: dict[str, np.ndarray] = {}

    class Kept(torch.fx.Interpreter):  # type: ignore[misc]
        def run_node(self, node: Any) -> Any:
            made = super().run_node(node)
            if isinstance(made, torch.Tensor) and made.dtype != torch.bfloat16:
                found[node.name] = made.detach().numpy().copy()
            return made

    names = [str(n) for n in program.graph_signature.user_inputs if isinstance(n, str)]

    def run(feed: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        found.clear()
        module = program.module()
        with torch.no_grad():
            Kept(module).run(*(torch.from_numpy(np.ascontiguousarray(feed[n])) for n in names))
        return dict(found)

    return run


def save(model: Any, args: Sequence[Any], kwargs: Mapping[str, Any] | None, dynamic_shapes: Any, folder: Path) -> Path:
    """A module with example inputs (or an ExportedProgram) as a file in a folder, named after its class. Raises Error(usage), and
    Error(unsupported) where torch cannot export it."""
    import torch

    program, name = model, "program"
    if isinstance(model, torch.nn.Module):
        if not args and not kwargs:
            raise Error("usage", f"{type(model).__name__} has no example inputs", hint="mlcc.build(module, args=(x,), …)")
        name, training = type(model).__name__.lower(), model.training
        try:
            program = torch.export.export(model.eval(), tuple(args), dict(kwargs or {}), dynamic_shapes=dynamic_shapes)
        except Exception as e:
            raise Error("unsupported", f"torch cannot export it: {first_line(e)}", type(model).__name__) from None
        finally:
            model.train(training)
    path = folder / f"{name}.pt2"
    torch.export.save(program, path, extra_files={NAMES: json.dumps(_names(dynamic_shapes))})
    return path


def _names(dynamic_shapes: Any) -> dict[str, str]:
    """ "input.axis" → the name of its torch.export.Dim."""
    specs = list(dynamic_shapes.values() if isinstance(dynamic_shapes, Mapping) else dynamic_shapes or ())
    found = {}
    for i, spec in enumerate(specs):
        axes = spec.items() if isinstance(spec, Mapping) else enumerate(spec) if isinstance(spec, Sequence) else ()
        found.update({f"{i}.{axis}": dim.__name__ for axis, dim in axes if hasattr(dim, "__name__")})
    return found


def convert(program: torch.export.ExportedProgram, where: str) -> ir.Model:  # type: ignore[name-defined]  # noqa: F821
    """An ExportedProgram as an ONNX model."""
    import torch

    try:
        onnx_program = torch.onnx.export(program, dynamo=True, opset_version=OPSET, verbose=False)
    except Exception as e:
        raise Error("unsupported", f"torch cannot export this program to ONNX: {first_line(e)}", where) from None
    assert onnx_program is not None
    return onnx_program.model
