"""The C sources of a model, and a program that tests them on a board."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from mlcc.error import Error
from mlcc.graph.freeze import Golden
from mlcc.plugin import Sources
from mlcc.program.program import Program
from mlcc.target import Target
from mlcc_backends.c.emit import emit as portable
from mlcc_backends.mcu.sections import Board
from mlcc_backends.render import render
from mlcc_backends.values import interface_values


def emit(program: Program, target: Target, vectors: Sequence[Golden]) -> Sources:
    """Pure: the same program and target give the same bytes."""
    sources = portable(program, target, vectors)
    board = target.section(Board)
    if board is None:
        raise Error(
            "usage",
            "no [board] in the target's file",
            target.name,
            "say where its flash and RAM lie: flash_at, flash_bytes, ram_at, ram_bytes",
        )
    places = {
        "vectors": f"0x{board.flash_at if board.vectors_at is None else board.vectors_at:X}",
        "flash": f"0x{board.flash_at:X}",
        "flash_bytes": f"0x{board.flash_bytes:X}",
        "ram": f"0x{board.ram_at:X}",
        "ram_bytes": f"0x{board.ram_bytes:X}",
    }
    shared = interface_values(program, target, vectors)
    extra = {
        "src/firmware.c": render("firmware.c.j2", **shared),
        "src/firmware.ld": render("firmware.ld.j2", **places),
        "src/memory.c": render("memory.c.j2", **shared),
        "src/workspace.c": render("workspace.c.j2", **shared),
    }
    return replace(sources, files={**sources.files, **extra})
