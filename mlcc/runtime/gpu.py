"""Running GPU artifacts from Python: tensors of PyTorch, CuPy and others by DLPack, without a copy; NumPy arrays by copying.

>>> m = load("dist/model/cuda", device=0)
>>> y = m(x=torch_tensor)["y"]        # on the GPU: torch.from_dlpack(y)
>>> m.run_on_stream({"x": x}, {"y": y}, stream.cuda_stream)
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from mlcc.artifact.manifest import extents
from mlcc.error import Error
from mlcc.runtime import dlpack
from mlcc.runtime.model import Model, Tensor

DEFAULT_STREAM = 1  # as DLPack numbers it


class DeviceArray:
    """A result in the GPU's memory. Speaks DLPack; `numpy()` copies it to the host."""

    def __init__(self, model: GpuModel, tensor: Tensor, pointer: int) -> None:
        self._model, self._tensor, self.pointer = model, tensor, pointer  # the tensor as it is, its shape what it is now
        self.shape, self.dtype = tensor.shape, tensor.dtype

    def __dlpack_device__(self) -> tuple[int, int]:
        return dlpack.CUDA, self._model.device

    def __dlpack__(self, *, stream: int | None = None, **_: Any) -> Any:
        """A capsule; the work that makes the result is done, unless the consumer uses the same stream or says that it will see to it
        (-1)."""
        if stream not in (DEFAULT_STREAM, -1):
            self._model.wait()
        return dlpack.EXPORTED.capsule(self.pointer, self.__dlpack_device__(), self.dtype, self.shape, self)

    def numpy(self) -> np.ndarray:
        self._model.wait()
        found = np.empty(self.shape, self._tensor.numpy)
        self._model.call("copy_out", found.ctypes.data, self.pointer, found.nbytes)
        return found

    def __del__(self) -> None:
        self._model.put_back(self._tensor, self.pointer)


