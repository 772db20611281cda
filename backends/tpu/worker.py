"""What needs JAX, in a process of its own: python -m mlcc_backends.tpu.worker compile|run FOLDER.

JAX reads its settings when it is imported, libtpu prints what it likes, and both stay in memory: none of that is the caller's business.
"""

from __future__ import annotations

import json
import pickle
import sys
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax import lax
from jax.experimental import serialize_executable, topologies

from mlcc.graph.core import CoreGraph
from mlcc_backends.tpu.operators import ExactFloats, Floats, function

PLATFORMS = ("cpu", "cuda", "rocm", "tpu")  # that the portable program is for


def compile(folder: Path, settings: dict[str, Any]) -> dict[str, Any]:
    """model.stablehlo (portable bytecode), model.jax (the same as jax.export keeps it), model.tpu where there is a topology, and what XLA says of it."""
    graph: CoreGraph = pickle.loads((folder / "graph.pickle").read_bytes())
    floats = ExactFloats() if settings["exact"] else Floats(lax.Precision.HIGHEST)
    run = jax.jit(function(graph, floats))
    shapes = [jax.ShapeDtypeStruct(graph.types[v].shape, np.zeros(0, _dtype(graph, v)).dtype) for v in graph.inputs]
    exported = jax.export.export(run, platforms=PLATFORMS)(*shapes)
    (folder / "model.stablehlo").write_bytes(exported.mlir_module_serialized)
    (folder / "model.jax").write_bytes(exported.serialize())
    found: dict[str, Any] = {"calling_convention": exported.calling_convention_version}
    if settings["topology"]:
        description = topologies.get_topology_desc(platform="tpu", topology_name=settings["topology"])
        device = jax.sharding.SingleDeviceSharding(description.devices[0])
        placed = [jax.ShapeDtypeStruct(s.shape, s.dtype, sharding=device) for s in shapes]
        executable = run.lower(*placed).compile()
        payload, _, _ = serialize_executable.serialize(executable)
        (folder / "model.tpu").write_bytes(payload)
        cost = executable.cost_analysis() or {}
        memory = executable.memory_analysis()
        found |= {
            "flops": int(cost.get("flops", 0)),
            "bytes_accessed": int(cost.get("bytes accessed", 0)),
            "optimal_microseconds": round(float(cost.get("optimal_seconds", 0)) * 1e6, 3),
            "temporary_bytes": int(memory.temp_size_in_bytes) if memory else 0,
            "code_bytes": int(memory.generated_code_size_in_bytes) if memory else 0,
        }
    return found


def _dtype(graph: CoreGraph, value: str) -> Any:
    from mlcc.graph.core import DTYPES

    return DTYPES[graph.types[value].dtype]


def run(folder: Path) -> dict[str, Any]:
    """Outputs of model.jax for each of the inputs in feeds.pickle, to outputs.pickle, on whatever platform JAX has here."""
    exported = jax.export.deserialize((folder / "model.jax").read_bytes())
    call = jax.jit(exported.call)
    feeds = pickle.loads((folder / "feeds.pickle").read_bytes())
    outputs = [[np.asarray(y) for y in call(*feed)] for feed in feeds]
    (folder / "outputs.pickle").write_bytes(pickle.dumps(outputs))
    return {"device": f"XLA on {jax.devices()[0].device_kind}"}


def main() -> None:
    what, place = sys.argv[1], Path(sys.argv[2])
    settings = json.loads((place / "settings.json").read_text()) if what == "compile" else {}
    found = compile(place, settings) if what == "compile" else run(place)
    (place / "found.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main()
