"""An outside judge of each build: what an independent runtime computes from the file as it came.

What counts as rounding is measured: the judge against itself, with its optimisations off and with inputs moved by a unit in the last place,
gives each output's noise. A difference far beyond that is an error, on one side or the other, and fails the build.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from mlcc.conformance import compare
from mlcc.conformance.locate import first_parting
from mlcc.conformance.rounding import FLOOR, UNITS, difference, moved
from mlcc.core.describe import Description
from mlcc.core.graph import CoreGraph
from mlcc.core.narrow import INTEGERS, TEXT, TEXTS, coded, element_of, held, meant, shown
from mlcc.error import Error
from mlcc.graph.freeze import Golden

Feed = Mapping[str, np.ndarray]
Judge = Callable[[Feed], list[np.ndarray]]
Engine = tuple[str, Callable[[Path], Judge]]  # a runtime's distribution, and what makes a judge of a file

RANDOM = "random-by-philox"
NUDGES = (1, 2, 3, 4)  # seeds of the inputs moved: enough that what lies on a step's edge falls on both sides; two where there are no steps
SMALL = 1 << 20  # elements of parameters up to which the slow judge is asked
COARSE_RULES = ("precision-bf16", "integer-requantisation", "integer-products", "lite-hybrid-weights")
COARSE_OPERATORS = ("DynamicQuantizeLinear", "DynamicQuantizeLSTM", "DynamicQuantizeMatMul")  # what comes before them moves whole steps

# The judges' own errors: (judge, operator, attribute that it must have or '', what, where it is reported). An output that parts there is
# named, and
# does not fail the build.
CAST = "https://onnx.ai/onnx/operators/onnx__Cast.html"
TREES = "https://onnx.ai/onnx/operators/onnx_aionnxml_TreeEnsembleRegressor.html"
SVM = "https://github.com/microsoft/onnxruntime/blob/main/onnxruntime/core/providers/cpu/ml/svmclassifier.cc"
RESIZE = "https://github.com/microsoft/onnxruntime/issues/28291"
KNOWN: tuple[tuple[str, str, str, str, str], ...] = (
    ("onnxruntime", "Resize", "", "coordinates in binary32: ties and exact ratios fall on the wrong side", RESIZE),
    ("onnxruntime", "Upsample", "", "coordinates in binary32, as Resize's", RESIZE),
    ("onnxruntime", "Conv", "auto_pad", "negative SAME padding", "https://github.com/microsoft/onnxruntime/issues/10086"),
    ("onnxruntime", "LSTM", "clip", "the cell's state is not clipped", "https://github.com/microsoft/onnxruntime/issues/27224"),
    ("onnxruntime", "Cast", "", "a float beyond an integer type's range, which ONNX leaves open", CAST),
    ("onnx", "Cast", "", "a float beyond an integer type's range, which ONNX leaves open", CAST),
    ("onnxruntime", "TreeEnsembleRegressor", "post_transform", "one target's is left out", TREES),
    ("onnxruntime", "SVMClassifier", "prob_a", "probabilities stop a quarter of a percent short of where they converge", SVM),
    ("onnx", "LRN", "", "the window runs over the batch", "https://github.com/onnx/onnx/issues/7805"),
)
OTHER_TEXT = {f"another text {i}": -i for i in (1, 2)}  # what golden inputs' negative codes are to a judge
APPROXIMATE = {"LSTM": 2.0**-9, "GRU": 2.0**-9, "RNN": 2.0**-9}  # operators whose activations ONNX Runtime approximates, and how coarsely


@dataclass(frozen=True)
class Verdict:
    """engine: name and version, or ''; said: `agrees`, `not judged: …`, or `parts: …` with an operator that it is known to have wrong;
    comparison: how far
    each golden output is from the judge's (`mlcc.conformance.compare.difference`), and what its own noise allows."""

    engine: str
    said: str
    comparison: dict[str, Any] = field(default_factory=dict)

    def report(self) -> dict[str, str]:
        """For the artifact: no figures, since these depend on the judge's machine."""
        return {"engine": self.engine, "verdict": self.said}


def engine_version(own: Engine | None = None) -> str:
    """What judges here; `own`: the runtime of another framework's file."""
    if own is not None:
        with suppress(PackageNotFoundError):
            return f"{own[0]} {version(own[0])}"
        return ""
    return f"onnxruntime {version('onnxruntime')}" if find_spec("onnxruntime") else f"onnx {version('onnx')}"


