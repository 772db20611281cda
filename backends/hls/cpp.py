"""Network → HLS C++ for Vitis or Catapult: the same stages as the RTL, as functions that streams join."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from mlcc.names import comment, identifier
from mlcc_backends.hls import schedule
from mlcc_backends.hls.catapult import translated
from mlcc_backends.hls.network import Network, Port, Stage, Stream, width
from mlcc_backends.hls.simulate import Lane, beat_values, lane
from mlcc_backends.hls.verilog_parts import WINDOWED, shape_text
from mlcc_backends.hls.verilog_scalar import allocate
from mlcc_backends.hls.verilog_window import weight_rows
from mlcc_backends.render import render

FORMS = {
    "fma": "r_fma({0}, {1}, {2})", "div": "r_div({0}, {1})", "to_float": "r_from((int32_t){0})", "to_int": "r_int({0})", "round": "r_whole({0})",
    "lt": "r_lt({0}, {1})", "le": "r_le({0}, {1})", "eq": "r_eq({0}, {1})", "ilt": "(int32_t){0} < (int32_t){1}", "ile": "(int32_t){0} <= (int32_t){1}",
    "ieq": "{0} == {1}", "iadd": "{0} + {1}", "isub": "{0} - {1}", "imul": "{0} * {1}", "and": "{0} & {1}", "or": "{0} | {1}", "xor": "{0} ^ {1}",
    "shl": "{0} << ({1} & 31)", "shr": "{1} > 31 ? 0 : {0} >> {1}", "sar": "(word)((int32_t){0} >> ({1} & 31))", "select": "{0} ? {1} : {2}",
}  # fmt: skip


def emit(
    network: Network, target: str, catapult: bool, vectors: Sequence[tuple[Sequence[np.ndarray], Sequence[np.ndarray]]]
) -> dict[str, bytes]:
    """Files by path: the design, its test, and golden vectors as (inputs, outputs)."""
    name = identifier(network.name)
    values = _values(network)
    common = {
        "name": name, "model": comment(network.name), "target": target, "catapult": catapult, "scalar": any(s.kind in ("scalar", "trees", "fixed", "float") for s in network.stages),
        "frames": len(vectors),
        "longest": max(p["width"] for p in (*values["inputs"], *values["outputs"])) // 4 + 3,
    }  # fmt: skip
    files = {
        "mlcc_hls.h": render("mlcc_hls.h.j2", **common),
        f"{name}.h": render("model_hls.h.j2", **common, **values),
        f"{name}.cpp": render("model_hls.cpp.j2", **common, **values),
        f"{name}_weights.h": weights(network),
        f"{name}_test.cpp": render("test_hls.cpp.j2", **common, **values),
    }
    if common["scalar"]:
        files["mlcc_real.h"] = render("mlcc_real.h.j2")
    if catapult:
        files["mlcc_hls.h"] = b"#define MLCC_CATAPULT\n" + files["mlcc_hls.h"]
        for n in ("mlcc_hls.h", f"{name}.cpp"):
            files[n] = translated(files[n])
    for kind, k in (("in", 0), ("out", 1)):
        for i, port in enumerate(network.inputs if kind == "in" else network.outputs):
            files[f"vectors/{kind}{i}.txt"] = b"".join(lines(lane(network, port), v[k][i]) for v in vectors)
    return files


def channels(network: Network) -> list[tuple[str, int]]:
    """Where streams are in the design, and how many beats each must hold."""
    values = _values(network)
    inner = [(f"{s['name']}/operands", max(2, s["folds"] * s["groups"])) for s in values["stages"] if s["windowed"]]
    return [(e["name"], e["depth"]) for e in values["edges"]] + inner


def lines(stream: Lane, array: np.ndarray) -> bytes:
    """A tensor as a simulation reads it: a beat a line, hexadecimal."""
    return "".join(f"{v:x}\n" for v in beat_values(stream, array)).encode()


def element(stream: Stream) -> str:
    return f"S<{stream.bits}>" if stream.signed else f"U<{stream.bits}>"


def _values(network: Network) -> dict[str, Any]:
    beats = {**network.beats, **{s.output: s.beat for s in network.stages}}

    def edge_name(stream: str, reader: str, slot: int) -> str:
        return f"{stream}_to_{reader or f'out{slot}'}" + (f"_{slot}" if reader and slot else "")

    def beat_type(stream: str) -> str:
        return f"beat<{element(network.streams[stream])}, {beats[stream]}>"

    edges = [
        {"name": edge_name(e.stream, e.reader, e.slot), "beat_type": beat_type(e.stream), "depth": max(2, e.capacity)}
        for e in network.edges
    ]

    def port(p: Port) -> dict[str, Any]:
        v, beat = network.streams[p.stream], beats[p.stream]
        return {
            "tensor": comment(p.tensor), "beat": beat, "bits": v.bits, "width": v.bits * beat, "beats": v.elements // beat, "type": element(v),
            "beat_type": beat_type(p.stream), "edges": [edge_name(e.stream, e.reader, e.slot) for e in network.edges_of(p.stream)],
        }  # fmt: skip

    outputs = [{**port(p), "edge": edge_name(p.stream, "", i)} for i, p in enumerate(network.outputs)]
    return {
        "inputs": [port(p) for p in network.inputs],
        "outputs": outputs,
        "edges": edges,
        "stages": [_stage(network, s, beats, beat_type, edge_name) for s in network.stages],
    }


def _stage(network: Network, s: Stage, beats: dict[str, int], beat_type: Any, edge_name: Any) -> dict[str, Any]:
    w, out = s.window, network.streams[s.output]
    inputs = []
    for v in s.inputs:
        stream = network.streams[v]
        inputs.append(
            {
                "type": element(stream),
                "beat": beats[v],
                "beat_type": beat_type(v),
                "low": stream.low,
                "elements": stream.elements,
                "raw": stream.raw,
            }
        )
    outs = network.edges_of(s.output)
    values: dict[str, Any] = {
        "name": s.name, "layer": comment(s.layer), "kind": s.kind, "shape_text": shape_text(s, network), "simd": s.simd, "pe": s.pe,
        "beat": s.beat, "steps": schedule.steps(s), "inputs": inputs, "outs": outs, "out_type": element(out), "out_beat": beat_type(s.output),
        "in_edges": [edge_name(v, s.name, i) for i, v in enumerate(s.inputs)], "out_edges": [edge_name(e.stream, e.reader, e.slot) for e in outs],
        "exponent": s.exponent, "low": s.total[0], "high": s.total[1], "windowed": s.kind in WINDOWED, "fill": s.fill, "r": {"kind": "none"},
    }  # fmt: skip
    if values["windowed"]:
        stream = network.streams[s.inputs[0]]
        values |= {
            "words": network.edge_into(s.name, 0).words, "h": w.height, "w": w.width, "cw": w.channels // s.simd, "out_h": w.out[0], "out_w": w.out[1],
            "kh": w.kernel[0], "kw": w.kernel[1], "sh": w.strides[0], "sw": w.strides[1], "pt": w.before[0], "pl": w.before[1], "dh": w.dilations[0],
            "dw": w.dilations[1], "positions": w.positions, "turns": schedule.turns(s), "folds": schedule.folds(s), "groups": s.groups if s.kind == "product" else 1,
            "mxb": stream.operand_bits,
        }  # fmt: skip
        if s.weights is not None:
            values["wb"] = s.weight_bits
        if s.kind == "product":
            assert s.weights is not None
            values["parts"] = s.weights.shape[-1] // s.simd
    if values["windowed"] or s.rounding is not None:
        values["sb"] = s.sum_bits(network.streams[s.inputs[0]])
    if s.rounding is not None:
        values["r"] = _rounding(s, values["sb"], out)
    if s.kind == "concat":
        at = 0
        for i, v in zip(inputs, s.inputs):
            at += network.streams[v].elements // w.positions // s.simd
            i["last"] = at - 1
        values["turns"] = at
    if s.kind == "reorder":
        values["elements_in"] = network.streams[s.inputs[0]].elements
    if s.kind == "trees":
        f = s.forest
        assert f is not None
        values |= {"trees": len(f.roots), "depth": f.depth, "exponent": f.exponent, "outputs": f.values.shape[1], "first": int(f.roots[0])}
    if s.kind == "scalar":
        a = allocate(s)
        at = 0
        for i in inputs:
            i["places"] = a.loads[at : at + i["elements"]]
            at += i["elements"]
        values |= {"places": a.places, "constants": a.constants, "results": a.results, "code": [_operation(*c) for c in a.code]}
    return values


def _operation(op: str, result: int, operands: tuple[int, ...]) -> str:
    return f"n[{result}] = {FORMS[op].format(*(f'n[{o}]' for o in operands))};"


def _rounding(s: Stage, sum_bits: int, out: Stream) -> dict[str, Any]:
    r = s.rounding
    assert r is not None
    if r.levels is not None:
        return {
            "kind": "levels",
            "low": r.low,
            "depth": schedule.levels_depth(r),
            "sb": sum_bits,
            "single": r.levels.shape[0] == 1,
            "exceptions": 0,
        }
    assert r.factor is not None and r.offset is not None
    fb, ofb, yb = r.widths(sum_bits, out.bits)
    return {
        "kind": "formula", "low": r.low, "high": r.high, "shift": r.shift, "even": r.even and r.shift > 0, "half": f"{(1 << max(r.shift - 1, 0)) - 1}LL",
        "fb": fb, "ofb": ofb, "yb": yb, "sb": sum_bits, "single": len(r.factor) == 1,
        "exceptions": 0 if r.exceptions is None else r.exceptions.shape[1],
    }  # fmt: skip


def weights(network: Network) -> bytes:
    """Every constant, by stage."""
    text = ["/* Weights, and constants of roundings. */", "#include <stdint.h>"]

    def array(name: str, rows: np.ndarray) -> None:
        flat = np.asarray(rows)
        low, high = (int(flat.min()), int(flat.max())) if flat.size else (0, 0)
        kind = next((f"int{n}_t" for n in (8, 16, 32, 64) if width(min(low, -1), high) <= n), "int64_t")
        dims = "".join(f"[{n}]" for n in flat.shape)
        suffix = "LL" if kind == "int64_t" else ""

        def body(a: np.ndarray) -> str:
            if a.ndim == 1:
                return "{" + ", ".join(f"{int(x)}{suffix}" for x in a) + "}"
            return "{" + ",\n".join(body(x) for x in a) + "}"

        text.append(f"static const {kind} {name}{dims} = {body(flat)};")

    for s in network.stages:
        text.append(f"/* {s.name}: {comment(s.layer)} */")
        if s.weights is not None:
            array(f"{s.name}_weights", np.array(weight_rows(s)))
        for i, t in enumerate(s.tables):
            array(f"{s.name}_table{i}", t)
        if s.forest is not None:
            f = s.forest
            for part in ("feature", "key", "yes", "no", "values"):
                array(f"{s.name}_{part}", getattr(f, part))
        if s.index is not None:
            array(f"{s.name}_index", s.index)
        r = s.rounding
        if r is None:
            continue
        if r.levels is not None:
            top = (1 << s.sum_bits(network.streams[s.inputs[0]])) - 1
            array(f"{s.name}_levels", np.minimum(r.levels, top))
            continue
        assert r.factor is not None and r.offset is not None
        array(f"{s.name}_factor", r.factor.astype(np.int64))
        array(f"{s.name}_offset", r.offset.astype(np.int64))
        for k in range(0 if r.exceptions is None else r.exceptions.shape[1]):
            assert r.exceptions is not None
            array(f"{s.name}_exception{k}", np.where(r.exceptions[:, k, 1] != 0, r.exceptions[:, k, 0], 0))
            array(f"{s.name}_more{k}", r.exceptions[:, k, 1])
    return ("\n".join(text) + "\n").encode()
