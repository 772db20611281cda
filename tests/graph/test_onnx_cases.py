"""ONNX's own backend test data: the reference agrees with it, kernels equal the reference; what is unsupported is listed and counted."""

from __future__ import annotations

import os
import warnings
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

from mlcc.core.graph import CoreGraph, canonical_bytes, validate
from mlcc.core.narrow import TEXT, coded, meant, shown
from mlcc.error import Error, Undecided
from mlcc.graph.normalise import normalise
from mlcc.graph.passes import optimise
from mlcc.onnx_backend import built_in, tensors_of
from mlcc.program import program as loop
from mlcc.program.lower import lower
from mlcc.reference.execute import execute
from tests.onnx_cases import Case, file_cases, node_cases
from tests.support import Compiled

warnings.simplefilter("ignore")
SHARDS = 32
TOLERANCE = {"bfloat16": (2e-2, 4e-3), "float16": (2e-3, 1e-3)}
# what is expected is NumPy's random numbers, or the rounding noise of a transform in binary32
INEXACT_DATA = {f"test_bernoulli{x}{y}" for x in ("", "_double", "_seed") for y in ("", "_expanded")} | {
    "test_dft_inverse",
    "test_dft_inverse_opset19",
}
BROKEN_DATA = {"test_quantizelinear_blocked_symmetric"}  # its expected output is 4-bit, which NumPy's files cannot say
SUPPORTED_AT_LEAST = 1852  # of the node cases; docs/operators.md has the list


def attempt(case: Case) -> tuple[CoreGraph, dict[str, np.ndarray], Case] | None:
    """(graph, its inputs as it holds them, case); None where something is not supported. What must be known is built in."""
    names = [v.name for v in case.model.graph.input if v.name not in {t.name for t in case.model.graph.initializer}]
    feed, fixed = tensors_of(dict(zip(names, case.inputs))), dict[str, np.ndarray]()
    while True:
        try:
            model = ir.from_proto(built_in(case.model, fixed))
            graph = optimise(normalise(model, "case", {n: a.shape for n, a in feed.items() if n not in fixed}, case.name))
            validate(graph)
            return graph, _coded(graph, feed, {}), case
        except Undecided as e:
            if set(e.inputs) <= set(fixed):
                return None
            fixed |= {n: feed[n] for n in e.inputs}
        except Error as e:
            if e.code != "unsupported":
                raise
            return None


def _coded(graph: CoreGraph, feed: dict[str, np.ndarray], others: dict[str, int]) -> dict[str, np.ndarray]:
    said = graph.described
    given = {n: feed[n] if n in feed else np.zeros((), np.int64) for n in graph.inputs}  # a seed may be added
    return {n: _held(graph, n, a, others) if n in said and said[n].element else a for n, a in given.items()}


def _held(graph: CoreGraph, name: str, array: np.ndarray, others: dict[str, int]) -> np.ndarray:
    d, shape = graph.described[name], graph.types[name].shape
    return coded(np.asarray(array), d.element, d.labels, others, shape[-1] if shape else 0)


def check(case: Case, kernels: bool) -> bool:
    """Whether it is supported; asserts that it is right."""
    prepared = attempt(case)
    if prepared is None or case.name in INEXACT_DATA:
        return False
    graph, feed, chosen = prepared
    others: dict[str, int] = {}
    for n, x in zip([v.name for v in case.model.graph.input], case.inputs):  # the codes of text that the model does not know
        if n in graph.inputs and (d := graph.described.get(n)) is not None and d.element == TEXT:
            feed[n] = _held(graph, n, x, others)
    found = execute(graph, feed)
    wanted = [x for o in chosen.outputs for x in (o if isinstance(o, list) else [o])]  # a sequence's items, one by one
    for (name, got), expected in zip(shown({n: d.counts for n, d in graph.described.items()}, found).items(), wanted, strict=True):
        want, said = np.asarray(expected), graph.described.get(name)
        if said is not None and said.element:
            got = meant(got, said.element, said.labels, others)
        assert got.shape == want.shape and (str(got.dtype) == str(want.dtype) or want.dtype.kind == "U"), (case.name, name)
        if want.dtype.kind in "OU":
            assert (got == want).all(), (case.name, name)
            continue
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
@pytest.mark.parametrize("shard", [i if i == 9 else pytest.param(i, marks=pytest.mark.full) for i in range(SHARDS)])
def test_kernels_equal_the_reference_on_node_cases(shard: int) -> None:
    for case in cases()[shard::SHARDS]:
        check(case, kernels=True)


@pytest.mark.parametrize("kind,at_least", [("simple", 7), ("pytorch-converted", 82), ("pytorch-operator", 35)])
def test_stored_models(kind: str, at_least: int) -> None:
    assert sum(check(c, kernels=True) for c in file_cases(kind)) >= at_least


def test_operators_page_is_current() -> None:
    from docs.make_operators import page

    assert (Path(__file__).parents[2] / "docs" / "operators.md").read_text() == page(), "run: python -m docs.make_operators"
