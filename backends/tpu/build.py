"""Core graph → StableHLO and TPU executables, by a worker process that has JAX."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from itertools import product
from math import prod
from pathlib import Path
from typing import Any

from mlcc.arithmetic.elementary import SEQUENCES
from mlcc.cache.blob import packed, unpacked
from mlcc.cache.code import code_digest
from mlcc.cache.store import key_of
from mlcc.core.graph import CoreGraph, Node
from mlcc.core.operators import family
from mlcc.core.ranges import bind
from mlcc.error import Error
from mlcc.graph.freeze import Golden
from mlcc.graph.unroll import unrolled
from mlcc.names import identifier
from mlcc.plugin import Binaries, CompileOptions, Sources
from mlcc.target import Target
from mlcc_backends.tpu.sections import Serving, Xla

ENVIRONMENT = {
    "JAX_ENABLE_X64": "1",
    "TPU_SKIP_MDS_QUERY": "1",
    "TF_CPP_MIN_LOG_LEVEL": "3",
    "JAX_TRACEBACK_FILTERING": "off",
    "JAX_TRACEBACK_IN_LOCATIONS_LIMIT": "0",  # else programs name the files of this machine that made them
}
MOST_PROGRAMS = 16  # of an artifact
MOST_EXACT = 1 << 25  # operations on floats, each instruction of an elementary function one, up to which they are done in integers


def tag(sizes: Sequence[int]) -> str:
    """How the program for these sizes is called: 2x9, or nothing where none are open."""
    return "x".join(map(str, sizes))


def every(graph: CoreGraph) -> dict[str, CoreGraph]:
    """A graph for each combination of the sizes that a run decides, its loops written out. Raises Error(unsupported) for too many."""
    count = prod(len(s.sizes) for s in graph.sizes)
    if count > MOST_PROGRAMS:
        raise Error(
            "unsupported",
            f"{count:,} combinations of sizes, each of which is a program of its own to XLA; {MOST_PROGRAMS} at most",
            graph.name,
            "give ranges a step, such as 64..512:64",
        )
    found = {}
    for sizes in product(*(s.sizes for s in graph.sizes)):
        numbers = {s.name: (n - s.rest) // s.step for s, n in zip(graph.sizes, sizes)}
        found[tag(sizes)] = unrolled(bind(graph, numbers)) if numbers else graph
    return found


def emit(graph: CoreGraph, target: Target, vectors: Sequence[Golden]) -> Sources:
    """The graphs, one for each size, and how their floats are computed."""
    graphs = every(graph)
    largest = max(graphs.values(), key=float_work)
    work, xla, serving = float_work(largest), target.section(Xla) or Xla(), target.section(Serving) or Serving()
    exact = xla.floats == "exact" or (not _float_products(largest) and work <= MOST_EXACT)
    if xla.floats == "exact" and work > MOST_EXACT:
        hint = f"--target {target.name.removesuffix('-exact')} computes floats as the device does"
        raise Error(
            "unsupported",
            f"{work:,} operations on floats, each of which takes dozens in integers",
            f"{graph.name} for {target.name}",
            hint,
        )
    if serving.batches and graph.sizes:
        raise Error(
            "unsupported", "batches of a model of open sizes", f"{graph.name} for {target.name}", "build one artifact for each size"
        )
    served = {**asdict(serving), "devices": serving.devices}
    settings = {"exact": exact, "topology": xla.topology, "platforms": xla.platforms, "serving": served}
    return Sources(identifier(graph.name), {"graphs.pickle": pickle.dumps(graphs), "settings.json": json.dumps(settings).encode()}, ())


def _float_products(graph: CoreGraph) -> bool:
    """Whether the model multiplies matrices of floats, which is what matrix units round as they like."""
    return any(
        family(n.op) in ("matmul", "conv") and graph.types[n.inputs[0]].dtype not in ("int8", "uint8", "int32", "int64")
        for n in graph.nodes
    )


def float_work(graph: CoreGraph) -> int:
    """Binary32 operations of a graph."""
    return sum(_work(graph, n) for n in graph.nodes)


def _work(graph: CoreGraph, n: Node) -> int:
    if graph.types[n.inputs[0]].dtype not in ("float32", "float16", "bfloat16") or family(n.op) == "move":
        return 0
    size = graph.types[n.outputs[0]].size
    if n.op in SEQUENCES:
        return size * len(SEQUENCES[n.op].instructions)
    match family(n.op):
        case "matmul":
            return size * graph.types[n.inputs[0]].shape[-1]
        case "conv":
            return size * prod(graph.types[n.inputs[1]].shape[1:])
        case "pool":
            return size * prod(n["kernel"])
        case "reduce":
            return graph.types[n.inputs[0]].size
    return size


def worker(what: str, files: dict[str, bytes], platform: str = "cpu", devices: int = 1) -> dict[str, bytes]:
    """Run the worker on some files; the files that it leaves. devices: that XLA:CPU plays. Raises Error(toolchain) where JAX is not
    installed or fails."""
    for module in ("jax", "jaxlib"):
        if find_spec(module) is None:
            raise Error("toolchain", "JAX is not installed", "XLA", "pip install 'mlcc[tpu]'")
    with tempfile.TemporaryDirectory(prefix="mlcc-") as d:
        folder = Path(d)
        for path, body in files.items():
            (folder / path).write_bytes(body)
        environment = {**os.environ, **ENVIRONMENT, "JAX_PLATFORMS": platform}
        environment["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count={devices}"
        if what == "compile":  # touches no TPU, so that many may at once
            environment["ALLOW_MULTIPLE_LIBTPU_LOAD"] = "1"
        line = [sys.executable, "-P", "-m", "mlcc_backends.tpu.worker", what, d]
        done = subprocess.run(line, env=environment, capture_output=True, text=True)
        if done.returncode:
            last = (done.stderr.strip().splitlines() or ["no message"])[-1]
            raise Error(
                "toolchain",
                f"XLA failed: {last[:300]}",
                what,
                "this is a bug in mlcc, or a limit of XLA's; please report it with the model",
            )
        return {p.name: p.read_bytes() for p in folder.iterdir() if p.name not in files}


def compile(sources: Sources, target: Target, options: CompileOptions) -> Binaries:
    """lib/NAME.stablehlo (for any PJRT plugin), lib/NAME.jax (for jax.export) and, for a TPU, lib/NAME.tpu; of open sizes, such files for
    each (lib/NAME.2x9.stablehlo)."""
    topology = (target.section(Xla) or Xla()).topology
    if topology and find_spec("libtpu") is None:
        raise Error("toolchain", "the TPU compiler is not installed", "libtpu", "pip install 'mlcc[tpu]'")
    name = sources.name
    versions = [_version(p) for p in ("jax", "jaxlib", "libtpu")]
    key = key_of(
        "xla",
        code_digest(),
        repr(versions),
        sources.files["settings.json"].decode(),
        hashlib.sha256(sources.files["graphs.pickle"]).hexdigest(),
    )
    found: bytes | memoryview | None = options.store.get(key) if options.store else None
    if found is None:
        body = packed(worker("compile", dict(sources.files), devices=(target.section(Serving) or Serving()).devices))
        found = options.store.put(key, body) if options.store else body
    made = {path: bytes(body) for path, body in unpacked(found).items()}
    facts: dict[str, Any] = json.loads(made.pop("found.json"))
    files = {f"lib/{path.replace('model', name)}": body for path, body in made.items()}
    files["xla.json"] = json.dumps({**facts, "jax": versions[0], "libtpu": versions[2] if topology else None}, indent=2).encode() + b"\n"
    figures = {k: v for k, v in facts.items() if isinstance(v, int) and k != "calling_convention"}
    settings = json.loads(sources.files["settings.json"])
    private = {p: body for p, body in made.items() if p.endswith(".jax")}
    return Binaries(name, files, private, figures, exact=settings["exact"])


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""
