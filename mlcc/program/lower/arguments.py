"""A kernel's arguments and body, as they are collected."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from mlcc.program.kernel import Body, Step, storage
from mlcc.program.program import Argument
from mlcc.program.view import View

Steps = list[tuple[Step, tuple[int, ...] | None]]  # of a body; loads with their strides over the result's dims


@dataclass
class Arguments:
    """Collects a kernel's pointer arguments; equal ones are one."""

    items: list[Argument] = field(default_factory=list)
    types: list[str] = field(default_factory=list)

    def add(self, buffer: str, offset: int, dtype: str, advance: int = 0) -> int:
        item = Argument(buffer, offset, advance)
        for i, known in enumerate(self.items):
            if known == item and self.types[i] == storage(dtype):
                return i
        self.items.append(item)
        self.types.append(storage(dtype))
        return len(self.items) - 1

    def view(self, v: View) -> int:
        return self.add(v.buffer, v.offset, v.dtype, v.advance)


@dataclass
class Operands:
    """Arguments of a product, by number (init: −1 where there is none), and its body."""

    arguments: Arguments
    a: int
    b: int
    init: int
    steps: Steps
    out: int

    @property
    def loads(self) -> list[tuple[int, ...]]:
        return [st for _, st in self.steps if st is not None]


def finish_body(steps: Steps, strides: Callable[[tuple[int, ...]], tuple[int, ...]]) -> Body:
    """Steps with their loads' strides translated to a kernel's own dims; a body that only hands its input through is empty."""
    if len(steps) == 1 and steps[0][0].op == "input":
        return ()
    return tuple(
        replace(step, access=replace(step.access, strides=strides(s))) if s is not None and step.access is not None else step
        for step, s in steps
    )
