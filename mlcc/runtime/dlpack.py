"""DLPack by ctypes, for memory that NumPy cannot reach (https://dmlc.github.io/dlpack/latest/, version 0.x capsules)."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

from mlcc.error import Error

CPU, CUDA, CUDA_MANAGED = 1, 2, 13
CODES = {"i": 0, "u": 1, "f": 2, "b": 6}
BFLOAT = 4


class _DType(ctypes.Structure):
    _fields_ = [("code", ctypes.c_uint8), ("bits", ctypes.c_uint8), ("lanes", ctypes.c_uint16)]


class _Device(ctypes.Structure):
    _fields_ = [("type", ctypes.c_int32), ("id", ctypes.c_int32)]


class _Tensor(ctypes.Structure):
    _fields_ = [
        ("data", ctypes.c_void_p),
        ("device", _Device),
        ("ndim", ctypes.c_int32),
        ("dtype", _DType),
        ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("strides", ctypes.POINTER(ctypes.c_int64)),
        ("byte_offset", ctypes.c_uint64),
    ]


class _Managed(ctypes.Structure):
    pass


_Deleter = ctypes.CFUNCTYPE(None, ctypes.POINTER(_Managed))
_Managed._fields_ = [("tensor", _Tensor), ("context", ctypes.c_void_p), ("deleter", _Deleter)]
_Destructor = ctypes.CFUNCTYPE(None, ctypes.c_void_p)
_api = ctypes.pythonapi
_api.PyCapsule_GetPointer.restype = ctypes.c_void_p
_api.PyCapsule_GetPointer.argtypes = [ctypes.py_object, ctypes.c_char_p]
_api.PyCapsule_New.restype = ctypes.py_object
_api.PyCapsule_New.argtypes = [ctypes.c_void_p, ctypes.c_char_p, _Destructor]
_is_valid = ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_char_p)(("PyCapsule_IsValid", _api))
_NAME = b"dltensor"


@dataclass(frozen=True)
class Memory:
    """A tensor's memory as another library describes it; `owner` keeps it alive."""

    pointer: int
    device: tuple[int, int]
    dtype: tuple[int, int]  # code, bits
    shape: tuple[int, ...]
    contiguous: bool
    owner: Any


def device_of(value: Any) -> tuple[int, int] | None:
    """(type, number) of the device that a DLPack tensor lies on; None for anything else."""
    found = getattr(value, "__dlpack_device__", None)
    if found is None:
        return None
    kind, number = found()
    return int(kind), int(number)


def read(value: Any, stream: int | None) -> Memory:
    """What a tensor says of itself, once its producer's work is ordered before `stream` (DLPack's numbers: 1 is the default stream)."""
    capsule = value.__dlpack__(stream=stream)
    pointer = _api.PyCapsule_GetPointer(capsule, _NAME)
    t = ctypes.cast(pointer, ctypes.POINTER(_Managed)).contents.tensor
    shape = tuple(t.shape[i] for i in range(t.ndim))
    strides = tuple(t.strides[i] for i in range(t.ndim)) if t.strides else None
    row_major = tuple(prod(shape[i + 1 :]) for i in range(len(shape)))
    contiguous = strides is None or all(n == 1 or s == w for n, s, w in zip(shape, strides, row_major)) or 0 in shape
    device = (int(t.device.type), int(t.device.id))
    return Memory(int(t.data or 0) + int(t.byte_offset), device, (int(t.dtype.code), int(t.dtype.bits)), shape, contiguous, capsule)


def dtype_of(dtype: str) -> tuple[int, int]:
    """DLPack's (code, bits) of a NumPy dtype's name."""
    if dtype == "bfloat16":
        return BFLOAT, 16
    d = np.dtype(dtype)
    return CODES[d.kind], d.itemsize * 8


class Exported:
    """Tensors handed out as capsules: each is kept until its consumer lets go."""

    def __init__(self) -> None:
        self._alive: dict[int, tuple[Any, ...]] = {}
        self._deleter = _Deleter(self._delete)
        self._destructor = _Destructor(self._destroy)

    def capsule(self, pointer: int, device: tuple[int, int], dtype: str, shape: tuple[int, ...], owner: Any) -> Any:
        managed = _Managed()
        dims = (ctypes.c_int64 * max(1, len(shape)))(*shape)
        code, bits = dtype_of(dtype)
        managed.tensor = _Tensor(pointer, _Device(*device), len(shape), _DType(code, bits, 1), dims, None, 0)
        managed.deleter = self._deleter
        at = ctypes.addressof(managed)
        self._alive[at] = (managed, dims, owner)
        return _api.PyCapsule_New(at, _NAME, self._destructor)

    def _delete(self, managed: Any) -> None:
        self._alive.pop(ctypes.addressof(managed.contents), None)

    def _destroy(self, capsule: int) -> None:
        """A capsule that nobody consumed (a consumer renames it)."""
        if _is_valid(capsule, _NAME):
            get = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p, ctypes.c_char_p)(("PyCapsule_GetPointer", _api))
            self._alive.pop(get(capsule, _NAME), None)


EXPORTED = Exported()


def check(memory: Memory, dtype: str, shape: tuple[int, ...], name: str, told: Callable[[tuple[int, int]], str] = str) -> None:
    """Raise Error(usage) where a tensor is not what a model wants."""
    if memory.dtype != dtype_of(dtype) or memory.shape != shape:
        raise Error(
            "usage", f"a tensor of DLPack type {memory.dtype} and shape {list(memory.shape)} given, {dtype}{list(shape)} wanted", name
        )
    if not memory.contiguous:
        raise Error("usage", "a tensor that is not contiguous", name, "x.contiguous()")
