"""Random operators: Philox4x32-10 in integer operators (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", 2011).

The key is the operator's `seed` where it has one, else an input of the model that is added, an int64 called `seed`: who runs the model says
what is drawn, and the same seed draws the same everywhere. Counter: (element / 4, the operator's number, 0, 0).
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod

import numpy as np

from mlcc.core.graph import TensorType, fresh
from mlcc.graph.builder import Value
from mlcc.graph.rules.elementwise import ONNX_DTYPES
from mlcc.graph.rules.standard import run
from mlcc.graph.source import Source

RULE = "random-by-philox"
KEY = 0x6D6C6363
FACTORS, WEYL = (0xD2511F53, 0xCD9E8D57), (0x9E3779B9, 0xBB67AE85)


def words(s: Source, elements: int) -> Value:
    """uint32 [elements], uniform."""
    b, rows = s.b, -(-elements // 4)
    b.room(rows * 4, 16, "the numbers drawn")
    stream = sum(r.rule == RULE for r in b.rewrites)
    b.record(RULE)
    if s.has("seed"):
        low = b.constant(np.array([int(np.float32(s.attr("seed")).view(np.uint32))], np.uint64))
    else:
        if b.seed is None:
            b.seed = b.input(fresh("seed", {*b.public, *b.inputs}), TensorType("int64", ()))
        low = b.reshape(b("BitwiseAnd", b.cast(b.seed, "uint64"), b.constant(np.uint64(0xFFFFFFFF))), (1,))
    mask, half = b.constant(np.uint64(0xFFFFFFFF)), b.constant(np.uint64(32))
    x = [b.constant(v.astype(np.uint64)) for v in (np.arange(rows), np.full(rows, stream), np.zeros(rows), np.zeros(rows))]
    keys = [low, b.constant(np.array([KEY], np.uint64))]
    for _ in range(10):
        products = [b("Mul", x[2 * i], b.constant(np.uint64(f))) for i, f in enumerate(FACTORS)]
        high, rest = [b("ShiftRight", p, half) for p in products], [b("BitwiseAnd", p, mask) for p in products]
        mixed = [b("BitwiseXor", b("BitwiseXor", high[1 - i], x[2 * i + 1]), keys[i]) for i in (0, 1)]
        x = [mixed[0], rest[1], mixed[1], rest[0]]
        keys = [b("BitwiseAnd", b("Add", k, b.constant(np.uint64(w))), mask) for k, w in zip(keys, WEYL)]
    columns = [b.reshape(b.cast(b.expand(v, (rows,)), "uint32"), (rows, 1)) for v in x]
    flat = b.reshape(b.many("Concat", columns, axis=1)[0], (rows * 4,))
    return b.slice(flat, 0, 0, elements)


def unit(s: Source, elements: int) -> Value:
    """float32 in [0, 1), multiples of 2^-24."""
    b = s.b
    return b("Mul", b.cast(b("ShiftRight", words(s, elements), b.constant(np.uint32(8))), "float32"), b.constant(np.float32(2.0**-24)))


def uniform(s: Source, shape: tuple[int, ...], dtype: str) -> Value:
    b, (low, high) = s.b, (float(s.attr("low", 0.0)), float(s.attr("high", 1.0)))
    y = b("Add", b("Mul", unit(s, prod(shape)), b.constant(np.float32(high - low))), b.constant(np.float32(low)))
    return b.cast(b.reshape(y, shape), dtype)


def normal(s: Source, shape: tuple[int, ...], dtype: str) -> Value:
    """Box and Muller, 1958: two uniforms to a number."""
    b, count = s.b, prod(shape)
    one = b.constant(np.float32(1))
    size = b("Sqrt", b("Mul", b("Log", b("Sub", one, unit(s, count))), b.constant(np.float32(-2))))
    y = b("Mul", size, b("Cos", b("Mul", unit(s, count), b.constant(np.float32(2 * np.pi)))))
    y = b("Add", b("Mul", y, b.constant(np.float32(s.attr("scale", 1.0)))), b.constant(np.float32(s.attr("mean", 0.0))))
    return b.cast(b.reshape(y, shape), dtype)


Draw = Callable[[Source, tuple[int, ...], str], Value]


def of_shape(draw: Draw) -> Callable[[Source], Value]:
    return lambda s: draw(s, tuple(s.ints("shape") or ()), ONNX_DTYPES[int(s.attr("dtype", 1))])


def like(draw: Draw) -> Callable[[Source], Value]:
    def run(s: Source) -> Value:
        dtype = ONNX_DTYPES[int(s.attr("dtype"))] if s.has("dtype") else s[0].dtype
        return draw(s, s[0].shape, dtype if dtype.startswith(("float", "bfloat")) else "float32")

    return run


def multinomial(s: Source) -> Value:
    """int [batch, samples]: classes drawn from unnormalised logarithms of probabilities, by how many running sums a number passes."""
    b, x, samples = s.b, s.b.cast(s[0], "float32"), int(s.attr("sample_size", 1))
    n, classes = x.shape
    p = run(s, "Softmax", x, axis=1)
    sums = b.reshape(b("CumSum", p, axis=1, exclusive=0, reverse=0), (n, 1, classes))
    drawn = b.reshape(unit(s, n * samples), (n, samples, 1))
    passed = b("ReduceSum", b.cast(b("LessOrEqual", sums, drawn), "int32"), axes=(2,))
    last = b("Min", b.reshape(passed, (n, samples)), b.constant(np.int32(classes - 1)))
    return b.cast(last, ONNX_DTYPES[int(s.attr("dtype", 6))])


TABLE: dict[str, Callable[[Source], Value | tuple[Value, ...]]] = {
    "Multinomial": multinomial,
    "RandomNormal": of_shape(normal),
    "RandomNormalLike": like(normal),
    "RandomUniform": of_shape(uniform),
    "RandomUniformLike": like(uniform),
}
