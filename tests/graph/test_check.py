"""Between passes: an illegal graph is named with the pass that left it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from mlcc.core.graph import CoreGraph, TensorType
from mlcc.error import Error
from mlcc.graph import passes
from mlcc.graph.passes import dead_code
from tests.support import graph_of


def chain() -> CoreGraph:
    return graph_of({"x": ("float32", (2, 3))}, lambda b, x: b("Sqrt", b("Abs", x)))


def other_type(g: CoreGraph) -> CoreGraph:
    return replace(g, types={**g.types, g.nodes[0].outputs[0]: TensorType("float32", (3, 2))})


def other_dtype(g: CoreGraph) -> CoreGraph:
    return replace(g, types={**g.types, g.nodes[-1].outputs[0]: TensorType("float64", (2, 3))})


FAULTS: dict[str, Callable[[CoreGraph], CoreGraph]] = {
    "its operator makes": other_type,
    "float64": other_dtype,
    "used before it is defined": lambda g: replace(g, nodes=g.nodes[::-1]),
    "no core operator": lambda g: replace(g, nodes=(replace(g.nodes[0], op="Sqroot"), *g.nodes[1:])),
    "never computed": lambda g: replace(g, nodes=g.nodes[:1]),
    "defined twice": lambda g: replace(g, nodes=(*g.nodes, g.nodes[-1])),
    "inputs": lambda g: replace(g, nodes=(replace(g.nodes[0], inputs=g.nodes[0].inputs * 2), *g.nodes[1:])),
}


@pytest.mark.parametrize("what", sorted(FAULTS))
def test_a_pass_that_breaks_a_graph_is_named(what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    real, fault = dead_code.run, FAULTS[what]
    assert passes.optimise(chain(), check=True).nodes
    monkeypatch.setattr(dead_code, "run", lambda g: fault(real(g)))
    with pytest.raises(Error, match=what) as e:
        passes.optimise(chain(), check=True)
    assert "after the pass dead_code" in e.value.what
    passes.optimise(chain(), check=False)
