"""C as mlcc.program.serial writes it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager

from mlcc.arithmetic.sequence import Sequence as Instructions
from mlcc.program.kernel import Access
from mlcc_backends.c.sequences import expression
from mlcc_backends.c.text import Lines, element, typed, value_type


class CWriter:
    """Statements over a kernel's pointer arguments `names`."""

    def __init__(self, lines: Lines, names: Sequence[str]) -> None:
        self.lines, self.names = lines, names

    @contextmanager
    def loop(self, extent: int, first: int = 0) -> Iterator[str]:
        with self.lines.loop(extent, str(first)) as i:
            yield i

    def when(self, condition: str) -> AbstractContextManager[None]:
        return self.lines.block(f"if ({condition})")

    def cell(self, dtype: str, start: str) -> str:
        name = self.lines.fresh("cell")
        self.lines.add(f"{value_type(dtype)} {name} = {start};")
        return name

    def get(self, cell: str) -> str:
        return cell

    def set(self, cell: str, value: str) -> None:
        self.lines.add(f"{cell} = {value};")

    def lanes(self, dtype: str, count: int, start: str) -> str:
        if count == 1:
            return self.cell(dtype, start)
        name = self.lines.fresh("lanes")
        self.lines.add(f"{value_type(dtype)} {name}[{count}];")
        with self.lines.loop(count) as j:
            self.lines.add(f"{name}[{j}] = {start};")
        return name

    def update(self, lanes: str, lane: str, change: Callable[[str], str]) -> None:
        place = lanes if lanes.startswith("cell") else f"{lanes}[{lane}]"
        self.lines.add(f"{place} = {change(place)};")

    def fold(self, lanes: str, count: int, dtype: str, combine: Instructions) -> str:
        if count == 1:
            return lanes
        with self.lines.block(f"for (int32_t h = {count // 2}; h > 0; h /= 2)"), self.lines.block("for (int32_t j = 0; j < h; j++)"):
            self.lines.add(f"{lanes}[j] = {expression(combine, f'{lanes}[j]', f'{lanes}[j + h]')};")
        return f"{lanes}[0]"

    def const(self, value: float | int, dtype: str) -> str:
        return typed(value, dtype)

    def load(self, access: Access, dtype: str, point: Sequence[str]) -> str:
        return self._kept(load(self.names, access, dtype, point), dtype, "x")

    def store(self, access: Access, dtype: str, point: Sequence[str], value: str) -> None:
        self.lines.add(f"{element(self.names, access, point)} = {f'(uint8_t)({value})' if dtype == 'bool' else value};")

    def run(self, s: Instructions, *x: str) -> str:
        return self._kept(expression(s, *x), s.dtype, "v")

    def _kept(self, value: str, dtype: str, prefix: str) -> str:
        name = self.lines.fresh(prefix)
        self.lines.add(f"const {value_type(dtype)} {name} = {value};")
        return name


def load(names: Sequence[str], access: Access, dtype: str, point: Sequence[str]) -> str:
    """An element as a value: truth values are bytes in memory."""
    place = element(names, access, point)
    return f"{place} != 0" if dtype == "bool" else place
