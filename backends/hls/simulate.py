"""RTL under Verilator: compile once, run vectors, with or without late inputs and slow outputs."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mlcc.cache import blob
from mlcc.cache.store import Store, key_of, working_folder
from mlcc.cache.tools import programs
from mlcc.core.graph import DTYPES
from mlcc.error import Error
from mlcc.plugin import Sources
from mlcc_backends.cpu.compile import write
from mlcc_backends.hls.network import Network, Port
from mlcc_backends.hls.synth import ADDERS
from mlcc_backends.hls.timing import Cycles

FLAGS = ("--cc", "--exe", "-O3", "-Wno-fatal", "-Wno-lint", "--x-initial", "0")


def verilator() -> str | None:
    return shutil.which("verilator")


def beat_bytes(bits: int) -> int:
    """What Verilator keeps a port in."""
    return next((n for n in (1, 2, 4, 8) if bits <= 8 * n), -(-bits // 32) * 4)


@dataclass(frozen=True)
class Lane:
    """How a tensor goes over a port: elements of `bits` bits, `beat` of them at once, in this order (none: the tensor's own)."""

    tensor: str
    dtype: str
    bits: int
    signed: bool
    raw: bool
    beat: int
    order: tuple[int, ...] | None


def lane(network: Network, port: Port) -> Lane:
    stream = network.streams[port.stream]
    beat = network.beats.get(port.stream) or next(e.beat for e in network.edges_of(port.stream) if not e.reader)
    order = None if np.array_equal(port.order, np.arange(port.order.size)) else tuple(int(n) for n in port.order)
    return Lane(port.tensor, port.dtype, stream.bits, stream.signed, stream.raw, beat, order)


def beat_values(stream: Lane, array: np.ndarray) -> list[int]:
    """A tensor's elements in a port's order, packed in beats, the first lowest."""
    flat = np.ascontiguousarray(array).reshape(-1)
    codes = (flat.view(np.uint32) if stream.raw else flat.astype(np.int64)).astype(object)[_order(stream, flat.size)] & (
        (1 << stream.bits) - 1
    )
    shifts = np.array([i * stream.bits for i in range(stream.beat)], object)
    return [int(sum(row << shifts)) for row in codes.reshape(-1, stream.beat)]


def to_beats(network: Network, port: Port, array: np.ndarray) -> bytes:
    """A tensor as Verilator takes it."""
    stream = lane(network, port)
    size = beat_bytes(stream.bits * stream.beat)
    return b"".join(v.to_bytes(size, "little") for v in beat_values(stream, array))


def _order(stream: Lane, size: int) -> np.ndarray:
    return np.arange(size) if stream.order is None else np.array(stream.order)


def from_beats(stream: Lane, beats: Sequence[int], shape: tuple[int, ...]) -> np.ndarray:
    """The tensor that an output port's beats are."""
    mask = (1 << stream.bits) - 1
    codes = []
    for value in beats:
        for i in range(stream.beat):
            code = (value >> (i * stream.bits)) & mask
            codes.append(code - (1 << stream.bits) if stream.signed and code >> (stream.bits - 1) else code)
    flat = np.empty(len(codes), np.int64)
    flat[_order(stream, flat.size)] = codes
    array = flat.astype(np.uint32).view(np.float32) if stream.raw else flat.astype(DTYPES[stream.dtype])
    return array.reshape(shape)


def build(network: Network, files: Mapping[str, bytes], folder: Path) -> Path:
    """The simulation's executable. Raises Error(toolchain) where Verilator is not there or does not take the files."""
    tool = verilator()
    if tool is None:
        raise Error("toolchain", "Verilator is not installed", network.name, "apt install verilator")
    write(Sources("", files, ()), folder)
    prefix = network.module
    sources = sorted(n for n in files if n.endswith(".sv"))
    level = "-O0" if ADDERS in files else "-O1"  # a circuit is much text that runs for a few cycles, a dataflow little that runs for many
    line = [tool, *FLAGS, "--top-module", prefix, "-o", "simulate", f"{prefix}_simulate.cpp", *sources]
    done = subprocess.run(line, cwd=folder, capture_output=True, text=True)
    if not done.returncode:
        with _runtime(tool, folder / "obj_dir"):
            make = ["make", "-C", "obj_dir", "-f", f"V{prefix}.mk", "VM_PARALLEL_BUILDS=0", f"OPT_FAST={level}"]  # its headers once
            done = subprocess.run(make, cwd=folder, capture_output=True, text=True)
    if done.returncode:
        errors = [row for row in done.stderr.splitlines() if "rror" in row]
        raise Error(
            "toolchain", f"Verilator does not take the RTL: {(errors or ['no message'])[0][:300]}", network.name, "please report it"
        )
    return folder / "obj_dir" / "simulate"


@contextmanager
def _runtime(tool: str, folder: Path) -> Iterator[None]:
    """Verilator's own library, the same in every simulation, is compiled by the first one that is built."""
    store, key = Store(working_folder() / "verilator"), key_of("verilated", repr(programs(tool, "g++")))
    known = store.get(key)
    for name, body in (blob.unpacked(known) if known is not None else {}).items():
        (folder / name).write_bytes(body)  # newer than the makefile, so that make leaves it alone
    yield
    if known is None and (built := sorted(folder.glob("verilated*.o"))):
        store.put(key, blob.packed({p.name: p.read_bytes() for p in built}))


def run(
    network: Network, program: Path, feeds: Sequence[Sequence[np.ndarray]], shapes: Sequence[tuple[int, ...]], seed: int = 0
) -> tuple[list[list[np.ndarray]], Cycles]:
    """Outputs for each feed, one inference after the other, and the cycles counted. seed: of random back-pressure, 0 for none."""
    with tempfile.TemporaryDirectory(prefix="mlcc-") as d:
        names = []
        for i, port in enumerate(network.inputs):
            names.append(f"{d}/in{i}")
            Path(names[-1]).write_bytes(b"".join(to_beats(network, port, f[i]) for f in feeds))
        outs = [f"{d}/out{i}" for i in range(len(network.outputs))]
        done = subprocess.run(
            [str(program), *names, *outs, str(len(feeds)), str(seed)], cwd=program.parents[1], capture_output=True, text=True
        )
        if done.returncode:
            raise Error(
                "conformance",
                f"the RTL came to a halt: {done.stderr.strip()[-200:]}",
                network.name,
                "this is a bug in mlcc; please report it",
            )
        latency, interval = map(int, done.stdout.split())
        raws = [Path(o).read_bytes() for o in outs]
        found = []
        for n in range(len(feeds)):
            each = []
            for port, raw, shape in zip(network.outputs, raws, shapes):
                stream = lane(network, port)
                size = beat_bytes(stream.bits * stream.beat)
                beats = [int.from_bytes(raw[i : i + size], "little") for i in range(0, len(raw), size)]
                count = len(beats) // len(feeds)
                each.append(from_beats(stream, beats[n * count : (n + 1) * count], shape))
            found.append(each)
        return found, Cycles(latency, interval, ())
