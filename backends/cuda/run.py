"""Run the kernels where there is no GPU: their source on the host; and on the GPU as well, where there is one."""

from __future__ import annotations

import ctypes
import tempfile
from collections.abc import Mapping
from functools import cache
from pathlib import Path

import numpy as np

from mlcc.artifact.manifest import Manifest
from mlcc.error import Error
from mlcc.plugin import Binaries, Environment, Missing
from mlcc.program.program import Program
from mlcc.runtime.library import fresh
from mlcc.target import Target, host_machine
from mlcc_backends.cpu.run import ProcessRunner, call_program, execute_program
from mlcc_backends.cuda.compile import shim_program

ORDERS = (2, 0, 1)  # of a block's threads, by test vector: any, first to last, last to first


class KernelRunner(ProcessRunner):
    """Test vectors on the host, in adverse orders; a GPU's answers must be the same."""

    def __init__(self, binaries: Binaries, program: Program, environment: str, on_gpu: bool) -> None:
        super().__init__(binaries, program, [], environment, False)
        self.on_gpu = on_gpu

    def golden(self, vector: int, variant: int = -1) -> str | None:
        found = super().golden(vector, ORDERS[vector % len(ORDERS)])
        if not self.on_gpu:
            return found
        with tempfile.TemporaryDirectory(prefix="mlcc-") as d:
            path = Path(d) / "test"
            path.write_bytes(self.binaries.private["gpu_test"])
            digest = execute_program(path, [], "the GPU", ["test", str(vector), "0"], self.binaries.name).split()[0]
        if digest != found:
            raise Error("conformance", f"the GPU's outputs differ from the host's on vector {vector}", self.binaries.name)
        return digest


@cache
def has_gpu() -> bool:
    """Whether NVIDIA's driver is here and knows of a GPU."""
    try:
        driver, count = ctypes.CDLL("libcuda.so.1"), ctypes.c_int()
        return driver.cuInit(0) == 0 and driver.cuDeviceGetCount(ctypes.byref(count)) == 0 and count.value > 0
    except (OSError, AttributeError):
        return False


def environment(target: Target) -> Environment | Missing:
    """A GPU, else the kernels' source on this machine."""
    if has_gpu() and host_machine() == target.machine:
        return Environment("native")
    return Environment(f"the kernels' source on {host_machine()}") if host_machine() in ("x86_64", "aarch64") else Missing()


def runner(binaries: Binaries, target: Target, program: Program) -> KernelRunner | None:
    found = environment(target)
    if isinstance(found, Missing):
        return None
    native = found.name == "native"
    return KernelRunner(binaries, program, "GPU and host" if native else found.name, native)


def execute(artifact: Path, about: Manifest, feed: Mapping[str, np.ndarray], target: Target) -> dict[str, np.ndarray]:
    """The artifact's kernels on the host, with the weights that its library holds."""
    root, name = artifact.resolve(), about["name"]
    library = fresh(root / "lib" / f"lib{name}.so")
    size = ctypes.c_uint64.in_dll(library, f"{name}_weights_bytes").value
    weights = ctypes.string_at(ctypes.addressof(ctypes.c_ubyte.in_dll(library, f"{name}_weights")), size)
    with tempfile.TemporaryDirectory(prefix="mlcc-") as d:
        folder = Path(d)
        for part in ("include", "share/selftest"):
            for path in (root / part).iterdir():
                place = folder / ("include" if part == "include" else "src") / path.name
                place.parent.mkdir(exist_ok=True)
                place.write_bytes(path.read_bytes().replace(b'"../../include/', b'"../include/'))
        (folder / "src/weights.bin").write_bytes(weights)
        return call_program(shim_program(folder), [], "the host", about, feed, "<")
