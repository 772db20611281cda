"""Microcontrollers: a static library without heap, operating system or C library, tested on an emulated board."""

from mlcc_backends.mcu.compile import compile
from mlcc_backends.mcu.emit import emit
from mlcc_backends.mcu.run import execute, runner

__all__ = ["compile", "emit", "execute", "runner"]
