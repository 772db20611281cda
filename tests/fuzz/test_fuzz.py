"""Random models: the reference agrees with ONNX Runtime, every translation is proven, kernels equal the reference."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest

from mlcc import plugin
from mlcc.target import load
from tests.fuzz.run import check, inner_shapes, kernels, mutant, opened, targets

BATCH = 25
EVERY_DAY, FULL = 200, 20_000
TARGETS = (
    "native", "x86_64-v2", "x86_64-v3", "x86_64-v4", "aarch64-linux", "armv7-linux", "riscv64-linux", "riscv64-v-linux", "s390x-linux", "ppc64le-linux", "c99",
)  # fmt: skip


def batch(first: int) -> Counter[str]:
    counts: Counter[str] = Counter()
    for seed in range(first, first + BATCH):
        check(seed, counts)
    return counts


@pytest.mark.parametrize("first", range(0, EVERY_DAY, BATCH))
def test_random_models(first: int) -> None:
    counts = batch(first)
    assert counts["agrees"] >= BATCH * 0.7, counts  # else the generator makes what nobody takes


def open_batch(seeds: range) -> None:
    counts: Counter[str] = Counter()
    for seed in seeds:
        opened(seed, counts)
    assert counts["open"] >= len(seeds) // 8, counts  # the others say their sizes in other places, too


@pytest.mark.parametrize("first", range(0, 100, 50))
def test_random_models_of_open_sizes(first: int) -> None:
    open_batch(range(first, first + 50))


@pytest.mark.full
@pytest.mark.parametrize("first", range(0, 10_000, 500))
def test_many_random_models_of_open_sizes(first: int) -> None:
    open_batch(range(first, first + 500))


@pytest.mark.parametrize("seed", [100_003, 100_014, 100_023])
def test_kernels_of_random_models(seed: int) -> None:
    found = check(seed, Counter(), components=4)
    assert found is not None
    kernels(*found)


@pytest.mark.parametrize("seed", [100_100])
def test_artifacts_of_random_models(seed: int, tmp_path: Path) -> None:
    """Signed artifacts, their self-tests run: natively, on AArch64, as plain C."""
    found = check(seed, Counter(), components=2)
    assert found is not None
    targets(found[0], found[2], tmp_path, ("native", "aarch64-linux", "c99"))


def mutants(path: Path, feed: dict[str, np.ndarray], seeds: range) -> Counter[str]:
    model, counts = onnx.load(str(path)), Counter[str]()
    shapes = inner_shapes(model, feed)
    for seed in seeds:
        mutant(model, feed, shapes, seed, counts)
    return counts


def test_mutated_real_models(magika: Path) -> None:
    feed = {"bytes": np.random.default_rng(0).integers(0, 256, (1, 2048)).astype(np.int32)}
    counts = mutants(magika, feed, range(6))
    assert counts["agrees"] >= 4, counts


@pytest.mark.full
def test_many_mutated_real_models(magika: Path, tiny: Callable[[str], Path]) -> None:
    feed = {"bytes": np.random.default_rng(0).integers(0, 256, (1, 2048)).astype(np.int32)}
    mutants(magika, feed, range(200))
    for name in ("vww_96_float", "kws_ref_model", "pretrainedResnet", "ad01_int8"):
        path = tiny(name)
        graph = onnx.load(str(path)).graph
        value = graph.input[0]
        shape = [d.dim_value or 1 for d in value.type.tensor_type.shape.dim]
        r = np.random.default_rng(0)
        array = (
            r.standard_normal(shape).astype(np.float32)
            if value.type.tensor_type.elem_type == 1
            else r.integers(-128, 128, shape).astype(np.int8)
        )
        mutants(path, {value.name: array}, range(200))


@pytest.mark.full
@pytest.mark.parametrize("first", range(EVERY_DAY, FULL, 20 * BATCH))
def test_many_random_models(first: int) -> None:
    for part in range(first, min(FULL, first + 20 * BATCH), BATCH):
        batch(part)


@pytest.mark.full
@pytest.mark.parametrize("first", range(200_000, 200_060, 10))
def test_every_target_on_random_models(first: int, tmp_path: Path) -> None:
    here = tuple(t for t in TARGETS if plugin.runs(load(t)))
    for seed in range(first, first + 10):
        found = check(seed, Counter(), components=3)
        if found is not None:
            kernels(*found)
            targets(found[0], found[2], tmp_path, here)
