"""Attention as ONNX Runtime's optimiser and exporters for it write it (domain com.microsoft), with its masks, caches and rotations.

https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from mlcc.core.graph import DTYPES
from mlcc.graph.builder import Value
from mlcc.graph.rules.fused import plus
from mlcc.graph.rules.standard import run
from mlcc.graph.source import Source

FILTERED = -10000.0  # what a masked score is moved by, where the file does not say


def heads(s: Source, x: Value, count: int) -> Value:
    """[batch, length, count · size] → [batch, count, length, size]."""
    n, length, width = x.shape
    if width % count:
        raise s.bad(f"{width} numbers in {count} heads")
    return s.b.transpose(s.b.reshape(x, (n, length, count, width // count)), (0, 2, 1, 3))


def joined(s: Source, x: Value) -> Value:
    n, count, length, size = x.shape
    return s.b.reshape(s.b.transpose(x, (0, 2, 1, 3)), (n, length, count * size))


def attend(s: Source, q: Value, k: Value, v: Value, added: list[Value], scale: float, cap: float = 0.0) -> Value:
    """softmax(q·kᵀ·scale + …)·v of [batch, heads, length, size]; `cap`: scores are squeezed into ±cap."""
    b = s.b
    scores = b("MatMul", q, b.transpose(k, (0, 1, 3, 2)))
    scores = b("Mul", scores, b.like(scale, scores))
    if cap:
        scores = b("Mul", b("Tanh", b("Div", scores, b.like(cap, scores))), b.like(cap, scores))
    return b("MatMul", run(s, "Softmax", plus(s, scores, *added), axis=-1), v)


def blocked(s: Source, allowed: Value, like: Value, amount: float) -> Value:
    """What is added to scores: 0 where it is allowed to look, else `amount`."""
    return s.b("Where", allowed, s.b.like(0, like), s.b.like(amount, like))


def causal(s: Source, length: int, total: int, like: Value) -> Value:
    seen = np.arange(total)[None, :] <= np.arange(length)[:, None] + (total - length)
    return blocked(s, s.b.constant(seen.reshape(1, 1, length, total)), like, float(np.finfo(DTYPES[like.dtype]).min))


def mask_of(s: Source, mask: Value, n: int, length: int, total: int, like: Value, amount: float) -> Value:
    """A mask in the forms that ONNX Runtime knows, as what is added to scores."""
    b = s.b
    if mask.shape == (n,):  # how many positions count
        flag = b(
            "Less", b.constant(np.arange(total, dtype=np.int32).reshape(1, 1, 1, total)), b.reshape(b.cast(mask, "int32"), (n, 1, 1, 1))
        )
        return blocked(s, flag, like, amount)
    shapes = {(n, total): (n, 1, 1, total), (n, length, total): (n, 1, length, total)}
    if mask.shape not in shapes:
        raise s.unsupported(f"a mask of the shape {list(mask.shape)}", f"[{n}], [{n}, {total}] or [{n}, {length}, {total}]")
    flag = b("Less", b.like(0, mask), mask) if mask.dtype != "bool" else mask
    return blocked(s, b.reshape(flag, shapes[mask.shape]), like, amount)


def with_past(s: Source, past: Value | None, new: Value) -> Value:
    return new if past is None else s.b.many("Concat", [past, new], axis=2)[0]


def attention(s: Source) -> tuple[Value, ...]:
    b, x, count = s.b, s[0], int(s.attr("num_heads"))
    sizes = [int(v) for v in s.attr("qkv_hidden_sizes", [])] or [s[1].shape[1] // 3] * 3
    qkv = run(s, "MatMul", x, s[1])
    bias = s.optional(2)
    qkv = qkv if bias is None else b("Add", qkv, bias)
    return attention_of(s, qkv, sizes, count, s.optional(3), s.optional(4), s.optional(5))


def attention_of(
    s: Source, qkv: Value, sizes: list[int], count: int, mask: Value | None, past: Value | None, added: Value | None
) -> tuple[Value, ...]:
    b, filtered = s.b, float(s.attr("mask_filter_value", FILTERED))
    if s.attr("do_rotary", 0):
        raise s.unsupported("do_rotary=1", "export RotaryEmbedding by itself")
    q, k, v = (heads(s, b.slice(qkv, 2, sum(sizes[:i]), sizes[i]), count) for i in range(3))
    if past is not None:
        k, v = (with_past(s, b.reshape(b.slice(past, 0, i, 1), past.shape[1:]), new) for i, new in enumerate((k, v)))
    n, _, length, size = q.shape
    total, extra = k.shape[2], []
    if mask is not None:
        extra.append(mask_of(s, mask, n, length, total, q, filtered))
    if s.attr("unidirectional", 0):
        extra.append(causal(s, length, total, q))
    if added is not None:
        extra.append(added)
    y = joined(s, attend(s, q, k, v, extra, float(s.attr("scale", 0.0)) or 1 / np.sqrt(size)))
    if s.output_count == 1:
        return (y,)
    return y, b.many("Concat", [b.reshape(t, (1, *t.shape)) for t in (k, v)], axis=0)[0]


def multi_head_attention(s: Source) -> tuple[Value, ...]:
    b, count, (query, key, value, bias) = s.b, int(s.attr("num_heads")), (s[0], s.optional(1), s.optional(2), s.optional(3))
    filtered = float(s.attr("mask_filter_value", FILTERED))
    if query.rank == 5:  # [batch, length, heads, 3, size]
        q, k, v = (b.transpose(b.reshape(b.slice(query, 3, i, 1), (*query.shape[:3], query.shape[4])), (0, 2, 1, 3)) for i in range(3))
    elif key is not None and key.rank == 5:
        q = heads(s, query, count)
        k, v = (b.transpose(b.reshape(b.slice(key, 3, i, 1), (*key.shape[:3], key.shape[4])), (0, 2, 1, 3)) for i in range(2))
    else:
        if key is None or value is None:
            raise s.bad("key and value are missing")
        parts = [query, key, value]
        if bias is not None:
            widths = [query.shape[2], key.shape[2] if key.rank == 3 else query.shape[2], 0]
            widths[2] = bias.type.size - widths[0] - widths[1]
            biases = [b.slice(bias, 0, sum(widths[:i]), widths[i]) for i in range(3)]
            parts = [b("Add", p, c) if p.rank == 3 else p for p, c in zip(parts, biases)]
            bias = None
        q, k, v = (heads(s, p, count) if p.rank == 3 else p for p in parts)
    if bias is not None:
        raise s.unsupported("a bias beside packed keys", "export query, key and value apart")
    k, v = with_past(s, s.optional(6), k), with_past(s, s.optional(7), v)
    n, _, length, size = q.shape
    total, extra = k.shape[2], []
    if (mask := s.optional(4)) is not None:
        extra.append(mask_of(s, mask, n, length, total, q, filtered))
    if s.attr("unidirectional", 0):
        extra.append(causal(s, length, total, q))
    if (added := s.optional(5)) is not None:
        extra.append(added)
    y = joined(s, attend(s, q, k, v, extra, float(s.attr("scale", 0.0)) or 1 / np.sqrt(size)))
    return (y, k, v)[: max(1, s.output_count)]


def rotated(s: Source, x: Value, positions: Value, cos: Value, sin: Value, interleaved: bool) -> Value:
    """Rotary embedding of [batch, heads, length, size] at positions [batch, length]; the tables say how much of it is turned."""
    b, (n, count, length, size) = s.b, x.shape
    half = cos.shape[-1]
    c, t = (b.reshape(b("Gather", v, positions, axis=0), (positions.shape[0], 1, length, half)) for v in (cos, sin))
    turned, rest = b.slice(x, 3, 0, 2 * half), None if size == 2 * half else b.slice(x, 3, 2 * half, size - 2 * half)
    if interleaved:
        pairs = b.reshape(turned, (n, count, length, half, 2))
        one, two = (b.reshape(b.slice(pairs, 4, i, 1), (n, count, length, half)) for i in (0, 1))
    else:
        one, two = b.slice(turned, 3, 0, half), b.slice(turned, 3, half, half)
    real = b("Sub", b("Mul", one, c), b("Mul", two, t))
    imaginary = b("Add", b("Mul", one, t), b("Mul", two, c))
    if interleaved:
        made = [b.reshape(v, (n, count, length, half, 1)) for v in (real, imaginary)]
        y = b.reshape(b.many("Concat", made, axis=4)[0], (n, count, length, 2 * half))
    else:
        y = b.many("Concat", [real, imaginary], axis=3)[0]
    return y if rest is None else b.many("Concat", [y, rest], axis=3)[0]


def rotary_embedding(s: Source) -> Value:
    b, x, positions, cos, sin = s.b, s[0], s[1], s[2], s[3]
    width, count = int(s.attr("rotary_embedding_dim", 0)), int(s.attr("num_heads", 0))
    if s.attr("scale", 1.0) != 1.0:
        raise s.unsupported("scale", "multiply by it in a Mul")
    flat = x.rank == 3
    if flat:
        size = x.shape[2] // count if count else (width or 2 * cos.shape[1])
        x = heads(s, x, x.shape[2] // size)
    length = x.shape[2]
    if positions.type.size == 1:  # where the sequence begins
        start = b.reshape(b.cast(positions, "int64"), (1, 1))
        positions = b("Add", start, b.constant(np.arange(length, dtype=np.int64).reshape(1, length)))
    y = rotated(s, x, positions, cos, sin, bool(s.attr("interleaved", 0)))
    return joined(s, y) if flat else y


def group_query_attention(s: Source) -> tuple[Value, ...]:
    """Attention with fewer heads of keys, behind a cache of keys and values: row i of the batch has seqlens_k[i] + 1 of them in the end."""
    b, count, groups = s.b, int(s.attr("num_heads")), int(s.attr("kv_num_heads"))
    query, key, value, lengths, limit, cos, sin, given = s[0], *(s.optional(i) for i in (1, 2, 5, 6, 7, 8, 9))
    if s.optional(11) is not None or s.attr("smooth_softmax", 0):
        raise s.unsupported("attention sinks", "export without head_sink and smooth_softmax")
    if key is None or value is None:
        size = query.shape[2] // (count + 2 * groups)
        widths = [count * size, groups * size, groups * size]
        query, key, value = (b.slice(query, 2, sum(widths[:i]), widths[i]) for i in range(3))
    q, k, v = heads(s, query, count), heads(s, key, groups), heads(s, value, groups)
    n, _, length, size = q.shape
    past = s.optional(3), s.optional(4)
    place = b.expand(b.constant(np.arange(length, dtype=np.int64).reshape(1, length)), (n, length))
    if past[0] is not None:
        if lengths is None:
            raise s.bad("a cache without seqlens_k")
        last = b.reshape(b.cast(lengths, "int64"), (n, 1))  # the place of each row's newest entry
        place = b("Add", b("Sub", last, b.like(length - 1, last)), place)
        place = b("Max", place, b.like(0, place))
    turn = bool(s.attr("rotary_interleaved", 0))
    if s.attr("do_rotary", 0):
        if cos is None or sin is None:
            raise s.bad("a rotation without cos_cache and sin_cache")
        at = place if given is None else given
        q, k = rotated(s, q, at, cos, sin, turn), rotated(s, k, at, cos, sin, turn)
    if past[0] is None or past[1] is None:
        total = length
    else:
        most, whole = b.array(limit), past[0].shape[2] + length
        total = past[0].shape[2] if most is not None and int(most.reshape(-1)[0]) <= past[0].shape[2] else whole
        rows = b.expand(b.reshape(place, (n, 1, length, 1)), k.shape)
        k, v = (_cached(s, p, new, rows, total) for p, new in zip(past, (k, v)) if p is not None)
    seen = b.constant(np.arange(total, dtype=np.int64).reshape(1, 1, total))
    here = b.reshape(place, (n, length, 1))
    allowed = b("LessOrEqual", seen, here)
    window = int(s.attr("local_window_size", -1))
    if window > 0:
        allowed = b("And", allowed, b("Less", b("Sub", here, b.like(window, here)), seen))
    extra = [blocked(s, b.reshape(allowed, (n, 1, length, total)), q, float(np.finfo(DTYPES[q.dtype]).min))]
    if (added := s.optional(10)) is not None:
        extra.append(added)

    def spread(t: Value) -> Value:
        wide = b.expand(b.reshape(t, (n, groups, 1, total, size)), (n, groups, count // groups, total, size))
        return b.reshape(wide, (n, count, total, size))

    scale = float(s.attr("scale", 0.0)) or 1 / np.sqrt(size)
    y = joined(s, attend(s, q, spread(k), spread(v), extra, scale, float(s.attr("softcap", 0.0))))
    return (y, k, v)[: max(1, s.output_count)]


def _cached(s: Source, past: Value, new: Value, rows: Value, total: int) -> Value:
    """The cache with new entries where each row's end."""
    b = s.b
    if total > past.shape[2]:
        after = (0, 0, total - past.shape[2], 0)
        past = b("Pad", past, before=(0, 0, 0, 0), after=after, value=0)
    return b("ScatterElements", past, rows, new, axis=2, reduction="none")


TABLE: dict[str, Callable[[Source], Value | tuple[Value, ...]]] = {
    "Attention": attention,
    "GroupQueryAttention": group_query_attention,
    "MultiHeadAttention": multi_head_attention,
    "RotaryEmbedding": rotary_embedding,
}
