"""GPUs of any maker through OpenCL: the CUDA backend's kernels as OpenCL C, compiled by the device's driver at run time."""

from mlcc_backends.cpu.run import execute
from mlcc_backends.opencl.build import compile, emit, runner

__all__ = ["compile", "emit", "execute", "runner"]