class GpuModel(Model):
    """A model on one GPU. Calls from several threads take turns; for several GPUs load it for each."""

    def __init__(self, folder: Path, device: int = 0) -> None:
        self.device = device
        self._gpu = ctypes.c_void_p()
        super().__init__(folder)
        self._free: dict[tuple[str, tuple[int, ...]], list[int]] = {}
        status = self._function("create")(ctypes.c_int(device), ctypes.byref(self._gpu))
        if status:
            raise self._failure()

    def _function(self, name: str) -> Any:
        return getattr(self._library, f"{self.name}_{name}")

    def _failure(self) -> Error:
        return Error(
            "unsupported",
            self._words() or "the GPU does not answer",
            f"{self.name} for {self.target}",
            "`mlcc run` computes on the host where there is no GPU",
        )

    def call(self, name: str, *arguments: int) -> None:
        """One of the library's functions on this instance. Raises Error(unsupported) with the library's words."""
        if not self._gpu:
            raise Error("usage", "the model is closed", self.name)
        if self._function(name)(self._gpu, *(ctypes.c_void_p(a) for a in arguments)):
            raise self._failure()

    def wait(self) -> None:
        """Until all that was queued on the default stream is done."""
        self.call("wait", 0)

    def _take(self, t: Tensor) -> int:
        """Memory for a tensor: some that was given back, or new."""
        known = self._free.get((t.dtype, t.shape))
        if known:
            return known.pop()
        memory = ctypes.c_void_p()
        if self._function("allocate")(
            self._gpu, ctypes.c_size_t(int(np.prod(t.shape, dtype=np.int64)) * t.numpy.itemsize), ctypes.byref(memory)
        ):
            raise self._failure()
        return memory.value or 0

    def put_back(self, t: Tensor, pointer: int) -> None:
        if self._gpu:
            self._free.setdefault((t.dtype, t.shape), []).append(pointer)

    def _on_device(self, t: Tensor, value: Any) -> dlpack.Memory:
        device = dlpack.device_of(value)
        if device not in ((dlpack.CUDA, self.device), (dlpack.CUDA_MANAGED, self.device)):
            raise Error("usage", f"a tensor on GPU {self.device} is wanted", t.name, f"this one is on DLPack device {device}")
        memory = dlpack.read(value, DEFAULT_STREAM)
        fits = t.open and len(memory.shape) == len(t.shape) and all(memory.shape[i] == n for i, n in t.closed)
        dlpack.check(memory, t.dtype, memory.shape if fits else t.shape, t.name)
        return memory

    def __call__(self, inputs: Mapping[str, Any] | None = None, /, **named: Any) -> dict[str, Any]:
        """Output name → DeviceArray where an input is on the GPU (queued on the default stream, not waited for), else NumPy array."""
        given = {**(inputs or {}), **named}
        self._know(given)
        with self._lock:
            found: list[dlpack.Memory | np.ndarray] = []
            for t in self.inputs:
                value = given.get(t.name)
                there = (dlpack.device_of(value) or (dlpack.CPU, 0))[0] in (dlpack.CUDA, dlpack.CUDA_MANAGED)
                found.append(self._on_device(t, value) if there else self._input(t, given))
            numbers, wanted = self._sized([v.shape for v in found])
            on_gpu = any(isinstance(v, dlpack.Memory) for v in found)
            ins, borrowed = list[int](), list[tuple[Tensor, int]]()
            for t, v in zip(self.inputs, found):
                if isinstance(v, dlpack.Memory):
                    ins.append(v.pointer)
                    continue
                own = replace(t, shape=v.shape)
                borrowed.append((own, self._take(own)))
                ins.append(borrowed[-1][1])
                self.call("copy_in", ins[-1], v.ctypes.data, v.nbytes)
            results = self._places(wanted)
            self._queue(ins, [r.pointer for r in results.values()], 0, numbers)
            if borrowed:
                self.wait()  # what was borrowed is free again
            for t, pointer in borrowed:
                self.put_back(t, pointer)
        return results if on_gpu else {n: r.numpy() for n, r in results.items()}

    def upload(self, inputs: Mapping[str, Any]) -> dict[str, DeviceArray]:
        """Inputs in the GPU's memory, for calls that find them there."""
        self._know(inputs)
        found = {}
        for t in self.inputs:
            array = self._input(t, inputs)
            own = replace(t, shape=array.shape)
            found[t.name] = DeviceArray(self, own, self._take(own))
            self.call("copy_in", found[t.name].pointer, array.ctypes.data, array.nbytes)
        return found

    def empty(self, **sizes: int) -> dict[str, DeviceArray]:
        """Places for the outputs in the GPU's memory; sizes: those that a run decides, if any (else the largest)."""
        known = {n: r[-1] for n, r in self.sizes.items()} | sizes
        return self._places([extents(t, known) for t in self._manifest["outputs"]])

    def _places(self, shapes: Sequence[tuple[int, ...]]) -> dict[str, DeviceArray]:
        found = [replace(t, shape=shape) for t, shape in zip(self._written, shapes)]
        return {t.name: DeviceArray(self, t, self._take(t)) for t in found}

    def run_on_stream(self, inputs: Mapping[str, Any], outputs: Mapping[str, Any], stream: int = 0) -> None:
        """Queue one inference on a CUDA stream (its handle as a number), from and to tensors that lie on the GPU. The caller orders and
        keeps them."""
        self._know(inputs)
        ins, outs = (
            [self._on_device(t, given[t.name]) for t in wanted] for wanted, given in ((self.inputs, inputs), (self._written, outputs))
        )
        with self._lock:
            numbers, shapes = self._sized([m.shape for m in ins])
            for t, memory, shape in zip(self._written, outs, shapes):
                dlpack.check(memory, t.dtype, shape, t.name)
            self._queue([m.pointer for m in ins], [m.pointer for m in outs], stream, numbers)

    def _queue(self, ins: list[int], outs: list[int], stream: int, numbers: Any) -> None:
        a = (ctypes.c_void_p * (len(ins) + 1))(*ins, ctypes.addressof(numbers) if numbers else None)
        b = (ctypes.c_void_p * (len(outs) + 1))(*outs, None)
        if self._function("queue_arrays")(self._gpu, a, b, ctypes.c_void_p(stream)):
            raise self._failure()

    def _prepared(self, given: Mapping[str, Any]) -> tuple[list[np.ndarray], Callable[[int, int], None]]:
        raise Error(
            "unsupported",
            "single kernel calls on a GPU",
            self.name,
            "profile it with NVIDIA's tools: kernels have the names that steps.json gives",
        )

    def close(self) -> None:
        """Give the GPU's memory back."""
        if getattr(self, "_gpu", None):
            for pointers in self._free.values():
                for p in pointers:
                    self._function("release")(self._gpu, ctypes.c_void_p(p))
            self._free = {}
            self._function("destroy")(self._gpu)
            self._gpu = ctypes.c_void_p()
