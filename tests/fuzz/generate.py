"""Random typed ONNX models: what users' files hold, in combinations that nobody chose.

A model is one or several components that share nothing. Each grows from inputs by operators drawn from the table; any value may be read
again, by itself even, transposed, sliced or broadcast. Names are hostile. A seed gives the same model everywhere.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from math import prod
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

TYPES = {"float32": TensorProto.FLOAT, "float16": TensorProto.FLOAT16, "int32": TensorProto.INT32, "int64": TensorProto.INT64,
         "uint8": TensorProto.UINT8, "int8": TensorProto.INT8, "bool": TensorProto.BOOL}  # fmt: skip
SIZES = (1, 1, 2, 3, 3, 4, 5, 7, 8, 16, 17)
HOSTILE = (
    "c{}",
    "v{}",
    "in.x{}",
    "out.y{}",
    "x{}*/",
    "a{}/b",
    'q"{}',
    "NULL{}",
    "größe{}",
    "x{}.padded",
    "y{}.bias",
    "mem.v{}",
    "’{}",
    "t {}",
    "%{}",
    "v{}_1",
)
OPSET = 17


@dataclass(frozen=True)
class Tensor:
    name: str
    dtype: str
    shape: tuple[int, ...]

    @property
    def rank(self) -> int:
        return len(self.shape)

    @property
    def float(self) -> bool:
        return self.dtype in ("float32", "float16")


@dataclass
class Maker:
    """Builds one model."""

    seed: int
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    initializers: list[onnx.TensorProto] = field(default_factory=list)
    inputs: list[Tensor] = field(default_factory=list)
    outputs: list[Tensor] = field(default_factory=list)
    functions: list[onnx.FunctionProto] = field(default_factory=list)
    quantised: bool = False

    def __post_init__(self) -> None:
        self.r = random.Random(self.seed)
        self.n = np.random.default_rng(self.seed)
        self.count = 0
        self.pool: list[Tensor] = []

    def name(self) -> str:
        self.count += 1
        return self.r.choice(HOSTILE).format(self.count) if self.r.random() < 0.3 else f"t{self.count}"

    def const(self, array: Any, dtype: str | None = None) -> str:
        a = np.asarray(array) if dtype is None else np.asarray(array).astype(dtype)
        name = self.name()
        self.initializers.append(numpy_helper.from_array(np.array(a, order="C"), name))
        return name

    def weight(self, *shape: int, dtype: str = "float32") -> str:
        return self.const(self.n.standard_normal(shape) / max(1.0, np.sqrt(shape[-1] if shape else 1)), dtype)

    def ints(self, *values: int) -> str:
        return self.const(np.array(values, np.int64))

    def node(
        self, op: str, inputs: list[str], dtype: str, shape: tuple[int, ...], outputs: int = 1, domain: str = "", **attributes: Any
    ) -> Tensor:
        names = [self.name() for _ in range(outputs)]
        self.nodes.append(helper.make_node(op, inputs, names, domain=domain, **attributes))
        return Tensor(names[0], dtype, tuple(int(n) for n in shape))

    def pick(self, test: Callable[[Tensor], bool] = lambda t: True) -> Tensor | None:
        fitting = [t for t in self.pool if test(t)]
        return self.r.choice(fitting[-6:] if self.r.random() < 0.6 else fitting) if fitting else None

    def shape(self, rank: int) -> tuple[int, ...]:
        return tuple(0 if self.r.random() < 0.01 else self.r.choice(SIZES) for _ in range(rank))

    def component(self, steps: int) -> None:
        self.pool = []
        for _ in range(self.r.randint(1, 3)):
            dtype = self.r.choice(["float32"] * 6 + ["float16", "int32", "int64", "uint8"])
            t = Tensor(self.name(), dtype, self.shape(self.r.choice((0, 1, 2, 2, 3, 3, 4, 4))))
            self.inputs.append(t)
            self.pool.append(t)
        made = 0
        for _ in range(steps * 4):
            if made == steps:
                break
            rule = self.r.choice(RULES)
            found = rule(self)
            if found is not None and prod(found.shape) <= 20000:
                self.pool.append(found)
                made += 1
            elif found is not None:
                self.nodes.pop()
        read = {i for n in self.nodes for i in n.input}
        last = [t for t in self.pool if t.name not in read and t not in self.inputs] or self.pool[-1:]
        self.outputs += [t for t in last if t not in self.outputs]

    def model(self) -> onnx.ModelProto:
        info = [[helper.make_tensor_value_info(t.name, TYPES[t.dtype], t.shape) for t in group] for group in (self.inputs, self.outputs)]
        graph = helper.make_graph(self.nodes, "fuzz", *info, self.initializers)
        imports = [helper.make_opsetid("", OPSET), helper.make_opsetid("fuzz", 1)]
        model = helper.make_model(graph, opset_imports=imports, functions=self.functions)
        model.ir_version = 9
        return model

    def feed(self, seed: int = 0) -> dict[str, np.ndarray]:
        r = np.random.default_rng((self.seed, seed))
        found = {}
        for t in self.inputs:
            found[t.name] = (r.standard_normal(t.shape) if t.float else r.integers(0, 20, t.shape)).astype(t.dtype)
        return found


Rule = Callable[[Maker], "Tensor | None"]
RULES: list[Rule] = []


def rule(weight: int) -> Callable[[Rule], Rule]:
    def add(f: Rule) -> Rule:
        RULES.extend([f] * weight)
        return f

    return add


@rule(5)
def unary(m: Maker) -> Tensor | None:
    x = m.pick(lambda t: t.dtype == "float32")
    if x is None:
        return None
    op, attributes = m.r.choice(
        [(o, {}) for o in ("Relu", "Neg", "Abs", "Tanh", "Sigmoid", "Erf", "Softplus", "Floor", "Ceil", "Round", "Sign", "Softsign", "Selu", "HardSwish",
                            "Identity", "Sin", "Cos", "Atan")]
        + [("Elu", {"alpha": 0.7}), ("LeakyRelu", {"alpha": 0.2}), ("HardSigmoid", {"alpha": 0.3, "beta": 0.4}), ("Celu", {"alpha": 1.5}),
           ("ThresholdedRelu", {"alpha": 0.3}), ("Shrink", {"lambd": 0.4, "bias": 0.1})]
    )  # fmt: skip
    return m.node(op, [x.name], x.dtype, x.shape, **attributes)


@rule(2)
def bounded(m: Maker) -> Tensor | None:
    x = m.pick(lambda t: t.float)
    if x is None:
        return None
    limits = m.const(-0.7, x.dtype), m.const(0.9, x.dtype)
    clipped = m.node("Clip", [x.name, *limits], x.dtype, x.shape)
    return m.node("Exp", [clipped.name], x.dtype, x.shape) if m.r.random() < 0.5 else clipped


@rule(6)
def binary(m: Maker) -> Tensor | None:
    x = m.pick(lambda t: t.dtype != "bool")
    if x is None:
        return None
    choice = m.r.random()
    if choice < 0.4:
        y = m.pick(lambda t: t.dtype == x.dtype and _broadcast(t.shape, x.shape) is not None)
        assert y is not None
        other, shape = y.name, _broadcast(x.shape, y.shape)
    else:
        own = [n if m.r.random() < 0.6 else 1 for n in x.shape]
        own = own[m.r.randint(0, len(own)) :] if m.r.random() < 0.4 else own
        values = m.n.standard_normal(own) if x.float else m.n.integers(1, 9, own)
        other, shape = m.const(values, x.dtype), x.shape
    assert shape is not None
    ops = ["Add", "Sub", "Mul", "Max", "Min"] if x.float or x.dtype in ("int32", "int64") else ["Max", "Min"]
    operands = [x.name, other] if m.r.random() < 0.5 else [other, x.name]
    return m.node(m.r.choice(ops), operands, x.dtype, shape)


@rule(1)
def integers(m: Maker) -> Tensor | None:
    x = m.pick(lambda t: t.dtype in ("int32", "int64"))
    if x is None:
        return None
    by = m.const(m.n.integers(1, 7, x.shape[-1:]) * m.r.choice((1, -1)), x.dtype)
    op, attributes = m.r.choice([("Div", {}), ("Mod", {}), ("Mod", {"fmod": 1}), ("Pow", {})])
    if op == "Pow":
        return m.node(
            "Pow",
            [m.node("Mod", [x.name, m.const(7, x.dtype)], x.dtype, x.shape).name, m.const(3, m.r.choice(("int32", "int64")))],
            x.dtype,
            x.shape,
        )
    return m.node(op, [x.name, by], x.dtype, x.shape, **attributes)


@rule(2)
def select(m: Maker) -> Tensor | None:
    x = m.pick(lambda t: t.dtype == "float32")
    if x is None:
        return None
    less = m.node(m.r.choice(("Less", "GreaterOrEqual")), [x.name, m.const(0.1, x.dtype)], "bool", x.shape)
    return m.node("Where", [less.name, x.name, m.weight(*x.shape[-1:])], x.dtype, x.shape)


@rule(2)
def cast(m: Maker) -> Tensor | None:
    x = m.pick()
    assert x is not None
    to = m.r.choice(["float32"] * 4 + (["float16"] if x.float else ["int32", "int64"]))
    return m.node("Cast", [x.name], to, x.shape, to=TYPES[to])


@rule(3)
def transpose(m: Maker) -> Tensor | None:
    x = m.pick(lambda t: t.rank > 1)
    if x is None:
        return None
    perm = m.r.sample(range(x.rank), x.rank)
    return m.node("Transpose", [x.name], x.dtype, tuple(x.shape[p] for p in perm), perm=perm)


@rule(3)
def reshape(m: Maker) -> Tensor | None:
    x = m.pick(lambda t: 0 not in t.shape)
    if x is None:
        return None
    dims, rest = [], prod(x.shape)
    for _ in range(m.r.randint(0, 3)):
        d = m.r.choice([d for d in range(1, rest + 1) if rest % d == 0][:12])
        dims.append(d)
        rest //= d
    dims.insert(m.r.randint(0, len(dims)), rest)
    given = list(dims)
    if m.r.random() < 0.4:
        given[m.r.randrange(len(given))] = -1
    return m.node("Reshape", [x.name, m.ints(*given)], x.dtype, tuple(dims))


@rule(3)
def slices(m: Maker) -> Tensor | None:
    x = m.pick(lambda t: t.rank > 0 and 0 not in t.shape)
    if x is None:
        return None
    axis = m.r.randrange(x.rank)
    n, step = x.shape[axis], m.r.choice((1, 1, 2, -1, -2))
    start, end = (m.r.randint(-n, n), m.r.randint(-n, n)) if step > 0 else (m.r.randint(0, n - 1), m.r.choice((-n - 1, 0)))
    found = len(range(n)[slice(start, end if not (step < 0 and end == -n - 1) else None, step)])
    shape = (*x.shape[:axis], found, *x.shape[axis + 1 :])
    axes = m.ints(axis - (x.rank if m.r.random() < 0.5 else 0))
    return m.node("Slice", [x.name, m.ints(start), m.ints(end), axes, m.ints(step)], x.dtype, shape)


@rule(2)
def concat(m: Maker) -> Tensor | None:
    x = m.pick(lambda t: t.rank > 0)
    if x is None:
        return None
    axis = m.r.randrange(x.rank)
    same = [
        t
        for t in m.pool
        if t.dtype == x.dtype and t.rank == x.rank and all(a == b for i, (a, b) in enumerate(zip(t.shape, x.shape)) if i != axis)
    ]
    parts = [m.r.choice(same) for _ in range(m.r.randint(1, 3))]
    return m.node(
        "Concat", [p.name for p in parts], x.dtype, (*x.shape[:axis], sum(p.shape[axis] for p in parts), *x.shape[axis + 1 :]), axis=axis
    )


@rule(2)
def split(m: Maker) -> Tensor | None:
    """With parts that nobody reads."""
    x = m.pick(lambda t: t.rank > 0 and max(t.shape) > 1)
    if x is None:
        return None
    axis = x.shape.index(max(x.shape))
    first = m.r.randint(1, x.shape[axis] - 1)
    sizes = [first, x.shape[axis] - first]
    names = [m.name(), m.name()]
    keep = m.r.randrange(2)
    m.nodes.append(helper.make_node("Split", [x.name, m.ints(*sizes)], names, axis=axis))
    return Tensor(names[keep], x.dtype, (*x.shape[:axis], sizes[keep], *x.shape[axis + 1 :]))


@rule(2)
def gather(m: Maker) -> Tensor | None:
    x = m.pick(lambda t: t.rank > 0 and 0 not in t.shape)
    if x is None:
        return None
    axis = m.r.randrange(x.rank)
    n = x.shape[axis]
    own = m.shape(m.r.choice((0, 1, 1, 2)))
    index = m.pick(lambda t: t.dtype == "int64" and t in m.inputs) if m.r.random() < 0.3 else None
    if index is not None and n >= 20:
        return m.node("Gather", [x.name, index.name], x.dtype, (*x.shape[:axis], *index.shape, *x.shape[axis + 1 :]), axis=axis)
    return m.node(
        "Gather", [x.name, m.const(m.n.integers(-n, n, own), "int64")], x.dtype, (*x.shape[:axis], *own, *x.shape[axis + 1 :]), axis=axis
    )


@rule(2)
def spread(m: Maker) -> Tensor | None:
    x = m.pick(lambda t: t.rank > 0)
    if x is None:
        return None
    if m.r.random() < 0.5:
        wanted = [m.r.choice((2, 3)) if n == 1 else n for n in x.shape]
        return m.node("Expand", [x.name, m.ints(2, *wanted)], x.dtype, (2, *wanted))
    repeats = [m.r.choice((1, 1, 2)) for _ in x.shape]
    return m.node("Tile", [x.name, m.ints(*repeats)], x.dtype, tuple(n * r for n, r in zip(x.shape, repeats)))


@rule(2)
def pad(m: Maker) -> Tensor | None:
    x = m.pick(lambda t: t.rank > 0 and t.dtype == "float32" and 0 not in t.shape)
    if x is None:
        return None
    before, after = ([m.r.choice((0, 0, 1, 2)) for _ in x.shape] for _ in range(2))
    mode = m.r.choice(("constant", "edge"))
    more = [m.const(m.r.choice((0.25, 0.0, -0.0)), x.dtype)] if mode == "constant" else []
    return m.node(
        "Pad", [x.name, m.ints(*before, *after), *more], x.dtype, tuple(a + n + b for a, n, b in zip(before, x.shape, after)), mode=mode
    )


@rule(3)
def reduce(m: Maker) -> Tensor | None:
    x = m.pick(lambda t: t.float and t.rank > 0 and 0 not in t.shape)
    if x is None:
        return None
    axes = sorted(m.r.sample(range(x.rank), m.r.randint(1, x.rank)))
    given, keep = [a - (x.rank if m.r.random() < 0.4 else 0) for a in axes], m.r.random() < 0.6
    shape = tuple(1 if i in axes else n for i, n in enumerate(x.shape) if keep or i not in axes)
    op = m.r.choice(("ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin", "ReduceL1", "ReduceL2", "ReduceSumSquare", "ReduceLogSumExp"))
    if op == "ReduceSum":
        return m.node(op, [x.name, m.ints(*given)], x.dtype, shape, keepdims=int(keep))
    return m.node(op, [x.name], x.dtype, shape, axes=given, keepdims=int(keep))


@rule(3)
def softmax(m: Maker) -> Tensor | None:
    x = m.pick(lambda t: t.float and t.rank > 0 and 0 not in t.shape)
    if x is None:
        return None
    return m.node(m.r.choice(("Softmax", "LogSoftmax")), [x.name], x.dtype, x.shape, axis=m.r.randrange(-x.rank, x.rank))


@rule(2)
def norm(m: Maker) -> Tensor | None:
    x = m.pick(lambda t: t.float and t.rank > 1 and 0 not in t.shape and t.shape[-1] > 2)
    if x is None:
        return None
    n = x.shape[-1]
    return m.node("LayerNormalization", [x.name, m.weight(n, dtype=x.dtype), m.weight(n, dtype=x.dtype)], x.dtype, x.shape, axis=-1)


@rule(1)
def order(m: Maker) -> Tensor | None:
    x = m.pick(lambda t: t.dtype == "float32" and t.rank > 0 and 0 not in t.shape)
    if x is None:
        return None
    axis = m.r.randrange(x.rank)
    if m.r.random() < 0.5:
        return m.node("CumSum", [x.name, m.const(axis, "int64")], x.dtype, x.shape, exclusive=m.r.randint(0, 1), reverse=m.r.randint(0, 1))
    k = m.r.randint(1, x.shape[axis])
    shape = (*x.shape[:axis], k, *x.shape[axis + 1 :])
    return m.node("TopK", [x.name, m.ints(k)], x.dtype, shape, outputs=2, axis=axis)


@rule(4)
def matmul(m: Maker) -> Tensor | None:
    x = m.pick(lambda t: t.float and t.rank > 1)
    if x is None:
        return None
    y = m.pick(
        lambda t: t.dtype == x.dtype and t.rank > 1 and t.shape[-2] == x.shape[-1] and _broadcast(t.shape[:-2], x.shape[:-2]) is not None
    )
    if y is not None and m.r.random() < 0.6:
        lead = _broadcast(x.shape[:-2], y.shape[:-2])
        assert lead is not None
        return m.node("MatMul", [x.name, y.name], x.dtype, (*lead, x.shape[-2], y.shape[-1]))
    n = m.r.choice(SIZES)
    return m.node("MatMul", [x.name, m.weight(x.shape[-1], n, dtype=x.dtype)], x.dtype, (*x.shape[:-1], n))


@rule(2)
def gemm(m: Maker) -> Tensor | None:
    x = m.pick(lambda t: t.float and t.rank == 2)
    if x is None:
        return None
    a, b = m.r.randint(0, 1), m.r.randint(0, 1)
    k, rows, n = x.shape[0 if a else 1], x.shape[1 if a else 0], m.r.choice(SIZES)
    w = m.weight(*((n, k) if b else (k, n)), dtype=x.dtype)
    c = m.weight(*m.r.choice(((n,), (rows, 1), (1, n), (rows, n))), dtype=x.dtype)
    return m.node("Gemm", [x.name, w, c], x.dtype, (rows, n), transA=a, transB=b, alpha=m.r.choice((1.0, 0.5)), beta=m.r.choice((1.0, 2.0)))


@rule(4)
def conv(m: Maker) -> Tensor | None:
    x = m.pick(lambda t: t.dtype == "float32" and t.rank in (3, 4) and 0 not in t.shape)
    if x is None:
        return None
    rank, c = x.rank - 2, x.shape[1]
    group = m.r.choice([g for g in (1, 1, 2, c) if c % g == 0])
    out = group * m.r.choice((1, 2, 3))
    kernel = [m.r.randint(1, min(3, n)) for n in x.shape[2:]]
    strides, dilations = ([m.r.choice((1, 1, 2)) for _ in range(rank)] for _ in range(2))
    pads = [m.r.choice((0, 1, 2)) for _ in range(2 * rank)]
    spatial = [(n + pads[i] + pads[rank + i] - dilations[i] * (kernel[i] - 1) - 1) // strides[i] + 1 for i, n in enumerate(x.shape[2:])]
    if min(spatial) < 1:
        return None
    operands = [x.name, m.weight(out, c // group, *kernel), *([m.weight(out)] if m.r.random() < 0.6 else [])]
    return m.node("Conv", operands, x.dtype, (x.shape[0], out, *spatial), group=group, strides=strides, dilations=dilations, pads=pads)


@rule(2)
def conv_transpose(m: Maker) -> Tensor | None:
    x = m.pick(lambda t: t.dtype == "float32" and t.rank in (3, 4) and 0 not in t.shape and max(t.shape[2:]) < 9)
    if x is None:
        return None
    rank, c = x.rank - 2, x.shape[1]
    group = m.r.choice([g for g in (1, c) if c % g == 0])
    per, kernel, strides = m.r.choice((1, 2, 3)), [m.r.randint(1, 3) for _ in range(rank)], [m.r.choice((1, 2, 3)) for _ in range(rank)]
    extra = [m.r.randint(0, s - 1) for s in strides]
    spatial = [(n - 1) * s + k + e for n, s, k, e in zip(x.shape[2:], strides, kernel, extra)]
    operands = [x.name, m.weight(c, per, *kernel), m.weight(per * group)]
    return m.node(
        "ConvTranspose", operands, x.dtype, (x.shape[0], per * group, *spatial), group=group, strides=strides, output_padding=extra
    )


@rule(2)
def pool(m: Maker) -> Tensor | None:
    x = m.pick(lambda t: t.dtype == "float32" and t.rank == 4 and min(t.shape) > 0)
    if x is None:
        return None
    kernel = [m.r.randint(1, min(3, n)) for n in x.shape[2:]]
    strides, pads = [m.r.choice((1, 2)) for _ in kernel], [m.r.randint(0, k - 1) for k in kernel * 2]
    spatial = [(n + pads[i] + pads[2 + i] - kernel[i]) // strides[i] + 1 for i, n in enumerate(x.shape[2:])]
    if min(spatial) < 1:
        return None
    op, more = m.r.choice((("MaxPool", {}), ("AveragePool", {}), ("AveragePool", {"count_include_pad": 1})))
    return m.node(op, [x.name], x.dtype, (*x.shape[:2], *spatial), kernel_shape=kernel, strides=strides, pads=pads, **more)


@rule(3)
def attention(m: Maker) -> Tensor | None:
    """Heads, a mask that may be computed, residuals."""
    x = m.pick(lambda t: t.dtype == "float32" and t.rank == 2 and 0 not in t.shape)
    if x is None:
        return None
    rows, width = x.shape
    heads, depth = m.r.choice((1, 2, 3)), m.r.choice((4, 5, 8))
    parts = []
    for i in range(3):
        p = m.node("MatMul", [x.name, m.weight(width, heads * depth)], x.dtype, (rows, heads * depth))
        s = m.node("Reshape", [p.name, m.ints(rows, heads, depth)], x.dtype, (rows, heads, depth))
        perm = (1, 2, 0) if i == 1 else (1, 0, 2)
        parts.append(m.node("Transpose", [s.name], x.dtype, tuple(s.shape[q] for q in perm), perm=perm))
    scores = m.node("MatMul", [parts[0].name, parts[1].name], x.dtype, (heads, rows, rows))
    mask = m.pick(lambda t: t.dtype == "float32" and _broadcast(t.shape, scores.shape) == scores.shape)
    if mask is not None and m.r.random() < 0.7:
        scores = m.node("Add", [scores.name, mask.name], x.dtype, scores.shape)
        m.pool.append(scores) if m.r.random() < 0.3 else None
    soft = m.node("Softmax", [scores.name], x.dtype, scores.shape, axis=-1)
    mixed = m.node("MatMul", [soft.name, parts[2].name], x.dtype, (heads, rows, depth))
    back = m.node("Transpose", [mixed.name], x.dtype, (rows, heads, depth), perm=(1, 0, 2))
    flat = m.node("Reshape", [back.name, m.ints(rows, heads * depth)], x.dtype, (rows, heads * depth))
    out = m.node("MatMul", [flat.name, m.weight(heads * depth, width)], x.dtype, (rows, width))
    return m.node("Add", [out.name, x.name] if m.r.random() < 0.5 else [x.name, out.name], x.dtype, x.shape)


@rule(3)
def feed_forward(m: Maker) -> Tensor | None:
    x = m.pick(lambda t: t.dtype == "float32" and t.rank == 2 and 0 not in t.shape and t.shape[1] > 2)
    if x is None:
        return None
    rows, width = x.shape
    inner = m.r.choice((6, 9, 16))
    up = m.node("MatMul", [x.name, m.weight(width, inner)], x.dtype, (rows, inner))
    if m.r.random() < 0.6:
        up = m.node(m.r.choice(("Relu", "Sigmoid", "Tanh")), [up.name], x.dtype, up.shape)
    down = m.node("MatMul", [up.name, m.weight(inner, width)], x.dtype, x.shape)
    total = m.node("Add", [down.name, x.name], x.dtype, x.shape)
    normed = m.node("LayerNormalization", [total.name, m.weight(width)], x.dtype, x.shape, axis=-1)
    return m.node("MatMul", [normed.name, m.weight(width, width)], x.dtype, x.shape)


@rule(2)
def recurrent(m: Maker) -> Tensor | None:
    x = m.pick(lambda t: t.dtype == "float32" and t.rank == 3 and 0 not in t.shape and t.shape[0] < 6)
    if x is None:
        return None
    steps, batch, width = x.shape
    op, gates, activations = m.r.choice((("LSTM", 4, ("Sigmoid", "Tanh", "Tanh")), ("GRU", 3, ("Sigmoid", "Tanh")), ("RNN", 1, ("Tanh",))))
    hidden, direction = m.r.choice((2, 3, 5)), m.r.choice(("forward", "reverse", "bidirectional"))
    count = 2 if direction == "bidirectional" else 1
    attributes: dict[str, Any] = {"hidden_size": hidden, "direction": direction}
    if m.r.random() < 0.4:
        chosen = [m.r.choice(("LeakyRelu", "Tanh", "Sigmoid", "HardSigmoid", "Elu")) for _ in activations] * count
        attributes["activations"] = chosen
        attributes["activation_alpha"] = [0.3 + 0.1 * i for i, a in enumerate(chosen) if a in ("LeakyRelu", "HardSigmoid", "Elu")]
        attributes["activation_beta"] = [0.4 for a in chosen if a == "HardSigmoid"]
        attributes = {k: v for k, v in attributes.items() if v != []}
    if op == "GRU" and m.r.random() < 0.5:
        attributes["linear_before_reset"] = 1
    operands = [
        x.name,
        m.weight(count, gates * hidden, width),
        m.weight(count, gates * hidden, hidden),
        m.weight(count, 2 * gates * hidden),
    ]
    if m.r.random() < 0.3:
        operands.append(m.const([m.r.randint(1, steps) for _ in range(batch)], "int32"))
    return m.node(op, operands, x.dtype, (steps, count, batch, hidden), **attributes)


@rule(2)
def quantise(m: Maker) -> Tensor | None:
    """There and back; and what stands between, in integers."""
    x = m.pick(lambda t: t.dtype == "float32" and t.rank > 1 and 0 not in t.shape)
    if x is None:
        return None
    m.quantised = True
    scale, zero = m.const(np.float32(0.05)), m.const(m.r.choice((0, 3)), m.r.choice(("int8", "uint8")))
    q = m.node("QuantizeLinear", [x.name, scale, zero], "int8", x.shape)
    back = m.node("DequantizeLinear", [q.name, scale, zero], "float32", x.shape)
    if m.r.random() < 0.5:
        return back
    w = m.node(
        "DequantizeLinear",
        [m.const(m.n.integers(-127, 128, (x.shape[-1], 5)), "int8"), m.const(np.float32(0.01)), m.const(0, "int8")],
        "float32",
        (x.shape[-1], 5),
    )
    y = m.node("MatMul", [back.name, w.name], "float32", (*x.shape[:-1], 5))
    out = m.const(np.float32(0.08)), m.const(-2, "int8")
    again = m.node("QuantizeLinear", [y.name, *out], "int8", y.shape)
    return m.node("DequantizeLinear", [again.name, *out], "float32", y.shape)


@rule(2)
def function(m: Maker) -> Tensor | None:
    """A function of the model's own, with an attribute that an inner node takes, inside an If too, and an output that nobody reads."""
    x = m.pick(lambda t: t.dtype == "float32" and t.rank > 0)
    if x is None:
        return None
    name = f"F{len(m.functions)}"
    leaky = helper.make_node("LeakyRelu", ["a"], ["b"])
    inner = helper.make_node("Elu", ["a"], ["e"])
    for n in (leaky, inner):
        reference = n.attribute.add()
        reference.name, reference.ref_attr_name, reference.type = "alpha", "slope", onnx.AttributeProto.FLOAT
    then = helper.make_graph([inner], "then", [], [helper.make_tensor_value_info("e", TensorProto.FLOAT, None)])
    other = helper.make_graph(
        [helper.make_node("Neg", ["a"], ["f"])], "else", [], [helper.make_tensor_value_info("f", TensorProto.FLOAT, None)]
    )
    body = [
        leaky,
        helper.make_node("Constant", [], ["yes"], value=numpy_helper.from_array(np.array(True))),
        helper.make_node("If", ["yes"], ["g"], then_branch=then, else_branch=other),
        helper.make_node("Add", ["b", "g"], ["c"]),
        helper.make_node("Sub", ["b", "g"], ["d"]),
    ]
    m.functions.append(helper.make_function("fuzz", name, ["a"], ["d", "c"], body, [helper.make_opsetid("", OPSET)], ["slope"]))
    names = [m.name(), m.name()]
    m.nodes.append(helper.make_node(name, [x.name], names, domain="fuzz", slope=0.3))
    return Tensor(names[m.r.randrange(2)], x.dtype, x.shape)


