"""What one thread of a GPU computes by itself."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from math import prod

from mlcc.arithmetic.bf16 import BLOCK
from mlcc.arithmetic.scalar import BRAIN, WIDENED
from mlcc.core.dim import symbols
from mlcc.core.terms import most
from mlcc.program.kernel import BlockDot, Chain, Dot
from mlcc.program.packing import PANEL, panels
from mlcc_backends.c.loops import close, fma, split
from mlcc_backends.c.sequences import expression
from mlcc_backends.c.text import Lines, address, element, memory_type, typed, value_type
from mlcc_backends.cuda.launch import over


def chain(lines: Lines, names: list[str], spec: Chain, at: list[str]) -> None:
    lines.add(f"{value_type(spec.dtype)} sum = {element(names, spec.init, at) if spec.init else typed(0, spec.dtype)};")
    with ExitStack() as inner:
        few = most(prod(spec.reduced)) <= 32 and not symbols(spec.reduced)
        taps = [inner.enter_context(lines.loop(n, unrolled=few)) for n in spec.reduced]
        x, w = (element(names, access, [*at, *taps]) for access in (spec.a, spec.b))
        lines.add(f"sum = {fma(spec.dtype, x, w, 'sum')};")
    close(lines, names, spec, at, "sum")


def blocks(lines: Lines, names: list[str], spec: BlockDot, at: list[str]) -> None:
    """The bf16 profile's dot: for each 32 k an even and an odd chain, then their sum."""
    *rows, column = at
    depth = prod(spec.k)
    blocks = over(depth, BLOCK)

    def operand(k: str) -> str:
        x = element(names, spec.a, [*rows, *split(lines, k, spec.k)])
        return expression(WIDENED["bfloat16"], x if spec.arguments[spec.a.arg] == "uint16" else expression(BRAIN, x))

    lines.add("float sum = 0.0f;")
    lines.add(f"GLOBAL const uint32_t *w = {names[spec.b]} + {column} / 16 * {blocks * 256} + {column} % 16;")
    with lines.loop(blocks) as b:
        lines.add("float even = 0.0f, odd = 0.0f;")
        with lines.loop(BLOCK // 2) as p:
            lines.add(f"const int32_t k = {b} * {BLOCK} + {p} * 2;" if most(blocks) > 1 else f"const int32_t k = {p} * 2;")
            lines.add(f"const uint32_t pair = w[({b} * 16 + {p}) * 16];")
            for which, offset, weight in (("even", 0, "pair << 16"), ("odd", 1, "pair & 0xFFFF0000u")):
                with lines.block(f"if (k + {offset} < {depth})" if depth % BLOCK != 0 else ""):
                    lines.add(f"const int32_t {which}_k = k + {offset};")
                    lines.add(f"{which} = FMA({operand(f'{which}_k')}, float_of({weight}), {which});")
        lines.add("sum = sum + (even + odd);")
    close(lines, names, spec, at, "sum")


def panel(spec: Dot, column: str) -> tuple[str, str]:
    """(where a packed column begins, from one k to the next)."""
    depth = prod(spec.k)
    if spec.packing.even:
        return f"{column} / {PANEL} * {depth * PANEL} + {column} % {PANEL}", str(PANEL)
    widths = panels(spec.columns)
    if all(w == widths[0] for w in widths):
        w = widths[0]
        return (f"{column} / {w} * {w * depth} + {column} % {w}" if len(widths) > 1 else column), str(w)
    full = len(widths) - 1
    return f"{column} / 16 * {16 * depth} + {column} % 16", f"({column} / 16 < {full} ? 16 : {widths[-1]})"


def batch_of_b(spec: Dot, batch: Sequence[str]) -> str:
    per = spec.packing.elements(prod(spec.k), spec.columns)
    return address(batch, [s * per for s in spec.b.strides], spec.b.offset)


def one_dot(lines: Lines, names: list[str], spec: Dot, at: list[str]) -> None:
    batch, rows, column = at[: len(spec.batch)], at[len(spec.batch) : -1], at[-1]
    first, pitch = panel(spec, column)
    space = "LOCAL" if names[spec.b.arg].startswith("local") else "GLOBAL"
    lines.add(f"{space} const {memory_type(spec.arguments[spec.b.arg])} *w = {names[spec.b.arg]} + {batch_of_b(spec, batch)} + {first};")
    lines.add(f"const int32_t pitch = {pitch};")
    lines.add(f"{value_type(spec.dtype)} sum = {element(names, spec.init, at) if spec.init else typed(0, spec.dtype)};")
    with ExitStack() as inner:
        taps = [inner.enter_context(lines.loop(n)) for n in spec.k]
        x = element(names, spec.a, [*batch, *rows, *taps])
        lines.add(f"sum = {fma(spec.dtype, x, '*w', 'sum')};")
        lines.add("w += pitch;")
    close(lines, names, spec, at, "sum")
