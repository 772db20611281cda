"""Kernel specifications → C functions, one a specification; each does all of its kernel's work in the contract's order."""

from __future__ import annotations

from contextlib import ExitStack

from mlcc.core.dim import symbols as symbols_of
from mlcc.error import Error
from mlcc.program import serial
from mlcc.program.kernel import Chain, Dot, Kernel, Map, Reduce, Scan, Scatter
from mlcc.program.program import Program
from mlcc_backends.c import body as bodies
from mlcc_backends.c.chain import chain
from mlcc_backends.c.dot import dot
from mlcc_backends.c.loops import finish, nest
from mlcc_backends.c.text import Lines, memory_type
from mlcc_backends.c.writer import CWriter


def function(symbol: str, spec: Kernel) -> str:
    """A static C function of a kernel's pointer arguments."""
    lines, names = Lines(), arguments(spec)
    match spec:
        case Map() | Reduce() | Scan() | Scatter():
            with ExitStack() as stack:
                at_point(lines, names, spec, nest(lines, stack, spec.dims))
        case Chain():
            chain(lines, names, spec)
        case Dot():
            dot(lines, names, spec)
        case _:
            raise Error("unsupported", f"{type(spec).__name__} kernels in C", hint="leave --precision away")
    return defined(symbol, spec, lines)


def arguments(spec: Kernel) -> list[str]:
    """Names of a kernel's pointers."""
    return [f"p{i}" for i in range(len(spec.arguments))]


def defined(symbol: str, spec: Kernel, lines: Lines) -> str:
    """The C function of a kernel's statements."""
    written = writes(spec)
    pairs = enumerate(zip(spec.arguments, arguments(spec)))
    pointers = ", ".join(f"{'' if i in written else 'const '}{memory_type(d)} *{n}" for i, (d, n) in pairs)
    sizes = "".join(f"{', ' if spec.arguments else ''}const int32_t {s.variable}" for s in sorted(symbols_of(spec)))
    return f"static void {symbol}({pointers or ('' if sizes else 'void')}{sizes})\n{{\n{lines.text()}\n}}"


def symbols(program: Program) -> dict[str, str]:
    """Kernel → its function's name, numbered by kind in order of use."""
    found: dict[str, str] = {}
    for key in dict.fromkeys(c.kernel for c in program.calls):
        kind = key.split("_")[0]
        found[key] = f"{kind}_{sum(s.startswith(kind + '_') for s in found.values()) + 1}"
    return found


def at_point(lines: Lines, names: list[str], spec: Map | Reduce | Scan | Scatter, point: list[str]) -> None:
    """What a kernel does at one point of its dims."""
    w = CWriter(lines, names)
    match spec:
        case Map():
            w.store(spec.output, spec.body[-1].dtype, point, bodies.run(lines, names, spec.body, point))
        case Reduce():
            finish(lines, names, spec, point, serial.reduce(w, spec, point))
        case Scan():
            serial.scan(w, spec, point)
        case Scatter():
            serial.scatter(w, spec, point)


def writes(spec: Kernel) -> set[int]:
    """The arguments that a kernel writes to."""
    found = {spec.output.arg} if not isinstance(spec, Scan) else {spec.output.arg, *([spec.second.arg] if spec.second else [])}  # type: ignore[union-attr]
    if isinstance(spec, Dot) and spec.scratch is not None:
        found.add(spec.scratch)
    if isinstance(spec, Chain) and spec.plane is not None:
        found.add(spec.plane.copy)
    return found
