"""NIR's ordinary operators against NumPy, by their definitions."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import nir
import numpy as np
import pytest

import mlcc
from mlcc.error import Error

R = np.random.default_rng(0)


def f32(*shape: int) -> np.ndarray:
    return R.standard_normal(shape).astype(np.float32)


def built(path: Path, graph: Any) -> Any:
    nir.write(path, graph)
    result = mlcc.build(path, ["native", "c99"], out=path.parent / "d")
    assert [a["conformance"] for a in result["artifacts"]] == ["passed"] * 2
    return mlcc.load(result["artifacts"][0]["path"])


def conv(
    x: np.ndarray, w: np.ndarray, b: np.ndarray, stride: tuple[int, ...], pad: tuple[int, ...], dilation: tuple[int, ...], groups: int
) -> np.ndarray:
    """By the definition, one sum an output."""
    padded = np.pad(x.astype(np.float64), [(0, 0), *((p, p) for p in pad)])
    out = [(n - d * (k - 1) - 1) // s + 1 for n, d, k, s in zip(padded.shape[1:], dilation, w.shape[2:], stride)]
    y = np.zeros((len(w), *out))
    each = len(w) // groups
    for o, at in itertools.product(range(len(w)), np.ndindex(*out)):
        for c, k in itertools.product(range(w.shape[1]), np.ndindex(*w.shape[2:])):
            place = tuple(a * s + i * d for a, s, i, d in zip(at, stride, k, dilation))
            y[(o, *at)] += padded[(o // each * w.shape[1] + c, *place)] * w[(o, c, *k)]
        y[(o, *at)] += b[o]
    return y


@pytest.mark.parametrize(
    ("stride", "pad", "dilation", "groups"),
    [
        ((1, 1), (0, 0), (1, 1), 1),
        ((2, 1), (1, 2), (1, 2), 2),
        ((1, 1), "same", (1, 1), 1),
        ((1, 1), "same", (2, 1), 1),
        ((2, 2), "valid", (1, 1), 4),
    ],
)
def test_convolutions_in_two_dims(stride: Any, pad: Any, dilation: Any, groups: int, tmp_path: Path) -> None:
    w, b = f32(8, 4 // groups, 3, 5), f32(8)
    node = nir.Conv2d((9, 11), w, stride, pad, dilation, groups, b)
    m = built(
        tmp_path / "conv.nir", nir.NIRGraph.from_list(nir.Input(np.array([4, 9, 11])), node, nir.Output(np.array([1])), type_check=False)
    )
    x = f32(1, 4, 9, 11)
    numbers = (
        {"same": tuple(d * (k - 1) // 2 for d, k in zip(dilation, (3, 5))), "valid": (0, 0)}.get(pad, pad) if isinstance(pad, str) else pad
    )
    np.testing.assert_allclose(m(input=x)["output"][0], conv(x[0], w, b, stride, numbers, dilation, groups), rtol=1e-4, atol=1e-5)


def test_convolution_in_one_dim_and_affine(tmp_path: Path) -> None:
    w, b, v, c = f32(3, 2, 4), f32(3), f32(5, 24), f32(5)
    nodes = [
        nir.Input(np.array([2, 15])),
        nir.Conv1d(15, w, 2, 2, 1, 1, b),
        nir.Flatten(np.array([3, 8]), 0, -1),
        nir.Affine(v, c),
        nir.Output(np.array([1])),
    ]
    x = f32(1, 2, 15)
    hidden = conv(x[0], w, b, (2,), (2,), (1,), 1).reshape(-1)
    found = built(tmp_path / "m.nir", nir.NIRGraph.from_list(*nodes, type_check=False))(input=x)["output"]
    np.testing.assert_allclose(found[0], v @ hidden + c, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", [nir.SumPool2d, nir.AvgPool2d])
def test_pools(kind: Any, tmp_path: Path) -> None:
    nodes = [nir.Input(np.array([3, 7, 8])), kind(np.array([2, 3]), np.array([2, 1]), np.array([1, 0])), nir.Output(np.array([1]))]
    x = f32(1, 3, 7, 8)
    ones = np.ones((3, 1, 2, 3)) / (6 if kind is nir.AvgPool2d else 1)
    wanted = conv(x[0], ones, np.zeros(3), (2, 1), (1, 0), (1, 1), 3)
    found = built(tmp_path / "m.nir", nir.NIRGraph.from_list(*nodes, type_check=False))(input=x)["output"]
    np.testing.assert_allclose(found[0], wanted, rtol=1e-5, atol=1e-6)


def test_branches_join_in_sums_and_graphs_lie_in_graphs(tmp_path: Path) -> None:
    inner = nir.NIRGraph(
        {"in": nir.Input(np.array([3])), "w": nir.Linear(np.eye(3, dtype=np.float32) * 2), "out": nir.Output(np.array([3]))},
        [("in", "w"), ("w", "out")],
    )
    nodes = {
        "v0": nir.Input(np.array([3])), "inner": inner, "s": nir.Scale(np.array([1, 10, 100], np.float32)),
        "t": nir.Threshold(np.array([5, 5, 5], np.float32)), "y": nir.Output(np.array([3])), "z": nir.Output(np.array([3])),
    }  # fmt: skip
    edges = [("v0", "inner"), ("v0", "s"), ("inner", "y"), ("s", "y"), ("s", "t"), ("t", "z")]
    found = built(tmp_path / "m.nir", nir.NIRGraph(nodes, edges, type_check=False))(v0=np.array([[1, 0.5, 0.25]], np.float32))
    assert found["y"].tolist() == [[3, 6, 25.5]] and found["z"].tolist() == [[0, 0, 1]]  # 5 is not above 5


def refused(code: str, what: str, graph: Any, path: Path) -> None:
    if not isinstance(graph, bytes):
        nir.write(path, graph)
    else:
        path.write_bytes(graph)
    with pytest.raises(Error) as e:
        mlcc.build(path, "native", out=path.parent / "d")
    assert e.value.code == code and what in e.value.what and str(path) in e.value.where and e.value.hint, e.value


def test_what_is_not_ordinary_is_named(tmp_path: Path) -> None:
    path, one = tmp_path / "m.nir", np.ones(3, np.float32)
    neuron = nir.LIF(one, one, one, one)
    refused(
        "unsupported",
        "nodes with a state: LIF",
        nir.NIRGraph.from_list(nir.Input(np.array([3])), neuron, nir.Output(np.array([1])), type_check=False),
        path,
    )
    ends = {"x": nir.Input(np.array([3])), "a": nir.Scale(one), "b": nir.Scale(one), "y": nir.Output(np.array([3]))}
    edges = [("x", "a"), ("a", "b"), ("b", "a"), ("b", "y")]
    refused("unsupported", "edges that lead back", nir.NIRGraph(ends, edges, type_check=False), path)
    with pytest.raises(Error, match="signals of several shapes meet"):
        other = {"x": ends["x"], "y": ends["y"], "w": nir.Linear(f32(2, 3))}
        nir.write(path, nir.NIRGraph(other, [("x", "w"), ("w", "y"), ("x", "y")], type_check=False))
        mlcc.build(path, "native", out=tmp_path / "d")
    with pytest.raises(Error, match="Linear of a signal of"):
        nir.write(
            path, nir.NIRGraph({"x": ends["x"], "y": ends["y"], "w": nir.Linear(f32(2, 5))}, [("x", "w"), ("w", "y")], type_check=False)
        )
        mlcc.build(path, "native", out=tmp_path / "d")
    for raw in (b"", b"\x89HDF\r\n\x1a\n" + b"0" * 100, path.read_bytes()[:900]):
        refused("model", "not a graph of NIR", raw, path)
