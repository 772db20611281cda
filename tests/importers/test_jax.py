"""Functions of JAX, by StableHLO: what JAX itself computes, within rounding."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mlcc
from mlcc.error import Error
from mlcc.graph.normalise import normalise
from mlcc.graph.passes import optimise
from mlcc.importers import jax as importer
from mlcc.importers.onnx import from_proto
from mlcc.reference.execute import execute
from tests.conftest import Mlcc

os.environ.setdefault("JAX_PLATFORMS", "cpu")
jax = pytest.importorskip("jax")
import jax.export  # noqa: E402, F811
import jax.numpy as jnp  # noqa: E402
from jax import lax  # noqa: E402

R = np.random.default_rng(0)


def f4(*shape: int) -> np.ndarray:
    return R.standard_normal(shape).astype(np.float32)


M, W, WX, WH, IMAGE = f4(5, 6), f4(6, 6), f4(6, 24), f4(6, 24), f4(2, 9, 9, 4)
PLACES = np.array([4, 0, 1], np.int32)
WHOLE = R.integers(-9, 9, (5, 6)).astype(np.int32)
NHWC = ("NHWC", "HWIO", "NHWC")


def lstm(x: Any) -> Any:
    def step(carry: Any, row: Any) -> Any:
        h, c = carry
        i, f, g, o = jnp.split(row @ WX + h @ WH, 4, -1)
        c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
        return (jax.nn.sigmoid(o) * jnp.tanh(c), c), h

    return lax.scan(step, (jnp.zeros(6), jnp.zeros(6)), x)


def attention(q: Any, k: Any) -> Any:
    return jnp.einsum("bhqk,bkhd->bqhd", jax.nn.softmax(jnp.einsum("bqhd,bkhd->bhqk", q, k) / 2), k)


def bits(x: Any) -> Any:
    return x << 2, x >> 1, lax.shift_right_logical(x, np.int32(1)), x << 40, x & 6, x | 1, x ^ 5, ~x


CASES: dict[str, tuple[Callable[..., Any], ...]] = {
    "layers": (lambda x: jax.nn.softmax(jax.nn.gelu(x @ W) @ W), M),
    "places of the largest": (lambda x: (jnp.argmax(x, -1), jnp.argmin(x, 0), jnp.argmax(x)), M),
    "sorts": (lambda x: (jnp.sort(x), jnp.argsort(x, axis=0), jnp.sort(x, descending=True), lax.top_k(x, 3)), M),
    "running sums": (lambda x: (jnp.cumsum(x, 0), jnp.cumsum(x, 1), lax.cumsum(x, 1, reverse=True)), M),
    "taken": (lambda x, i: (x[i], x[:, i], x[i, i], jnp.take_along_axis(x, jnp.argsort(x), 1)), M, PLACES),
    "put": (lambda x, i: (x.at[i].set(7.0), x.at[i].add(1.0), x.at[:, 1].multiply(2.0), x.at[i, i].max(0.5)), M, PLACES),
    "put outside": (lambda x, i: (x.at[i + 3].set(7.0, mode="drop"), x.at[i + 3].get(mode="clip")), M, PLACES),
    "windows that a run places": (
        lambda x, i: (lax.dynamic_slice(x, (i, i), (2, 3)), lax.dynamic_update_slice(x, jnp.ones((2, 3)), (i, 1)), lax.dynamic_index_in_dim(x, i)), M, np.int32(4),
    ),
    "each its own place": (lambda x, i: (jax.vmap(lambda a, k: a[k])(x, i), jax.vmap(lambda a, k: lax.dynamic_slice(a, (k,), (2,)))(x, i)), M, np.array([4, 0, 1, 2, 5], np.int32)),
    "scan, backwards": (lambda x: lax.scan(lambda c, a: (jnp.tanh(c + a), c * 2), jnp.zeros(6), x, reverse=True), M),
    "long short-term memory": (lstm, M),
    "counted loop": (lambda x: lax.fori_loop(2, 7, lambda i, c: c * 0.5 + x * i, x), M),
    "branches": (lambda x, i: (lax.cond(x[0, 0] > 0, lambda a: a * 2, lambda a: a - 1, x), lax.switch(i, [jnp.sin, lambda a: a - 1, jnp.tanh], x)), M, np.int32(1)),
    "functions": (lambda x: (jnp.expm1(x), jnp.log1p(jnp.abs(x)), jnp.arctan2(x, x[::-1]), jnp.cbrt(x), jnp.sign(x), lax.rsqrt(jnp.abs(x)), jax.scipy.special.erf(x)), M),
    "roundings": (lambda x: (jnp.round(x), lax.round(x * 4 + 0.5), jnp.isfinite(x), jnp.mod(x, 0.7), jnp.floor_divide(x, 0.3)), M),
    "integers": (lambda x: (x // 3, x % 3, lax.div(x, np.int32(3)), lax.rem(x, np.int32(3)), jnp.clip(x, -2, 2), x.astype(jnp.uint8)), WHOLE),
    "bits": (bits, WHOLE),
    "reductions": (lambda x: (jnp.sum(x), jnp.max(x, 0), jnp.any(x > 3), jnp.all(x < 9, axis=0), jnp.prod(x, 1), lax.reduce(x, np.int32(5), lax.add, (1,))), WHOLE),
    "convolution": (lambda x: lax.conv_general_dilated(x, f4(3, 3, 4, 8), (2, 2), "SAME", dimension_numbers=NHWC), IMAGE),
    "depthwise, dilated": (lambda x: lax.conv_general_dilated(x, f4(3, 3, 1, 8), (1, 1), "VALID", rhs_dilation=(2, 1), dimension_numbers=NHWC, feature_group_count=4), IMAGE),
    "transposed": (lambda x: lax.conv_transpose(x, f4(3, 3, 4, 5), (2, 2), "SAME"), IMAGE),
    "grouped, spread, cut": (
        lambda x: lax.conv_general_dilated(x, f4(2, 2, 1, 8), (1, 1), [(1, 2), (-1, 3)], lhs_dilation=(2, 3), dimension_numbers=NHWC, feature_group_count=4), IMAGE,
    ),
    "pools": (
        lambda x: (lax.reduce_window(x, -jnp.inf, lax.max, (1, 3, 3, 1), (1, 2, 2, 1), "SAME"), lax.reduce_window(x, 0.0, lax.add, (1, 2, 3, 1), (1, 2, 2, 1), "SAME")), IMAGE,
    ),
    "attention": (attention, f4(2, 3, 4, 5), f4(2, 3, 4, 5)),
    "moved": (
        lambda x: (jnp.pad(x, ((1, 2), (0, 1))), lax.pad(x, 0.5, ((1, -1, 2), (0, 1, 1))), jnp.flip(x, 0), jnp.roll(x, 2, 1), jnp.repeat(x, 2, 0), jnp.tril(x), jnp.stack([x, x])), M,
    ),
    "bfloat16": (lambda x: x.astype(jnp.bfloat16) * jnp.array([1, 2, 3, 4, 5, 6], jnp.bfloat16), M),
    "searches": (lambda x: (jnp.interp(x, jnp.arange(3.0), jnp.array([0.0, 1, 4])), jnp.histogram(x, bins=5, range=(-3, 3))[0], jnp.quantile(x, 0.3, axis=0)), M),
    "random numbers of a fixed key": (lambda x: x + jax.random.normal(jax.random.key(3), (5, 6)), M),
    "running extremes": (lambda x: (lax.cummax(x, 1), lax.cumprod(x, 0), lax.cummin(x, 0, reverse=True)), M),
    "windows of a scatter and a gather": (
        lambda x, i: (
            lax.scatter(x, jnp.array([[1, 2]]), f4(1, 2, 3, 4), lax.ScatterDimensionNumbers((1, 2, 3), (), (1, 2))),
            lax.gather(x, i, lax.GatherDimensionNumbers((1, 3, 4), (), (1, 2)), (2, 2, 2)),
        ), f4(2, 6, 9), R.integers(0, 9, (1, 5, 2)).astype(np.int32),
    ),
    "counts": (lambda i: (jax.nn.one_hot(i, 7), jnp.bincount(i, length=7)), PLACES),
    "trees of arguments": (lambda p: {"b": p["w"] @ p["b"], "a": p["b"] * 2}, {"w": f4(3, 4), "b": f4(4), "unused": f4(2)}),
}  # fmt: skip


@pytest.fixture(autouse=True)
def narrow() -> Iterator[None]:
    """JAX as it comes: other tests of this process widen it."""
    before = jax.config.jax_enable_x64
    jax.config.update("jax_enable_x64", False)
    yield
    jax.config.update("jax_enable_x64", before)


@pytest.mark.parametrize("name", CASES)
def test_functions(name: str) -> None:
    function, *args = CASES[name]
    exported = jax.export.export(jax.jit(function), platforms=("cpu",))(*args)
    model = importer.converted(bytes(exported.serialize()), exported)
    leaves = jax.tree.leaves(args)
    feed = {i.name: np.asarray(leaves[k]) for i, k in zip(model.graph.input, exported.module_kept_var_idx)}
    graph = optimise(normalise(from_proto(model), "function", {n: a.shape for n, a in feed.items()}, name), check=True)
    found = execute(graph, {n: feed[n] for n in graph.inputs})
    for ours, theirs in zip((found[n] for n in graph.outputs), jax.tree.leaves(exported.call(*args)), strict=True):
        assert ours.shape == theirs.shape and ours.dtype == theirs.dtype
        np.testing.assert_allclose(ours.astype(np.float64), np.asarray(theirs).astype(np.float64), rtol=2e-5, atol=1e-5)


def test_a_scan_is_a_loop() -> None:
    exported = jax.export.export(jax.jit(lstm), platforms=("cpu",))(np.zeros((1000, 6), np.float32))
    model = importer.converted(bytes(exported.serialize()), exported)
    (loop,) = (n for n in model.graph.node if n.op_type == "Loop")
    assert len(loop.output) == 3  # the two states and the rows: neither the counter nor what was to be filled
    graph = optimise(normalise(from_proto(model), "scan", {}, ""))
    assert len(graph.nodes) < 30


def test_from_python_with_an_open_size(tmp_path: Path) -> None:
    shape = jax.export.symbolic_shape("rows, 6")
    built = mlcc.build(
        lambda x: jax.nn.relu(x @ W),
        "native",
        args=(jax.ShapeDtypeStruct(shape, jnp.float32),),
        dims={"rows": "1..5"},
        out=tmp_path,
        cache=False,
        name="net",
    )
    artifact = mlcc.load(Path(built["artifacts"][0]["path"]))
    for rows in (1, 5):
        (found,) = artifact(x=M[:rows]).values()
        np.testing.assert_allclose(found, np.maximum(M[:rows] @ W, 0), rtol=1e-5, atol=1e-5)
    judged = (tmp_path / "net" / "comparison.json").read_text()
    assert "jax" in judged


def test_a_module_as_text(tmp_path: Path) -> None:
    path = tmp_path / "sum.mlir"
    path.write_text("""module { func.func public @main(%a: tensor<2x3xf32>, %b: tensor<3xf32>) -> tensor<2x3xf32> {
  %0 = stablehlo.broadcast_in_dim %b, dims = [1] : (tensor<3xf32>) -> tensor<2x3xf32>
  %1 = stablehlo.add %a, %0 : tensor<2x3xf32>
  return %1 : tensor<2x3xf32> } }""")
    graph = normalise(importer.load(path), "sum", {}, str(path))
    (found,) = execute(graph, {n: np.ones(graph.types[n].shape, np.float32) for n in graph.inputs}).values()
    assert (found == 2).all() and found.shape == (2, 3)


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"module { func.func public @main(%a: tensor<f32>) -> tensor<f32> { %c = stablehlo.constant dense<(2.0,0.0)> : tensor<complex<f32>> return %a : tensor<f32> } }", "complex"),
        (b"", "neither an exported function"),
        (b"hello", "neither an exported function"),
        (b"ML\xefR nonsense", "not a module"),
        (b"module { nonsense }", "not a module"),
        (b"module { func.func public @other() { return } }", "no function main"),
        (b"module { func.func public @main(%a: tensor<2xcomplex<f32>>) -> tensor<2xcomplex<f32>> { return %a : tensor<2xcomplex<f32>> } }", "complex"),
        (b"module { func.func public @main(%a: tensor<2x2xf32>) -> tensor<2x2xf32> { %0 = stablehlo.cholesky %a : tensor<2x2xf32>\n return %0 : tensor<2x2xf32> } }", "cholesky"),
        (b"module { func.func public @main(%a: tensor<2xf32>) -> tensor<2xf32> { %0 = call @main(%a) : (tensor<2xf32>) -> tensor<2xf32>\n return %0 : tensor<2xf32> } }", "deeply"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_said(content: bytes, what: str, tmp_path: Path) -> None:
    path = tmp_path / "m.jax"
    path.write_bytes(content)
    with pytest.raises(Error, match=what):
        importer.load(path)


def test_truncated_files_are_one_line(tmp_path: Path, mlcc: Mlcc) -> None:
    whole = bytes(jax.export.export(jax.jit(lambda x: x @ W), platforms=("cpu",))(M).serialize())
    for share in (0.3, 0.9):
        path = tmp_path / "cut.jax"
        path.write_bytes(whole[: int(len(whole) * share)])
        done = mlcc("build", path, "-t", "native", "-o", tmp_path / "o")
        assert done.returncode == 3 and "Traceback" not in done.stderr
