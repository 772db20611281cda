"""Whole models on an NVIDIA GPU beside ONNX Runtime's CUDA and TensorRT engines, where they are installed. python -m benchmarks.gpu

Writes docs/gpu.md: milliseconds of one inference (device memory to device memory, engines taking turns), and the share of the card's
binary32 peak. ONNX Runtime may use TF32 and other orders of sums; it is told not to use TF32. Needs a GPU: `pip install onnxruntime-gpu`.
"""

from __future__ import annotations

import ctypes
import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

import mlcc
from benchmarks.corpus import MODELS, fetch
from mlcc.artifact import manifest
from mlcc.cli.run import read_inputs
from mlcc.error import Error
from mlcc_backends.cuda.run import has_gpu

ROUNDS, BATCH = 15, 20
MULTIPROCESSORS, CLOCK_KHZ, MAJOR, MINOR = 16, 13, 75, 76  # CUdevice_attribute
LANES = {75: 64, 80: 64, 86: 128, 89: 128, 90: 128, 100: 128}  # binary32 units of a multiprocessor


def card() -> tuple[str, float]:
    """(name, binary32 peak in operations a second)."""
    driver, value = ctypes.CDLL("libcuda.so.1"), ctypes.c_int()
    driver.cuInit(0)
    name = ctypes.create_string_buffer(100)
    driver.cuDeviceGetName(name, 100, 0)

    def attribute(which: int) -> int:
        driver.cuDeviceGetAttribute(ctypes.byref(value), which, 0)
        return value.value

    lanes = LANES.get(attribute(MAJOR) * 10 + attribute(MINOR), 128)
    return name.value.decode(), attribute(MULTIPROCESSORS) * lanes * 2 * attribute(CLOCK_KHZ) * 1e3


def ours(artifact: Path, feed: dict[str, np.ndarray]) -> tuple[Callable[[], None], Callable[[], dict[str, np.ndarray]]]:
    """(a batch of inferences, the outputs)."""
    model: Any = mlcc.load(artifact)
    inputs, outputs = model.upload(feed), model.empty()

    def batch() -> None:
        for _ in range(BATCH):
            model.run_on_stream(inputs, outputs)
        model.wait()

    return batch, lambda: {n: a.numpy() for n, a in outputs.items()}


def theirs(provider: str, path: Path, feed: dict[str, np.ndarray]) -> Callable[[], None] | None:
    """A batch of inferences by ONNX Runtime with device memory bound; None where it cannot."""
    try:
        import onnxruntime as ort

        if provider not in ort.get_available_providers():
            return None
        options = [{"use_tf32": 0}] if provider.startswith("CUDA") else [{}]
        session = ort.InferenceSession(str(path), providers=[provider], provider_options=options)
        binding = session.io_binding()
        for name, array in feed.items():
            binding.bind_ortvalue_input(name, ort.OrtValue.ortvalue_from_numpy(array, "cuda", 0))
        for output in session.get_outputs():
            binding.bind_output(output.name, "cuda")
    except Exception as e:  # engines fail to load in many ways; which is of no interest here
        print(f"{provider}: {e}", file=sys.stderr)
        return None

    def batch() -> None:
        for _ in range(BATCH):
            session.run_with_iobinding(binding)
        binding.synchronize_outputs()

    return batch


def measure(engines: dict[str, Callable[[], None]]) -> dict[str, float]:
    """Milliseconds of one inference, by engine."""
    for run in engines.values():
        run()
        run()
    times: dict[str, list[float]] = {n: [] for n in engines}
    for _ in range(ROUNDS):
        for name, run in engines.items():
            start = time.perf_counter()
            run()
            times[name].append((time.perf_counter() - start) / BATCH * 1e3)
    return {n: median(t) for n, t in times.items()}


def main() -> None:
    if not has_gpu():
        raise SystemExit("no NVIDIA GPU here")
    name, peak = card()
    rows = []
    with tempfile.TemporaryDirectory() as d:
        for model, entry in MODELS.items():
            path = fetch(model)
            try:
                result = mlcc.build(path, target=["cuda", "native"], out=d, shapes=entry.shapes)
            except Error as e:
                print(f"{model}: {e}", file=sys.stderr)
                continue
            artifact = Path(result["artifacts"][0]["path"])
            feed = read_inputs(manifest.read(artifact)["inputs"], ())
            run, outputs = ours(artifact, feed)
            engines = {"mlcc": run}
            for short, provider in (("ORT CUDA", "CUDAExecutionProvider"), ("TensorRT", "TensorrtExecutionProvider")):
                if (other := theirs(provider, path, feed)) is not None:
                    engines[short] = other
            found = measure(engines)
            here = mlcc.load(result["artifacts"][1]["path"])(feed)
            same = all(a.tobytes() == here[n].tobytes() for n, a in outputs().items())
            steps = json.loads((artifact / "steps.json").read_text())
            share = 2 * sum(s["multiply_adds"] for s in steps) / (found["mlcc"] / 1e3) / peak
            beside = " | ".join(
                f"{found[e]:.3f} ({found[e] / found['mlcc']:.2f}×)" if e in found else "–" for e in ("ORT CUDA", "TensorRT")
            )
            rows.append(f"| {model} | {found['mlcc']:.3f} | {share:.1%} | {'yes' if same else 'NO'} | {beside} |")
            print(rows[-1])
    head = [
        "| model | mlcc, ms | share of the peak | bits equal the CPU's | ONNX Runtime CUDA, ms | TensorRT, ms |",
        "|---|---|---|---|---|---|",
    ]
    text = (
        f"# GPU\n\nWritten by `python -m benchmarks.gpu`, not by hand: {name}, binary32 peak {peak / 1e12:.1f} T/s.\n\n"
        + "\n".join([*head, *rows])
        + "\n"
    )
    (Path(__file__).parents[1] / "docs" / "gpu.md").write_text(text)


if __name__ == "__main__":
    main()
