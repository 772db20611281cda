"""OpenCL on whatever device is here (PoCL makes one of the CPU): a second reading of the GPU kernels, by another compiler."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest

import mlcc
from mlcc.cli.build import parse_shapes
from mlcc.core.graph import DTYPES, CoreGraph, canonical_bytes
from mlcc.plugin import CompileOptions
from mlcc.program.kernel import Dot, Nest
from mlcc.program.lower import lower
from mlcc.program.program import Program
from mlcc.reference.execute import execute
from mlcc.target import load
from mlcc_backends.cuda.tiles import tile
from mlcc_backends.opencl import compile, emit, runner
from mlcc_backends.opencl.build import has_opencl
from tests.backends.models import small
from tests.backends.test_cuda import SHAPES, convolution, product
from tests.graph.open_models import MODELS
from tests.graph.test_open_sizes import every
from tests.kernels.test_attention import attention
from tests.support import numbers

pytestmark = pytest.mark.skipif(not has_opencl(), reason="no OpenCL driver here: apt install pocl-opencl-icd")


def assert_exact(graph: CoreGraph, feed: dict[str, np.ndarray]) -> Program:
    program, target = lower(graph), load("opencl")
    found = runner(compile(emit(program, target, ()), target, CompileOptions()), target, program)
    assert found is not None
    outputs, _ = found.run([np.ascontiguousarray(feed[n]).tobytes() for n, _ in program.inputs])
    want = execute(graph, feed)
    for (name, t), raw in zip(program.outputs, outputs):
        assert canonical_bytes(np.frombuffer(raw, DTYPES[t.dtype]).reshape(t.shape)) == canonical_bytes(want[name]), name
    return program


@pytest.mark.parametrize("kind", ["float32", "int8", "uint8"])
def test_products_and_convolutions(kind: str) -> None:
    m, k, n = (SHAPES["float32"] if kind == "float32" else SHAPES["uint8"])[1]
    program = assert_exact(product(m, k, n, kind), {"x": numbers(1, (m, k), kind, True)})
    shapes = [tile(s, matrix=False) for s in program.kernels.values() if isinstance(s, Dot)]
    assert all(t and not t.warps for t in shapes)
    assert_exact(convolution(7, 19, 24, 2, kind, 3), {"x": numbers(2, (1, 7, 19, 19), kind, True)})


def test_attention() -> None:
    graph = attention((2,), 37, 128, 16, 16)
    program = assert_exact(graph, {n: numbers(i, graph.types[n].shape, "float32", True) for i, n in enumerate(graph.inputs)})
    assert any(isinstance(k, Nest) for k in program.kernels.values())


@pytest.mark.parametrize("name", ["LSTM", *(pytest.param(n, marks=pytest.mark.full) for n in ("attention", "cut and joined"))])
def test_sizes_that_a_run_decides(name: str, tmp_path: Path) -> None:
    """The device's answers at many sizes are the CPU's, from one artifact."""
    proto, spec = MODELS[name]()
    onnx.save(proto, tmp_path / "open.onnx")
    shapes = parse_shapes(tuple(f"{n}={d}" for n, d in spec.items()))
    made = mlcc.build(
        tmp_path / "open.onnx", ["opencl", "native"], {n: [str(d) for d in ds] for n, ds in shapes.items()}, tmp_path / "dist"
    )
    assert [a["environment"] for a in made["artifacts"]] == ["native", "native"]
    device, cpu = (mlcc.load(a["path"]) for a in made["artifacts"])
    for given in every(shapes, 6):
        feed = {t.name: numbers(3, given.get(t.name, t.shape), t.dtype) for t in cpu.inputs}
        found, want = device(feed), cpu(feed)
        assert all(found[n].shape == y.shape and found[n].tobytes() == y.tobytes() for n, y in want.items()), given
    big = {t.name: np.zeros([n + 1 for n in t.shape], t.dtype) for t in cpu.inputs}
    with pytest.raises(mlcc.Error):
        device(big)


def test_library_and_its_errors(tmp_path: Path) -> None:
    result = mlcc.build(small(tmp_path / "small.onnx", 8), target=["opencl", "native"], out=tmp_path)
    opencl, native = result["artifacts"]
    assert opencl["conformance"] == "passed" and opencl["environment"] == "native"
    x = np.random.default_rng(3).standard_normal((1, 3, 9, 11)).astype(np.float32)
    assert mlcc.load(opencl["path"])(x=x)["y"].tobytes() == mlcc.load(native["path"])(x=x)["y"].tobytes()


@pytest.mark.parametrize("model", ["kws_ref_model", "kws_ref_model_float32"])
def test_real_models(model: str, tiny: Callable[[str], Path]) -> None:
    with tempfile.TemporaryDirectory() as d:
        assert mlcc.build(tiny(model), target="opencl", out=d)["artifacts"][0]["conformance"] == "passed"


def test_nothing_is_needed_to_build() -> None:
    """Text and C alone: the same bytes, whatever drivers a machine has."""
    program = lower(product(8, 8, 8, "float32"))
    first, second = (compile(emit(program, load("opencl"), ()), load("opencl"), CompileOptions()).files for _ in range(2))
    assert first == second
