"""Generated code of two small models, kept for review: what a change does to it is seen in the diff. `make golden` writes the files
anew."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from mlcc.core.graph import CoreGraph
from mlcc.graph.freeze import frozen_vectors
from mlcc.plugin import backend
from mlcc.program.lower import lower
from mlcc.target import load
from tests.support import graph_of

FOLDER = Path(__file__).parent


def floats() -> CoreGraph:
    """A dense layer with a Relu, and a softmax."""
    w, b = np.arange(12, dtype=np.float32).reshape(3, 4) / 8 - 0.5, np.array([0.5, -0.25, 0, 1], np.float32)

    def make(g, x):  # type: ignore[no-untyped-def]
        y = g("Relu", g.many("MatMul", [x, g.constant(w), g.constant(b)])[0])
        e = g("Exp", g("Sub", y, g("ReduceMax", y, axes=(1,))))
        return g("Div", e, g("ReduceSum", e, axes=(1,)))

    return graph_of({"x": ("float32", (2, 3))}, make)


def integers() -> CoreGraph:
    """A product of bytes, brought back to bytes."""
    w = (np.arange(12) - 6).astype(np.int8).reshape(3, 4)

    def make(g, x):  # type: ignore[no-untyped-def]
        sums = g.many("MatMul", [x, g.constant(w)], zero=0)[0]
        return g("Requantize", sums, g.constant(np.float32(0.0625)), to="int8", zero=0, low=0, high=127)

    return graph_of({"x": ("int8", (1, 3))}, make)


def generated(target: str, graph: CoreGraph) -> Iterator[tuple[str, bytes]]:
    """(name of the golden file, text) of what a review should see."""
    t = load(target)
    b = backend(t.backend)
    vectors, _ = frozen_vectors(graph)
    wanted = b.lowering(t)
    subject = graph if b.consumes == "graph" else lower(graph, compact=wanted.compact, vectors=wanted.vectors, narrow=wanted.narrow)
    sources = b.emit(subject, t, vectors)
    name = "floats" if any(x.dtype == "float32" for x in (graph.types[v] for v in graph.inputs)) else "integers"
    if t.backend == "tpu":
        from mlcc_backends.tpu.build import worker

        made = worker("compile", dict(sources.files))
        from jax import export

        yield f"{name}.mlir", export.deserialize(made["model.jax"]).mlir_module().encode()
        return
    for path, body in sorted(sources.files.items()):
        if path in (f"src/{sources.name}.c", f"src/{sources.name}.cu") or path.startswith("rtl/") and path.endswith(f"{sources.name}.sv"):
            yield f"{name}-{target}{Path(path).suffix}", body


CASES = [
    ("c99", "floats"),
    ("c99", "integers"),
    ("cuda", "floats"),
    ("hls-zu3eg", "integers"),
    ("stablehlo", "floats"),
    ("stablehlo", "integers"),
]


@pytest.mark.parametrize(("target", "which"), CASES)
def test_generated_code_is_as_reviewed(target: str, which: str) -> None:
    if target == "stablehlo":
        pytest.importorskip("jax")
    found = list(generated(target, {"floats": floats, "integers": integers}[which]()))
    assert found
    for name, body in found:
        place = FOLDER / name
        if os.environ.get("MLCC_GOLDEN") == "write":
            place.write_bytes(body)
        assert place.exists() and place.read_bytes() == body, f"{name} differs: see what, and `make golden` where it is meant"
