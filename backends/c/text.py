"""Small pieces of C: types, literals, addresses, indented lines."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np

from mlcc.core.dim import Dim
from mlcc.program.kernel import Access, storage

TYPES = {
    "float32": "float",
    "float64": "double",
    **{f"{u}int{n}": f"{u}int{n}_t" for u in ("", "u") for n in (8, 16, 32, 64)},
}


def memory_type(dtype: str) -> str:
    """The C type of an element in memory: truth values are bytes, half-width floats their bits."""
    return TYPES[storage(dtype)]


def value_type(dtype: str) -> str:
    """The C type of a value at hand."""
    return "int" if dtype == "bool" else memory_type(dtype)


def literal(value: float | int | bool, dtype: str) -> str:
    """A constant that reads back as the same bits."""
    if dtype in ("float32", "float64"):
        x = np.array(value, dtype)
        single = dtype == "float32"
        if not np.isfinite(x):
            bits = int(x.view(np.uint32 if single else np.uint64))
            return f"float_of(0x{bits:08X}u)" if single else f"double_of(0x{bits:016X}u)"
        text = f"{float(x):.{9 if single else 17}g}"
        if not any(c in text for c in ".en"):
            text += ".0"
        return f"{text}f" if single else text
    if dtype == "bool":
        return str(int(bool(value)))
    number = int(value)
    if dtype in ("int64", "uint64"):
        if number == -(1 << 63):
            return "(-9223372036854775807LL - 1)"
        return f"{number}{'LL' if dtype == 'int64' else 'ULL'}"
    if dtype == "int32" and number == -(1 << 31):
        return "(-2147483647 - 1)"
    return f"{number}u" if dtype == "uint32" else str(number)


def typed(value: float | int | bool, dtype: str) -> str:
    """A literal of exactly a type, for expressions; a size that a run decides is an expression itself."""
    if isinstance(value, Dim):
        return f"({value_type(dtype)}){value}"
    text = literal(value, dtype)
    return f"({value_type(dtype)}){text}" if dtype in ("int8", "uint8", "int16", "uint16", "float16", "bfloat16") else text


def address(indices: Sequence[str], strides: Sequence[int], offset: int = 0) -> str:
    """Σ index·stride + offset."""
    terms = []
    for i, s in zip(indices, strides):
        if s == 0 or i == "0":
            continue
        if i.lstrip("-").isdigit():
            offset += int(i) * s
        else:
            terms.append(i if s == 1 else f"{i} * {s}" if isinstance(s, Dim) or s > 0 else f"{i} * ({s})")
    if offset != 0 or not terms:
        terms.append(str(offset) if isinstance(offset, Dim) or offset >= 0 else f"({offset})")
    return " + ".join(terms)


def element(names: Sequence[str], access: Access, indices: Sequence[str]) -> str:
    """An access as an lvalue; `names`: the arguments'."""
    return f"{names[access.arg]}[{address(indices, access.strides, access.offset)}]"


class Lines:
    """Statements in order, indented by their blocks; names that are used once."""

    def __init__(self, depth: int = 1) -> None:
        self.lines: list[str] = []
        self._depth, self._names = depth, 0

    def add(self, text: str) -> None:
        self.lines.append("    " * self._depth + text)

    def fresh(self, prefix: str) -> str:
        self._names += 1
        return f"{prefix}{self._names}"

    @contextmanager
    def block(self, head: str) -> Iterator[None]:
        self.add(f"{head} {{")
        self._depth += 1
        yield
        self._depth -= 1
        self.add("}")

    @contextmanager
    def loop(self, extent: int | str, start: str = "0", step: int = 1, unrolled: bool = False) -> Iterator[str]:
        """A counted loop; one that runs once is a plain 0."""
        if extent == 1 and start == "0":
            yield "0"
            return
        i = self.fresh("i")
        with self.block(
            f"{'UNROLLED ' if unrolled else ''}for (int32_t {i} = {start}; {i} < {extent}; {f'{i}++' if step == 1 else f'{i} += {step}'})"
        ):
            yield i

    def text(self) -> str:
        return "\n".join(self.lines)
