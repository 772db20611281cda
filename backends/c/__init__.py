"""Portable C99: one readable file a model, for any conforming compiler."""

from mlcc_backends.c.compile import compile, execute, runner
from mlcc_backends.c.emit import emit

__all__ = ["compile", "emit", "execute", "runner"]
