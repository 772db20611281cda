"""What is asked of a generated model: rules, reference, outside judge, proofs of every translation, kernels."""

from __future__ import annotations

import os
import random
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
from onnx.reference import ReferenceEvaluator

from mlcc.conformance.rounding import difference, moved
from mlcc.core.graph import CoreGraph, canonical_bytes, validate
from mlcc.core.ranges import Range, bind, trials
from mlcc.error import Error
from mlcc.graph.freeze import golden_input
from mlcc.graph.normalise import normalise
from mlcc.graph.passes import optimise
from mlcc.program import program as loop
from mlcc.program.lower import lower
from mlcc.reference.execute import execute
from mlcc.translation.check import means, prove
from tests.fuzz.generate import Maker, make
from tests.fuzz.mutate import mutated


def core_graph(model: onnx.ModelProto) -> CoreGraph:
    graph = optimise(normalise(ir.from_proto(model), "fuzz", {}, "fuzz"))
    validate(graph)
    return graph


def judged(m: Maker, model: onnx.ModelProto, ours: Mapping[str, np.ndarray], feed: Mapping[str, np.ndarray]) -> str:
    """What ONNX Runtime says: "agrees", "refused", or raises AssertionError."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level, options.intra_op_num_threads = 4, 1
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    try:
        session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        names = [o.name for o in session.get_outputs()]
        wanted = {i.name for i in session.get_inputs()}
        theirs = session.run(names, {n: a for n, a in feed.items() if n in wanted})
        again = [session.run(names, {n: moved(a, s) for n, a in feed.items() if n in wanted}) for s in range(1, 9)]
    except Exception:
        return "refused"
    second: dict[str, np.ndarray] = {}
    near = {2: 2.0**-8, 4: 2.0**-20}  # by width: operands are of the order of one, so less is what a difference of two of them leaves
    for i, name in enumerate(names):
        noise = [np.asarray(a[i]) for a in again]
        _, why = difference(ours[name], np.asarray(theirs[i]), noise, m.quantised, 2.0**-10, 0.1)
        if why:  # as in a build: a number on a step's edge falls to either side, and only where no judge agrees is it wrong
            with suppress(Exception):  # the evaluator cannot run everything
                second = second or dict(zip(names, ReferenceEvaluator(model).run(names, dict(feed))))
            off = np.abs(ours[name].astype(np.float64) - np.asarray(theirs[i]).astype(np.float64)) if "is off by" in why else np.ones(1)
            agrees = not m.quantised and ours[name].dtype.kind == "f" and off.max() <= near.get(ours[name].dtype.itemsize, 0)
            agrees |= name in second and not difference(ours[name], np.asarray(second[name]), noise, m.quantised, 2.0**-10, 0.1)[1]
            assert agrees, f"seed {m.seed}: output {name!r} {why}"
    return "agrees"


def check(seed: int, counts: Counter[str], components: int = 1) -> tuple[Maker, CoreGraph, dict[str, np.ndarray]] | None:
    """Reference against the judge, and the proofs; None where mlcc refuses the model, in words."""
    m = make(seed, components)
    model = m.model()
    try:
        graph = core_graph(model)
    except Error as e:
        assert e.code in ("unsupported", "model") and "internal" not in str(e), f"seed {seed}: {e}"
        counts["refused by mlcc"] += 1
        return None
    feed = m.feed()
    ours = execute(graph, feed)
    counts[judged(m, model, ours, feed)] += 1
    meaning = means(graph)
    for compact, vectors in ((False, False), (True, False), (True, True)):
        program = lower(graph, compact=compact, vectors=vectors)
        loop.validate(program)
        try:
            prove(program, graph, meaning)
        except Error as e:
            raise AssertionError(f"seed {seed}, compact {compact}: {e}") from e
    return m, graph, feed


def opened(seed: int, counts: Counter[str]) -> None:
    """One of a model's sizes left open, wherever it stands: at every size proven, and the bits of the model with that size. Most random
    models say their sizes in other places, too, and are refused."""
    m = make(seed)
    sizes = sorted({n for t in m.inputs for n in t.shape if n > 1})
    if not sizes:
        return
    size, model = random.Random(seed).choice(sizes), m.model()
    stored = {t.name for t in model.graph.initializer}
    names = {v.name for v in model.graph.input} - stored
    given = [v for v in (*model.graph.input, *model.graph.output) if v.name in names]  # an input may be an output, too
    dims = [d for v in given for d in v.type.tensor_type.shape.dim if d.dim_value == size]
    if not dims:  # the size of a stored value, or of a sequence's item
        return
    for d in dims:
        d.dim_param = "open"

    def graph(open_: int | Range) -> CoreGraph:
        return optimise(normalise(ir.from_proto(model), "fuzz", {}, "fuzz", dims={"open": open_}), check=True)

    try:
        whole = graph(Range(1, size + 3))
    except Error as e:
        assert e.code in ("unsupported", "model") and "internal" not in str(e), f"seed {seed}: {e}"
        counts["refused"] += 1
        return
    counts["open"] += 1
    programs = [lower(whole, compact=compact) for compact in (False, True)]
    for numbers in trials(whole.sizes):
        alone = graph(numbers["open"])
        feed = {n: golden_input(alone.types[n], i, seed, "uniform") for i, n in enumerate(alone.inputs)}
        want, found = execute(alone, feed), execute(bind(whole, numbers), feed)
        for name, array in want.items():
            assert found[name].shape == array.shape, f"seed {seed}, {numbers}: {name!r} is {found[name].shape}, not {array.shape}"
            assert canonical_bytes(found[name]) == canonical_bytes(array), f"seed {seed}, {numbers}: {name!r} differs from the build alone"
        for program in programs:
            try:
                loop.validate(bind(program, numbers))
                prove(bind(program, numbers), bind(whole, numbers))
            except Error as e:
                raise AssertionError(f"seed {seed}, {numbers}: {e}") from e


def kernels(m: Maker, graph: CoreGraph, feed: Mapping[str, np.ndarray]) -> None:
    """This machine's kernels equal the reference, whole and in parts."""
    from tests.support import Compiled

    compiled = Compiled(lower(graph))
    want = execute(graph, feed)
    for parts in (1, 3):
        found = compiled(feed, parts)
        for name, array in want.items():
            assert canonical_bytes(found[name]) == canonical_bytes(array), (
                f"seed {m.seed}: {name!r} differs from the reference in {parts} parts"
            )