@rule(1)
def branch(m: Maker) -> Tensor | None:
    """An If on a value that is only known at run time."""
    x = m.pick(lambda t: t.dtype == "float32" and t.rank > 0 and 0 not in t.shape)
    if x is None:
        return None
    total = m.node("ReduceSum", [x.name], x.dtype, (), keepdims=0)
    flag = m.node("Less", [total.name, m.const(0.0, x.dtype)], "bool", ())
    graphs = []
    for op in ("Relu", "Neg"):
        out = m.name()
        graphs.append(
            helper.make_graph(
                [helper.make_node(op, [x.name], [out])], op, [], [helper.make_tensor_value_info(out, TensorProto.FLOAT, None)]
            )
        )
    return m.node("If", [flag.name], x.dtype, x.shape, then_branch=graphs[0], else_branch=graphs[1])


@rule(2)
def chosen(m: Maker) -> Tensor | None:
    """As many rows as a run decides, something done to each, and one sum of them."""
    x = m.pick(lambda t: t.dtype == "float32" and t.rank > 0 and 0 not in t.shape)
    if x is None:
        return None
    axis = m.r.randrange(x.rank)
    rest = [i for i in range(x.rank) if i != axis]
    size = m.node("ReduceMax", [x.name], x.dtype, (x.shape[axis],), keepdims=0, axes=rest) if rest else x
    flags = m.node("Greater", [size.name, m.const(0.2, x.dtype)], "bool", size.shape)
    some = m.node("Compress", [x.name, flags.name], x.dtype, x.shape, axis=axis)
    done = m.node(m.r.choice(("Tanh", "Neg", "Relu", "Sigmoid")), [some.name], x.dtype, x.shape)
    shape = tuple(1 if i == axis else n for i, n in enumerate(x.shape))
    return m.node("ReduceSum", [done.name, m.ints(axis)], x.dtype, shape, keepdims=1)


