"""Whether a program fits a chip, before anything is compiled."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from mlcc.error import Error
from mlcc.program.kernel import Chain, Dot
from mlcc.program.memory import aligned
from mlcc.program.program import Program, lifetimes
from mlcc.target import Budget

INT8_KERNEL = 1_000  # bytes of code that a kernel takes as int8: 560 to 1,160 for MLPerf Tiny's models on Cortex-M4F
CODE = 2048  # bytes that the smallest kernels take


def ram_bytes(program: Program) -> int:
    """Workspace, inputs and outputs: all that the caller provides. The stack comes on top: a few hundred bytes."""
    return program.arena_bytes + 64 + sum(aligned(t.nbytes) for _, t in (*program.inputs, *program.outputs))


def int8_flash(program: Program) -> int:
    """About what the same model takes as int8: a byte a weight, a bias and a multiplier for each channel, and the kernels' code."""
    starts = set()
    for call in program.calls:
        spec = program.kernels[call.kernel]
        init = spec.init if isinstance(spec, Dot | Chain) else None
        if init is not None and program.buffers[call.arguments[init.arg].buffer].place == "constant":
            starts.add(call.arguments[init.arg].buffer)
    elements = sum(b.elements for b in program.buffers.values() if b.place == "constant")
    return elements + 7 * sum(program.buffers[b].elements for b in starts) + INT8_KERNEL * len(program.kernels)


def weight_bytes(program: Program) -> int:
    return sum(b.nbytes for b in program.buffers.values() if b.place == "constant")


def check(
    program: Program, budget: Budget, target: str, code: int = CODE, roomier: Callable[[int, int], Sequence[str]] = lambda flash, ram: ()
) -> None:
    """Raise Error(unsupported) that says what does not fit and what would. code: bytes besides the weights; roomier: (flash, RAM) → boards
    that have as much."""
    flash, ram = weight_bytes(program) + code, ram_bytes(program)
    problems, hints = [], []
    floats = any(b.dtype == "float32" and b.nbytes > 4096 for b in program.buffers.values() if b.place in ("constant", "arena"))
    if budget.flash is not None and flash > budget.flash:
        problems.append(f"{flash:,} bytes of flash ({weight_bytes(program):,} of weights), {budget.flash:,} there")
    if budget.ram is not None and ram > budget.ram:
        problems.append(
            f"{ram:,} bytes of RAM ({ram - program.arena_bytes:,} for inputs and outputs), {budget.ram:,} there; most is needed at "
            f"{peak(program)}"
        )
        hints.append("a smaller input (--shape)")
    if not problems:
        return
    if floats:
        hints.insert(0, f"the model quantised to int8, about {int8_flash(program):,} bytes of flash and {ram // 4:,} of RAM")
    if boards := roomier(flash, ram):
        hints.append("--target " + ", ".join(boards))
    raise Error(
        "unsupported",
        f"does not fit: {'; '.join(problems)}",
        f"{program.name} on {target}",
        f"would fit: {'; or '.join(hints)}" if hints else "",
    )


def peak(program: Program) -> str:
    """The step at which most memory is in use, and the largest values then."""
    alive = lifetimes(program.calls, program.loops)
    arena = [b for b in program.buffers.values() if b.place == "arena" and b.name in alive]
    held = [[b for b in arena if alive[b.name][0] <= i <= alive[b.name][1]] for i in range(len(program.calls))]
    if not held:
        return "the start"
    worst = max(range(len(held)), key=lambda i: sum(aligned(b.nbytes) for b in held[i]))
    largest = sorted(held[worst], key=lambda b: -b.nbytes)[:3]
    return f"step {worst} ({program.calls[worst].origin[-60:]}: {' + '.join(f'{b.nbytes:,}' for b in largest)} bytes)"
