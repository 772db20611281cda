"""Random models: the reference agrees with ONNX Runtime, every translation is proven, kernels equal the reference."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from mlcc.conformance import emulator
from mlcc.target import load
from tests.fuzz.run import check, kernels, targets

BATCH = 25
EVERY_DAY, FULL = 300, 20_000
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


@pytest.mark.full
@pytest.mark.parametrize("first", range(EVERY_DAY, FULL, 20 * BATCH))
def test_many_random_models(first: int) -> None:
    for part in range(first, min(FULL, first + 20 * BATCH), BATCH):
        batch(part)


@pytest.mark.full
@pytest.mark.parametrize("first", range(200_000, 200_060, 10))
def test_every_target_on_random_models(first: int, tmp_path: Path) -> None:
    here = tuple(t for t in TARGETS if emulator.environment(load(t)))
    for seed in range(first, first + 10):
        found = check(seed, Counter(), components=3)
        if found is not None:
            kernels(*found)
            targets(found[0], found[2], tmp_path, here)