@rule(1)
def scanned(m: Maker) -> Tensor | None:
    """A running mean as a Scan."""
    x = m.pick(lambda t: t.dtype == "float32" and t.rank > 1 and 0 not in t.shape and t.shape[0] < 9)
    if x is None:
        return None
    s, v, half, new, out, keep = (m.name() for _ in range(6))
    body = helper.make_graph(
        [
            helper.make_node("Constant", [], [keep], value=numpy_helper.from_array(np.float32(0.5))),
            helper.make_node("Mul", [s, keep], [half]),
            helper.make_node("Add", [half, v], [new]),
            helper.make_node("Identity", [new], [out]),
        ],
        "step",
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, x.shape[1:]) for n in (s, v)],
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, x.shape[1:]) for n in (new, out)],
    )
    names = [m.name(), m.name()]
    backwards = m.r.randint(0, 1)
    start = m.weight(*x.shape[1:])
    m.nodes.append(helper.make_node("Scan", [start, x.name], names, body=body, num_scan_inputs=1, scan_input_directions=[backwards]))
    return Tensor(names[1], x.dtype, x.shape)


@rule(1)
def items(m: Maker) -> Tensor | None:
    """Rows as a sequence, one of them put in again, all joined."""
    x = m.pick(lambda t: t.dtype in ("float32", "int32") and t.rank > 0 and t.shape[0] > 0 and 0 not in t.shape)
    if x is None:
        return None
    rows = m.node("SplitToSequence", [x.name], x.dtype, x.shape, axis=0)
    last = m.node("SequenceAt", [rows.name, m.const(-1, "int64")], x.dtype, (1, *x.shape[1:]))
    more = m.node("SequenceInsert", [rows.name, last.name, m.const(m.r.randrange(x.shape[0]), "int64")], x.dtype, x.shape)
    return m.node("ConcatFromSequence", [more.name], x.dtype, (x.shape[0] + 1, *x.shape[1:]), axis=0)


