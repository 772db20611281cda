"""Convolutions."""

from __future__ import annotations

from collections.abc import Callable

from mlcc.graph.builder import Value
from mlcc.graph.integers import whole_product
from mlcc.graph.source import Source


def window(s: Source, spatial: tuple[int, ...], kernel: tuple[int, ...], ceil_mode: bool = False) -> dict[str, tuple[int, ...]]:
    """strides, dilations, before, after as the core operators take them, auto_pad resolved."""
    rank = len(kernel)
    strides = tuple(int(v) for v in s.attr("strides", [1] * rank))
    dilations = tuple(int(v) for v in s.attr("dilations", [1] * rank))
    pads = [int(v) for v in s.attr("pads", [0] * 2 * rank)]
    auto = s.attr("auto_pad", "NOTSET")
    if len(strides) != rank or len(dilations) != rank or len(pads) != 2 * rank or min(strides, default=1) < 1 or len(spatial) != rank:
        raise s.bad(f"kernel {list(kernel)}, strides {list(strides)}, dilations {list(dilations)}, pads {pads} do not fit")
    before, after = pads[:rank], pads[rank:]
    if auto in ("SAME_UPPER", "SAME_LOWER"):
        for i in range(rank):
            total = max(0, (-(-spatial[i] // strides[i]) - 1) * strides[i] + dilations[i] * (kernel[i] - 1) + 1 - spatial[i])
            less = total // 2
            before[i], after[i] = (less, total - less) if auto == "SAME_UPPER" else (total - less, less)
    elif auto == "VALID":
        before, after = [0] * rank, [0] * rank
    if ceil_mode:
        for i in range(rank):
            reach = spatial[i] + before[i] + after[i] - dilations[i] * (kernel[i] - 1) - 1
            count = -(-reach // strides[i]) + 1
            if (count - 1) * strides[i] >= spatial[i] + before[i]:
                count -= 1  # a window that would start in the padding is dropped
            after[i] += max(0, (count - 1) * strides[i] - reach)
    return {"strides": strides, "dilations": dilations, "before": tuple(before), "after": tuple(after)}


def conv(s: Source) -> Value:
    x, w, bias = s[0], s[1], s.optional(2)
    operands = [x, w] if bias is None else [x, w, bias]
    if w.rank < 3:
        raise s.bad(f"weights {list(w.shape)}")
    attributes = {"group": int(s.attr("group", 1)), **window(s, x.shape[2:], w.shape[2:])}
    if (whole := whole_product(s.b, "Conv", x, w, **attributes)) is not None:
        return whole if bias is None else s.b("Add", whole, s.b.reshape(bias, (bias.shape[0], *(1,) * (w.rank - 2))))
    return s.b.many("Conv", operands, **attributes)[0]


def conv_transpose(s: Source) -> Value:
    x, w, bias = s[0], s[1], s.optional(2)
    kernel, rank = w.shape[2:], x.rank - 2
    attributes = window(s, x.shape[2:], kernel)
    extra = [int(v) for v in s.attr("output_padding", [0] * rank)]
    strides, dilations = attributes["strides"], attributes["dilations"]
    before, after = list(attributes["before"]), list(attributes["after"])
    full = [(n - 1) * st + (k - 1) * d + 1 + e for n, st, k, d, e in zip(x.shape[2:], strides, kernel, dilations, extra)]
    wanted, auto = s.attr("output_shape"), s.attr("auto_pad", "NOTSET")
    if wanted is not None or auto in ("SAME_UPPER", "SAME_LOWER"):
        target = [int(v) for v in wanted][-rank:] if wanted is not None else [n * st for n, st in zip(x.shape[2:], strides)]
        for i in range(rank):
            total = max(0, full[i] - target[i])
            before[i] = total // 2 if auto == "SAME_UPPER" else total - total // 2
        shape = tuple(target)
    else:
        shape = tuple(f - p - q for f, p, q in zip(full, before, after))
    operands = [x, w] if bias is None else [x, w, bias]
    return s.b.many(
        "ConvTranspose", operands, group=int(s.attr("group", 1)), strides=strides, dilations=dilations, before=tuple(before), shape=shape
    )[0]


TABLE: dict[str, Callable[[Source], Value | tuple[Value, ...]]] = {
    "Conv": conv,
    "ConvTranspose": conv_transpose,
}
