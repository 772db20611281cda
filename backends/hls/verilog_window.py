"""Products and pools as SystemVerilog: a walk over a window's positions, where its operands lie, what is done to them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, log2, prod
from typing import Any

from mlcc_backends.hls import schedule
from mlcc_backends.hls.network import Network, Stage
from mlcc_backends.hls.verilog_parts import Keep, common, extension, index_bits, literal, pack, rounding_values


@dataclass(frozen=True)
class Counter:
    """One of the walk's, and when it moves on."""

    name: str
    count: int
    bits: int
    carry: str


@dataclass(frozen=True)
class Counters:
    """The walk over rows, columns, turns (of output channels) and folds (kernel positions and parts of channels): those that count to more
    than one, and the conditions at its ends."""

    list: tuple[Counter, ...]
    fold_first: str
    fold_end: str
    pixel_end: str
    frame_end: str

    def has(self, name: str) -> bool:
        return any(c.name == name for c in self.list)


@dataclass(frozen=True)
class Memory:
    """Where a step's operands lie: `y`, `x` and `channel` of the word in the input, the input's size in words; how many beats a position
    needs (`need`, None: not always as many) and gives back."""

    aw: int
    xb: int
    y: str
    x: str
    channel: str
    h: int
    w: int
    cw: int
    frame_words: int
    padded: bool
    fill: str
    windex_bits: int
    need: int | None
    give: int
    positions: int
    position_bits: int
    need_bits: int
    give_bits: int
    file: str


@dataclass(frozen=True)
class Level:
    """One of an adder tree's."""

    n: int
    count: int
    bits: int
    from_count: int
    from_bits: int
    source: str
    register: bool


@dataclass(frozen=True)
class Datapath:
    """From operands to sums: bits of an operand as a signed number, of a weight as a number and as stored, of a product, of a term and of a
    sum; lanes; the tree; results' way out."""

    mxb: int
    wb: int
    stored: int
    bipolar: bool
    pb: int
    tb: int
    sb: int
    lanes: int
    extend: str
    weight_rows: int
    weight_file: str
    tree: tuple[Level, ...]
    tree_registers: int
    terms: str
    burst: int
    burst_bits: int


def window_values(network: Network, s: Stage, keep: Keep) -> dict[str, Any]:
    """What the template is filled with: the stage, `walk`, `memory`, `data` and the rounding."""
    walk = _counters(s)
    data = _datapath(network, s, keep)
    rounding = rounding_values(network, s, data.sb, keep)
    return {**common(network, s), "walk": walk, "memory": _memory(network, s, walk, keep), "data": data, "r": rounding}


