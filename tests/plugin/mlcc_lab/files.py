"""An importer: .lab files are JSON, {"shape": [4], "steps": ["Abs", "Neg"], "offset": "FILE.txt"}, the offset in a file of its own."""

from __future__ import annotations

import json
from importlib.metadata import version
from pathlib import Path

import numpy as np
import onnx_ir as ir
from onnx import TensorProto, helper, numpy_helper

from mlcc.error import Error

suffixes = (".lab",)


def inputs(path: Path, raw: bytes) -> list[tuple[str, Path]]:
    name = json.loads(raw)["offset"]
    return [(name, path.parent / name)]


def tools() -> dict[str, str]:
    return {"lab-reader": version("mlcc-lab")}


def load(path: Path) -> ir.Model:
    try:
        said = json.loads(path.read_bytes())
        offset = np.float32((path.parent / said["offset"]).read_text())
    except (ValueError, KeyError, OSError) as e:
        raise Error("model", f"not a model of the lab's: {e}", str(path)) from None
    nodes = [helper.make_node("Add", ["x", "offset"], ["v0"])]
    nodes += [helper.make_node(op, [f"v{i}"], [f"v{i + 1}"]) for i, op in enumerate(said["steps"])]
    nodes.append(helper.make_node("Identity", [f"v{len(said['steps'])}"], ["y"]))
    x, y = (helper.make_tensor_value_info(n, TensorProto.FLOAT, said["shape"]) for n in "xy")
    graph = helper.make_graph(nodes, "lab", [x], [y], [numpy_helper.from_array(offset, "offset")])
    return ir.from_proto(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9))
