"""Program → CUDA source, a table of launches, and the C that drives them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mlcc.core.dim import Dim
from mlcc.core.graph import DTYPES
from mlcc.core.terms import most
from mlcc.graph.freeze import Golden
from mlcc.names import comment
from mlcc.plugin import Sources
from mlcc.program.kernel import Kernel
from mlcc.program.program import Argument, Program
from mlcc.target import Target
from mlcc_backends.c.helpers import used
from mlcc_backends.c.text import memory_type
from mlcc_backends.cpu.emit import weights_blob
from mlcc_backends.cuda.kernels import function
from mlcc_backends.cuda.launch import Launch
from mlcc_backends.cuda.nvrtc import VERSION, images
from mlcc_backends.cuda.sections import architectures_of
from mlcc_backends.render import render
from mlcc_backends.values import interface_values

KNOWN = frozenset(("FMA", "fma_by_integers", "FMA_64", "fma_64_by_integers"))  # what the hardware does itself


SPACES = {"constant": "IN_WEIGHTS", "arena": "IN_WORKSPACE", "input": "IN_INPUT", "output": "IN_OUTPUT"}


def emit(program: Program, target: Target, vectors: Sequence[Golden]) -> Sources:
    """Pure: the same program and target give the same bytes."""
    values = gpu_values(program, target, vectors, matrix=True)
    architectures = architectures_of(target)
    values |= {"images": images(architectures), "architectures": architectures, "cuda_version": VERSION}
    name = values["name"]
    return Sources(
        name,
        {
            f"include/{name}.h": render("gpu.h.j2", **values),
            f"src/{name}.cu": render("kernels.cu.j2", **values),
            "src/internal.h": render("gpu_internal.h.j2", **values),
            "src/gpu.c": render("gpu.c.j2", **values),
            "src/images.c": render("images.c.j2", **values),
            "src/shim.h": render("shim.h.j2"),
            "src/shim_run.cpp": render("shim_run.cpp.j2", **values),
            **shared_files(values),
        },
        (),
    )


def shared_files(values: dict[str, Any]) -> dict[str, bytes]:
    """What is the same for all GPUs."""
    return {
        "src/launches.h": render("launches.h.j2", **values),
        "src/selftest.c": render("selftest.c.j2", **values),
        "src/weights.c": render("weights.c.j2", **values),
        "src/main.c": render("main.c.j2", **values),
        "src/weights.bin": values["weights"],
    }


def gpu_values(program: Program, target: Target, vectors: Sequence[Golden], matrix: bool) -> dict[str, Any]:
    """What the templates say of a program's kernels and their launches. matrix: whether bytes have matrix instructions."""
    written: dict[str, set[int]] = {}
    for c in program.calls:
        written.setdefault(c.kernel, set()).update(c.writes)
    sizes = [s.variable for s in program.sizes]
    made = {k: function(k, spec, sorted(written.get(k, ())), matrix, sizes) for k, spec in program.kernels.items()}
    order = {k: i for i, k in enumerate(made)}
    kernels: list[dict[str, Any]] = [
        {
            "symbol": k,
            "text": made[k][0],
            "about": _about(program, k),
            "types": [f"{memory_type(d)} *" for d in program.kernels[k].arguments],
        }
        for k in order
    ]
    arguments: list[dict[str, Any]] = []
    launches = []
    for c in program.calls:
        launch: Launch = made[c.kernel][1]
        launches.append(
            {
                "kernel": order[c.kernel],
                "blocks": most(launch.blocks),
                "open": str(launch.blocks) if isinstance(launch.blocks, Dim) else "",
                "threads": launch.threads,
                "shared": launch.shared,
                "barriers": int(launch.barriers),
                "first": len(arguments),
                "count": len(c.arguments),
                "about": comment(c.origin),
            }
        )
        arguments += [_argument(program, a) for a in c.arguments]
    weights = weights_blob(program, target.endianness)
    return {
        **interface_values(program, target, vectors),
        "kernels": kernels,
        "arguments": arguments,
        "launches": launches,
        "weights": weights,
        "weights_bytes": len(weights),
        "helpers": used("\n".join(k["text"] for k in kernels), KNOWN),
    }


def _argument(program: Program, a: Argument) -> dict[str, Any]:
    """Where a kernel's argument points: a space, which tensor of it, bytes; what sizes decide also as an expression."""
    b = program.buffers[a.buffer]
    width = DTYPES[b.dtype].itemsize
    at, index, space = a.offset * width, 0, SPACES[b.place]
    if b.place in ("constant", "arena"):
        at = at + b.offset
    else:
        index = [n for n, _ in (program.inputs if b.place == "input" else program.outputs)].index(b.name.split(".", 1)[1])
    found: dict[str, Any] = {"space": space, "index": index}
    for key, n in (("offset", at), ("advance", a.advance * width)):
        found |= {key: most(n), f"open_{key}": str(n) if isinstance(n, Dim) else ""}
    return found


def _about(program: Program, kernel: str) -> str:
    """What a kernel is for: its kind, the operators that it serves."""
    spec: Kernel = program.kernels[kernel]
    served = [comment(c.origin) for c in program.calls if c.kernel == kernel]
    return f"{type(spec).__name__}: {', '.join(served[:3])}{f' and {len(served) - 3} more' if len(served) > 3 else ''}"
