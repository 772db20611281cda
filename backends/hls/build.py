"""Core graph → hardware: which architecture, its sources, and what is kept for simulating them."""

from __future__ import annotations

import json
import pickle
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from mlcc.core.graph import CoreGraph, digest
from mlcc.error import Error
from mlcc.graph.freeze import Golden
from mlcc.names import identifier
from mlcc.plugin import Binaries, CompileOptions, Sources
from mlcc.program.lower import lower
from mlcc.schedule.tasks import work
from mlcc.target import Target
from mlcc.translation.check import prove
from mlcc_backends.hls import circuit, circuit_verilog, cpp, engine, fold, project, report, synth, timing, verilog
from mlcc_backends.hls.map import network
from mlcc_backends.hls.network import Network
from mlcc_backends.hls.part import limits
from mlcc_backends.hls.sections import hardware_of, part_of
from mlcc_backends.hls.timing import Cycles
from mlcc_backends.render import render

SLOW = 150_000_000  # operations of an engine's program above which its C simulation runs one vector: tens of seconds each otherwise


@dataclass(frozen=True)
class Design:
    """What the runner needs. network: of the dataflow architecture; most: vectors that a simulation is given."""

    name: str
    network: Network | None
    cycles: Cycles | None
    catapult: bool
    most: int


def emit(graph: CoreGraph, target: Target, vectors: Sequence[Golden]) -> Sources:
    """The design's files. Raises Error(unsupported) where no architecture takes the model, naming the layer."""
    wanted, why = hardware_of(target).architecture, ""
    if wanted != "engine":
        try:
            return _dataflow(graph, target, vectors)
        except Error as e:
            if wanted in ("dataflow", "circuit") or e.code != "unsupported" or hardware_of(target).interval:
                raise
            if part_of(target).flavour == "rtl":
                raise Error(
                    e.code, e.what, e.where, e.hint or "HLS targets (hls-zu3eg, …) run any model one layer after the other"
                ) from None
            why = str(e).splitlines()[0]
    if part_of(target).flavour == "rtl":
        raise Error("usage", f"{target.name} takes no HLS C++, which is what the engine is", graph.name, "an HLS target such as hls-zu3eg")
    return _engine(graph, target, vectors, why)


def _dataflow(graph: CoreGraph, target: Target, vectors: Sequence[Golden]) -> Sources:
    part = part_of(target)
    whole, wanted = network(graph), hardware_of(target).architecture
    name, catapult = identifier(graph.name), part.flavour == "catapult"
    made = _circuit(whole, target) if wanted in ("", "circuit") else None
    if made is not None:
        design, cycles, sources, about = made
    elif wanted == "circuit":
        raise Error(
            "unsupported",
            f"an inference a cycle does not fit {target.name}, or needs layers that circuits have no form for",
            graph.name,
            'architecture = "dataflow"',
        )
    else:
        design, cycles = timing.sized(fold.fold(whole, part, target.name, hardware_of(target)))
        sources, about = verilog.emit(design, cycles), report.report(design, cycles, target)
    rtl = {**sources, **project.wrappers(design, cycles, digest(graph)), **project.rtl_scripts(name, graph.name, target, made is not None)}
    files = {f"rtl/{n}": body for n, body in rtl.items()}
    if part.flavour != "rtl":
        pairs = [([g.inputs[v] for v in graph.inputs], [g.outputs[v] for v in graph.outputs]) for g in vectors]
        hls = {
            **cpp.emit(design, target.name, catapult, pairs),
            **project.scripts(name, graph.name, target, len(vectors), cpp.channels(design) if catapult else ()),
        }
        files |= {f"hls/{n}": body for n, body in hls.items()}
    files |= {f"driver/{n}": body for n, body in project.drivers(design, graph, cycles).items()}
    files |= {
        "report/report.json": json.dumps(about, indent=2).encode() + b"\n",
        "report/dataflow.svg": report.picture(design, cycles),
        "report/roofline.svg": report.roofline(design, cycles, target),
        "design.pickle": pickle.dumps(Design(name, design, cycles, catapult, len(vectors))),
    }
    return Sources(name, files, ())


def _circuit(whole: Network, target: Target) -> tuple[Network, Cycles, dict[str, bytes], dict[str, Any]] | None:
    """One inference a cycle, for networks of a few thousand weights or for trees, where that fits."""
    part = part_of(target)
    if not circuit.takes(whole):
        return None
    gates = circuit.build(whole, circuit.levels_of(part))
    if circuit.resources(gates).exceed(limits(part, hardware_of(target).share)):
        return None
    design, cycles = fold.unfolded(whole), circuit.cycles(gates)
    sources = circuit_verilog.emit(design, gates)
    sources[f"{design.module}_simulate.cpp"] = render("simulate.cpp.j2", prefix=design.module, **verilog.top_values(design, cycles))
    sources[synth.ADDERS] = render(synth.ADDERS)
    about = report.report(design, cycles, target) | {"architecture": "circuit", "estimate": asdict(circuit.resources(gates))}
    return design, cycles, sources, about


def _engine(graph: CoreGraph, target: Target, vectors: Sequence[Golden], why: str) -> Sources:
    program = lower(graph, compact=True)
    prove(program, graph)
    name = identifier(graph.name)
    catapult = part_of(target).flavour == "catapult"
    made = engine.emit(program, target.name, catapult, vectors)
    made |= project.scripts(name, graph.name, target, len(vectors), None)
    total = sum(work(program.kernels[c.kernel]) for c in program.calls)
    about: dict[str, Any] = {
        "architecture": "engine",
        "why": why or "asked for",
        "clock_mhz": part_of(target).mhz,
        "operations": total,
        "external_memory_bytes": len(made[f"{name}_weights.bin"]) + program.arena_bytes,
        "layers": len(program.calls),
    }
    files = {f"hls/{n}": body for n, body in made.items()}
    files["report/report.json"] = json.dumps(about, indent=2).encode() + b"\n"
    files["design.pickle"] = pickle.dumps(Design(name, None, None, catapult, len(vectors) if total <= SLOW else 1))
    return Sources(name, files, ())


def compile(sources: Sources, target: Target, options: CompileOptions) -> Binaries:
    """Sources are the product; the figures go to the manifest."""
    files = {n: body for n, body in sources.files.items() if n != "design.pickle"}
    about = json.loads(files["report/report.json"])
    figures = {k: about[k] for k in ("latency_cycles", "interval_cycles", "external_memory_bytes") if k in about}
    figures |= {f"estimated_{k}": v for k, v in about.get("estimate", {}).items()}
    return Binaries(sources.name, files, {"design": sources.files["design.pickle"]}, figures)