def targets(m: Maker, feed: Mapping[str, np.ndarray], folder: Path, names: tuple[str, ...]) -> None:
    """Whole artifacts: each is exact and passes its golden vectors, under one digest."""
    from mlcc import build

    path = folder / f"fuzz{m.seed}.onnx"
    path.write_bytes(m.model().SerializeToString())
    result = build(path, target=names, out=folder / "out", cache=not os.environ.get("MLCC_FUZZ_COLD"))
    assert all(a["class"] == "exact" and a["conformance"] == "passed" for a in result["artifacts"]), f"seed {m.seed}: {result['artifacts']}"


def mutant(
    model: onnx.ModelProto, feed: Mapping[str, np.ndarray], shapes: Mapping[str, tuple[int, ...]], seed: int, counts: Counter[str]
) -> None:
    """A mutated real model: reference against the judge, and the proofs."""
    made = mutated(model, shapes, seed)
    try:
        graph = optimise(normalise(ir.from_proto(made), "mutant", {n: a.shape for n, a in feed.items()}, "mutant"))
    except Error as e:
        assert e.code in ("unsupported", "model"), f"mutant {seed}: {e}"
        counts["refused by mlcc"] += 1
        return
    ours = execute(graph, feed)
    m = Maker(seed)
    m.quantised = any(n.op_type == "QuantizeLinear" for n in made.graph.node)
    counts[judged(m, made, ours, feed)] += 1
    meaning = means(graph)
    for compact in (False, True):
        try:
            prove(lower(graph, compact=compact), graph, meaning)
        except Error as e:
            raise AssertionError(f"mutant {seed}, compact {compact}: {e}") from e


def inner_shapes(model: onnx.ModelProto, feed: Mapping[str, np.ndarray]) -> dict[str, tuple[int, ...]]:
    """Shapes of the float values inside a model, by ONNX's own inference on its inputs' shapes."""
    fixed = onnx.ModelProto()
    fixed.CopyFrom(model)
    for value in fixed.graph.input:
        if value.name in feed:
            value.CopyFrom(onnx.helper.make_tensor_value_info(value.name, value.type.tensor_type.elem_type, feed[value.name].shape))
    inferred = onnx.shape_inference.infer_shapes(fixed, data_prop=True).graph.value_info
    found = {}
    for v in inferred:
        t = v.type.tensor_type
        if t.elem_type == onnx.TensorProto.FLOAT and t.HasField("shape") and all(d.HasField("dim_value") for d in t.shape.dim):
            found[v.name] = tuple(d.dim_value for d in t.shape.dim)
    return found
