"""import → normalise → freeze → judge → lower → prove: all that targets share."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np

from mlcc import importers, plugin
from mlcc.artifact.arrays import read_npy
from mlcc.conformance import fidelity
from mlcc.conformance.judge import Verdict, judge
from mlcc.core import about
from mlcc.core import graph as core
from mlcc.core.describe import told
from mlcc.core.dim import Dim
from mlcc.core.narrow import LETTERS, coded
from mlcc.core.ranges import parse_range
from mlcc.core.terms import most
from mlcc.error import Error, explained
from mlcc.graph import freeze
from mlcc.graph.interface import Dims, Shapes, input_types, tensors
from mlcc.graph.normalise import normalise
from mlcc.graph.passes import checked, optimise
from mlcc.graph.rules.text import reads_letters
from mlcc.importers import functions
from mlcc.request import Frozen, Progress, Request
from mlcc.tir import parallel
from mlcc.versions import lowered


def frozen_model(request: Request, name: str, model_digest: str, progress: Progress) -> Frozen:
    """import → normalise → freeze → lower."""
    progress("importing")
    source = importers.load(request.model, request.trust_pickle)
    functions.add(source, request.functions)

    bounds = json.loads(source.metadata_props.get(importers.DIMS) or "{}")
    dims = {**{n: parse_range(r) for n, r in bounds.items()}, **request.dims}
    progress("normalising")
    with explained("reading the graph", str(request.model), "model"):  # a hostile file can break any assumption of any library under us
        graph = optimise(
            normalise(source, name, request.shapes, str(request.model), request.limits, dims),
            request.precision,
            request.validate or None,
        )
        for one in request.passes:
            graph = plugin.graph_pass(one).run(graph)
            checked(graph, one)
            graph = replace(graph, rewrites=(*graph.rewrites, core.Rewrite(f"pass {one}", graph.name)))
    core.validate(graph)
    if graph.sizes and request.precision == "bf16":
        raise Error("unsupported", "--precision bf16 of sizes that a run decides", str(request.model), "fix the sizes, or leave it away")
    graph = replace(graph, described=told(graph.described, request.describe, [*graph.inputs, *graph.outputs]))

    progress("freezing: golden vectors by the reference")
    identity = core.digest(graph)
    if request.jobs > 1 and len(graph.nodes) >= parallel.WORTH:
        parallel.prepare()
    proven = _beside(lowered, graph)  # neither needs the other, and both spend their time outside Python
    vectors, coverage = freeze.frozen_vectors(graph, [*sampled(request.samples, graph), *samples_of(source, graph)])
    told_by_file = (source.metadata_props.get(importers.NOTES) or "").splitlines()
    notes = [
        *told_by_file,
        *shape_notes(source, request.shapes, str(request.model), dims),
        *_idle_notes(coverage.report(), request),
    ]
    verdict = _judged(request, graph, vectors, progress)
    progress("proving the translation")
    program, meaning = proven.result()
    outputs = freeze.program_output_digest(vectors)
    whose = about.known(source, about.checked(request.about, "about"))
    return Frozen(name, model_digest, identity, outputs, graph, program, meaning, vectors, coverage, verdict, whose, notes)


def _beside(work: Callable[..., Any], *arguments: Any) -> Future[Any]:
    """Work in a thread that nobody waits for where the build ends before it, by an error or by Ctrl-C."""
    future: Future[Any] = Future()

    def run() -> None:
        try:
            future.set_result(work(*arguments))
        except BaseException as e:
            future.set_exception(e)

    Thread(target=run, daemon=True).start()
    return future


def sampled(files: Mapping[str, Sequence[Path]], graph: Any) -> list[dict[str, Any]]:
    """Given inputs as vectors: the k-th file of each input makes the k-th vector. Raises Error(usage) where one does not fit."""
    for name in files:
        if name not in graph.inputs:
            raise Error("usage", f"--sample names no input: {name}", hint=f"inputs: {', '.join(graph.inputs)}")
    found: list[dict[str, Any]] = [{} for _ in range(max((len(f) for f in files.values()), default=0))]
    for name, paths in files.items():
        t = graph.types[name]
        for vector, path in zip(found, paths):
            shape = tuple(None if isinstance(n, Dim) else n for n in t.shape)
            vector[name] = read_npy(Path(path), t.dtype, shape, graph.described[name].element if name in graph.described else "")
    return found


def samples_of(source: Any, graph: Any) -> list[dict[str, Any]]:
    """Texts that an importer knows its model to read, the same in each row."""
    found = []
    for sample in json.loads(source.metadata_props.get(importers.SAMPLES) or "[]"):
        read = [n for n in sample if n in graph.described and graph.described[n].element == LETTERS]
        shapes = {n: [most(m) for m in graph.types[n].shape] for n in read}
        found.append({n: coded(np.full(shape[:-1], sample[n]), LETTERS, width=shape[-1]) for n, shape in shapes.items()})
    return found


def _judged(request: Request, graph: Any, vectors: Any, progress: Progress) -> Any:
    """The outside judge's verdict. Raises Error(conformance) where what we compute is wrong by it."""
    verdict = Verdict("", "not judged: --no-judge")
    if request.judge:
        progress("asking an outside judge")
        verdict = judge(request.model, graph, vectors, plugin.runtime(request.model))
    fidelity.demand(verdict, request.fidelity, request.model)
    return verdict


def _idle_notes(coverage: Mapping[str, Any], request: Request) -> list[str]:
    """What the golden vectors do not exercise, in words. Raises Error(conformance) under `strict`."""
    idle = coverage["not_exercised"]
    if not idle:
        return []
    named = "; ".join(f"{n['operator']} ({n['where'] or '?'}): {n['why']}" for n in idle[:4])
    text = (
        f"{len(idle)} of {coverage['operators']} operators are not exercised by the golden vectors: {named}{'; …' if len(idle) > 4 else ''}"
    )
    if request.strict:
        raise Error("conformance", text, str(request.model), "--sample NAME=FILE.npy gives real inputs")
    return [text]


def shape_notes(source: Any, shapes: Shapes, where: str, dims: Dims) -> list[str]:
    """What was assumed of the inputs' shapes."""
    initial = {v.name for v in source.graph.initializers.values()}
    return input_types(
        tensors([v for v in source.graph.inputs if v.name not in initial], shapes)[0],
        shapes,
        where,
        dims=dims,
        letters=reads_letters(source),
    ).assumed