def _folds(s: Stage) -> list[tuple[str, int]]:
    inner = [("tap_y", s.window.kernel[0]), ("tap_x", s.window.kernel[1])]
    if s.kind == "product":
        assert s.weights is not None
        inner.append(("part", s.weights.shape[-1] // s.simd))
    return inner


def _counters(s: Stage) -> Counters:
    inner = _folds(s)
    names = [("row", s.window.out[0]), ("column", s.window.out[1]), ("turn", schedule.turns(s)), *inner]
    used = [(n, c) for n, c in names if c > 1]
    live, fold = {n for n, _ in used}, [n for n, _ in inner]

    def all_of(terms: Sequence[str]) -> str:
        return " && ".join(terms) or "1'b1"

    def ends(group: Sequence[str]) -> str:
        return all_of([f"{n}_end" for n in group if n in live])

    counters = tuple(Counter(n, c, index_bits(c), all_of([f"{m}_end" for m, _ in used[i + 1 :]])) for i, (n, c) in enumerate(used))
    first = all_of([f"{n} == '0" for n in fold if n in live])
    return Counters(counters, first, ends(fold), ends(["turn", *fold]), ends([n for n, _ in names]))


def _memory(network: Network, s: Stage, walk: Counters, keep: Keep) -> Memory:
    w, edge = s.window, network.edge_into(s.name, 0)
    cw, aw, xb = w.channels // s.simd, index_bits(edge.words), network.streams[s.inputs[0]].bits
    need, done = schedule.pixel_need(s).reshape(-1) * w.channels, schedule.pixel_done(s).reshape(-1) * w.channels
    needs, gives = schedule.in_beats(need, done, edge.beat)
    constant = len(set(needs)) == 1 and len(set(gives)) == 1
    need_bits, give_bits = (max(1, int(v.max()).bit_length()) for v in (needs, gives))
    rows = [int(n) | int(g) << need_bits for n, g in zip(needs, gives)]

    def at(name: str) -> str:
        return f"$signed(16'({name}))" if walk.has(name) else "16'sd0"

    def place(position: str, tap: str, axis: int) -> str:
        return f"{at(position)} * 16'sd{w.strides[axis]} + {at(tap)} * 16'sd{w.dilations[axis]} - 16'sd{w.before[axis]}"

    return Memory(
        aw,
        xb,
        place("row", "tap_y", 0),
        place("column", "tap_x", 1),
        _channel(s, walk, aw, cw),
        w.height,
        w.width,
        cw,
        w.height * w.width * cw % edge.words,
        padded(s),
        literal(s.fill, xb),
        index_bits(schedule.turns(s) * schedule.folds(s)),
        int(needs[0]) if constant else None,
        int(gives[0]),
        len(needs),
        index_bits(len(needs)),
        need_bits,
        give_bits,
        "" if constant else keep(f"{s.name}_positions", rows, need_bits + give_bits),
    )


def _channel(s: Stage, walk: Counters, aw: int, cw: int) -> str:
    """Which word of a pixel: the part of the fold, in the group that the turn is of; or, without products, the turn."""
    if s.kind != "product":
        return f"{aw}'(turn)" if walk.has("turn") else f"{aw}'d0"
    part = f"{aw}'(part)" if walk.has("part") else f"{aw}'d0"
    if s.groups == 1:
        return part
    turn, per = "32'(turn)" if walk.has("turn") else "0", schedule.turns(s) // s.groups
    return f"{part} + {aw}'(({turn} / {per}) * {cw // s.groups})"


def _datapath(network: Network, s: Stage, keep: Keep) -> Datapath:
    stream = network.streams[s.inputs[0]]
    mxb, lanes = stream.operand_bits, s.simd * s.pe if s.kind == "product" else s.pe
    wb = stored = 0
    rows: list[list[int]] = []
    file, bipolar = "", False
    if s.kind in ("product", "depthwise"):
        rows, wb, bipolar = weight_rows(s), s.weight_bits, s.bipolar
        stored = 1 if bipolar else wb
        if bipolar:
            rows = [[int(w > 0) for w in r] for r in rows]
        file = keep(f"{s.name}_weights", [pack(r, stored) for r in rows], stored * lanes)
    tree, terms, tb = _tree(s, mxb + wb)
    extend = extension("operands", "i", stream.bits, stream.signed)
    return Datapath(
        mxb, wb, stored, bipolar, mxb + wb, tb, s.sum_bits(stream), lanes, extend, len(rows), file, tree, schedule.tree(s), terms, s.burst,
        s.burst.bit_length(),
    )  # fmt: skip


def padded(s: Stage) -> bool:
    """Whether some tap lies outside the input."""
    w = s.window
    ends = (
        (o - 1) * d + (k - 1) * e - b >= n
        for o, d, k, e, b, n in zip(w.out, w.strides, w.kernel, w.dilations, w.before, (w.height, w.width))
    )
    return any(w.before) or any(ends)


def weight_rows(s: Stage) -> list[list[int]]:
    """By step of a position: the weights of all lanes."""
    assert s.weights is not None
    if s.kind == "depthwise":
        flat = s.weights.reshape(s.outputs, -1)
        return [[int(flat[t * s.pe + i, k]) for i in range(s.pe)] for t in range(s.outputs // s.pe) for k in range(flat.shape[1])]
    flat = s.weights.reshape(s.outputs // s.pe, s.pe, prod(s.window.kernel), -1, s.simd)
    moved = flat.transpose(0, 2, 3, 1, 4).reshape(-1, s.pe * s.simd)
    return [[int(x) for x in row] for row in moved]


def _tree(s: Stage, bits: int) -> tuple[tuple[Level, ...], str, int]:
    """The levels of the adder tree, the name of its result and that one's bits; a register every two levels and at the end."""
    if s.kind != "product":
        return (), "tree0", bits
    levels: list[Level] = []
    count, source = s.simd, "tree0"
    total = ceil(log2(count)) if count > 1 else 0
    for n in range(1, total + 1):
        levels.append(Level(n, ceil(count / 2), bits + 1, count, bits, source, n % 2 == 0 or n == total))
        count, bits, source = ceil(count / 2), bits + 1, f"tree{n}" if levels[-1].register else f"next{n}"
    return tuple(levels), source, bits
