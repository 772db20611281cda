"""Several kernels as one on GPUs: a block for each point of the outer dimensions."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from math import prod

import numpy as np

from mlcc.core.terms import most
from mlcc.error import Error
from mlcc.program.kernel import Dot, Map, Nest, Reduce, storage
from mlcc_backends.c.kernels import at_point
from mlcc_backends.c.loops import split
from mlcc_backends.c.text import Lines, memory_type, value_type
from mlcc_backends.cuda.launch import BLOCK_THREADS, Launch, over
from mlcc_backends.cuda.reduce import lanes, reduce_shared
from mlcc_backends.cuda.thread import one_dot


def _within(lines: Lines, outer: list[str], inner: Sequence[int]) -> list[str]:
    """The point of a stage's element e."""
    return [*outer, *split(lines, "e", inner)]


def nest(lines: Lines, names: list[str], spec: Nest) -> Launch:
    """A block for each point of the outer dims; its threads do the stages in turn, what lies between them is in shared memory."""
    at, offsets = 0, []
    for dtype, count in spec.locals:
        offsets.append(at)
        at += over(most(count) * np.dtype(storage(dtype)).itemsize, 16) * 16
    for n, (dtype, _) in enumerate(spec.locals):
        lines.add(f"SHARED_ARRAY({memory_type(dtype)}, local{n}, {offsets[n]});")
    lines.add("const int32_t thread = (int32_t)threadIdx.x, block = (int32_t)blockIdx.x;")
    outer = split(lines, "block", spec.outer)
    reduces = any(isinstance(stage, Reduce) for stage, _ in spec.stages)
    for number, (stage, sources) in enumerate(spec.stages):
        own = [names[n] if n >= 0 else f"local{-1 - n}" for n in sources]
        with lines.block(f"/* stage {number + 1} */"):
            if isinstance(stage, Reduce):
                inner = stage.dims[len(spec.outer) :]
                groups = BLOCK_THREADS // lanes(stage)
                lines.add(f"SHARED_ARRAY({value_type(stage.dtype)}, part, {at});")
                with lines.block(f"for (int32_t first = 0; first < {prod(inner)}; first += {groups})"):
                    lines.add(f"const int32_t e = first + thread / {lanes(stage)};")
                    at_row = partial(_within, lines, outer, inner)
                    reduce_shared(lines, own, stage, f"e < {prod(inner)}", at_row)
            else:
                dims = (*stage.batch, *stage.rows, stage.columns) if isinstance(stage, Dot) else stage.dims  # type: ignore[union-attr]
                inner = dims[len(spec.outer) :]
                with lines.block(f"for (int32_t e = thread; e < {prod(inner)}; e += {BLOCK_THREADS})"):
                    point = _within(lines, outer, inner)
                    match stage:
                        case Dot():
                            one_dot(lines, own, stage, point)
                        case Map():
                            at_point(lines, own, stage, point)
                        case _:
                            raise Error("unsupported", f"no {type(stage).__name__} in a nest")
                lines.add("__syncthreads();")
    return Launch(prod(spec.outer), BLOCK_THREADS, at + (BLOCK_THREADS * 8 if reduces else 0), True)