def judge(model: Path, graph: CoreGraph, vectors: Sequence[Golden], own: Engine | None = None) -> Verdict:
    """The verdict on the golden outputs: of ONNX Runtime, and where it refuses the model or parts from us, of ONNX's reference evaluator
    (small models alone: it is slow); of another framework's file of its `own` runtime. Raises Error(conformance) where no judge
    agrees, with the first operator that is off."""
    if any(r.rule == RANDOM for r in graph.rewrites):
        return Verdict("", "not judged: it draws random numbers, which each runtime does in its own way")
    steps = any(n.op in ("Requantize", "Round") for n in graph.nodes)
    vectors = [_in_its_types(graph, g) for g in vectors]
    refusals: list[str] = []
    parted: Error | None = None
    for name, start in _engines(model, graph, own):
        try:
            asked = _coded(start(model), graph)
            unoptimised = _unoptimised(model) if name == "onnxruntime" else None
            plain = None if unoptimised is None else _coded(unoptimised, graph)
            heard = _heard(asked, plain, vectors, steps)
        except Exception as e:  # whatever a judge raises, it gives no verdict
            refusals.append(f"{name}: {(str(e).splitlines() or [type(e).__name__])[0][:160]}")
            continue
        try:
            said, allowed = _compare(model, graph, vectors, heard, name)
        except Error as e:
            parted = parted or e
            continue
        said = said if parted is None else f"{said}; another judge parts: {parted.what}"
        engine = f"{name} {version(name)}"
        distances = [_distances(g, asked, heard[i].found if i in heard else None, allowed.get(i, {})) for i, g in enumerate(vectors)]
        return Verdict(engine, said, {"engine": engine, "vectors": distances})
    if parted is not None:
        raise parted
    return Verdict("", f"not judged: {'; '.join(refusals) or 'no judge is installed'}")


def _engines(model: Path, graph: CoreGraph, own: Engine | None) -> list[Engine]:
    """The runtimes that are installed: ONNX's, or of another framework's file its own."""
    if model.suffix == ".onnx":
        found: list[Engine] = [("onnxruntime", _runtime), ("onnx", _evaluator)]
        return [(n, start) for n, start in found if find_spec(n) is not None and (n != "onnx" or graph.parameters <= SMALL)]
    with suppress(PackageNotFoundError):
        return [own] if own is not None and version(own[0]) else []
    return []


def _in_its_types(graph: CoreGraph, g: Golden) -> Golden:
    """A vector as an outside runtime knows it: narrow inputs in their own types, narrow outputs as numbers."""
    said = {n: d for n, d in graph.described.items() if d.element}
    inputs, outputs = dict(g.inputs), dict(g.outputs)
    for n, a in g.inputs.items():
        if n in said:
            inputs[n] = meant(a, said[n].element, said[n].labels, OTHER_TEXT)
    for n, a in g.outputs.items():
        if n in said and said[n].element not in TEXTS:
            outputs[n] = _numbers(meant(a, said[n].element))
    return replace(g, inputs=inputs, outputs=shown({n: d.counts for n, d in graph.described.items()}, outputs))


def _coded(asked: Judge, graph: CoreGraph) -> Judge:
    """A judge whose text is codes, as the artifact's is."""
    said = [graph.described.get(n, Description()) for n in graph.outputs]
    widths = [(graph.types[n].shape or (0,))[-1] for n in graph.outputs]

    def run(feed: Feed) -> list[np.ndarray]:
        return [
            coded(a, d.element or TEXT, d.labels, dict(OTHER_TEXT), width) if a.dtype.kind in "OUS" else a
            for a, d, width in zip(asked(feed), said, widths)
        ]

    return run


def _numbers(array: np.ndarray) -> np.ndarray:
    """The numbers of a narrow array in a type that NumPy computes in."""
    element = element_of(array)
    return array.astype(held(element) if element in INTEGERS else np.float32) if element else array


@dataclass(frozen=True)
class Heard:
    """What a judge computes for one vector, and what it computes otherwise (its noise)."""

    found: list[np.ndarray]
    again: list[list[np.ndarray]]


