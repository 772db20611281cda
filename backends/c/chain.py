"""Chains over operands as they lie, in C."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from math import prod

from mlcc.program.kernel import Chain
from mlcc_backends.c.loops import close, fma, inside, nest, tap_loops
from mlcc_backends.c.text import Lines, address, element, typed, value_type

OF_FOUR = {("float32", "float32"): "lanes_4", ("int8", "int8"): "bytes_4_s8", ("uint8", "int8"): "bytes_4_u8"}


def chain(lines: Lines, names: list[str], spec: Chain) -> None:
    """One chain an output; four or eight neighbours at once where they lie side by side."""
    dims = list(spec.dims)
    while dims and dims[-1] == 1 and len(spec.dims) > 1:  # a depthwise kernel's outputs within the group
        dims.pop()
    last, pad = len(dims) - 1, ["0"] * (len(spec.dims) - len(dims))
    helper, wide = _helper(spec, dims[-1], last)
    with ExitStack() as stack:
        point = nest(lines, stack, dims[:1] if last else [])
        _copy(lines, names, spec, point)
        point += nest(lines, stack, dims[1:-1])
        ranges = {b.axis: inside(lines, b, point[b.dim] if b.dim < last else "0", spec.reduced[b.axis]) for b in spec.bounds}
        c = _Chains(lines, names, spec, ranges)
        blocks = dims[-1] // wide if helper else 0
        if blocks != 0:
            with lines.loop(blocks * wide, step=wide) as i:
                c.neighbours(helper, wide, lambda j: [*point, i if j == "" else f"({i} + {j})", *pad])
        if dims[-1] != blocks * wide:
            with lines.loop(dims[-1], start=str(blocks * wide)) if dims[-1] != 1 else lines.loop(1) as i:
                c.one([*point, i, *pad])


def _helper(spec: Chain, extent: int, last: int) -> tuple[str, int]:
    """The function for neighbours along the last dimension, and how many it takes; none where they do not lie side by side."""
    found = OF_FOUR.get((spec.arguments[spec.a.arg], spec.arguments[spec.b.arg])) if spec.dtype in ("float32", "int32") else None
    if found is None or spec.a.strides[last] != 1 or spec.b.strides[last] != 1:
        return "", 1
    return ("lanes_8", 8) if found == "lanes_4" and extent % 8 == 0 else (found, 4)  # float units have the registers


def _copy(lines: Lines, names: list[str], spec: Chain, point: list[str]) -> None:
    """What outputs will overwrite is put aside."""
    if spec.plane is None:
        return
    below = [prod(spec.plane.extents[i + 1 :]) for i in range(len(spec.plane.extents))]
    with ExitStack() as inner:
        at = nest(lines, inner, spec.plane.extents)
        lines.add(f"{names[spec.plane.copy]}[{address(at, below)}] = {element(names, spec.plane.source, [*point, *at])};")


@dataclass(frozen=True)
class _Chains:
    """ranges: by reduced dimension, the first and last + 1 of the taps that lie inside."""

    lines: Lines
    names: list[str]
    spec: Chain
    ranges: dict[int, tuple[str, str]]

    def start(self, at: list[str]) -> str:
        return element(self.names, self.spec.init, at) if self.spec.init else typed(0, self.spec.dtype)

    def operands(self, at: list[str], taps: list[str]) -> list[str]:
        return [element(self.names, access, [*at, *taps]) for access in (self.spec.a, self.spec.b)]

    def one(self, at: list[str]) -> None:
        lines, dtype = self.lines, self.spec.dtype
        lines.add(f"{value_type(dtype)} sum = {self.start(at)};")
        self.edges(at, 1, lambda j: "sum")
        with ExitStack() as inner:
            x, w = self.operands(at, tap_loops(lines, inner, self.spec.reduced, self.ranges))
            lines.add(f"sum = {fma(dtype, x, w, 'sum')};")
        close(lines, self.names, self.spec, at, "sum")

    def neighbours(self, helper: str, wide: int, at: Callable[[str], list[str]]) -> None:
        """at: the point of the j-th of them, of the first for nothing."""
        lines = self.lines
        lines.add(f"{value_type(self.spec.dtype)} sums[{wide}];")
        with lines.loop(wide, unrolled=True) as j:
            lines.add(f"sums[{j}] = {self.start(at(j))};")
        self.edges(at(""), wide, lambda j: f"sums[{j}]")
        with ExitStack() as inner:
            x, w = self.operands(at(""), tap_loops(lines, inner, self.spec.reduced, self.ranges))
            lines.add(f"{helper}(&{x}, &{w}, sums);")
        with lines.loop(wide, unrolled=True) as j:
            close(lines, self.names, self.spec, at(j), f"sums[{j}]")

    def edges(self, at: list[str], lanes: int, total: Callable[[str], str]) -> None:
        """What taps outside contribute."""
        lines, spec, ranges = self.lines, self.spec, self.ranges
        if not ranges or not spec.outside:
            return
        cut = " || ".join(f"{first} > 0 || {last} < {spec.reduced[i]}" for i, (first, last) in ranges.items())
        with lines.block(f"if ({cut})"), ExitStack() as inner:
            taps = [inner.enter_context(lines.loop(m)) for m in spec.reduced]
            missing = " || ".join(f"{taps[i]} < {first} || {taps[i]} >= {last}" for i, (first, last) in ranges.items())
            inner.enter_context(lines.block(f"if ({missing})"))
            j = inner.enter_context(lines.loop(lanes))
            w = element(self.names, spec.b, [*at, *taps])
            lines.add(f"{total(j)} += {spec.outside} * {w if j == '0' else f'{w[:-1]} + {j}]'};")
