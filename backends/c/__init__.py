"""Portable C99: one readable file a model, for any conforming compiler."""

from mlcc_backends.c.compile import compile, execute
from mlcc_backends.c.emit import emit
from mlcc_backends.cpu.run import runner

__all__ = ["compile", "emit", "execute", "runner"]