def _heard(asked: Judge, plain: Judge | None, vectors: Sequence[Golden], steps: bool) -> dict[int, Heard]:
    """By the vector's place: given samples first, then drawn ones until there are two. A judge may refuse some that no caller would pass.
    Raises what it raised where it refuses all."""
    heard: dict[int, Heard] = {}
    refusal: Exception | None = None
    for i, g in sorted(((i, g) for i, g in enumerate(vectors) if g.kind != "edge"), key=lambda v: v[1].kind != "sample"):
        if len(heard) >= 2 and g.kind != "sample":
            break
        try:
            heard[i] = Heard(asked(g.inputs), _noise(asked, plain, g, steps))
        except Exception as e:
            refusal = e
    if not heard and refusal is not None:
        raise refusal
    return heard


def _runtime(model: Path, optimised: bool = True) -> Judge:
    return compare.asked(compare.session(model, optimised=optimised))


def _evaluator(model: Path) -> Judge:
    from onnx.reference import ReferenceEvaluator

    session = ReferenceEvaluator(onnx.load(str(model)))
    return lambda feed: [_numbers(np.asarray(a)) for a in session.run(None, dict(feed))]


def _unoptimised(model: Path) -> Judge | None:
    try:
        return _runtime(model, optimised=False)
    except Error:  # some models load optimised alone
        return None


def _noise(asked: Judge, plain: Judge | None, vector: Golden, steps: bool) -> list[list[np.ndarray]]:
    """What the judge computes otherwise than it did: of inputs moved, and without its optimisations."""
    stepped = any(a.dtype.kind != "f" for a in vector.outputs.values()) or steps
    others = [asked({n: moved(a, seed) for n, a in vector.inputs.items()}) for seed in (NUDGES if stepped else NUDGES[:2])]
    if plain is not None:
        with suppress(Exception):  # some run optimised alone
            others.append(plain(vector.inputs))
    return others


def _distances(g: Golden, asked: Judge, found: list[np.ndarray] | None, bounds: Mapping[str, float]) -> dict[str, Any]:
    """One vector's part of the comparison."""
    about = {"seed": g.seed, "kind": g.kind}
    try:
        theirs = asked(g.inputs) if found is None else found
    except Exception as e:  # a judge may refuse edge values that it took as ordinary ones
        return {**about, "error": (str(e).splitlines() or [type(e).__name__])[0][:200]}
    return {
        **about,
        "outputs": {
            n: {**compare.difference(ours, t), **({"allowed": bounds[n]} if n in bounds else {})}
            for (n, ours), t in zip(g.outputs.items(), theirs)
        },
    }


def _compare(
    model: Path,
    graph: CoreGraph,
    vectors: Sequence[Golden],
    heard: Mapping[int, Heard],
    name: str,
) -> tuple[str, dict[int, dict[str, float]]]:
    """(what is said, what is allowed of each vector's outputs). Raises Error(conformance) where the judge parts and is not known to be
    wrong."""
    engine = f"{name} {version(name)}"
    proto = onnx.load(str(model), load_external_data=False) if model.suffix == ".onnx" else onnx.ModelProto()
    nodes = [(n.op_type, {a.name for a in n.attribute}) for n in proto.graph.node]
    coarse = any(r.rule in COARSE_RULES for r in graph.rewrites) or any(op in COARSE_OPERATORS for op, _ in nodes)
    within = (UNITS.get(t.dtype, 0.0) for t in graph.types.values())  # judges keep more bits between operators, or fewer
    floor = max([FLOOR, *(APPROXIMATE.get(op, 0.0) for op, _ in nodes), *(2 * unit for unit in within)])
    bounds: dict[int, dict[str, float]] = {i: {} for i in heard}
    wrong: list[str] = []
    worst = 0
    for place, h in heard.items():
        for i, (value, ours) in enumerate(vectors[place].outputs.items()):
            theirs, again = h.found[i], [n[i] for n in h.again]
            bounds[place][value], why = difference(ours, theirs, again, coarse, floor)
            if why:
                worst = worst if wrong else place
                wrong.append(f"output {value} {why}")
    if not wrong:
        return "agrees", bounds
    parting = first_parting(model, vectors[worst], coarse)
    for by, op, attribute, what, link in KNOWN:
        here = any(kind == op and (not attribute or attribute in attributes) for kind, attributes in nodes)
        if (
            by == name and here and (parting.operator == op or parting.operator == "" and op != "Cast")
        ):  # casts are in most models: one must be found at fault
            return f"parts: {wrong[0]}, from {parting.where or op} on, where {engine} is known to be wrong ({what}; {link})", bounds
    raise Error(
        "conformance",
        f"{wrong[0]}, by {engine}{f'; {parting.said}' if parting.said else ''}",
        str(model),
        "one of the two is wrong: please report it with the model; --no-judge builds all the same",
    )
