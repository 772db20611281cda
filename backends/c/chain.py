"""Chains over operands as they lie, in C."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from math import prod

from mlcc.program.kernel import Chain
from mlcc_backends.c.loops import close, fma, inside, nest, tap_loops
from mlcc_backends.c.text import Lines, address, element, typed, value_type


def chain(lines: Lines, names: list[str], spec: Chain) -> None:
    """One chain an output over operands as they lie; four or eight neighbours at once where they lie side by side."""
    n, kind = len(spec.dims), value_type(spec.dtype)
    quick = {("float32", "float32"): "lanes_4", ("int8", "int8"): "bytes_4_s8", ("uint8", "int8"): "bytes_4_u8"}
    helper = quick.get((spec.arguments[spec.a.arg], spec.arguments[spec.b.arg])) if spec.dtype in ("float32", "int32") else None
    dims = list(spec.dims)
    while dims and dims[-1] == 1 and n > 1:  # a depthwise kernel's outputs within the group
        dims.pop()
    last = len(dims) - 1
    side = dims and spec.a.strides[last] == 1 and spec.b.strides[last] == 1
    with ExitStack() as stack:
        point = nest(lines, stack, dims[:1] if last else [])
        if spec.plane is not None:
            with ExitStack() as inner:
                at = nest(lines, inner, spec.plane.extents)
                below = [prod(spec.plane.extents[i + 1 :]) for i in range(len(spec.plane.extents))]
                source = element(names, spec.plane.source, [*point, *at])
                lines.add(f"{names[spec.plane.copy]}[{address(at, below)}] = {source};")
        point += nest(lines, stack, dims[1:-1])
        ranges = {b.axis: inside(lines, b, point[b.dim] if b.dim < last else "0", spec.reduced[b.axis]) for b in spec.bounds}
        pad = ["0"] * (n - len(dims))
        wide = 8 if helper == "lanes_4" and dims[-1] % 8 == 0 else 4  # float units have the registers
        blocks, rest = divmod(dims[-1], wide) if helper and side else (0, dims[-1])

        def edges(at: list[str], lanes: int, total: Callable[[str], str]) -> None:
            """What taps outside contribute."""
            if not ranges or not spec.outside:
                return
            cut = " || ".join(f"{first} > 0 || {last} < {spec.reduced[i]}" for i, (first, last) in ranges.items())
            with lines.block(f"if ({cut})"), ExitStack() as inner:
                taps = [inner.enter_context(lines.loop(m)) for m in spec.reduced]
                missing = " || ".join(f"{taps[i]} < {first} || {taps[i]} >= {last}" for i, (first, last) in ranges.items())
                inner.enter_context(lines.block(f"if ({missing})"))
                j = inner.enter_context(lines.loop(lanes))
                w = element(names, spec.b, [*at, *taps])
                lines.add(f"{total(j)} += {spec.outside} * {w if j == '0' else f'{w[:-1]} + {j}]'};")

        def one(at: list[str]) -> None:
            start = element(names, spec.init, at) if spec.init else typed(0, spec.dtype)
            lines.add(f"{kind} sum = {start};")
            edges(at, 1, lambda j: "sum")
            with ExitStack() as inner:
                taps = tap_loops(lines, inner, spec.reduced, ranges)
                x, w = (element(names, access, [*at, *taps]) for access in (spec.a, spec.b))
                lines.add(f"sum = {fma(spec.dtype, x, w, 'sum')};")
            close(lines, names, spec, at, "sum")

        if blocks:
            with lines.loop(blocks * wide, step=wide) as c:
                at = [*point, c, *pad]
                lines.add(f"{kind} sums[{wide}];")
                with lines.loop(wide, unrolled=True) as j:
                    place = [*point, f"({c} + {j})", *pad]
                    lines.add(f"sums[{j}] = {element(names, spec.init, place) if spec.init else typed(0, spec.dtype)};")
                edges(at, wide, lambda j: f"sums[{j}]")
                with ExitStack() as inner:
                    taps = tap_loops(lines, inner, spec.reduced, ranges)
                    x, w = (f"&{element(names, access, [*at, *taps])}" for access in (spec.a, spec.b))
                    lines.add(f"{'lanes_8' if wide == 8 else helper}({x}, {w}, sums);")
                with lines.loop(wide, unrolled=True) as j:
                    close(lines, names, spec, [*point, f"({c} + {j})", *pad], f"sums[{j}]")
        if rest:
            with lines.loop(dims[-1], start=str(blocks * wide)) if dims[-1] > 1 else lines.loop(1) as c:
                one([*point, c, *pad])
