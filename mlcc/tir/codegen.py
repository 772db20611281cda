"""TIR functions → relocatable objects with a plain C interface, for any LLVM target."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import tvm


def object_code(function: Any, symbol: str, llvm: dict[str, Any]) -> bytes:
    """Compile one PrimFunc for an LLVM target (mtriple, mcpu, mattr…, as TVM names them)."""
    target = tvm.target.Target({"kind": "llvm", **llvm})
    module = tvm.IRModule({symbol: function.with_attr("global_symbol", symbol).with_attr("target", target)})
    with target:
        built = tvm.get_global_func("target.build.llvm")(module, target)
    with tempfile.TemporaryDirectory() as d:
        path = Path(d) / "kernel.o"
        built.write_to_file(str(path), "o")
        return path.read_bytes()
