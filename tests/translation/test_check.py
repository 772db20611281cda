"""The translation's proof: holds for what the lowering makes, fails for every change of it."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import fields, replace
from math import prod
from typing import Any

import numpy as np
import pytest

from mlcc.core.graph import CoreGraph
from mlcc.error import Error
from mlcc.graph.builder import Builder, Value
from mlcc.machine import Machine
from mlcc.program.kernel import Access, Bound, Kernel, Map, Nest, Plane, Reduce, Step
from mlcc.program.lower import lower
from mlcc.program.program import Program
from mlcc.schedule.sweep import sweeps
from mlcc.translation.check import means, prove, prove_turns
from tests.support import graph_of
from tests.translation.graphs import GRAPHS, norm, weights

KINDS = [(name, compact) for name in GRAPHS for compact in (False, True) if (name, compact) != ("half_width", True)]


@pytest.mark.parametrize("name, compact", KINDS)
def test_what_the_lowering_makes_is_proven(name: str, compact: bool) -> None:
    graph = GRAPHS[name]()
    prove(lower(graph, compact=compact), graph)
    if compact:
        prove(lower(graph, compact=True, vectors=True), graph)


def accesses_of(spec: Any) -> Iterator[tuple[tuple[Any, ...], Access]]:
    """Every Access inside a kernel with the path to it."""
    for f in fields(spec):
        value = getattr(spec, f.name)
        items = value if isinstance(value, tuple) else (value,)
        for i, item in enumerate(items):
            at = (f.name, i) if isinstance(value, tuple) else (f.name,)
            if isinstance(item, Access):
                yield at, item
            elif isinstance(item, Step | Plane):
                for path, access in accesses_of(item):
                    yield (*at, *path), access
            elif f.name == "stages":
                for path, access in accesses_of(item[0]):
                    yield (*at, 0, *path), access


def with_at(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    if not path:
        return new
    head, rest = path[0], path[1:]
    if isinstance(value, tuple):
        return (*value[:head], with_at(value[head], rest, new), *value[head + 1 :])
    return replace(value, **{head: with_at(getattr(value, head), rest, new)})


def at(value: Any, path: tuple[Any, ...]) -> Any:
    for step in path:
        value = value[step] if isinstance(step, int) else getattr(value, step)
    return value


def extents(spec: Any, path: tuple[Any, ...], access: Access) -> tuple[int, ...]:
    """The dimensions that an access's strides run over."""
    owner = at(spec, path[: path.index("stages") + 3]) if "stages" in path else spec
    own = path[-1] if not isinstance(path[-1], int) else path[-2]
    match type(owner).__name__:
        case "Dot":
            rows = (*owner.batch, *owner.rows)
            if "scale" in path:
                return (owner.columns,)
            return (*rows, *owner.k) if own == "a" else owner.batch if own == "b" else (*rows, owner.columns)
        case "BlockDot":
            return (*owner.rows, *owner.k) if own == "a" else (*owner.rows, owner.columns)
        case "Chain":
            if "plane" in path:
                return (owner.dims[0], *owner.plane.extents)
            return (*owner.dims, *owner.reduced) if own in ("a", "b") else owner.dims
        case "Reduce":
            return (*owner.dims, *owner.reduced) if own == "source" else owner.dims
        case "Scan":
            count = dict(owner.options).get("k", 1) if owner.kind == "TopK" else owner.extent if owner.kind == "CumSum" else 1
            return (*owner.dims, owner.extent if own == "source" else count)
    return owner.dims


