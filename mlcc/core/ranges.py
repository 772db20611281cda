"""Ranges of sizes as people ask for them, and what is at hand once a run has chosen."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any

import numpy as np

from mlcc.core.dim import Dim, symbols
from mlcc.core.terms import Size, Symbol, public
from mlcc.error import Error


@dataclass(frozen=True)
class Range:
    """Sizes that a dimension may have, as asked: `low` to `high` in steps of `step`."""

    low: int
    high: int
    step: int = 1

    def __str__(self) -> str:
        return f"{self.low}..{self.high}{f':{self.step}' if self.step > 1 else ''}"

    def named(self, name: str) -> Symbol:
        rest = self.low % self.step
        return Symbol(name, self.low // self.step, (self.high - rest) // self.step, self.step, rest)


def parse_range(text: str) -> int | Range:
    """A size as people write it: 3, 1..512, 32..640:32, also in parentheses. Raises ValueError."""
    found = re.fullmatch(r"\(?(\d{1,10})(?:\.\.(\d{1,10})(?::(\d{1,10}))?)?\)?", text)
    if found is None:
        raise ValueError(text)
    low, high, step = found.groups()
    if high is None:
        return int(low)
    r = Range(int(low), int(high), int(step or 1))
    if r.low < 1 or r.high < r.low or r.step < 1:
        raise ValueError(text)
    return r if r.high - r.low >= r.step else r.low


def bind(x: Any, numbers: Mapping[str, int]) -> Any:
    """A frozen structure (a type, a graph, a program) with every size put in for given numbers of the symbols."""
    if isinstance(x, Dim):
        return x.at(numbers)
    if isinstance(x, tuple):
        return tuple(bind(v, numbers) for v in x)
    if isinstance(x, list):
        return [bind(v, numbers) for v in x]
    if isinstance(x, Mapping):
        return {k: bind(v, numbers) for k, v in x.items()}
    if is_dataclass(x) and not isinstance(x, type):
        changed = {f.name: bind(v, numbers) for f in fields(x) if not isinstance(v := getattr(x, f.name), (int, str, np.ndarray, Symbol))}
        return replace(x, **{k: v for k, v in changed.items() if v is not getattr(x, k)})
    return x


def out_of_range(name: str, size: int, allowed: range, where: str = "") -> Error:
    steps = f" in steps of {allowed.step}" if allowed.step > 1 else ""
    return Error("usage", f"{name} is {size}", where, f"this build takes {allowed[0]} to {allowed[-1]}{steps}")


def numbers_of(sizes: Mapping[str, int], known: Iterable[Symbol]) -> dict[str, int]:
    """Symbols' numbers from the sizes that their names mean. Raises Error(usage) where one is out of range."""
    found = {}
    for s in known:
        size = sizes[s.name]
        if size not in s.sizes:
            raise out_of_range(s.name, size, s.sizes)
        found[s.name] = (size - s.rest) // s.step
    return found


def trials(known: Iterable[Symbol]) -> list[dict[str, int]]:
    """Numbers of the symbols at which what a run decides is proven and tested: the largest first, the smallest, and some in between."""
    symbols = sorted(known)
    if not symbols:
        return [{}]
    found = [{s.name: s.high for s in symbols}, {s.name: s.low for s in symbols}]
    for part, places in enumerate(((3, 7), (10, 13), (1, 29)), start=1):
        found.append({s.name: s.low + (s.high - s.low) * places[0] // places[1] + (part * (i + 1)) % 2 for i, s in enumerate(symbols)})
    inside = [{s.name: min(max(n[s.name], s.low), s.high) for s in symbols} for n in found]
    return [n for i, n in enumerate(inside) if n not in inside[:i]]


def sizes_at(numbers: Mapping[str, int], known: Iterable[Symbol]) -> dict[str, int]:
    """The sizes that people mean, of given numbers."""
    return {s.name: numbers[s.name] * s.step + s.rest for s in known}


def numbers_from(shapes: Iterable[tuple[tuple[Size, ...], tuple[int, ...], str]]) -> dict[str, int]:
    """Symbols' numbers from (shape, extents that are given, name) of inputs. Raises Error(usage) where these do not fit."""
    found: dict[str, tuple[int, str]] = {}
    pairs = list(shapes)
    for shape, given, name in pairs:
        if len(shape) != len(given):
            raise Error("usage", f"{len(given)} axes given, {len(shape)} wanted", f"input {name}")
        for n, size in zip(shape, given):
            for s in n.symbols if isinstance(n, Dim) else ():
                if found.setdefault(s.name, (size, name))[0] != size:
                    raise Error("usage", f"{s.name} is {size} here, and {found[s.name][0]} in {found[s.name][1]}", f"input {name}")
            if not isinstance(n, Dim) and n != size:
                raise Error("usage", f"{list(given)} given, {[public(d) for d in shape]} wanted", f"input {name}")
    return numbers_of({k: v for k, (v, _) in found.items()}, symbols([shape for shape, _, _ in pairs]))


_OPERATORS: dict[type[ast.operator], Callable[[int, int], int]] = {
    ast.Add: lambda a, b: a + b,
    ast.Sub: lambda a, b: a - b,
    ast.Mult: lambda a, b: a * b,
    ast.FloorDiv: lambda a, b: a // b,
}


def evaluate(said: int | str, sizes: Mapping[str, int]) -> int:
    """What a manifest's size is for given sizes. Raises ValueError for what `public` never writes."""
    if isinstance(said, int):
        return said
    if said in sizes:
        return sizes[said]

    def value(node: ast.expr) -> int:
        match node:
            case ast.Constant(value=int() as n):
                return n
            case ast.Name(id=name) if name in sizes:
                return sizes[name]
            case ast.UnaryOp(op=ast.USub(), operand=x):
                return -value(x)
            case ast.BinOp(left=a, op=op, right=b) if type(op) in _OPERATORS:
                return _OPERATORS[type(op)](value(a), value(b))
            case ast.Call(func=ast.Name(id=("min" | "max") as f), args=[a, b]):
                return (min if f == "min" else max)(value(a), value(b))
        raise ValueError(f"no size: {said}")

    return value(ast.parse(said, mode="eval").body)
