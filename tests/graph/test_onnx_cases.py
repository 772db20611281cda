"""ONNX's own backend test data: the reference agrees with it, kernels equal the reference; what is unsupported is listed and counted."""

from __future__ import annotations

import os
import warnings
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

from mlcc.core.graph import CoreGraph, canonical_bytes, validate
from mlcc.error import Error
from mlcc.graph.normalise import normalise
from mlcc.graph.passes import optimise
from mlcc.program import program as loop
from mlcc.program.lower import lower
from mlcc.reference.execute import execute
from tests.onnx_cases import Case, file_cases, freeze_parameters, node_cases
from tests.support import Compiled

warnings.simplefilter("ignore")
SHARDS = 16
TOLERANCE = {"bfloat16": (2e-2, 4e-3), "float16": (2e-3, 1e-3)}
BROKEN_DATA = {"test_quantizelinear_blocked_symmetric"}  # its expected output is 4-bit, which NumPy's files cannot say
SUPPORTED_AT_LEAST = 1425  # of the node cases; docs/operators.md has the list


def prepare(case: Case) -> tuple[CoreGraph, dict[str, np.ndarray]]:
    model = ir.from_proto(case.model)
    initial = {v.name for v in model.graph.initializers.values()}
    inputs = [v for v in model.graph.inputs if v.name not in initial]
    if any(not isinstance(x, (np.ndarray, np.generic)) for x in case.inputs):
        raise Error("unsupported", "sequences and optionals")
    graph = optimise(normalise(model, "case", {str(v.name): np.asarray(x).shape for v, x in zip(inputs, case.inputs)}, case.name))
    validate(graph)
    return graph, {str(v.name): np.asarray(x) for v, x in zip(inputs, case.inputs)}


def attempt(case: Case) -> tuple[CoreGraph, dict[str, np.ndarray], Case] | None:
    """None where the operators are not supported; parameters that only say how are frozen where need be."""
    for candidate in (lambda: case, lambda: freeze_parameters(case)):
        try:
            chosen = candidate()
            return (*prepare(chosen), chosen)
        except Error as e:
            if e.code != "unsupported":
                raise
    return None


def check(case: Case, kernels: bool) -> bool:
    """Whether it is supported; asserts that it is right."""
    prepared = attempt(case)
    if prepared is None:
        return False
    graph, feed, chosen = prepared
    found = execute(graph, feed)
    for name, expected in zip(graph.outputs, chosen.outputs):
        want, got = np.asarray(expected), found[name]
        assert got.shape == want.shape and str(got.dtype) == str(want.dtype), (case.name, name)
        rtol, atol = TOLERANCE.get(str(want.dtype), (max(case.rtol, 1e-3), max(case.atol, 1e-5)))
        np.testing.assert_allclose(got.astype(np.float64), want.astype(np.float64), rtol=rtol, atol=atol, err_msg=case.name)
    if kernels:
        program = lower(graph)
        loop.validate(program)
        native = run(program, {k: feed[k] for k in graph.inputs})
        for name in graph.outputs:
            assert canonical_bytes(native[name]) == canonical_bytes(found[name]), f"{case.name}: {name} differs from the reference"
    return True


def run(program: loop.Program, feed: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The outputs by this CPU's kernels, or by CUDA's on the host."""
    if os.environ.get("MLCC_TEST_CUDA"):
        from tests.backends.on_host import run_kernels

        return run_kernels(program, feed, (2,))[0]
    return Compiled(program)(feed, 2)


def cases() -> list[Case]:
    return [c for c in node_cases().values() if c.name not in BROKEN_DATA]


def test_reference_agrees_on_node_cases() -> None:
    supported = sum(check(c, kernels=False) for c in cases())
    assert supported >= SUPPORTED_AT_LEAST, supported


@pytest.mark.slow
@pytest.mark.parametrize("shard", range(SHARDS))
def test_kernels_equal_the_reference_on_node_cases(shard: int) -> None:
    for case in cases()[shard::SHARDS]:
        check(case, kernels=True)


@pytest.mark.parametrize("kind,at_least", [("simple", 7), ("pytorch-converted", 82), ("pytorch-operator", 35)])
def test_stored_models(kind: str, at_least: int) -> None:
    assert sum(check(c, kernels=True) for c in file_cases(kind)) >= at_least


def test_operators_page_is_current() -> None:
    from docs.make_operators import page

    assert (Path(__file__).parents[2] / "docs" / "operators.md").read_text() == page(), "run: python -m docs.make_operators"