def mutants(program: Program, chosen: random.Random) -> Iterator[tuple[str, Program]]:
    """Programs with one thing changed that changes what is computed."""
    calls = list(program.calls)
    while True:
        i = chosen.randrange(len(calls))
        call = calls[i]
        spec = program.kernels[call.kernel]
        kind = chosen.choice(
            ("offset", "stride", "argument", "order", "lifetime", "drop", "body", "bound", "extent", "constant", "buffer", "source")
        )
        changed: Kernel | None = None
        if kind in ("offset", "stride"):
            path, access = chosen.choice(list(accesses_of(spec)))
            dims = extents(spec, path, access)
            if kind == "offset":
                changed = with_at(spec, path, replace(access, offset=access.offset + chosen.choice((-1, 1, 2, 16))))
            else:
                real = [d for d, n in enumerate(dims) if n > 1]
                if not real:
                    continue
                d = chosen.choice(real)
                strides = list(access.strides)
                strides[d] += chosen.choice((-1, 1, 3))
                changed = with_at(spec, path, replace(access, strides=tuple(strides)))
        elif kind == "argument":
            j = chosen.randrange(len(call.arguments))
            b = program.buffers[call.arguments[j].buffer]
            moved = replace(call.arguments[j], offset=call.arguments[j].offset + chosen.choice((-1, 1)))
            if ".patch" in b.name or ".plane" in b.name:
                continue
            arguments = (*call.arguments[:j], moved, *call.arguments[j + 1 :])
            yield f"argument {j} of call {i}", replace(program, calls=(*calls[:i], replace(call, arguments=arguments), *calls[i + 1 :]))
            continue
        elif kind == "order":
            if i == 0:
                continue
            writes = {calls[i - 1].arguments[w].buffer for w in calls[i - 1].writes}
            if not writes & {a.buffer for a in call.arguments} or {call.arguments[w].buffer for w in call.writes} & writes:
                continue
            yield f"order of calls {i - 1} and {i}", replace(program, calls=(*calls[: i - 1], call, calls[i - 1], *calls[i + 1 :]))
            continue
        elif kind == "lifetime":
            last = {a.buffer: n for n, c in enumerate(calls) for a in c.arguments}
            alive = [
                program.buffers[a.buffer] for c in calls[:i] for a in c.arguments
                if last[a.buffer] > i and program.buffers[a.buffer].place == "arena"
            ]  # fmt: skip
            target = program.buffers[call.arguments[call.writes[0]].buffer]
            alive = [b for b in alive if b.name not in {a.buffer for a in call.arguments}]
            if target.place != "arena" or not alive:
                continue
            victim = chosen.choice(alive)
            buffers = {**program.buffers, victim.name: replace(victim, offset=target.offset)}
            yield f"{victim.name} over {target.name} in call {i}", replace(program, buffers=buffers)
            continue
        elif kind == "drop":
            yield f"without call {i}", replace(program, calls=(*calls[:i], *calls[i + 1 :]))
            continue
        elif kind == "body" and getattr(spec, "body", ()):
            ops = [n for n, s in enumerate(spec.body) if len(s.operands) == 2 and len(set(s.operands)) == 2]
            if not ops:
                continue
            n = chosen.choice(ops)
            step = spec.body[n]
            changed = with_at(spec, ("body", n), replace(step, operands=step.operands[::-1]))
        elif kind == "bound" and getattr(spec, "bounds", ()):
            n = chosen.randrange(len(spec.bounds))
            bound: Bound = spec.bounds[n]
            changed = with_at(spec, ("bounds", n), replace(bound, before=bound.before + chosen.choice((-1, 1))))
        elif kind == "extent" and isinstance(spec, Map | Reduce):
            real = [d for d, n in enumerate(spec.dims) if n > 1]
            if not real:
                continue
            d = chosen.choice(real)
            changed = replace(spec, dims=(*spec.dims[:d], spec.dims[d] - 1, *spec.dims[d + 1 :]))
        elif kind == "constant":
            name = next((a.buffer for a in call.arguments if a.buffer in program.constants), None)
            if name is None or ".border" in call.value:
                continue
            array = program.constants[name].copy()
            used = np.flatnonzero(array)  # padding of a packing is not looked at
            if not used.size:
                continue
            where = chosen.choice(used.tolist())
            array[where] = array.dtype.type(array[where] ^ 1 if array.dtype.kind in "iu" else array[where] * 1.5 + 1)
            yield f"constant {name}[{where}]", replace(program, constants={**program.constants, name: array})
            continue
        elif kind == "buffer":
            j = chosen.randrange(len(call.arguments))
            old = program.buffers[call.arguments[j].buffer]
            others = [b for b in program.buffers.values() if b.name != old.name and b.dtype == old.dtype and b.elements >= old.elements]
            if not others:
                continue
            other = chosen.choice(sorted(others, key=lambda b: b.name))
            if other.place == "arena" and (".patch" in old.name or ".plane" in old.name):
                continue  # scratch may lie anywhere that is free
            same = old.name in program.constants and other.name in program.constants and np.array_equal(
                program.constants[old.name], program.constants[other.name][: old.elements]
            )  # fmt: skip
            if same:
                continue
            arguments = (*call.arguments[:j], replace(call.arguments[j], buffer=other.name), *call.arguments[j + 1 :])
            yield (
                f"{other.name} for {old.name} in call {i}",
                replace(program, calls=(*calls[:i], replace(call, arguments=arguments), *calls[i + 1 :])),
            )
            continue
        elif kind == "source" and isinstance(spec, Nest):
            n = chosen.randrange(len(spec.stages))
            stage, sources = spec.stages[n]
            m = chosen.randrange(len(sources))
            different = [s for s in (*range(len(spec.arguments)), *(-1 - k for k in range(len(spec.locals)))) if s != sources[m]]
            new = (*sources[:m], chosen.choice(different), *sources[m + 1 :])
            changed = replace(spec, stages=(*spec.stages[:n], (stage, new), *spec.stages[n + 1 :]))
        if changed is not None and changed != spec:
            kernels = {**program.kernels, "changed": changed}
            yield (
                f"{kind} in call {i}",
                replace(program, kernels=kernels, calls=(*calls[:i], replace(call, kernel="changed"), *calls[i + 1 :])),
            )


