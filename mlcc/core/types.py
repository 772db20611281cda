"""Type inference of the core operators."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from mlcc.arithmetic.elementary import SEQUENCES
from mlcc.arithmetic.scalar import scalar
from mlcc.core.graph import DTYPES, CoreGraph, Node, TensorType, validate
from mlcc.core.operators import family
from mlcc.core.terms import least
from mlcc.error import Error

Types = Sequence[TensorType]
FLOATS = ("float32", "float64", "float16", "bfloat16")
LOGICAL = ("And", "Or", "Xor", "Not")
FLOAT_ONLY = ("Sqrt", "Floor", "Ceil", "Round")


def wrong(node: Node, what: str) -> Error:
    return Error("model", what, f"{node.op} ({node.origin})" if node.origin else node.op)


def broadcast_shapes(*shapes: Sequence[int]) -> tuple[int, ...]:
    """NumPy's broadcasting; a size that a run decides is taken not to be 1. Raises ValueError."""
    rank = max((len(s) for s in shapes), default=0)
    found: list[int] = []
    for column in zip(*((1,) * (rank - len(s)) + tuple(s) for s in shapes)):
        wide = {n for n in column if n != 1}
        if len(wide) > 1:
            raise ValueError
        found.append(next(iter(wide), 1))
    return tuple(found)


def broadcast(node: Node, shapes: Sequence[tuple[int, ...]]) -> tuple[int, ...]:
    try:
        return broadcast_shapes(*shapes)
    except ValueError:
        raise wrong(node, f"shapes {' and '.join(str(list(s)) for s in shapes)} do not broadcast") from None


def _elementwise(node: Node, t: Types) -> list[TensorType]:
    shape = broadcast(node, [x.shape for x in t])
    if node.op == "Requantize":
        if (t[0].dtype, t[1].dtype) != ("int32", "float32"):
            raise wrong(node, f"int32 and float32 wanted, {t[0].dtype} and {t[1].dtype} given")
        return [TensorType(node["to"], shape)]
    operands = t[1:] if node.op == "Where" else t
    if len({x.dtype for x in operands}) > 1:
        raise wrong(node, f"operands of different types: {', '.join(x.dtype for x in operands)}")
    dtype = operands[0].dtype
    if node.op in LOGICAL and dtype != "bool" or node.op == "Where" and t[0].dtype != "bool":
        raise wrong(node, f"bool wanted, {dtype} given")
    if dtype == "bool" and node.op not in (*LOGICAL, "Equal", "Where", "Cast", "Identity"):
        raise wrong(node, "bool given, a number wanted")
    if node.op in FLOAT_ONLY and dtype not in FLOATS:
        raise wrong(node, f"a float wanted, {dtype} given")
    if node.op == "Rescale" and dtype != "int32":
        raise wrong(node, f"int32 wanted, {dtype} given")
    if node.op.startswith(("Bitwise", "Shift")) and dtype in FLOATS:
        raise wrong(node, f"an integer wanted, {dtype} given")
    if node.op == "BitCast" and DTYPES[node["to"]].itemsize != DTYPES[dtype].itemsize:
        raise wrong(node, f"the bits of {dtype} as {node['to']}, which is of another width")
    if node.op in ("Cast", "BitCast"):
        return [TensorType(node["to"], shape)]
    if node.op in SEQUENCES and dtype not in ("float32", "float64"):
        raise Error("unsupported", f"{node.op} of {dtype}", node.origin, "convert the model to float32")
    truth = scalar(node.op, dtype).dtype == "bool"
    return [TensorType("bool" if truth else dtype, shape)]


def _reshape(node: Node, t: Types) -> list[TensorType]:
    new = TensorType(t[0].dtype, node["shape"])
    if new.size != t[0].size or any(least(n) < 0 for n in new.shape):
        raise wrong(node, f"{list(t[0].shape)} cannot become {list(new.shape)}")
    return [new]


def _concat(node: Node, t: Types) -> list[TensorType]:
    axis, first = node["axis"], t[0].shape
    for x in t:
        if x.dtype != t[0].dtype or len(x.shape) != len(first) or any(a != b for i, (a, b) in enumerate(zip(x.shape, first)) if i != axis):
            raise wrong(node, f"{x.dtype}{list(x.shape)} beside {t[0].dtype}{list(first)} on axis {axis}")
    return [TensorType(t[0].dtype, (*first[:axis], sum(x.shape[axis] for x in t), *first[axis + 1 :]))]


def _gather(node: Node, t: Types) -> list[TensorType]:
    axis, data = node["axis"], t[0]
    if least(data.shape[axis]) == 0 and t[1].size != 0:
        raise wrong(node, f"gathers from an axis of extent 0: {list(data.shape)}")
    return [TensorType(data.dtype, (*data.shape[:axis], *t[1].shape, *data.shape[axis + 1 :]))]


