"""CPUs with an operating system: a shared and a static library with a C interface."""

from mlcc_backends.cpu.compile import compile
from mlcc_backends.cpu.emit import emit
from mlcc_backends.cpu.run import execute, runner

NARROW = True
__all__ = ["NARROW", "compile", "emit", "execute", "runner"]