@rule(1)
def between(m: Maker) -> Tensor | None:
    """Read between the grid's points."""
    x = m.pick(lambda t: t.dtype == "float32" and t.rank == 4 and 0 not in t.shape and min(t.shape[2:]) > 1)
    if x is None:
        return None
    h, w = m.r.choice(SIZES), m.r.choice(SIZES)
    grid = m.const(m.n.random((x.shape[0], h, w, 2)) * 3 - 1.5, "float32")
    mode, padding = m.r.choice(("bilinear", "bicubic")), m.r.choice(("zeros", "reflection"))
    attributes = {"mode": mode, "padding_mode": padding, "align_corners": m.r.randint(0, 1)}
    return m.node("GridSample", [x.name, grid], x.dtype, (*x.shape[:2], h, w), **attributes)


@rule(1)
def wide(m: Maker) -> Tensor | None:
    """A function in binary64."""
    x = m.pick(lambda t: t.dtype == "float32")
    if x is None:
        return None
    small = m.node("Tanh", [x.name], "float32", x.shape)
    double = m.node("Cast", [small.name], "float64", x.shape, to=TensorProto.DOUBLE)
    done = m.node(m.r.choice(("Exp", "Tanh", "Sigmoid", "Sin", "Cos", "Abs")), [double.name], "float64", x.shape)
    return m.node("Cast", [done.name], "float32", x.shape, to=TensorProto.FLOAT)


def _broadcast(a: tuple[int, ...], b: tuple[int, ...]) -> tuple[int, ...] | None:
    try:
        return tuple(int(n) for n in np.broadcast_shapes(a, b))
    except ValueError:
        return None


def make(seed: int, components: int = 1) -> Maker:
    """A model with so many components."""
    m = Maker(seed)
    for _ in range(components):
        m.component(m.r.randint(3, 14))
    return m
