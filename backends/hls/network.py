"""What hardware is made from: stages joined by streams of integers.

A stream is a flat sequence of elements; a stage that looks at it as an image sees it channels last. Every edge is a memory that its
producer fills in order, `beat` elements at a time, and its consumer reads by address, `word` elements at a time: line buffer and FIFO in
one. A stage is a walk over steps, one a cycle, each of which reads one word of each input; a step waits until the elements that it needs
are there, and for room for what it makes.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import prod

import numpy as np

from mlcc.names import module_name


@dataclass(frozen=True)
class Stream:
    """elements: of one inference; low, high: what an element can be. `raw`: 32 bits that are a binary32 number."""

    name: str
    elements: int
    low: int
    high: int
    raw: bool = False

    @property
    def signed(self) -> bool:
        return self.low < 0 and not self.raw

    @property
    def bits(self) -> int:
        return 32 if self.raw else width(self.low, self.high)

    @property
    def operand_bits(self) -> int:
        """Of an element as a signed number."""
        return self.bits + (not self.signed)


def width(low: int, high: int) -> int:
    """Bits of the smallest two's complement (unsigned where low ≥ 0) type that holds low to high."""
    if low >= 0:
        return max(1, int(high).bit_length())
    return max(int(high).bit_length(), int(-low - 1).bit_length()) + 1


@dataclass(frozen=True)
class Window:
    """Where a step's operands lie: input [height, width, channels], output positions, kernel, and its strides, leading pads and
    dilations."""

    height: int
    width: int
    channels: int
    out: tuple[int, int]
    kernel: tuple[int, int] = (1, 1)
    strides: tuple[int, int] = (1, 1)
    before: tuple[int, int] = (0, 0)
    dilations: tuple[int, int] = (1, 1)

    @property
    def positions(self) -> int:
        return prod(self.out)


@dataclass(frozen=True)
class Rounding:
    """From a sum to a small integer, one function a channel: (sum · factor + offset) >> shift, between low and high; `even`: halves go to
    the even neighbour instead; one more or less at the sums in `exceptions` [channels, k, (sum, difference)]. Or by `levels` [channels,
    2^depth − 1]: low + how many of them are ≤ the sum."""

    low: int
    high: int
    factor: np.ndarray | None = None
    offset: np.ndarray | None = None
    shift: int = 0
    even: bool = False
    exceptions: np.ndarray | None = None
    levels: np.ndarray | None = None

    def widths(self, sum_bits: int, out_bits: int) -> tuple[int, int, int]:
        """Bits of a formula's factors, of its offsets, and of its result before it is clamped."""
        assert self.factor is not None and self.offset is not None
        factor, offset = ([int(v) for v in a] for a in (self.factor, self.offset))
        fb, ofb = width(-1, max(factor)), width(min(-1, *offset), max(offset))
        return fb, ofb, max(sum_bits + fb, ofb, out_bits + 2) + 2


@dataclass(frozen=True)
class Scalar:
    """A straight-line program over 32-bit words: instruction (op, operands, literal); results are indices of instructions, in order."""

    instructions: tuple[tuple[str, tuple[int, ...], int], ...]
    results: tuple[int, ...]


@dataclass(frozen=True)
class Forest:
    """Trees of one ensemble. A node compares its feature's place in the order of floats with `key` (yes: at most); leaves point to
    themselves. values: [nodes, outputs] in units of 2^−exponent; depth: most steps to a leaf."""

    feature: np.ndarray
    key: np.ndarray
    yes: np.ndarray
    no: np.ndarray
    roots: np.ndarray
    values: np.ndarray
    exponent: int
    depth: int


@dataclass(frozen=True)
class Stage:
    """kind: product, depthwise, sum, max, table, quantise, fixed, float, join, product_join, concat, reorder, scalar, trees. Lanes: `simd`
    operands by `pe` outputs a step.

    weights: [outputs, kernel…, channels of a group] of product and depthwise ([outputs, kernel…]); `fill`: what borders read; tables: what
    an input's element, less its stream's `low`, stands for; index: where reorder reads (−1: fill). fixed: x · 2^exponent, halves to even,
    held within `total`, `fill` where x is no number; float: x · 2^−exponent.
    """

    name: str
    kind: str
    inputs: tuple[str, ...]
    output: str
    window: Window
    layer: str = ""  # what the model calls it
    weights: np.ndarray | None = None
    groups: int = 1
    fill: int = 0
    rounding: Rounding | None = None
    tables: tuple[np.ndarray, ...] = ()
    index: np.ndarray | None = None
    scalar: Scalar | None = None
    forest: Forest | None = None
    exponent: int = 0
    total: tuple[int, int] = (0, 0)  # what a sum can be
    simd: int = 1
    pe: int = 1
    beat: int = 1  # elements that it writes at once

    @property
    def outputs(self) -> int:
        """Channels that it makes."""
        assert self.kind in ("product", "depthwise")
        assert self.weights is not None
        return int(self.weights.shape[0])

    @property
    def burst(self) -> int:
        """Beats that one step's outputs take."""
        return self.pe // self.beat

    @property
    def weight_bits(self) -> int:
        """Of a signed weight."""
        assert self.weights is not None
        return width(min(-1, int(self.weights.min())), int(self.weights.max()))

    @property
    def bipolar(self) -> bool:
        """Whether every weight is 1 or −1: a bit in memory."""
        return self.weights is not None and bool((np.abs(self.weights) == 1).all())

    def sum_bits(self, stream: Stream) -> int:
        """Of what its rounding takes; stream: its first input."""
        if self.kind == "quantise":
            return 33  # a float's place in the order of floats
        return stream.operand_bits if self.kind == "max" else width(min(-1, self.total[0]), self.total[1])


@dataclass(frozen=True)
class Port:
    """An input or output of the model: its stream, tensor name, and which element of the tensor each place of the stream is."""

    stream: str
    tensor: str
    dtype: str
    order: np.ndarray


@dataclass(frozen=True)
class Edge:
    """From a stream to one reader. beat, word: elements written and read at once; words: its memory's depth."""

    stream: str
    reader: str  # a stage's name, or "" for the model's output
    slot: int
    beat: int
    word: int
    words: int

    @property
    def capacity(self) -> int:
        """Beats."""
        return self.words * self.word // self.beat


@dataclass(frozen=True)
class Network:
    name: str
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    streams: dict[str, Stream]
    stages: tuple[Stage, ...]
    beats: dict[str, int] = field(default_factory=dict)  # of input streams
    edges: tuple[Edge, ...] = ()

    @property
    def module(self) -> str:
        """Its name in SystemVerilog."""
        return module_name(self.name)

    def producer(self, stream: str) -> Stage | None:
        return next((s for s in self.stages if s.output == stream), None)

    def readers(self, stream: str) -> list[tuple[str, int]]:
        found = [(s.name, i) for s in self.stages for i, v in enumerate(s.inputs) if v == stream]
        return found + [("", i) for i, p in enumerate(self.outputs) if p.stream == stream]

    def edges_of(self, stream: str) -> list[Edge]:
        return [e for e in self.edges if e.stream == stream]

    def edge_into(self, stage: str, slot: int) -> Edge:
        return next(e for e in self.edges if e.reader == stage and e.slot == slot)
