"""Vitis's pragmas in Catapult's words: before a loop rather than in it, the loops in a pipelined one unrolled by name, processes named as
blocks. What says how arrays and channels are built has no pragma there; channels' depths stand in build.tcl."""

from __future__ import annotations

import re

PRAGMA = re.compile(r"\s*#pragma HLS (\w+)")
LOOP = re.compile(r"\s*(?:\w+:\s*)?for \(")
PROCESS = re.compile(r"static void \w+\(stream<")
TOP = re.compile(r"(?:extern \"C\" )?void \w+\(")
PIPELINED, UNROLLED, BLOCK = "#pragma hls_pipeline_init_interval 1", "#pragma hls_unroll yes", "#pragma hls_design"


def translated(source: bytes) -> bytes:
    """C++ with `#pragma HLS …` directly after the line that opens a loop's or a function's body, for Catapult."""
    lines: list[str] = []
    depth = 0
    within: int | None = None  # depth of the body of the loop that is pipelined
    for line in source.decode().splitlines():
        pragma = PRAGMA.match(line)
        if pragma is None:
            if PROCESS.match(line):
                lines.append(BLOCK)
            elif TOP.match(line):
                lines.append(f"{BLOCK} top")
            if within is not None and LOOP.match(line):
                lines.append(UNROLLED)
            lines.append(line)
            depth += line.count("{") - line.count("}")
            if within is not None and depth < within:
                within = None
        elif pragma[1] in ("PIPELINE", "UNROLL") and within is None:
            loop = next(i for i in range(len(lines) - 1, -1, -1) if LOOP.match(lines[i]))
            named = loop > 0 and lines[loop - 1].endswith(":")
            lines.insert(loop - named, PIPELINED if pragma[1] == "PIPELINE" else UNROLLED)
            if pragma[1] == "PIPELINE":
                within = depth
    return ("\n".join(lines) + "\n").encode()
