"""The freeze: a program's identity and its golden vectors.

Inputs come from Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", 2011), so that a device can make them
by itself: counter (element, input, 0, 0), key (seed, "mlcc").
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from mlcc.core.graph import DTYPES, CoreGraph, TensorType, canonical_bytes
from mlcc.core.ranges import bind, numbers_from, sizes_at, trials
from mlcc.error import Error
from mlcc.graph.coverage import Coverage
from mlcc.graph.draws import Draw, draws
from mlcc.reference.execute import execute

KEY = 0x6D6C6363
SEEDS = ((1, "uniform"), (2, "uniform"), (3, "edge"))
FURTHER = (6, -6, 3, -3)  # binary exponents of free floats, tried where operators are not exercised yet
FREE = Draw()
SAMPLE = 0x53414D50  # the seed that stands for given inputs
EDGES_F32 = (
    0x00000000,
    0x80000000,
    0x00000001,
    0x807FFFFF,
    0x00800000,
    0x3F800000,
    0xBF800000,
    0x477FE000,
    0x2EDBE6FF,
    0x3F000000,
    0xC0600000,
    0x7F7FFFFF,
)
EDGES_INT = (-1, 0, 1, 1000, -(1 << 31), (1 << 31) - 1)


@dataclass(frozen=True)
class Golden:
    """One golden vector: inputs by name, outputs by name, the digest of the outputs; kind: `uniform`, `edge` or `sample` (given, not
    drawn); draws: how the inputs were drawn; exponent: what free floats are scaled by, as a power of two."""

    seed: int
    kind: str
    inputs: dict[str, np.ndarray]
    outputs: dict[str, np.ndarray]
    digest: str
    draws: Mapping[str, Draw] = field(default_factory=dict)
    exponent: int = 0
    sizes: Mapping[str, int] = field(default_factory=dict)  # of a graph that leaves some open

    @property
    def drawn(self) -> bool:
        """Whether a device can make the inputs by itself."""
        return self.kind != "sample"


def philox(elements: int, stream: int, seed: int) -> np.ndarray:
    """[elements, 4] uint32."""
    x = np.zeros((4, elements), np.uint64)
    x[0], x[1] = np.arange(elements), stream
    k0, k1 = np.uint64(seed), np.uint64(KEY)
    mask = np.uint64(0xFFFFFFFF)
    for _ in range(10):
        p0, p1 = x[0] * np.uint64(0xD2511F53), x[2] * np.uint64(0xCD9E8D57)
        x = np.stack([(p1 >> np.uint64(32)) ^ x[1] ^ k0, p1 & mask, (p0 >> np.uint64(32)) ^ x[3] ^ k1, p0 & mask])
        k0, k1 = (k0 + np.uint64(0x9E3779B9)) & mask, (k1 + np.uint64(0xBB67AE85)) & mask
    return x.T.astype(np.uint32)


def golden_input(t: TensorType, stream: int, seed: int, kind: str, draw: Draw = FREE, exponent: int = 0) -> np.ndarray:
    """`uniform`: free floats are a sum of four uniforms in (−4, 4) times 2^exponent, free integers small and non-negative; others as their
    Draw says. `edge`: an eighth of the elements are special values, or the ends of the range. The same as fill() of the self-test in C."""
    r = philox(t.size, stream, seed).astype(np.int64)
    special = ((r[:, 2] & 7) == 0) & (kind == "edge")
    floats = t.dtype in ("float32", "float64", "float16", "bfloat16")
    half = t.dtype in ("float16", "bfloat16")
    if draw.kind in ("range", "ramp"):
        steps = np.arange(t.size, dtype=np.int64) * draw.span // max(1, t.size) if draw.kind == "ramp" else r[:, 0] % draw.span
        ends = np.where(r[:, 3] & 1, draw.span - 1, 0)
        values = draw.low + np.where(special & (draw.kind == "range"), ends, steps)
    elif floats:
        total = (r[:, 0] & 0xFFFF) + (r[:, 0] >> 16) + (r[:, 1] & 0xFFFF) + (r[:, 1] >> 16) - 131070
        whole = total >> 10 if half else total
        unit, power = draw.kind == "unit", -5 if half else -15
        drawn = whole.astype(np.float32) * np.float32(2.0 ** (power - 3 if unit else power + exponent))
        drawn = drawn + np.float32(0.5) if unit else drawn
        if half:
            values = np.where(special, np.where(r[:, 3] & 1, np.float32(-0.0), np.float32(0.0)), drawn)
        else:
            edges = np.array(EDGES_F32, np.uint32).view(np.float32)
            values = np.where(special, edges[r[:, 3] % len(edges)], drawn)
    else:
        width = np.iinfo(DTYPES[t.dtype])
        values = r[:, 0] & 255
        if width.bits > 8:
            values = np.where(special, np.array(EDGES_INT)[r[:, 3] % len(EDGES_INT)], values)
    return values.astype(DTYPES[t.dtype]).reshape(t.shape)


def outputs_digest(outputs: dict[str, np.ndarray]) -> str:
    """SHA-256 over the outputs' canonical bytes, in the program's order."""
    digest = hashlib.sha256()
    for array in outputs.values():
        digest.update(canonical_bytes(array))
    return digest.hexdigest()


def golden_vectors(graph: CoreGraph, samples: Sequence[Mapping[str, np.ndarray]] = ()) -> list[Golden]:
    """Vectors for all seeds, and for given inputs (those that are not given are drawn), outputs by the reference."""
    return frozen_vectors(graph, samples)[0]


def frozen_vectors(graph: CoreGraph, samples: Sequence[Mapping[str, np.ndarray]] = ()) -> tuple[list[Golden], Coverage]:
    """The golden vectors and what they exercise: where some operator's results are all NaN or all equal, further ones are searched for.

    Raises Error(model) where an output that depends on the inputs is nowhere finite: nothing could be said of it.
    """
    tried = trials(graph.sizes)
    coverage, how = Coverage(graph), draws(bind(graph, tried[min(1, len(tried) - 1)]) if graph.sizes else graph)  # of the smallest sizes
    found = []

    def vector(seed: int, kind: str, exponent: int, given: Mapping[str, np.ndarray], numbers: Mapping[str, int]) -> tuple[Golden, Coverage]:
        at = bind(graph, numbers) if numbers else graph
        inputs = {
            v: given[v] if v in given else golden_input(at.types[v], i, seed, kind, how[v], exponent) for i, v in enumerate(graph.inputs)
        }
        seen = coverage.copy()
        outputs = execute(at, inputs, seen.watch)
        sizes = sizes_at(numbers, graph.sizes)
        return Golden(seed, kind, inputs, outputs, outputs_digest(outputs), how, exponent, sizes), seen

    def wanted() -> Iterator[tuple[int, str, int, Mapping[str, np.ndarray], Mapping[str, int]]]:
        yield from ((seed, kind, 0, {}, tried[0]) for seed, kind in SEEDS)
        yield from ((SEEDS[0][0], SEEDS[0][1], 0, {}, numbers) for numbers in tried[1:])
        for given in samples:
            yield SAMPLE, "sample", 0, given, numbers_given(graph, given, tried[0])

    for request in wanted():
        golden, coverage = vector(*request)
        found.append(golden)
    for n, exponent in enumerate(FURTHER):
        before = len(coverage.idle())
        if not before:
            break
        golden, seen = vector(4 + n, "uniform", exponent, {}, tried[0])
        if len(seen.idle()) < before:
            coverage = seen
            found.append(golden)
    for v in coverage.unseen_outputs():
        raise Error(
            "model", f"output {v} is not a finite number in any golden vector, so no test would test it", graph.name,
            "--sample NAME=FILE.npy gives real inputs",
        )  # fmt: skip
    return found, coverage


def numbers_given(graph: CoreGraph, given: Mapping[str, np.ndarray], otherwise: Mapping[str, int]) -> dict[str, int]:
    """The numbers of the graph's sizes that arrays have. Raises Error(usage) where they do not fit."""
    named = numbers_from([(graph.types[v].shape, a.shape, v) for v, a in given.items()])
    return {**otherwise, **named}


def program_output_digest(vectors: list[Golden]) -> str:
    """SHA-256 over all golden outputs' canonical bytes."""
    digest = hashlib.sha256()
    for vector in vectors:
        for array in vector.outputs.values():
            digest.update(canonical_bytes(array))
    return digest.hexdigest()
