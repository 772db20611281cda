"""A scalar program as SystemVerilog: numbers in a small memory, one instruction after the other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from mlcc_backends.hls import schedule
from mlcc_backends.hls.network import Network, Stage
from mlcc_backends.hls.scalar import OPERATIONS
from mlcc_backends.hls.verilog_parts import Keep, common, extension, index_bits, input_values

CODES = {op: i for i, op in enumerate(op for op in OPERATIONS if op not in ("in", "const"))}


@dataclass(frozen=True)
class Allocated:
    """A scalar program with numbers given places: constants (place, bits), loads and results by place, and (op, result, operands)."""

    places: int
    constants: tuple[int, ...]
    loads: tuple[int, ...]
    results: tuple[int, ...]
    code: tuple[tuple[str, int, tuple[int, ...]], ...]


def allocate(s: Stage) -> Allocated:
    """Places for a program's numbers: constants for good, others from their making to their last use."""
    assert s.scalar is not None
    code, results = s.scalar.instructions, s.scalar.results
    last = {i: i for i in range(len(code))}
    for i, (_, operands, _) in enumerate(code):
        for o in operands:
            last[o] = i
    for r in results:
        last[r] = len(code)
    place: dict[int, int] = {}
    constants: list[int] = []
    for i, (op, _, bits) in enumerate(code):
        if op == "const":
            place[i] = len(constants)
            constants.append(bits)
    free: list[int] = []
    used = len(constants)
    ins = sorted((literal_, i) for i, (op, _, literal_) in enumerate(code) if op == "in")
    for _, i in ins:
        place[i] = used
        used += 1
    made = []
    ending: dict[int, list[int]] = {}
    for i, end in last.items():
        if code[i][0] != "const":
            ending.setdefault(end, []).append(i)
    for i, (op, operands, _) in enumerate(code):
        if op not in ("const", "in"):
            if free:
                place[i] = free.pop()
            else:
                place[i] = used
                used += 1
            made.append((op, place[i], tuple(place[o] for o in operands)))
        free += [place[d] for d in ending.get(i, []) if d in place and (code[d][0] != "in" or d <= i)]
    return Allocated(used, tuple(constants), tuple(place[i] for _, i in ins), tuple(place[r] for r in results), tuple(made))


def scalar_values(network: Network, s: Stage, keep: Keep) -> dict[str, Any]:
    a = allocate(s)
    nb = index_bits(max(2, a.places))
    rows = []
    for op, result, operands in a.code:
        first, second, third = (*operands, 0, 0)[:3]
        rows.append(((CODES[op] << nb | result) << nb | first) << nb | second)
        rows[-1] = rows[-1] << nb | third
    inputs = []
    at = 0
    for i, v in enumerate(s.inputs):
        stream = network.streams[v]
        inputs.append(
            {
                **input_values(network, s, i),
                "from": at,
                "to": at + stream.elements,
                "need": "32'd1",
                "extend": extension(f"word_{i}", "0", stream.bits, stream.signed or stream.raw),
            }
        )
        at += stream.elements
    constants = [*a.constants, *([0] * ((1 << nb) - len(a.constants)))]
    return {
        **common(network, s), "inputs": inputs, "nb": nb, "count": len(rows), "count_or_one": max(1, len(rows)), "pc_bits": index_bits(max(2, len(rows))),
        "results": len(a.results), "results_bits": index_bits(max(2, len(a.results))), "loads": at, "loads_bits": index_bits(max(2, at)),
        "constants_file": keep(f"{s.name}_constants", constants, 32), "program_file": keep(f"{s.name}_program", rows or [0], 5 + 4 * nb),
        "results_file": keep(f"{s.name}_results", list(a.results), nb), "inputs_file": keep(f"{s.name}_inputs", list(a.loads), nb),
        "codes": CODES, "loaded": schedule.LOADED, "fma_busy": schedule.CYCLES["fma"] - 4, "div_busy": schedule.CYCLES["div"] - 4,
    }  # fmt: skip
