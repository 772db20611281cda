"""A model as a signed image of its own (MCUboot's format), which a device updates without its firmware."""

from __future__ import annotations

import hashlib
import json
import re
import struct
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from mlcc.cache.tools import packages
from mlcc.error import Error
from mlcc.names import identifier
from mlcc.plugin import CompileOptions, Packed
from mlcc.program.program import Program
from mlcc.sizes import parse_size
from mlcc.target import Target
from mlcc_backends.cpu.compile import compiler, link, write
from mlcc_backends.mcu.compile import FLAGS, LINK, level, plain
from mlcc_backends.mcu.sections import PURPOSE, Board
from mlcc_backends.render import render
from mlcc_backends.values import interface_values

HEADER = 0x200  # bytes of MCUboot's header and padding: vector tables need that alignment


@dataclass(frozen=True)
class Image:
    """What `--emit mcuboot` is told. slot: ADDRESS:SIZE, by default the upper half of the flash; key: a PEM file (Ed25519 or ECDSA P-256),
    by default the artifact's."""

    slot: str = ""
    key: Path | None = None

    def __post_init__(self) -> None:
        if self.slot:
            parse_slot(self.slot)


def parse_slot(text: str) -> tuple[int, int]:
    """(address, bytes) of ADDRESS:SIZE."""
    address, _, size = text.partition(":")
    try:
        at = int(address, 0)
    except ValueError:
        raise Error("usage", f"--model-slot {text} is not of the form 0x08080000:256K") from None
    return at, parse_size(size, "--model-slot")


def default_slot(target: Target, board: Board) -> tuple[int, int]:
    """The upper half of the chip's flash; of a core without a chip, of the flash of the board that tests run on. Raises Error(usage) where
    it is not known at which address the chip has its flash."""
    size = target.memory.flash
    if size is not None and target.flash_at is None:
        raise Error("usage", "no flash_at in the target's [memory]", target.name, "say where the image goes: --model-slot 0x08080000:256K")
    at, size = (target.flash_at or 0, size) if size is not None else (board.flash_at, board.flash_bytes)
    return at + size // 2, size // 2


def interface(program: Program) -> str:
    """Eight hexadecimal digits that differ where inputs or outputs do."""
    form = [[[n, t.dtype, list(t.shape)] for n, t in group] for group in (program.inputs, program.outputs)]
    return hashlib.sha256(json.dumps(form).encode()).hexdigest()[:8].upper()


def version_word(text: str) -> int:
    found = re.fullmatch(r"(\d{1,3})\.(\d{1,3})\.(\d{1,5})", text)
    if not found:
        raise Error("usage", f"version {text} is not of the form 1.2.3")
    major, minor, revision = map(int, found.groups())
    if major > 255 or minor > 255 or revision > 65535:
        raise Error("usage", f"version {text} is too large", hint="at most 255.255.65535")
    return major << 24 | minor << 16 | revision


def flat(elf: bytes) -> bytes:
    """The loaded bytes of an ELF file, from its lowest address."""
    wide, order = elf[4] == 2, "<" if elf[5] == 1 else ">"
    (offset,) = struct.unpack_from(order + ("Q" if wide else "I"), elf, 0x20 if wide else 0x1C)
    size, count = struct.unpack_from(order + "HH", elf, 0x36 if wide else 0x2A)
    pieces = []
    for i in range(count):
        at = offset + i * size
        if wide:
            kind, _, start, _, address, stored = struct.unpack_from(order + "IIQQQQ", elf, at)
        else:
            kind, start, _, address, stored = struct.unpack_from(order + "IIIII", elf, at)
        if kind == 1 and stored:
            pieces.append((address, elf[start : start + stored]))
    base = min(a for a, _ in pieces)
    image = bytearray(max(a + len(b) for a, b in pieces) - base)
    for a, b in pieces:
        image[a - base : a - base + len(b)] = b
    return bytes(image)


@dataclass(frozen=True)
class McubootPackaging:
    """update/NAME.signed.bin, its unsigned form and include/NAME_module.h. The same inputs and an Ed25519 key give the same bytes."""

    options: type = Image

    def refuses(self, target: Target) -> str:
        return "" if target.section(Board) else PURPOSE

    def tools(self) -> dict[str, str]:
        return packages("imgtool")

    def files(self, built: Packed, options: Image) -> dict[str, bytes]:
        if find_spec("imgtool") is None:
            raise Error("toolchain", "imgtool is not installed", "--emit mcuboot", "pip install 'mlcc[mcu]'")
        key, board = options.key or built.key, built.target.section(Board)
        if key is None:
            raise Error("usage", "no key to sign the image with", hint="--image-key FILE")
        assert board is not None  # see refuses
        slot = parse_slot(options.slot) if options.slot else default_slot(built.target, board)
        return build(built, key, *slot)


def build(built: Packed, key: Path, address: int, size: int) -> dict[str, bytes]:
    """The image for a slot."""
    name, sources, program, target = identifier(built.program.name), built.sources, built.program, built.target
    filled = interface_values(program, target, ()) | {
        "slot": address,
        "header": HEADER,
        "interface": interface(program),
        "version_word": version_word(built.version),
        "flash_bytes": built.binaries.figures["flash_bytes"],
        "program": ", ".join(f"0x{b:02x}" for b in bytes.fromhex(built.identity)),
    }
    header = render("module.h.j2", **filled)
    with tempfile.TemporaryDirectory(prefix="mlcc-") as d:
        folder = Path(d)
        write(sources, folder)
        (folder / f"include/{name}_module.h").write_bytes(header)
        (folder / "src/module.c").write_bytes(render("module.c.j2", **filled))
        (folder / "src/module.ld").write_bytes(render("module.ld.j2", **filled))
        cc = [*compiler(target, CompileOptions()), *FLAGS, level(sources), "-Iinclude", "-Isrc"]
        units = ["src/module.c", "src/memory.c", f"src/{name}.c", *plain(name)]
        link([*cc, *LINK, "-Wl,-T,src/module.ld", "-o", "module", *units], folder, "linking the module")
        image = flat((folder / "module").read_bytes())
        (folder / "module.bin").write_bytes(image)
        if len(image) + HEADER > size:
            raise Error("unsupported", f"the module has {len(image) + HEADER:,} bytes, its slot {size:,}", "--model-slot")
        line = ["-m", "imgtool.main", "sign", "--key", str(key.resolve()), "--version", built.version, "--header-size", hex(HEADER)]
        line += ["--pad-header", "--align", "4", "--slot-size", hex(size), "module.bin", "signed.bin"]
        done = subprocess.run([sys.executable, *line], cwd=folder, capture_output=True, text=True)
        if done.returncode:
            tail = (done.stderr.strip().splitlines() or ["no message"])[-1]
            raise Error("toolchain", f"imgtool: {tail[-200:]}", str(key), "give an Ed25519 or ECDSA P-256 key in PEM form")
        signed = (folder / "signed.bin").read_bytes()
    return {f"update/{name}.bin": image, f"update/{name}.signed.bin": signed, f"include/{name}_module.h": header}