def survivors(graph: CoreGraph, program: Program, count: int, seed: int) -> list[str]:
    meaning, found = means(graph), []
    every = mutants(program, random.Random(seed))
    for _ in range(count):
        what, mutant = next(every)
        try:
            prove(mutant, graph, meaning)
        except Error as e:
            assert e.code == "conformance"
            continue
        found.append(what)
    return found


@pytest.mark.parametrize("name, compact", KINDS)
def test_a_changed_program_is_not_proven(name: str, compact: bool) -> None:
    graph = GRAPHS[name]()
    assert survivors(graph, lower(graph, compact=compact), 400, 1) == []


def test_turns_of_rows_that_depend_on_each_other_are_refused() -> None:
    graph = GRAPHS["attention"]()
    program = lower(graph)
    machine = Machine(vector_bits=256, registers=16, l1_kib=32, fma=True)
    prove_turns(program, [(s.first, s.calls) for s in sweeps(program, machine)])
    rows = [i for i, c in enumerate(program.calls) if isinstance(program.kernels[c.kernel], Map | Reduce)]
    pairs = [i for i in rows if i + 1 in rows]
    refused = 0
    for i in pairs:
        try:
            prove_turns(program, [(i, 2)])
        except Error:
            refused += 1
    assert prod((refused, len(pairs) - refused)) > 0  # some pairs may, some may not


def test_a_nest_that_takes_what_it_reads_for_its_own_is_not_proven(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was shipped once: a residual's memory, written over, became the nest's own, and its old contents were lost."""
    from mlcc.program import nest

    def make(b: Builder, x: Value) -> tuple[Value, ...]:
        first = b("MatMul", x, b.constant(weights(1, 6, 8)))
        inner = b("MatMul", b("MatMul", first, b.constant(weights(2, 8, 12))), b.constant(weights(3, 12, 8)))
        return (b("MatMul", norm(b, b("Add", inner, first)), b.constant(weights(4, 8, 5))),)

    graph = graph_of({"x": ("float32", (4, 6))}, make)
    prove(lower(graph), graph)
    monkeypatch.setattr(
        nest, "_owned", lambda run, kernels, private, buffers, begun: ([(c, kernels[c.kernel]) for c in run], private, buffers)
    )
    with pytest.raises(Error, match="reads memory that holds nothing"):
        prove(lower(graph), graph)
