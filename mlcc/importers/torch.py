"""PyTorch exported programs (`torch.export.save`, .pt2), through torch's own ONNX exporter. Extra: mlcc[torch]."""

from __future__ import annotations

import logging
from pathlib import Path

import onnx_ir as ir

from mlcc.cache.tools import packages
from mlcc.error import Error

OPSET = 20
suffixes = (".pt2",)


def inputs(path: Path, raw: bytes) -> list[tuple[str, Path]]:
    """One file holds all."""
    return []


def tools() -> dict[str, str]:
    return packages("torch", "onnxscript")


def load(path: Path) -> ir.Model:
    """Read an exported program; needs the extra `torch`."""
    try:
        import torch
    except ImportError:
        raise Error("usage", "reading .pt2 needs PyTorch", str(path), "pip install 'mlcc[torch]'") from None
    logging.getLogger("torch.export").setLevel(logging.CRITICAL)  # it logs a traceback beside the exception
    try:
        program = torch.export.load(str(path))
    except Exception as e:
        raise Error(
            "model",
            f"not a PyTorch exported program: {str(e).splitlines()[0] if str(e) else type(e).__name__}",
            str(path),
            "write it with torch.export.save",
        ) from None
    return convert(program, str(path))


def convert(program: torch.export.ExportedProgram, where: str) -> ir.Model:  # type: ignore[name-defined]  # noqa: F821
    """An ExportedProgram as an ONNX model."""
    import torch

    try:
        onnx_program = torch.onnx.export(program, dynamo=True, opset_version=OPSET, verbose=False)
    except Exception as e:
        raise Error("unsupported", f"torch cannot export this program to ONNX: {str(e).splitlines()[0]}", where) from None
    assert onnx_program is not None
    return onnx_program.model