def _gather_nd(node: Node, t: Types) -> list[TensorType]:
    b, depth = node["batch_dims"], t[1].shape[-1]
    if b + depth > len(t[0].shape) or t[0].shape[:b] != t[1].shape[:b]:
        raise wrong(node, f"indices {list(t[1].shape)} for {list(t[0].shape)}")
    return [TensorType(t[0].dtype, (*t[1].shape[:-1], *t[0].shape[b + depth :]))]


def _reduced(node: Node, t: Types, dtype: str | None = None) -> list[TensorType]:
    axes = node["axes"] if "axes" in dict(node.attributes) else (node["axis"],)
    if t[0].dtype == "bool":
        raise wrong(node, "bool given, a number wanted")
    if node.op in ("ArgMax", "ArgMin") and any(least(t[0].shape[a]) == 0 for a in axes):
        raise wrong(node, f"no element to choose from: {list(t[0].shape)}")
    return [TensorType(dtype or node.get("to") or t[0].dtype, tuple(1 if i in axes else n for i, n in enumerate(t[0].shape)))]


def _quantised(node: Node, t: Types) -> tuple[Types, str]:
    """A product with a `zero` takes bytes, and sums (x − zero) · w in int32."""
    if node.get("zero") is None:
        return t, t[0].dtype
    if t[0].dtype not in ("int8", "uint8") or t[1].dtype != "int8" or any(x.dtype != "int32" for x in t[2:]):
        raise wrong(node, f"bytes wanted, {t[0].dtype} and {t[1].dtype} given")
    return [TensorType("int32", x.shape) for x in t], "int32"


def _matmul(node: Node, t: Types) -> list[TensorType]:
    a, b = t[0].shape, t[1].shape
    t, dtype = _quantised(node, t)
    if len(a) < 2 or len(b) < 2 or a[-1] != b[-2] or t[0].dtype != t[1].dtype or t[0].dtype == "bool":
        raise wrong(node, f"{t[0].dtype}{list(a)} times {t[1].dtype}{list(b)}")
    shape = (*broadcast(node, [a[:-2], b[:-2]]), a[-2], b[-1])
    if len(t) > 2 and broadcast(node, [t[2].shape, shape]) != shape:
        raise wrong(node, f"sums that start from {list(t[2].shape)} for {list(shape)}")
    return [TensorType(dtype, shape)]


def _conv(node: Node, t: Types) -> list[TensorType]:
    x, w, group = t[0].shape, t[1].shape, node["group"]
    rank = len(x) - 2
    t, dtype = _quantised(node, t)
    lists = [node[k] for k in ("strides", "dilations", "before", "after")]
    if (
        rank < 1
        or len(w) != len(x)
        or any(len(v) != rank for v in lists)
        or group < 1
        or x[1] != w[1] * group
        or w[0] % group
        or t[0].dtype != t[1].dtype
    ):
        raise wrong(node, f"input {list(x)}, weights {list(w)}, group {group} do not fit")
    if len(t) > 2 and t[2].shape != (w[0],):
        raise wrong(node, f"bias {list(t[2].shape)} for {w[0]} channels")
    return [TensorType(dtype, (x[0], w[0], *_window_counts(node, x[2:], w[2:])))]


def _window_counts(node: Node, spatial: tuple[int, ...], kernel: tuple[int, ...]) -> tuple[int, ...]:
    if any(v < 1 for v in (*node["strides"], *node["dilations"], *kernel)) or any(v < 0 for v in (*node["before"], *node["after"])):
        raise wrong(node, "strides, dilations and kernel must be positive, pads not negative")
    counts = tuple(
        (n + b + a - d * (k - 1) - 1) // s + 1
        for n, b, a, d, k, s in zip(spatial, node["before"], node["after"], node["dilations"], kernel, node["strides"])
    )
    if any(least(c) < 1 for c in counts):
        raise wrong(node, f"a window {list(kernel)} does not fit {list(spatial)}")
    return counts


def _conv_transpose(node: Node, t: Types) -> list[TensorType]:
    x, w, group = t[0].shape, t[1].shape, node["group"]
    if (
        len(x) < 3
        or len(w) != len(x)
        or group < 1
        or x[1] != w[0]
        or x[1] % group
        or len(node["shape"]) != len(x) - 2
        or t[0].dtype != t[1].dtype
    ):
        raise wrong(node, f"input {list(x)}, weights {list(w)}, group {group} do not fit")
    if any(n < 1 for n in (*node["shape"], *node["strides"], *node["dilations"])) or any(b < 0 for b in node["before"]):
        raise wrong(node, f"an output of {list(node['shape'])}")
    return [TensorType(t[0].dtype, (x[0], w[1] * group, *node["shape"]))]


