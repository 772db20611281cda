"""Sizes that a run decides: at every one of them the bits of the build for that size alone, by kernels, by C, and proven."""

from __future__ import annotations

from itertools import product

import numpy as np
import onnx_ir as ir
import pytest

from mlcc.cli.build import parse_shapes
from mlcc.core.graph import CoreGraph
from mlcc.core.ranges import Range, bind, trials
from mlcc.graph.draws import draws
from mlcc.graph.freeze import golden_input
from mlcc.graph.normalise import normalise
from mlcc.graph.passes import optimise
from mlcc.program.lower import lower
from mlcc.reference.execute import execute
from mlcc.translation.check import prove
from tests.backends.support import InC
from tests.graph.open_models import MODELS
from tests.support import Compiled, assert_same_bits

Shapes = dict[str, tuple[int | Range, ...]]


def graph_of(model: object, shapes: Shapes) -> CoreGraph:
    return optimise(normalise(ir.from_proto(model), "open", shapes, "open.onnx"), check=True)


def every(shapes: Shapes, most: int = 40) -> list[Shapes]:
    """All that ranges allow, or some that differ most."""
    ranges = [(n, i, d) for n, dims in shapes.items() for i, d in enumerate(dims) if isinstance(d, Range)]
    picked = list(product(*(d.named("x").sizes for _, _, d in ranges)))
    step = -(-len(picked) // most)
    found = []
    for sizes in [*picked[::step], picked[-1]]:
        given = {n: list(dims) for n, dims in shapes.items()}
        for (n, i, _), size in zip(ranges, sizes):
            given[n][i] = size
        found.append({n: tuple(d) for n, d in given.items()})
    return found


@pytest.mark.parametrize("name", MODELS)
def test_every_size_is_the_build_of_that_size(name: str) -> None:
    proto, spec = MODELS[name]()
    shapes = parse_shapes(tuple(f"{n}={d}" for n, d in spec.items()))
    graph = graph_of(proto, shapes)
    assert graph.sizes
    wide, small = lower(graph), lower(graph, compact=True)
    for numbers in trials(graph.sizes):
        for program in (wide, small):
            prove(bind(program, numbers), bind(graph, numbers))
    kernels, in_c = Compiled(wide), InC(small)
    for given in every(shapes):
        alone = graph_of(proto, given)
        how = draws(alone)
        feed = {n: golden_input(alone.types[n], i, 5, "uniform", how[n]) for i, n in enumerate(alone.inputs)}
        numbers = numbers_in(graph, alone)
        want = execute(alone, feed)
        for what, got in (
            ("reference", execute(bind(graph, numbers), feed)),
            ("kernels", kernels(feed, 2, numbers)),
            ("C", in_c(feed, numbers)),
        ):
            for v in want:
                assert got[v].shape == want[v].shape
                assert_same_bits(np.asarray(got[v]), want[v], f"{what} at {numbers}: {v}", alone)


def numbers_in(graph: CoreGraph, alone: CoreGraph) -> dict[str, int]:
    """The numbers of a graph's sizes that make it another one."""
    from mlcc.core.ranges import numbers_from

    return numbers_from([(graph.types[v].shape, alone.types[v].shape, v) for v in graph.inputs])
