"""FPGAs and ASICs: HLS C++ for the vendors' tools and SystemVerilog for open ones, from the core graph.

A model is mapped to stages joined by streams (map.py), given lanes and memories that fit a part (fold.py, timing.py), and written as C++ (cpp.py)
and as RTL (verilog.py); what has no such form runs one layer after the other (engine.py).
"""

from mlcc_backends.hls.build import compile, emit
from mlcc_backends.hls.run import execute, runner

CONSUMES = "graph"
__all__ = ["CONSUMES", "compile", "emit", "execute", "runner"]
