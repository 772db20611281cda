"""What stands around a design: scripts for the vendors' tools, an AXI4-Stream wrapper, drivers in C and for PYNQ."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from mlcc.core.graph import CoreGraph
from mlcc.names import C_TYPES, comment, identifier, module_name
from mlcc.target import Target
from mlcc_backends.hls import synth
from mlcc_backends.hls.network import Network
from mlcc_backends.hls.sections import part_of
from mlcc_backends.hls.simulate import lane
from mlcc_backends.hls.timing import Cycles
from mlcc_backends.hls.verilog import top_values
from mlcc_backends.render import render


def scripts(name: str, model: str, target: Target, frames: int, channels: Sequence[tuple[str, int]] | None) -> dict[str, bytes]:
    """Build scripts beside the HLS C++; channels: of a dataflow, and their depths; None for an engine."""
    values = {
        "name": name, "model": comment(model), "device": part_of(target).device, "period": round(1000 / part_of(target).mhz, 3), "frames": frames,
        "engine": channels is None, "channels": channels or (),
    }  # fmt: skip
    if part_of(target).flavour == "catapult":
        return {"build.tcl": render("build_catapult.tcl.j2", **values)}
    return {"build.tcl": render("build_vitis.tcl.j2", **values), "hls_config.cfg": render("hls_config.cfg.j2", **values)}


def rtl_scripts(name: str, model: str, target: Target, circuit: bool) -> dict[str, bytes]:
    """Build scripts beside the SystemVerilog."""
    part = part_of(target)
    values: dict[str, Any] = {
        "name": module_name(name), "model": comment(model), "device": part.device, "period": round(1000 / part.mhz, 3), "synthesis": part.synthesis,
        "place": " ".join(part.place), "ecp5": "ecp5" in part.synthesis, "mhz": part.mhz,
        "before": synth.before("$(TOP)", circuit),
    }  # fmt: skip
    if part.flavour == "rtl":
        return {"Makefile": render("build_yosys.mk.j2", **values)}
    return {"build.tcl": render("build_vivado.tcl.j2", **values)} if part.flavour == "vitis" else {}


def wrappers(network: Network, cycles: Cycles, identity: str) -> dict[str, bytes]:
    """AXI4-Stream, with AXI4-Lite registers or without, for systems on a chip; single bits for boards."""
    values = {**top_values(network, cycles), "identity": identity[:8]}
    prefix = network.module
    return {f"{prefix}_{kind}.sv": render(f"{kind}.sv.j2", prefix=prefix, **values) for kind in ("axis", "axil", "board")}


def drivers(network: Network, graph: CoreGraph, cycles: Cycles) -> dict[str, bytes]:
    """C and Python that put tensors on streams."""
    values = top_values(network, cycles)
    for kind, ports in (("in", network.inputs), ("out", network.outputs)):
        for i, (p, port) in enumerate(zip(values[f"{kind}puts"], ports)):
            t = graph.types[port.tensor]
            p |= {
                **asdict(lane(network, port)),
                "id": f"{kind}{i}",
                "tensor": p["tensor"],
                "elements": t.size,
                "c_type": C_TYPES[t.dtype],
                "shape": t.shape,
            }
    name = identifier(network.name)
    common = {"name": name, **values}
    return {
        f"{name}_driver.h": render("driver.h.j2", **common),
        f"{name}_driver.c": render("driver.c.j2", **common),
        f"{name}_pynq.py": render("pynq.py.j2", **common),
    }
