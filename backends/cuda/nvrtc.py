"""CUDA source → code for GPUs by NVRTC, from NVIDIA's wheel; needs no GPU, driver or toolkit."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from functools import cache
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

from mlcc.error import Error

VERSION = "13"  # the generation of CUDA that drivers must know; the extra `cuda` pins it
OPTIONS = ("--fmad=false", "--ftz=false", "--prec-div=true", "--prec-sqrt=true", "--std=c++17")


def images(architectures: Sequence[str]) -> list[dict[str, Any]]:
    """What the library holds: code for each architecture, and PTX of the newest for those to come."""
    found: list[dict[str, Any]] = [{"symbol": a, "major": int(a[3:-1]), "minor": int(a[-1]), "option": a} for a in architectures]
    newest = max(found, key=lambda i: (i["major"], i["minor"]))
    return [*found, {**newest, "symbol": f"ptx_{newest['symbol'][3:]}", "option": f"compute_{newest['symbol'][3:]}"}]


@cache
def library() -> tuple[ctypes.CDLL, str]:
    """NVRTC and its version. Raises Error(toolchain) with the command that installs it."""
    try:
        wheel = distribution("nvidia-cuda-nvrtc")
    except PackageNotFoundError:
        raise Error("toolchain", "the CUDA compiler is not installed", "NVRTC", "pip install 'mlcc[cuda]'") from None
    for file in wheel.files or ():
        if Path(file).name.startswith("libnvrtc.so"):
            return ctypes.CDLL(str(wheel.locate_file(file))), wheel.version
    raise Error("toolchain", "the wheel nvidia-cuda-nvrtc holds no library for this machine", "NVRTC")


def compile_image(source: bytes, name: str, option: str) -> bytes:
    """A cubin, or PTX (as text that ends in a zero byte) for compute_NN. Raises Error(toolchain) with the compiler's first messages."""
    nvrtc, _ = library()
    program = ctypes.c_void_p()
    _check(nvrtc, nvrtc.nvrtcCreateProgram(ctypes.byref(program), source, f"{name}.cu".encode(), 0, None, None))
    try:
        options = [f"--gpu-architecture={option}", *OPTIONS]
        status = nvrtc.nvrtcCompileProgram(program, len(options), (ctypes.c_char_p * len(options))(*(o.encode() for o in options)))
        if status:
            lines = [line for line in _text(nvrtc, program, "ProgramLog").splitlines() if "error" in line]
            raise Error(
                "toolchain",
                f"NVRTC failed for {option}: {' | '.join(lines[:3])}",
                f"{name}.cu",
                "this is a bug in mlcc; please report it with the model",
            )
        return _bytes(nvrtc, program, "PTX" if option.startswith("compute") else "CUBIN")
    finally:
        nvrtc.nvrtcDestroyProgram(ctypes.byref(program))


def _bytes(nvrtc: ctypes.CDLL, program: ctypes.c_void_p, what: str) -> bytes:
    size = ctypes.c_size_t()
    _check(nvrtc, getattr(nvrtc, f"nvrtcGet{what}Size")(program, ctypes.byref(size)))
    buffer = ctypes.create_string_buffer(size.value)
    _check(nvrtc, getattr(nvrtc, f"nvrtcGet{what}")(program, buffer))
    return buffer.raw


def _text(nvrtc: ctypes.CDLL, program: ctypes.c_void_p, what: str) -> str:
    return _bytes(nvrtc, program, what).split(b"\0")[0].decode(errors="replace")


def _check(nvrtc: ctypes.CDLL, status: int) -> None:
    if status:
        nvrtc.nvrtcGetErrorString.restype = ctypes.c_char_p
        raise Error("toolchain", f"NVRTC: {nvrtc.nvrtcGetErrorString(status).decode()}")
