"""A backend: the core graph as a list of instructions that the lab's machine runs (here: a simulator of it)."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import numpy as np

from mlcc.core.graph import DTYPES, CoreGraph
from mlcc.error import Error
from mlcc.graph.freeze import Golden
from mlcc.plugin import Binaries, CompileOptions, Environment, Lowering, Missing, Packaging, Sources
from mlcc.target import Target

FUNCTIONS: dict[str, Any] = {"Abs": np.abs, "Neg": np.negative, "Max": np.maximum, "Min": np.minimum, "Add": np.add}


@dataclass(frozen=True)
class Lab:
    """[lab] of a target's file. words: of the machine's memory."""

    words: int


@dataclass(frozen=True)
class Tuning:
    """[tuning] of mlcc.toml. fault: added to every result, as a broken machine would."""

    fault: float = 0.0
    trace: bool = False

    def __post_init__(self) -> None:
        if self.fault > 100:
            raise Error("usage", "such a fault would be seen")


consumes: Literal["graph", "program"] = "graph"
target_sections: Mapping[str, type] = {"lab": Lab}
settings: Mapping[str, type] = {"tuning": Tuning}
packagings: Mapping[str, Packaging] = {}


def lowering(target: Target) -> Lowering:
    return Lowering()


def tools(target: Target) -> Mapping[str, str]:
    return {"lab-assembler": version("mlcc-lab")}


def environment(target: Target) -> Environment | Missing:
    return Environment("the lab's simulator")


def emit(graph: CoreGraph, target: Target, vectors: Sequence[Golden]) -> Sources:
    lab, tuning = target.section(Lab), target.section(Tuning) or Tuning()
    assert lab is not None
    words = sum(t.size for t in graph.types.values())
    if words > lab.words:
        raise Error("unsupported", f"{words} words are needed, the machine has {lab.words}", graph.name)
    if unknown := [n.op for n in graph.nodes if n.op not in FUNCTIONS]:
        raise Error("unsupported", f"the machine has no {unknown[0]}", graph.name)
    program = {
        "inputs": graph.inputs,
        "outputs": graph.outputs,
        "types": {v: graph.types[v].dtype for v in graph.outputs},
        "constants": {k: [c.tolist(), str(c.dtype)] for k, c in graph.constants.items()},
        "code": [[n.op, n.outputs[0], *n.inputs] for n in graph.nodes],
        **asdict(tuning),
    }
    return Sources("lab", {"program.json": json.dumps(program).encode()}, ())


def compile(sources: Sources, target: Target, options: CompileOptions) -> Binaries:
    return Binaries(sources.name, {"lib/program.lab": sources.files["program.json"]}, facts={"machine": "lab"})


def simulated(program: Mapping[str, Any], feed: Sequence[np.ndarray]) -> list[np.ndarray]:
    values = dict(zip(program["inputs"], feed)) | {k: np.array(v, d) for k, (v, d) in program["constants"].items()}
    for op, to, *operands in program["code"]:
        values[to] = FUNCTIONS[op](*(values[v] for v in operands))
    fault = [np.asarray(program["fault"], DTYPES[program["types"][v]]) for v in program["outputs"]]
    return [values[v] + f if f else values[v] for v, f in zip(program["outputs"], fault)]


class Runner:
    exact = True
    environment = "the lab's simulator"

    def __init__(self, program: bytes) -> None:
        self.program = json.loads(program)

    def outputs(self, feeds: Sequence[Sequence[np.ndarray]]) -> list[list[np.ndarray]]:
        return [simulated(self.program, feed) for feed in feeds]


def runner(binaries: Binaries, target: Target, graph: CoreGraph) -> Runner:
    return Runner(binaries.files["lib/program.lab"])


def execute(artifact: Path, about: Mapping[str, Any], feed: Mapping[str, np.ndarray], target: Target) -> dict[str, np.ndarray]:
    program = json.loads((artifact / "lib" / "program.lab").read_bytes())
    return dict(zip(program["outputs"], simulated(program, [feed[v] for v in program["inputs"]])))
