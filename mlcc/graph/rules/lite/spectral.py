"""Spectra. A complex tensor is one of floats with a further last axis: the real part, then the imaginary one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from mlcc.graph.builder import Value
from mlcc.graph.rules.lite.shapes import ints
from mlcc.graph.rules.signal import transformed
from mlcc.graph.source import Source

Rule = Callable[[Source], Value | tuple[Value, ...]]


def _complex(s: Source, index: int) -> bool:
    return bool(s.attr(f"in.{index}.complex", 0))


def _part(s: Source, x: Value, which: int) -> Value:
    return s.b.reshape(s.b.slice(x, x.rank - 1, which, 1), x.shape[:-1])


def by_parts(rule: Rule) -> Rule:
    """What only moves numbers moves both parts alike."""

    def both(s: Source) -> Value | tuple[Value, ...]:
        if not any(_complex(s, i) for i in range(len(s.inputs))):
            return rule(s)
        found = []
        for which in (0, 1):
            parts = tuple(v if v is None or not _complex(s, i) else _part(s, v, which) for i, v in enumerate(s.inputs))
            made = rule(replace(s, inputs=parts))
            found.append(made if isinstance(made, tuple) else (made,))
        joined = tuple(s.b.many("Concat", [s.b.reshape(v, (*v.shape, 1)) for v in pair], axis=pair[0].rank)[0] for pair in zip(*found))
        return joined if len(joined) > 1 else joined[0]

    return both


def rfft_2d(s: Source) -> Value:
    """The half spectrum of the last two axes, which are cut or filled up with zeros."""
    b, x, (rows, columns) = s.b, s[0], ints(s, 1, "fft_length")
    y = transformed(s, b.reshape(x, (*x.shape, 1)), x.rank - 1, columns, False, True)
    return y if (x.shape[-2], rows) == (1, 1) else transformed(s, y, x.rank - 2, rows, False, False)


def complex_abs(s: Source) -> Value:
    """The larger part times √(1 + the square of how much smaller the other is): no square overflows."""
    b, x = s.b, s[0]
    re, im = (b("Abs", _part(s, x, k)) for k in (0, 1))
    most, least = b("Max", re, im), b("Min", re, im)
    ratio = b("Div", least, most)
    found = b("Mul", most, b("Sqrt", b("Add", b.like(1, most), b("Mul", ratio, ratio))))
    ends = b("Or", b("Equal", most, b.like(0, most)), b("Equal", most, b.like(np.inf, most)))
    return b("Where", ends, most, found)


def casting(rule: Rule) -> Rule:
    """To real numbers: the real part."""

    def cast(s: Source) -> Value | tuple[Value, ...]:
        return rule(replace(s, inputs=(_part(s, s[0], 0),))) if _complex(s, 0) else rule(s)

    return cast


def real(rule: Rule) -> Rule:
    """What has no meaning for complex numbers here."""

    def checked(s: Source) -> Value | tuple[Value, ...]:
        if any(_complex(s, i) for i in range(len(s.inputs))) or any(s.attr(f"out.{k}.complex", 0) for k in range(s.declared)):
            raise s.unsupported(f"{s.op} of complex numbers", "of real ones")
        return rule(s)

    return checked


MOVED = ("CONCATENATION", "EXPAND_DIMS", "GATHER", "PACK", "RESHAPE", "SLICE", "SPLIT", "SQUEEZE", "STRIDED_SLICE", "TRANSPOSE", "UNPACK")
TABLE: dict[str, Rule] = {
    "COMPLEX_ABS": complex_abs,
    "IMAG": lambda s: _part(s, s[0], 1),
    "REAL": lambda s: _part(s, s[0], 0),
    "RFFT2D": rfft_2d,
}