def _pool(node: Node, t: Types) -> list[TensorType]:
    x = t[0].shape
    if len(x) < 3 or any(len(node[k]) != len(x) - 2 for k in ("kernel", "strides", "dilations", "before", "after")):
        raise wrong(node, f"a window {list(node['kernel'])} over {list(x)}")
    return [TensorType(node.get("to") or t[0].dtype, (*x[:2], *_window_counts(node, x[2:], node["kernel"])))]


def _slice(node: Node, t: Types) -> list[TensorType]:
    for n, start, step, count in zip(t[0].shape, node["starts"], node["steps"], node["shape"]):
        static = all(isinstance(v, int) for v in (n, start, count))
        if static and count and not (0 <= start < n and 0 <= start + step * (count - 1) < n):
            raise wrong(node, f"start {start}, step {step}, {count} elements leave the axis of {n}")
    return [TensorType(t[0].dtype, node["shape"])]


def _transpose(node: Node, t: Types) -> list[TensorType]:
    if sorted(node["perm"]) != list(range(len(t[0].shape))):
        raise wrong(node, f"perm {list(node['perm'])} for {len(t[0].shape)} axes")
    return [TensorType(t[0].dtype, tuple(t[0].shape[p] for p in node["perm"]))]


def _expand(node: Node, t: Types) -> list[TensorType]:
    if broadcast(node, [t[0].shape, node["shape"]]) != node["shape"]:
        raise wrong(node, f"{list(t[0].shape)} does not expand to {list(node['shape'])}")
    return [TensorType(t[0].dtype, node["shape"])]


def _top_k(node: Node, t: Types) -> list[TensorType]:
    axis, k = node["axis"], node["k"]
    if not 0 <= k <= t[0].shape[axis]:
        raise wrong(node, f"the {k} largest of {t[0].shape[axis]}")
    shape = (*t[0].shape[:axis], k, *t[0].shape[axis + 1 :])
    return [TensorType(t[0].dtype, shape), TensorType("int64", shape)]


def _repeat(node: Node, t: Types) -> list[TensorType]:
    body, c, m = node["body"].graph, node["carried"], node["scanned"]
    own = [body.types[v] for v in body.inputs]
    wanted = [*t[:c], *(TensorType(x.dtype, x.shape[1:]) for x in t[c : c + m]), *t[c + m :]]
    if own != wanted or any(x.shape[0] != node["count"] for x in t[c : c + m]):
        raise wrong(node, "its operands are not what its body takes")
    made = [body.types[v] for v in body.outputs]
    if made[:c] != list(t[:c]):
        raise wrong(node, "a turn changes the type of what it hands on")
    return [*made[:c], *(TensorType(x.dtype, (node["count"], *x.shape)) for x in made[c:])]


_TABLE: dict[str, Callable[[Node, Types], list[TensorType]]] = {
    "Repeat": _repeat,
    "Reshape": _reshape,
    "Transpose": _transpose,
    "Expand": _expand,
    "Slice": _slice,
    "Concat": _concat,
    "Gather": _gather,
    "GatherND": _gather_nd,
    "Pad": lambda n, t: [TensorType(t[0].dtype, tuple(b + s + a for b, s, a in zip(n["before"], t[0].shape, n["after"])))],
    "GatherElements": lambda n, t: [TensorType(t[0].dtype, t[1].shape)],
    "ScatterElements": lambda n, t: [t[0]],
    "ScatterND": lambda n, t: [t[0]],
    **{op: _reduced for op in ("ReduceSum", "ReduceProd", "ReduceMax", "ReduceMin")},
    "ArgMax": lambda n, t: _reduced(n, t, "int64"),
    "ArgMin": lambda n, t: _reduced(n, t, "int64"),
    "CumSum": lambda n, t: [t[0]],
    "CumProd": lambda n, t: [t[0]],
    "TopK": _top_k,
    "PoolMax": _pool,
    "PoolSum": _pool,
    "MatMul": _matmul,
    "Conv": _conv,
    "ConvTranspose": _conv_transpose,
}


def infer(node: Node, inputs: Types) -> list[TensorType]:
    """Output types of a core node. Raises Error(model) where the operands do not fit, Error(unsupported) where no kernel exists."""
    for t in inputs:
        if t.dtype not in DTYPES:
            raise wrong(node, f"tensors of {t.dtype}")
    return (_elementwise if family(node.op) == "elementwise" else _TABLE[node.op])(node, inputs)


def check(graph: CoreGraph) -> None:
    """Raise Error(model) where a graph breaks its rules, or where a value's type is not what its operator makes of its operands."""
    validate(graph)
    for body in graph.bodies:
        check(body.graph)
    for node in graph.nodes:
        found = infer(node, [graph.types[v] for v in node.inputs])
        for v, t in zip(node.outputs, found, strict=True):
            if graph.types[v] != t:
                raise wrong(node, f"{v} is {graph.types[v]}, its operator makes {t}")
