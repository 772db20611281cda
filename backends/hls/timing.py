"""The network's cycles, exactly: every memory's level and every stage's step, as the RTL has them.

Data decide nothing, so a count of who may step in each cycle is all that there is to simulate. From it come the latency and interval that a
build prints (tests hold them against Verilator's), and the depth of the memories in front of joins, which must hold what one branch makes
while the other is under way.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass, replace

import numpy as np

from mlcc.cache.library import loaded
from mlcc.error import Error
from mlcc_backends.hls.fold import _power
from mlcc_backends.hls.network import Edge, Network
from mlcc_backends.hls.schedule import GIVE_DELAY, in_beats, latency, steps, walk

FRAMES = 3
ENDS = 64  # edges at either side of a stage, and of the network
RING = 1 << 14  # cycles ahead in which beats may be under way
TEXT = r"""
#include <stdint.h>
typedef struct { int32_t cap, level, reserved, most, back[DELAY]; } edge;
typedef struct {
    int32_t inputs, outputs, count, latency, burst, in[ENDS], out[ENDS];
    const int32_t *need[ENDS], *give[ENDS]; const uint8_t *writes;
    int32_t at, frame, ring[RING]; int32_t fire;
} stage;
/* Cycles until every sink has had its frames; -1 where nothing moves any more. ends[sink * frames + f]: when the last beat of a frame left. */
int64_t simulate(int32_t edges, edge *e, int32_t stages, stage *s, int32_t frames, int32_t sinks, const int32_t *sink_edge, const int64_t *beats,
                 int64_t *ends, int64_t *left) {
    int64_t idle = 0;
    for (int i = 0; i < sinks; i++) left[i] = 0;
    for (int64_t t = 0;; t++) {
        int moved = 0, done = 1;
        for (int i = 0; i < stages; i++) {
            stage *x = &s[i];
            x->fire = x->frame < frames;
            if (!x->fire) continue;
            for (int k = 0; k < x->inputs; k++) if (e[x->in[k]].level < x->need[k][x->at]) x->fire = 0;
            if (x->writes[x->at])
                for (int k = 0; k < x->outputs; k++) if (e[x->out[k]].reserved > e[x->out[k]].cap - x->burst) x->fire = 0;
        }
        int drained[ENDS];
        for (int i = 0; i < sinks; i++) drained[i] = e[sink_edge[i]].level > 0;
        for (int i = 0; i < edges; i++) {
            e[i].reserved -= e[i].back[0];
            for (int k = 0; k + 1 < DELAY; k++) e[i].back[k] = e[i].back[k + 1];
            e[i].back[DELAY - 1] = 0;
        }
        for (int i = 0; i < sinks; i++) if (drained[i]) {
            edge *x = &e[sink_edge[i]];
            x->level--, x->reserved--, moved = 1;
            left[i]++;
            if (left[i] % beats[i] == 0) ends[i * frames + left[i] / beats[i] - 1] = t;
        }
        for (int i = 0; i < stages; i++) {
            stage *x = &s[i];
            if (x->fire) {
                moved = 1;
                for (int k = 0; k < x->inputs; k++) {
                    int32_t n = x->give[k][x->at];
                    e[x->in[k]].level -= n, e[x->in[k]].back[DELAY - 1] += n;
                }
                if (x->writes[x->at]) {
                    for (int k = 0; k < x->outputs; k++) e[x->out[k]].reserved += x->burst;
                    for (int b = 0; b < x->burst; b++) x->ring[(t + x->latency + b) % RING]++;
                }
                if (++x->at == x->count) x->at = 0, x->frame++;
            }
            if (x->ring[t % RING]) {
                for (int k = 0; k < x->outputs; k++) e[x->out[k]].level += x->ring[t % RING];
                x->ring[t % RING] = 0, moved = 1;
            }
        }
        for (int i = 0; i < edges; i++) if (e[i].reserved > e[i].most) e[i].most = e[i].reserved;
        for (int i = 0; i < sinks; i++) if (left[i] < beats[i] * frames) done = 0;
        if (done) return t + 1;
        idle = moved ? 0 : idle + 1;
        if (idle > 256) return -1;
    }
}
"""


class _Edge(ctypes.Structure):
    _fields_ = [*((n, ctypes.c_int32) for n in ("cap", "level", "reserved", "most")), ("back", ctypes.c_int32 * GIVE_DELAY)]


class _Stage(ctypes.Structure):
    _fields_ = [
        *((n, ctypes.c_int32) for n in ("inputs", "outputs", "count", "latency", "burst")),
        ("inp", ctypes.c_int32 * ENDS),
        ("out", ctypes.c_int32 * ENDS),
        ("need", ctypes.c_void_p * ENDS),
        ("give", ctypes.c_void_p * ENDS),
        ("writes", ctypes.c_void_p),
        ("at", ctypes.c_int32),
        ("frame", ctypes.c_int32),
        ("ring", ctypes.c_int32 * RING),
        ("fire", ctypes.c_int32),
    ]


@dataclass(frozen=True)
class Cycles:
    """latency: from the first beat in to the last beat out, both counted; interval: between inferences, once they follow each other; most:
    beats that each edge ever held."""

    latency: int
    interval: int
    most: tuple[int, ...]


def simulate(network: Network, frames: int = FRAMES, unbounded: tuple[Edge, ...] = ()) -> Cycles:
    """Run inferences back to back, inputs always there, outputs always taken. Raises Error(unsupported) where the network stops: it is a
    bug."""
    keep: list[np.ndarray] = []
    index = {e: i for i, e in enumerate(network.edges)}
    edges = (_Edge * len(index))(*(_Edge(1 << 28 if e in unbounded else e.capacity) for e in network.edges))
    rows: list[tuple[int, list[int], list[int], np.ndarray, int, int, list[np.ndarray], list[np.ndarray]]] = []
    for port in network.inputs:
        beats = network.streams[port.stream].elements // network.beats[port.stream]
        outs = [index[e] for e in network.edges_of(port.stream)]
        rows.append((beats, [], outs, np.ones(beats, np.uint8), 0, 1, [], []))
    for s in network.stages:
        w = walk(s, network)
        ins, needs, gives = [], [], []
        for i in range(len(s.inputs)):
            e = network.edge_into(s.name, i)
            need, give = in_beats(w.need[i], w.done[i], e.beat)
            ins.append(index[e])
            needs.append(need.astype(np.int32))
            gives.append(give.astype(np.int32))
        outs = [index[e] for e in network.edges_of(s.output)]
        rows.append((steps(s), ins, outs, w.writes.astype(np.uint8), latency(s), s.burst, needs, gives))
    sinks = [(e, network.streams[e.stream].elements // e.beat) for e in network.edges if not e.reader]
    if max(len(sinks), *(max(len(ins), len(outs)) for _, ins, outs, *_ in rows)) > ENDS:
        raise Error(
            "unsupported",
            f"more than {ENDS} tensors meet in one stage, or leave the model",
            hint='architecture = "engine" in [hardware] of mlcc.toml',
        )
    stages = (_Stage * len(rows))()
    for x, (count, ins, outs, writes, late, burst, needs, gives) in zip(stages, rows):
        x.inputs, x.outputs, x.count, x.latency, x.burst = len(ins), len(outs), count, late, burst
        x.inp[: len(ins)], x.out[: len(outs)] = ins, outs
        for k, (need, give) in enumerate(zip(needs, gives)):
            need, give = np.ascontiguousarray(need), np.ascontiguousarray(give)
            keep += [need, give]
            x.need[k], x.give[k] = need.ctypes.data, give.ctypes.data
        writes = np.ascontiguousarray(writes)
        keep.append(writes)
        x.writes = writes.ctypes.data
    which, beats_ = np.array([index[e] for e, _ in sinks], np.int32), np.array([n for _, n in sinks], np.int64)
    ends, left = np.zeros((len(sinks), frames), np.int64), np.zeros(len(sinks), np.int64)
    function = loaded("hls-timing", f"#define DELAY {GIVE_DELAY}\n#define RING {RING}\n#define ENDS {ENDS}\n{TEXT}").simulate
    function.restype = ctypes.c_int64
    total = function(
        len(edges), edges, len(rows), stages, frames, len(sinks),
        *(ctypes.c_void_p(a.ctypes.data) for a in (which, beats_, ends, left)),
    )  # fmt: skip
    if total < 0:
        raise Error("unsupported", "the network comes to a halt", network.name, "this is a bug in mlcc; please report it with the model")
    last = ends.max(0)
    return Cycles(int(last[0]) + 1, int(last[-1] - last[-2]) if frames > 1 else int(last[0]) + 1, tuple(e.most for e in edges))


def sized(network: Network) -> tuple[Network, Cycles]:
    """With memories in front of joins as deep as they ever fill while no other edge holds more than it may."""
    readers = {s.name: s for s in network.stages}
    joins = tuple(e for e in network.edges if e.reader and len(readers[e.reader].inputs) > 1)
    if joins:
        free = simulate(network, unbounded=joins)
        most = {e: free.most[i] for i, e in enumerate(network.edges)}
        edges = [replace(e, words=max(e.words, _power(-(-(most[e] + 1) * e.beat // e.word)))) if e in joins else e for e in network.edges]
        network = replace(network, edges=tuple(edges))
    return network, simulate(network)
