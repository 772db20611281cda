"""How many lanes each stage has: the fastest network that a part, or a budget, has room for.

A stage does `simd` products for each of `pe` outputs a step (after FINN's and hls4ml's folding and reuse factors). For an interval of T
cycles between inferences every stage takes the cheapest lanes with which it needs at most T steps; T is the smallest that fits.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from math import ceil, prod

from mlcc.error import Error
from mlcc.target import load, names
from mlcc_backends.hls.network import Edge, Network, Stage, Stream, width
from mlcc_backends.hls.part import Resources, adder, limits, memory, multiplier
from mlcc_backends.hls.schedule import GIVE_DELAY, latency, levels_depth, span, steps
from mlcc_backends.hls.sections import Hardware, Part

ENOUGH = 1 << 12  # lanes of products beyond which a folded design gains nothing that the other architectures do not do better


def fold(network: Network, part: Part, device: str, goal: Hardware) -> Network:
    """The network with lanes and memories. Raises Error(unsupported) naming the layer and the resource that overflow."""
    best: Network | None = None
    slowest = max([*(network.streams[p.stream].elements for p in network.inputs), *map(steps, network.stages)])
    target = float(slowest)
    while target >= 1:
        made = _folded(network, int(target))
        if made is None:
            break
        made = with_edges(made)
        if resources(made, part).exceed(limits(part, goal.share)):
            break
        best = made
        if goal.interval and interval(best) <= goal.interval:
            break
        if interval(made) > target or target == 1:  # what sets the pace has no lanes
            break
        target = max(1.0, min(target, interval(made)) / 1.25)
    if best is None:
        _overflow(with_edges(network), part, device, goal)
    assert best is not None
    if goal.interval and interval(best) > goal.interval:
        hint = f"the nearest that fits is {interval(best):,}"
        raise Error("unsupported", f"an interval of {goal.interval:,} cycles does not fit {device}", network.name, hint)
    return best


def interval(network: Network) -> int:
    """Cycles between inferences: those of the slowest stage or port."""
    ports = [ceil(network.streams[p.stream].elements / network.beats[p.stream]) for p in network.inputs]
    return max([*ports, *map(steps, network.stages), 1])


def _overflow(network: Network, part: Part, device: str, goal: Hardware) -> None:
    """Say what does not fit, with the layer that takes most of it."""
    total, most = resources(network, part), limits(part, goal.share)
    what = total.exceed(most)
    if not what:
        return
    name = what[0]
    worst = max(network.stages, key=lambda s: getattr(stage_resources(network, s, part), name))
    takes = getattr(stage_resources(network, worst, part), name)
    share = max(getattr(total, n) / max(1, getattr(limits(part, 1.0), n)) for n in what)
    if share <= 1:
        hint = f"share = {min(1.0, share + 0.01):.2f} in [hardware] of mlcc.toml fits: it plans with {goal.share} of the part"
    else:
        fits = [other for other, chip in _parts() if not total.exceed(limits(chip, goal.share))]
        hint = (
            f"{', '.join(fits)} {'have' if len(fits) > 1 else 'has'} room for it"
            if fits
            else 'architecture = "engine" keeps weights in external memory'
        )
    raise Error(
        "unsupported",
        f"{getattr(total, name):,} {name} are needed with one lane a layer, {device} has {getattr(most, name):,} to give; {worst.layer} "
        f"takes {takes:,}",
        network.name,
        hint,
    )


def _parts() -> list[tuple[str, Part]]:
    """Targets that are parts, smallest first."""
    return sorted(((n, part) for n in names() if (part := load(n).section(Part))), key=lambda p: p[1].luts)


def _folded(network: Network, target: int) -> Network | None:
    """Lanes for an interval; None where some stage cannot be so fast."""
    made: dict[str, Stage] = {}
    beats: dict[str, int] = {}
    for port in network.inputs:
        stream = network.streams[port.stream]
        beats[port.stream] = next((b for b in divisors(stream.elements) if stream.elements / b <= target), stream.elements)
    for s in network.stages:
        chosen = next(
            (c for c in sorted(_options(network, s, target), key=_price) if all(_fits(beats[v], c.simd) for i, v in enumerate(c.inputs))),
            None,
        )
        if chosen is None:
            return None
        made[s.name] = chosen
        beats[s.output] = chosen.beat
    return replace(network, stages=tuple(made.values()), beats={p.stream: beats[p.stream] for p in network.inputs})


def divisors(n: int) -> list[int]:
    found = [d for d in range(1, min(n, 4096) + 1) if n % d == 0]
    return found if found[-1] == n else [*found, n]


def _fits(beat: int, word_: int) -> bool:
    """Whether a memory can be written in beats and read in words: one divides the other, and a beat holds 2^n words."""
    return word_ % beat == 0 or (beat % word_ == 0 and (beat // word_).bit_count() == 1)


def _price(s: Stage) -> tuple[int, int, int]:
    return s.simd * s.pe, s.beat, s.simd


def _options(network: Network, s: Stage, target: int) -> Iterator[Stage]:
    """A stage with each number of lanes that is fast enough."""
    if s.kind == "trees":
        raise Error("unsupported", "trees run at one inference a cycle or not at all", s.layer)
    if s.kind in ("reorder", "scalar"):
        yield s  # a word a step
        return
    w = s.window
    if s.kind == "product":
        assert s.weights is not None
        per_group, taps = s.weights.shape[-1], prod(w.kernel)
        for simd in divisors(per_group):
            for pe in divisors(s.outputs // s.groups):
                folds = taps * per_group // simd
                count = w.positions * (s.outputs // pe) * folds
                if count > target or simd * pe > ENOUGH:
                    continue
                for beat in (b for b in divisors(pe) if pe // b <= folds):
                    yield replace(s, simd=simd, pe=pe, beat=beat)
        return
    channels = w.channels
    taps = prod(w.kernel)
    for lanes in divisors(channels):
        if s.kind == "concat" and any(network.streams[v].elements // w.positions % lanes for v in s.inputs):
            continue
        if w.positions * (channels // lanes) * taps > target or lanes > ENOUGH:
            continue
        if s.kind in ("depthwise", "sum", "max"):
            for beat in (b for b in divisors(lanes) if lanes // b <= taps):
                yield replace(s, simd=lanes, pe=lanes, beat=beat)
        else:
            yield replace(s, simd=lanes, pe=lanes, beat=lanes)


def with_edges(network: Network) -> Network:
    """With a memory for every reader of every stream. What joins wait for is sized by the cycles of the whole (timing.py)."""
    beats = {**{p.stream: network.beats.get(p.stream, 1) for p in network.inputs}, **{s.output: s.beat for s in network.stages}}
    edges = []
    for stream in network.streams:
        producer = network.producer(stream)
        at_once = producer.burst if producer is not None else 1
        flight = latency(producer) if producer is not None else 0
        for reader, slot in network.readers(stream):
            beat = beats[stream]
            if not reader:
                words = _power(flight + 2 * at_once + 2)
                edges.append(Edge(stream, "", slot, beat, beat, words))
                continue
            s = next(s for s in network.stages if s.name == reader)
            w = s.simd
            reach = span(s, network, slot)
            most = max(reach, w, beat) + beat * 2 * at_once + w + min(beat * (flight + GIVE_DELAY), w * 16)
            elements = network.streams[stream].elements
            if reach == elements > w:  # the next inference comes while this one is read
                most = max(most, elements * 2)
            edges.append(Edge(stream, reader, slot, beat, w, max(_power(ceil(most / w)), _power(ceil(beat / w)))))
    return replace(network, edges=tuple(edges), beats={p.stream: beats[p.stream] for p in network.inputs})


def unfolded(network: Network) -> Network:
    """Every stage with all its lanes: an inference a cycle."""
    stages = []
    for s in network.stages:
        elements = network.streams[s.output].elements
        if s.kind == "product":
            assert s.weights is not None
            stages.append(replace(s, simd=s.weights.shape[-1], pe=s.outputs // s.groups, beat=s.outputs // s.groups))
        elif s.kind in ("table", "join", "quantise", "fixed", "float"):
            stages.append(replace(s, simd=elements, pe=elements, beat=elements))
        else:
            stages.append(s)
    beats = {p.stream: network.streams[p.stream].elements for p in network.inputs}
    return with_edges(replace(network, stages=tuple(stages), beats=beats))


def _power(n: int) -> int:
    return 1 << max(1, (n - 1).bit_length())


def resources(network: Network, part: Part) -> Resources:
    total = Resources()
    for s in network.stages:
        total += stage_resources(network, s, part)
    for e in network.edges:
        if not e.reader:
            total += edge_resources(network, e, part)
    return total


def edge_resources(network: Network, e: Edge, part: Part) -> Resources:
    bits = network.streams[e.stream].bits
    banks = max(1, e.word // e.beat)
    one = memory(part, bits * max(e.beat, e.word) // banks, e.words * e.word // max(e.beat, e.word))
    return Resources(luts=20, registers=40) + one * banks


def stage_resources(network: Network, s: Stage, part: Part) -> Resources:
    """Of a stage with the memories that it reads from: estimates, held against synthesis in docs/fpga.md."""
    total = Resources(luts=60, registers=80)
    for i in range(len(s.inputs)):
        e = next((e for e in network.edges if e.reader == s.name and e.slot == i), None)
        if e is not None:
            total += edge_resources(network, e, part)
    streams = [network.streams[v] for v in s.inputs]
    out = network.streams[s.output]
    if s.kind in ("product", "depthwise"):
        assert s.weights is not None
        bits = weight_bits(s)
        lanes = s.simd * s.pe if s.kind == "product" else s.pe
        x = operand_bits(streams[0], s)
        total += multiplier(part, x, bits) * lanes
        total += Resources(luts=lanes * (x + bits) // 2, registers=lanes * (x + bits))
        total += memory(part, lanes * (1 if s.bipolar else bits), s.weights.size // lanes)
        total += adder(width(*s.total)) * s.pe
    if s.kind in ("sum", "max"):
        total += Resources(luts=2 * s.pe * width(*s.total), registers=s.pe * width(*s.total))
    if s.kind in ("join", "product_join", "table"):
        for t, stream in zip(s.tables, streams):
            total += memory(part, width(int(t.min()), int(t.max())), 1 << stream.bits) * s.simd
    if s.kind in ("fixed", "float"):
        total += Resources(luts=170, registers=100) * s.simd
    if s.kind == "scalar" and s.scalar is not None:
        total += Resources(luts=3400 if part.lut_inputs == 6 else 9000, registers=1000) + multiplier(part, 24, 24)
        total += memory(part, 44, len(s.scalar.instructions))
        total += memory(part, 32, 256) * 3
    if s.kind == "reorder":
        total += memory(part, max(1, s.window.channels.bit_length()) + 1, out.elements)
    if s.rounding is not None:
        total += _rounding_resources(s, part)
    return total


def _rounding_resources(s: Stage, part: Part) -> Resources:
    r = s.rounding
    assert r is not None
    sum_bits = width(*s.total) if s.kind != "quantise" else 32
    if r.levels is not None:
        rows, depth = r.levels.shape[0], levels_depth(r)
        one = Resources(luts=depth * (sum_bits + 4), registers=depth * (sum_bits + depth))
        for k in range(depth):
            one += memory(part, sum_bits, rows << k)
        return one * s.beat
    assert r.factor is not None and r.offset is not None
    if all(int(f) == 1 for f in r.factor):
        return Resources()
    bits = width(0, max(int(f) for f in r.factor))
    one = multiplier(part, sum_bits, bits) + Resources(luts=(sum_bits + bits) + 16, registers=2 * (sum_bits + bits))
    return (one + memory(part, bits + width(int(min(r.offset)), int(max(r.offset))), len(r.factor))) * s.beat


def weight_bits(s: Stage) -> int:
    assert s.weights is not None
    return width(int(s.weights.min()), int(s.weights.max()))


def operand_bits(stream: Stream, s: Stage) -> int:
    """Bits of a signed operand of a stage's products: its stream's, or what borders read."""
    return width(min(stream.low, s.fill, -1), max(stream.high, s.fill))
