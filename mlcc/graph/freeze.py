"""The freeze: a program's identity and its golden vectors.

Inputs come from Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", 2011), so that a device can make them
by itself: counter (element, input, 0, 0), key (seed, "mlcc").
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np

from mlcc.graph.core import DTYPES, CoreGraph, TensorType, canonical_bytes
from mlcc.reference.execute import execute

KEY = 0x6D6C6363
SEEDS = ((1, "uniform"), (2, "uniform"), (3, "edge"))
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
    """One golden vector: inputs by name, outputs by name, and the digest of the outputs."""

    seed: int
    kind: str
    inputs: dict[str, np.ndarray]
    outputs: dict[str, np.ndarray]
    digest: str


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


def golden_input(t: TensorType, stream: int, seed: int, kind: str) -> np.ndarray:
    """`uniform`: floats a sum of four uniforms in (−4, 4), small non-negative integers. `edge`: an eighth of the elements are special values."""
    r = philox(t.size, stream, seed).astype(np.int64)
    special = ((r[:, 2] & 7) == 0) & (kind == "edge")
    if t.dtype in ("float32", "float64", "float16", "bfloat16"):
        total = (r[:, 0] & 0xFFFF) + (r[:, 0] >> 16) + (r[:, 1] & 0xFFFF) + (r[:, 1] >> 16) - 131070
        if t.dtype in ("float16", "bfloat16"):
            values = ((total >> 10) / 32.0).astype(np.float32)
            values = np.where(special, np.where(r[:, 3] & 1, np.float32(-0.0), np.float32(0.0)), values)
        else:
            values = (total / 32768.0).astype(np.float32)
            edges = np.array(EDGES_F32, np.uint32).view(np.float32)
            values = np.where(special, edges[r[:, 3] % len(edges)], values)
    elif t.dtype == "bool":
        values = r[:, 0] & 1
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


def golden_vectors(graph: CoreGraph) -> list[Golden]:
    """Vectors for all seeds, outputs by the reference."""
    found = []
    for seed, kind in SEEDS:
        inputs = {v: golden_input(graph.types[v], i, seed, kind) for i, v in enumerate(graph.inputs)}
        outputs = execute(graph, inputs)
        found.append(Golden(seed, kind, inputs, outputs, outputs_digest(outputs)))
    return found


def program_output_digest(vectors: list[Golden]) -> str:
    """SHA-256 over all golden outputs' canonical bytes."""
    digest = hashlib.sha256()
    for vector in vectors:
        for array in vector.outputs.values():
            digest.update(canonical_bytes(array))
    return digest.hexdigest()
