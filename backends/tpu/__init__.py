"""TPUs and other accelerators through XLA: portable StableHLO, and executables compiled ahead of time by libtpu, without a TPU.

This backend takes the core graph, not the loop program: XLA makes its own loops.
"""

from mlcc_backends.tpu.build import compile, emit
from mlcc_backends.tpu.run import execute, runner

CONSUMES = "graph"
__all__ = ["CONSUMES", "compile", "emit", "execute", "runner"]
