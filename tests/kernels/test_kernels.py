"""Kernel families against the reference, bit for bit: shapes from hypothesis, special values, tasks in any split."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from mlcc.arithmetic.elementary import SEQUENCES
from mlcc.graph.builder import Builder, Value
from mlcc.schedule import dot
from mlcc.target import load
from tests.support import assert_exact, graph_of, numbers

few = settings(max_examples=9, deadline=None)
seeds = st.integers(0, 2**31)
sizes = st.integers(1, 37)
BINARY = ["Add", "Sub", "Mul", "Div", "Min", "Max"]


@few
@given(
    st.lists(st.integers(1, 9), min_size=1, max_size=4),
    seeds,
    st.sampled_from(BINARY),
    st.sampled_from(["float32", "float64", "int32", "int64", "uint8", "int8"]),
    st.data(),
)
def test_binary_elementwise_broadcast(shape: list[int], seed: int, op: str, dtype: str, data: st.DataObject) -> None:
    other = tuple(n if data.draw(st.booleans()) else 1 for n in shape)
    graph = graph_of({"a": (dtype, tuple(shape)), "c": (dtype, other)}, lambda b, x, y: b(op, x, y))
    assert_exact(graph, {"a": numbers(seed, tuple(shape), dtype, True), "c": numbers(seed + 1, other, dtype, True)})


@pytest.mark.parametrize("op", ["Neg", "Abs", "Sqrt", "Floor", "Ceil", "Round", "Relu", *sorted(SEQUENCES)])
def test_unary_elementwise(op: str) -> None:
    arity = SEQUENCES[op].arity if op in SEQUENCES else 1
    names = [f"x{i}" for i in range(arity)]
    graph = graph_of({n: ("float32", (3, 701)) for n in names}, lambda b, *x: b(op, *x))
    assert_exact(
        graph,
        {
            n: np.concatenate(
                [numbers(i, (1, 701), "float32", True), numbers(i + 7, (1, 701), "float32"), 30 * numbers(i + 9, (1, 701), "float32")]
            )
            for i, n in enumerate(names)
        },
    )


@pytest.mark.parametrize("op", sorted(SEQUENCES))
@pytest.mark.parametrize("target", ["x86_64-v2", "x86_64-v3", "x86_64-v4"])
def test_elementary_on_each_instruction_set(op: str, target: str) -> None:
    t = load(target)
    from mlcc.target import cpu_flags

    if not set(t.requires) <= cpu_flags():
        pytest.skip(f"this CPU has no {target}")
    names = [f"x{i}" for i in range(SEQUENCES[op].arity)]
    graph = graph_of({n: ("float32", (523,)) for n in names}, lambda b, *x: b(op, *x))
    assert_exact(
        graph,
        {
            n: np.where(np.arange(523) % 3 == 0, numbers(i, (523,), "float32", True), 5 * numbers(i + 5, (523,), "float32"))
            for i, n in enumerate(names)
        },
        t.variants[0],
    )


@pytest.mark.parametrize("source", ["float32", "float64", "float16", "bfloat16", "int8", "uint8", "int32", "int64", "bool"])
@pytest.mark.parametrize(
    "to", ["float32", "float64", "float16", "bfloat16", "int8", "uint8", "int16", "int32", "uint32", "int64", "uint64", "bool"]
)
def test_cast(source: str, to: str) -> None:
    graph = graph_of({"x": (source, (131,))}, lambda b, x: b.cast(x, to))
    x = numbers(1, (131,), source, True)
    if source.startswith("float"):
        x = np.where(np.arange(131) % 4 == 0, x * x.dtype.type(300), x)
    assert_exact(graph, {"x": x})


@pytest.mark.parametrize("dtype", ["int8", "int32", "int64", "uint8", "uint32"])
def test_integer_operators(dtype: str) -> None:
    def make(b: Builder, x: Value, y: Value) -> tuple[Value, ...]:
        found = [b(op, x, y) for op in ("Div", "Mod", "Fmod", "BitwiseAnd", "BitwiseOr", "BitwiseXor")] + [
            b("BitwiseNot", x),
            b("Less", x, y),
            b("Equal", x, y),
        ]
        if dtype == "int32":
            found.append(b("Rescale", x, y, x))
        if dtype.startswith("u"):
            found += [b("ShiftLeft", x, y), b("ShiftRight", x, y)]
        return tuple(found)

    graph = graph_of({"x": (dtype, (77,)), "y": (dtype, (77,))}, make)
    assert_exact(
        graph, {"x": numbers(1, (77,), dtype, True), "y": np.where(np.arange(77) % 5 == 0, 0, numbers(2, (77,), dtype, True)).astype(dtype)}
    )


@few
@given(
    st.lists(st.integers(1, 9), min_size=1, max_size=4),
    seeds,
    st.sampled_from(["ReduceSum", "ReduceProd", "ReduceMax", "ReduceMin"]),
    st.sampled_from(["float32", "float32", "float64", "int32", "uint8"]),
    st.data(),
)
def test_reductions(shape: list[int], seed: int, kind: str, dtype: str, data: st.DataObject) -> None:
    axes = tuple(i for i in range(len(shape)) if data.draw(st.booleans())) or (0,)
    graph = graph_of({"x": (dtype, tuple(shape))}, lambda b, x: b(kind, x, axes=axes))
    assert_exact(graph, {"x": numbers(seed, tuple(shape), dtype, data.draw(st.booleans()))})


@pytest.mark.parametrize(
    "shape,axes",
    [((3, 1000), (1,)), ((1000, 33), (0,)), ((2, 40, 50, 19), (1, 2)), ((5, 7, 300), (0, 2)), ((70,), (0,)), ((4, 17, 16), (1,))],
)
@pytest.mark.parametrize("kind", ["ReduceSum", "ReduceMax"])
def test_long_reductions(shape: tuple[int, ...], axes: tuple[int, ...], kind: str) -> None:
    graph = graph_of({"x": ("float32", shape)}, lambda b, x: b("Sqrt", b("Abs", b(kind, x, axes=axes))))
    assert_exact(graph, {"x": numbers(5, shape, "float32")})


@few
@given(sizes, sizes, st.integers(1, 50), seeds, st.booleans(), st.booleans(), st.booleans())
def test_matmul(m: int, n: int, k: int, seed: int, constant: bool, special: bool, bias: bool) -> None:
    right, start = numbers(seed + 1, (k, n), "float32", special), numbers(seed + 2, (n,), "float32", special)
    inputs = {"a": ("float32", (m, k)), **({} if constant else {"w": ("float32", (k, n))})}

    def make(b: Builder, a: Value, *w: Value) -> Value:
        operands = [a, w[0] if w else b.constant(right)] + ([b.constant(start)] if bias else [])
        return b("Relu", b.many("MatMul", operands)[0])

    assert_exact(graph_of(inputs, make), {"a": numbers(seed, (m, k), "float32", special), **({} if constant else {"w": right})})


@few
@given(st.integers(1, 70), st.integers(50, 330), st.integers(1, 40), st.integers(1, 64), st.integers(1, 16), seeds, st.booleans())
def test_every_tile_is_exact(m: int, n: int, k: int, rows: int, panels: int, seed: int, special: bool) -> None:
    """Whatever a lock file may say (up to 64 rows by 16 panels), on products of many panels."""
    left, right = numbers(seed, (m, k), "float32", special), numbers(seed + 1, (k, n), "float32", special)
    graph = graph_of({"a": ("float32", (m, k))}, lambda b, a: b("Relu", b.many("MatMul", [a, b.constant(right)])[0]))
    target = load("native").variants[0]
    assert_exact(graph, {"a": left}, replace(target, machine=replace(target.machine, choice=dot.choice(rows, panels))))


@few
@given(
    st.integers(1, 3),
    st.integers(1, 3),
    sizes,
    sizes,
    st.integers(1, 20),
    seeds,
    st.sampled_from(["float32", "float64", "int32"]),
    st.data(),
)
def test_batched_matmul(p: int, q: int, m: int, n: int, k: int, seed: int, dtype: str, data: st.DataObject) -> None:
    left = (p if data.draw(st.booleans()) else 1, q, m, k)
    right = (p, q if data.draw(st.booleans()) else 1, n, k)
    graph = graph_of({"a": (dtype, left), "c": (dtype, right)}, lambda b, a, c: b("MatMul", a, b.transpose(c, (0, 1, 3, 2))))
    assert_exact(graph, {"a": numbers(seed, left, dtype), "c": numbers(seed + 1, right, dtype)})


@few
@given(
    st.integers(1, 2),
    st.integers(1, 5),
    st.integers(1, 20),
    st.integers(1, 11),
    st.integers(1, 11),
    st.integers(1, 3),
    st.integers(1, 3),
    st.integers(1, 2),
    st.integers(1, 2),
    seeds,
    st.data(),
)
def test_convolution(
    n: int, channels: int, out: int, height: int, width: int, kh: int, kw: int, stride: int, dilation: int, seed: int, data: st.DataObject
) -> None:
    group = data.draw(st.sampled_from([1, 1, channels, 2 if channels % 2 == 0 else 1]))
    out = out * group if data.draw(st.booleans()) or out % group else out
    pads = tuple(data.draw(st.integers(0, 2)) for _ in range(4))
    assume(not (height + pads[0] + pads[2] < dilation * (kh - 1) + 1 or width + pads[1] + pads[3] < dilation * (kw - 1) + 1))
    special = data.draw(st.booleans())
    w, bias = numbers(seed + 1, (out, channels // group, kh, kw), "float32"), numbers(seed + 2, (out,), "float32", special)

    def make(b: Builder, x: Value) -> Value:
        y = b(
            "Conv",
            b("Relu", x),
            b.constant(w),
            b.constant(bias),
            group=group,
            strides=(stride, stride),
            dilations=(dilation, dilation),
            before=pads[:2],
            after=pads[2:],
        )
        return b("Mul", y, b("Sigmoid", y)) if seed % 2 else y

    assert_exact(
        graph_of({"x": ("float32", (n, channels, height, width))}, make),
        {"x": numbers(seed, (n, channels, height, width), "float32", special)},
    )


@few
@given(st.integers(1, 4), st.integers(1, 6), st.integers(1, 6), st.integers(1, 4), st.integers(1, 3), st.integers(1, 2), seeds, st.data())
def test_transposed_convolution(
    channels: int, out: int, size: int, kernel: int, stride: int, dilation: int, seed: int, data: st.DataObject
) -> None:
    full = (size - 1) * stride + (kernel - 1) * dilation + 1
    before = data.draw(st.integers(0, min(2, full - 1)))
    shape = data.draw(st.integers(1, full - before + stride - 1))
    w, bias = numbers(seed + 1, (channels, out, kernel, kernel), "float32"), numbers(seed + 2, (out,), "float32")
    graph = graph_of(
        {"x": ("float32", (1, channels, size, size))},
        lambda b, x: b(
            "ConvTranspose",
            x,
            b.constant(w),
            b.constant(bias),
            group=1,
            strides=(stride, stride),
            dilations=(dilation, dilation),
            before=(before, before),
            shape=(shape, shape),
        ),
    )
    assert_exact(graph, {"x": numbers(seed, (1, channels, size, size), "float32")})


@few
@given(
    st.sampled_from(["PoolMax", "PoolSum"]),
    st.integers(1, 35),
    st.integers(2, 10),
    st.integers(1, 4),
    st.integers(1, 3),
    st.integers(0, 1),
    seeds,
)
def test_pools(kind: str, channels: int, size: int, kernel: int, stride: int, pad: int, seed: int) -> None:
    assume(not (size + 2 * pad < kernel or pad >= kernel))
    graph = graph_of(
        {"x": ("float32", (2, channels, size, size))},
        lambda b, x: b(kind, x, kernel=(kernel, kernel), strides=(stride, stride), dilations=(1, 1), before=(pad, pad), after=(pad, pad)),
    )
    assert_exact(graph, {"x": numbers(seed, (2, channels, size, size), "float32", seed % 2 == 0)})


@few
@given(
    st.lists(st.integers(1, 7), min_size=2, max_size=4), seeds, st.sampled_from(["float32", "float16", "int8", "int64", "bool"]), st.data()
)
def test_movement(shape: list[int], seed: int, dtype: str, data: st.DataObject) -> None:
    dims = tuple(shape)
    perm = tuple(data.draw(st.permutations(range(len(dims)))))
    axis = data.draw(st.integers(0, len(dims) - 1))
    pads = tuple(data.draw(st.integers(0, 3)) for _ in dims)

    def make(b: Builder, x: Value) -> tuple[Value, ...]:
        t = b.transpose(x, perm)
        flipped = b.slice(x, axis, dims[axis] - 1, dims[axis], -1)
        return (
            t,
            b.reshape(t, (int(np.prod(dims)),)),
            flipped,
            b.many("Concat", [x, flipped, x], axis=axis)[0],
            b("Pad", t, before=pads, after=pads[::-1], value=1),
            b.expand(b.reshape(x, (1, *dims)), (3, *dims)),
            b("Gather", x, b.constant(np.array([[0, -1], [dims[axis] - 1, 99]])), axis=axis),
        )

    assert_exact(graph_of({"x": (dtype, dims)}, make), {"x": numbers(seed, dims, dtype, dtype != "bool")})


@few
@given(st.integers(1, 6), st.integers(1, 9), seeds, st.sampled_from(["none", "add", "mul", "max", "min"]))
def test_gather_and_scatter_with_computed_indices(rows: int, columns: int, seed: int, reduction: str) -> None:
    def make(b: Builder, x: Value, i: Value, u: Value) -> tuple[Value, ...]:
        nd = b("Cast", b.many("Concat", [b.reshape(i, (rows * columns, 1)), b.reshape(i, (rows * columns, 1))], axis=1)[0], to="int64")
        return (
            b("Gather", x, b.slice(i, 0, 0, 1), axis=1),
            b("GatherElements", x, i, axis=0),
            b("GatherND", x, nd, batch_dims=0),
            b("ScatterElements", x, i, u, axis=1, reduction=reduction),
            b("ScatterND", x, nd, b.reshape(u, (rows * columns,)), reduction=reduction),
        )

    indices = np.random.default_rng(seed).integers(-12, 12, (rows, columns)).astype(np.int32)
    graph = graph_of({"x": ("float32", (rows, columns)), "i": ("int32", (rows, columns)), "u": ("float32", (rows, columns))}, make)
    assert_exact(graph, {"x": numbers(seed, (rows, columns), "float32"), "i": indices, "u": numbers(seed + 1, (rows, columns), "float32")})


@few
@given(st.integers(1, 5), st.integers(1, 12), seeds, st.booleans(), st.booleans(), st.booleans())
def test_scans(rows: int, extent: int, seed: int, flag: bool, other: bool, special: bool) -> None:
    k = 1 + seed % extent

    def make(b: Builder, x: Value) -> tuple[Value, ...]:
        return (
            b("ArgMax", x, axis=1, last=int(flag)),
            b("ArgMin", x, axis=1, last=int(other)),
            b("CumSum", x, axis=1, exclusive=int(flag), reverse=int(other)),
            *b.many("TopK", [x], axis=1, k=k, largest=int(flag)),
        )

    x = np.round(numbers(seed, (rows, extent), "float32") * 2) / 2  # with ties
    if special:
        x = np.where(np.random.default_rng(seed).random(x.shape) < 0.2, np.float32(np.nan), x)
    assert_exact(graph_of({"x": ("float32", (rows, extent))}, make), {"x": x})


def test_float_remainder() -> None:
    graph = graph_of({"x": ("float32", (97,)), "y": ("float32", (97,))}, lambda b, x, y: b("Fmod", x, y))
    assert_exact(graph, {"x": numbers(1, (97,), "float32", True) * np.float32(9), "y": numbers(2, (97,), "float32", True)})


@pytest.mark.parametrize("target", ["x86_64-v2", "x86_64-v3", "x86_64-v4"])
def test_dot_on_each_instruction_set(target: str) -> None:
    from mlcc.target import cpu_flags

    t = load(target)
    if not set(t.requires) <= cpu_flags():
        pytest.skip(f"this CPU has no {target}")
    w, depthwise = numbers(1, (40, 24, 3, 3), "float32"), numbers(2, (40, 1, 3, 3), "float32")

    def make(b: Builder, x: Value) -> Value:
        common = {"strides": (1, 1), "dilations": (1, 1), "before": (1, 1), "after": (1, 1)}
        y = b("Relu", b("Conv", x, b.constant(w), group=1, **common))
        return b("ReduceSum", b("Add", b("Conv", y, b.constant(depthwise), group=40, **common), y), axes=(2, 3))

    assert_exact(graph_of({"x": ("float32", (1, 24, 13, 11))}, make), {"x": numbers(3, (1, 24, 13, 11), "float32", True)}, t.variants[0])
