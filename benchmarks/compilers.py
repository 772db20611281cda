"""IREE and TVM as peers: both compile a model ahead, as mlcc does. TVM is untuned: its tuning takes hours a model."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np


def static(model: Path, feed: dict[str, np.ndarray], place: Path) -> tuple[Any, list[np.ndarray]]:
    """The model with the feed's shapes written into it, saved to `place`, and the feed in its order."""
    import onnx

    proto = onnx.load(str(model))
    for value in proto.graph.input:
        if value.name in feed:
            for d, n in zip(value.type.tensor_type.shape.dim, feed[value.name].shape):
                d.dim_value = n
    del proto.graph.value_info[:]
    proto = onnx.shape_inference.infer_shapes(proto)
    onnx.save(proto, str(place))
    known = {i.name for i in proto.graph.initializer}
    return proto, [feed[i.name] for i in proto.graph.input if i.name not in known]


def iree(model: Path, feed: dict[str, np.ndarray], threads: int) -> Callable[[], Any]:
    """Compiled by IREE's LLVM backend for this CPU."""
    import iree.compiler as compiler
    import iree.runtime as runtime

    with tempfile.TemporaryDirectory() as d:
        _, inputs = static(model, feed, Path(d) / "m.onnx")
        line = [sys.executable, "-m", "iree.compiler.tools.import_onnx", f"{d}/m.onnx", "--opset-version", "17", "-o", f"{d}/m.mlir"]
        subprocess.run(line, check=True, capture_output=True)
        options = ["--iree-llvmcpu-target-cpu=host"]
        binary = compiler.compile_file(f"{d}/m.mlir", input_type="auto", target_backends=["llvm-cpu"], extra_args=options)
    if threads > 1:
        runtime.flags.parse_flags(f"--task_topology_group_count={threads}")
    module = runtime.load_vm_flatbuffer(binary, driver="local-sync" if threads == 1 else "local-task")
    function = next(getattr(module, n) for n in module.vm_module.function_names if not n.startswith("__") and not n.endswith("$async"))

    def run() -> Any:
        result = function(*inputs)
        for r in result if isinstance(result, tuple | list) else [result]:
            r.to_host()
        return result

    return run


def tvm(model: Path, feed: dict[str, np.ndarray], threads: int) -> Callable[[], Any]:
    """Compiled by TVM's Relax with its default pipeline for this CPU."""
    import os

    os.environ["TVM_NUM_THREADS"] = str(threads)
    import tvm as t
    from tvm import relax
    from tvm.relax.frontend.onnx import from_onnx

    from mlcc.target import load, native

    with tempfile.TemporaryDirectory() as d:
        proto, arrays = static(model, feed, Path(d) / "m.onnx")
    module = from_onnx(proto, {n: list(a.shape) for n, a in feed.items()}, keep_params_in_input=False)
    cpu = dict(load(native()).variants[0].llvm)["mcpu"]
    machine = relax.VirtualMachine(t.compile(module, t.target.Target({"kind": "llvm", "mcpu": cpu})), t.cpu())
    inputs = [t.runtime.tensor(a) for a in arrays]
    return lambda: machine["main"](*inputs)


COMPILERS = {"iree": iree, "tvm": tvm}
