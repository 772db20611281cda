"""NVIDIA GPUs: one library that loads the driver at run time; built, and proven on the host, without a GPU."""

from mlcc_backends.cuda.compile import compile
from mlcc_backends.cuda.emit import emit
from mlcc_backends.cuda.run import execute, runner

__all__ = ["compile", "emit", "execute", "runner"]
