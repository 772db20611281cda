"""Run a finished artifact: in this process, or under an emulator through its static library."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np

from mlcc.error import Error
from mlcc.graph.core import DTYPES


def execute(
    artifact: Path, about: Mapping[str, Any], feed: Mapping[str, np.ndarray], threads: int = 1, variant: str | None = None
) -> tuple[dict[str, np.ndarray], str]:
    """(outputs, what ran them)."""
    from mlcc.target import load
    from mlcc_backends.cpu.run import command

    target = load(about["target"])
    runs = command(target)
    if runs is None:
        raise Error(
            "unsupported",
            f"nothing here runs {target.name}",
            str(artifact),
            f"install {target.emulator[0]}" if target.emulator else "run it on such a machine",
        )
    if runs[1] == "native":
        from mlcc.runtime import Model

        return Model(artifact, threads, variant)(feed), "native"
    return _emulated(artifact, about, feed, target, runs), runs[1]


def _emulated(
    artifact: Path, about: Mapping[str, Any], feed: Mapping[str, np.ndarray], target: Any, runs: tuple[list[str], str]
) -> dict[str, np.ndarray]:
    """Link the artifact's own main program against its static library and run that."""
    from mlcc_backends.cpu.compile import FLAGS, CompileOptions, compiler, run
    from mlcc_backends.cpu.run import execute_program

    with tempfile.TemporaryDirectory(prefix="mlcc-") as d:
        folder = Path(d)
        static = ["-static"] if "linux" in target.zig else []
        root = artifact.resolve()
        run(
            [
                *compiler(target, CompileOptions(), static=True),
                *FLAGS,
                *static,
                f"-I{root}/include",
                f"-I{root}/share/selftest",
                "-o",
                "test",
                f"{root}/share/selftest/main.c",
                "-Wl,--whole-archive" if target.threads else "-Wl,--start-group",
                f"{root}/lib/lib{about['name']}.a",
                "-Wl,--no-whole-archive" if target.threads else "-Wl,--end-group",
                "-lpthread",
                "-lm",
                "-s",
            ],
            folder,
            "linking the artifact",
        )
        program = next(p for p in (folder / "test", folder / "test.wasm") if p.exists())
        ins = [folder / f"in{i}" for i in range(len(about["inputs"]))]
        outs = [folder / f"out{i}" for i in range(len(about["outputs"]))]
        for path, t in zip(ins, about["inputs"]):
            path.write_bytes(
                np.ascontiguousarray(feed[t["name"]])
                .astype(DTYPES[t["dtype"]].newbyteorder("<" if target.endianness == "little" else ">"))
                .tobytes()
            )
        execute_program(program, runs[0], runs[1], ["run", "-1", *map(str, ins), *map(str, outs), str(folder / "arena")], about["name"])
        order: Literal["<", ">"] = "<" if target.endianness == "little" else ">"
        return {
            t["name"]: np.frombuffer(p.read_bytes(), DTYPES[t["dtype"]].newbyteorder(order)).astype(DTYPES[t["dtype"]]).reshape(t["shape"])
            for t, p in zip(about["outputs"], outs)
        }
