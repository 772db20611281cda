"""What needs JAX, in a process of its own: python -m mlcc_backends.tpu.worker compile|run FOLDER.

JAX reads its settings when it is imported, libtpu prints what it likes, and both stay in memory: none of that is the caller's business.
"""

from __future__ import annotations

import json
import pickle
import sys
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax import lax
from jax.experimental import serialize_executable, topologies
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from mlcc.core.graph import CoreGraph
from mlcc_backends.tpu.floats import ExactFloats, Floats
from mlcc_backends.tpu.operators import function


def compile(folder: Path, settings: dict[str, Any]) -> dict[str, Any]:
    """The model's files, those of each batch (model.b8.…) or of each size (model.2x9.…), and what XLA says of them; of sizes, of the
    largest."""
    graphs: dict[str, CoreGraph] = pickle.loads((folder / "graphs.pickle").read_bytes())
    for tag, graph in graphs.items():
        found = _of_one(folder / f"model{f'.{tag}' if tag else ''}", graph, settings)
    return found


def _of_one(place: Path, graph: CoreGraph, settings: dict[str, Any]) -> dict[str, Any]:
    run = function(graph, ExactFloats() if settings["exact"] else Floats(lax.Precision.HIGHEST))
    shapes = [jax.ShapeDtypeStruct(graph.types[v].shape, _dtype(graph, v)) for v in graph.inputs]
    found = _files(place, run, shapes, settings, settings["topology"], 0, False)
    serving = settings["serving"]
    found["batches"] = {
        str(n): _files(
            place.with_name(f"{place.name}.b{n}"),
            jax.vmap(run),
            [jax.ShapeDtypeStruct((n, *s.shape), s.dtype) for s in shapes],
            settings,
            settings["topology"] and (serving["chips"] or settings["topology"]),
            serving["devices"] if serving["chips"] else 0,
            serving["donate"],
        )
        for n in serving["batches"]
    }
    return found


def _dealt(devices: Sequence[Any], count: int) -> Any:
    """How arrays lie: on one device, or their first dimension dealt to `count` (data parallel)."""
    if not count:
        return jax.sharding.SingleDeviceSharding(devices[0])
    return NamedSharding(Mesh(np.array(devices[:count]), ("data",)), PartitionSpec("data"))


def _files(
    place: Path, run: Callable[..., Any], shapes: list[Any], settings: dict[str, Any], topology: str, count: int, donate: bool
) -> dict[str, Any]:
    """PLACE.stablehlo (portable bytecode), PLACE.jax (the same as jax.export keeps it), PLACE.tpu where there is a topology, and what XLA
    says of it."""

    def jitted(devices: Sequence[Any]) -> Any:
        lies = _dealt(devices, count)
        donated = tuple(range(len(shapes))) if donate else ()
        return (
            jax.jit(run, in_shardings=lies, out_shardings=lies, donate_argnums=donated) if count else jax.jit(run, donate_argnums=donated)
        )

    exported = jax.export.export(jitted(jax.devices()), platforms=settings["platforms"])(*shapes)
    place.with_name(f"{place.name}.stablehlo").write_bytes(exported.mlir_module_serialized)
    place.with_name(f"{place.name}.jax").write_bytes(exported.serialize())
    found: dict[str, Any] = {"calling_convention": exported.calling_convention_version, "chips": max(1, count)}
    if topology:
        devices = topologies.get_topology_desc(platform="tpu", topology_name=topology).devices
        lies = _dealt(devices, count)
        placed = [jax.ShapeDtypeStruct(s.shape, s.dtype, sharding=lies) for s in shapes]
        executable = jitted(devices).lower(*placed).compile()
        payload, _, _ = serialize_executable.serialize(executable)
        place.with_name(f"{place.name}.tpu").write_bytes(payload)
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
    from mlcc.core.graph import DTYPES

    return DTYPES[graph.types[value].dtype]


def run(folder: Path) -> dict[str, Any]:
    """Outputs of a program for each of the inputs in feeds.pickle, (the program's file, inputs) each, to outputs.pickle, on whatever
    platform JAX has here."""

    @cache
    def loaded(file: str) -> Any:
        exported = jax.export.deserialize((folder / file).read_bytes())
        lies = _dealt(jax.devices(), exported.nr_devices if exported.nr_devices > 1 else 0)
        return jax.jit(exported.call, in_shardings=lies, out_shardings=lies) if exported.nr_devices > 1 else jax.jit(exported.call)

    feeds = pickle.loads((folder / "feeds.pickle").read_bytes())
    outputs = [[np.asarray(y) for y in loaded(file)(*feed)] for file, feed in feeds]
    (folder / "outputs.pickle").write_bytes(pickle.dumps(outputs))
    return {"device": f"XLA on {jax.devices()[0].device_kind}"}


def main() -> None:
    what, place = sys.argv[1], Path(sys.argv[2])
    settings = json.loads((place / "settings.json").read_text("utf-8")) if what == "compile" else {}
    found = compile(place, settings) if what == "compile" else run(place)
    (place / "found.json").write_text(json.dumps(found), "utf-8")


if __name__ == "__main__":
    main()
