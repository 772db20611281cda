"""The programs of a graph, each proven: one that suits a target's memory and its backend."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from mlcc import plugin
from mlcc.core.ranges import bind, trials
from mlcc.error import Error
from mlcc.graph.unroll import unrolled
from mlcc.program import budget, patch
from mlcc.program import program as loop
from mlcc.program.lower import lower
from mlcc.program.program import written_out
from mlcc.program.tables import coded
from mlcc.request import Frozen, Request
from mlcc.target import Budget, Target, roomier
from mlcc.translation.check import means, prove


def lowered(graph: Any) -> tuple[Any, Any]:
    """The program of a core graph, proven to compute what the graph means, and that meaning."""
    meaning = _meaning(graph)
    return _proven(lower(graph, narrow=True), graph, meaning), meaning


def _meaning(graph: Any) -> Any:
    return [means(at(graph, numbers)) for numbers in trials(graph.sizes)]


def _proven(program: Any, graph: Any, meaning: Any) -> Any:
    """The program, checked and proven to compute what the graph means; where a run decides sizes, at some of them."""
    for numbers, wanted in zip(trials(graph.sizes), meaning, strict=True):
        loop.validate(at(program, numbers))
        prove(at(program, numbers), at(graph, numbers), wanted)
    return program


def at(whole: Any, numbers: Mapping[str, int]) -> Any:
    """A graph or program at some of the sizes that a run may have."""
    return bind(whole, numbers) if numbers else whole


def versions(request: Request, frozen: Frozen, targets: Sequence[Target]) -> dict[str, Frozen]:
    """By target: with the program that suits it. Compact targets share theirs, one for each kind of packing and, where it must be smaller,
    size of RAM; backends that take no narrow weights share one, where there are such."""

    def version(**options: bool) -> Frozen:
        graph = coded(frozen.graph) if options.get("compact") else frozen.graph
        meaning = frozen.meaning if graph is frozen.graph else _meaning(graph)
        return replace(frozen, program=_proven(lower(graph, **options), graph, meaning))

    made: dict[tuple[bool, int | None], Frozen] = {}
    wide: Frozen | None = None
    found = {}
    for t in targets:
        found[t.name] = frozen
        backend = plugin.backend(t.backend)
        wanted = backend.lowering(t)
        if frozen.graph.sizes and not wanted.open:
            sizes = ", ".join(s.name for s in frozen.graph.sizes)
            hint = "build one artifact for each size that you need: --shape with numbers, no ranges"
            raise Error("unsupported", f"a run cannot decide sizes ({sizes}) on {t.name}", hint=hint)
        if not wanted.compact:
            if loop.narrow(frozen.program) and not wanted.narrow:
                wide = found[t.name] = wide or version()
            if not wanted.loops and frozen.program.loops and not frozen.graph.sizes:  # turns of open sizes, a backend writes out itself
                graph = unrolled(frozen.graph) if backend.consumes == "graph" else frozen.graph
                found[t.name] = replace(found[t.name], graph=graph, program=written_out(found[t.name].program))
            continue
        vectors, ram = wanted.vectors, _limits(request, t).ram
        if (vectors, None) not in made:
            made[vectors, None] = version(compact=True, vectors=vectors)
        if not wanted.bounded or ram is None or budget.ram_bytes(made[vectors, None].program) <= ram or frozen.graph.sizes:
            found[t.name] = made[vectors, None]
            continue
        if (vectors, ram) not in made:
            made[vectors, ram] = _in_strips(made[vectors, None], ram, vectors)
        found[t.name] = made[vectors, ram]
    return found


def _in_strips(whole: Frozen, ram: int, vectors: bool) -> Frozen:
    """With the early layers in strips of rows, as RAM demands."""
    smaller = patch.within(whole.graph, ram, vectors)
    if smaller is None or budget.ram_bytes(smaller[0]) >= budget.ram_bytes(whole.program):
        return whole
    program, cut = _proven(smaller[0], whole.graph, whole.meaning), smaller[1]
    end = whole.graph.nodes[cut.last]
    note = (
        f"to fit {ram:,} bytes of RAM, the layers up to {(end.origin or end.outputs[0])[-60:]} run in {cut.strips} strips of rows: "
        f"{cut.work - 1:.0%} more work there"
    )
    return replace(whole, program=program, notes=[*whole.notes, note])


def _limits(request: Request, target: Target) -> Budget:
    """What the model may take: as asked, else as the target says."""
    return Budget(request.flash or target.memory.flash, request.ram or target.memory.ram)


def fits(request: Request, target: Target, program: Any, flash: int | None = None) -> None:
    """Raise where a program needs more memory than its chip has; `flash`: the bytes measured once it is compiled."""
    limits = _limits(request, target)
    if not plugin.backend(target.backend).lowering(target).bounded or limits == Budget():
        return
    code = budget.CODE if flash is None else flash - budget.weight_bytes(program)
    budget.check(program, limits, target.name, code, lambda flash, ram: roomier(target, flash, ram)[:3])
