"""Targets: what a TOML file in targets/ says, checked."""

from __future__ import annotations

import ctypes
import difflib
import platform
import re
from dataclasses import MISSING, dataclass, field, fields, replace
from functools import cache
from importlib.resources import files
from math import prod
from pathlib import Path
from typing import Any

from mlcc import toml
from mlcc.error import Error
from mlcc.program.budget import Budget
from mlcc.schedule.machine import Machine


@dataclass(frozen=True)
class KernelTarget:
    """What kernels are compiled for: the LLVM target as TVM names it, and the machine that schedules see."""

    name: str
    llvm: tuple[tuple[str, Any], ...]
    machine: Machine
    tiles: tuple[tuple[str, tuple[int, int]], ...] = ()  # a lock file's, by kernel

    def machine_of(self, kernel: str) -> Machine:
        """The machine as the schedule of one kernel sees it."""
        tile = dict(self.tiles).get(kernel)
        return replace(self.machine, tile=tile) if tile else self.machine


@dataclass(frozen=True)
class Board:
    """A microcontroller's memories, addresses and bytes; vectors_at: where it looks for its reset vector."""

    flash_at: int
    flash_bytes: int
    ram_at: int
    ram_bytes: int
    vectors_at: int


@dataclass(frozen=True)
class Serving:
    """How an accelerator's program is called. batches: a program for each of these numbers of inputs at once; chips: a topology (v5e:2x2) over which a
    batch is dealt out; donate: whether inputs' memory may be used for results."""

    batches: tuple[int, ...] = ()
    chips: str = ""
    donate: bool = False

    @property
    def devices(self) -> int:
        """Chips that a batch is dealt to."""
        return prod(int(n) for n in self.chips.partition(":")[2].split("x")) if self.chips else 1


@dataclass(frozen=True)
class Part:
    """A logic chip: what it has, and who makes hardware for it. ram_bits, ram_width: of one block of memory; dsp_bits: a multiplier's operands;
    flavour: "vitis", "catapult" or "rtl"; synthesis: yosys's command for the family."""

    device: str = ""
    flavour: str = "vitis"
    luts: int = 0
    dsps: int = 0
    rams: int = 0
    ram_bits: int = 36864
    ram_width: int = 72
    urams: int = 0
    dsp_bits: tuple[int, int] = (27, 18)
    lut_inputs: int = 6
    mhz: int = 200
    synthesis: str = ""
    place: tuple[str, ...] = ()


@dataclass(frozen=True)
class Hardware:
    """What is asked of hardware. architecture: "circuit", "dataflow", "engine", or "" for whichever fits; interval: most cycles between inferences (0: as
    few as fit); share: of the part that may be planned with."""

    architecture: str = ""
    interval: int = 0
    share: float = 0.7


@dataclass(frozen=True)
class Target:
    """One target. `variants` are the instruction sets in its library (one unless it dispatches at load)."""

    name: str
    description: str
    backend: str
    variants: tuple[KernelTarget, ...]
    zig: str
    cpu: str = ""
    flags: tuple[str, ...] = ()  # of the C compiler
    shared: bool = True
    compact: bool = False  # programs for small memories, in C
    threads: bool = True
    endianness: str = "little"
    machine: str = ""
    emulator: tuple[str, ...] = ()
    emulated_only: bool = False
    requires: tuple[str, ...] = ()
    board: Board | None = None  # where it is tested
    memory: Budget = Budget()  # what the chip has
    flash_at: int | None = None  # where the chip's flash lies
    architectures: tuple[str, ...] = ()  # of GPUs, whose code a library holds
    topology: str = ""  # of TPUs, as libtpu names it
    floats: str = ""  # "exact": XLA computes binary32 in integers
    platforms: tuple[str, ...] = ()  # of XLA, that the portable program is for
    serving: Serving = Serving()
    part: Part | None = None
    hardware: Hardware = Hardware()
    resolved: str = ""  # what `native` stood for
    source: str = field(default="", repr=False)  # the TOML text, part of every cache key


LLVM_KEYS = {"mtriple": str, "mcpu": str, "mattr": list, "mabi": str, "mfloat_abi": str, "vector_width": int}
MACHINE_KEYS = {"vector_bits": int, "registers": int, "fma": bool, "l1_kib": int, "amx": bool, "half": bool}
SECTIONS: dict[str, dict[str, type]] = {
    "": {"description": str, "backend": str, "compact": bool, "dispatch": list, "extends": str, "resolve": str},
    "kernel": {**LLVM_KEYS, **MACHINE_KEYS},
    "link": {"zig": str, "cpu": str, "flags": list, "shared": bool, "threads": bool, "endianness": str},
    "board": {"flash_at": int, "flash_bytes": int, "ram_at": int, "ram_bytes": int, "vectors_at": int},
    "memory": {"flash_at": int, "flash_bytes": int, "ram_bytes": int},
    "gpu": {"architectures": list},
    "xla": {"topology": str, "floats": str, "platforms": list},
    "part": {
        "device": str,
        "flavour": str,
        "luts": int,
        "dsps": int,
        "rams": int,
        "ram_bits": int,
        "ram_width": int,
        "urams": int,
        "dsp_bits": list,
        "lut_inputs": int,
        "mhz": int,
        "synthesis": str,
        "place": list,
    },
    "run": {"machine": str, "emulator": list, "emulated_only": bool, "requires": list},
}


def folder() -> Path:
    return Path(str(files("mlcc_targets")))


@cache
def names() -> tuple[str, ...]:
    return tuple(sorted(p.stem for p in folder().glob("*.toml")))


def load(name: str) -> Target:
    """The target of a name, or of a path to a TOML file. Raises Error(usage) with the nearest name."""
    path = Path(name)
    if path.suffix == ".toml":
        return _strangers(path, name)
    if name not in names():
        near = difflib.get_close_matches(name, names(), 1, 0.4)
        raise Error("usage", f"unknown target {name}", hint=(f"did you mean {near[0]}? " if near else "") + "`mlcc targets` lists them all")
    return read(name, (folder() / f"{name}.toml").read_text("utf-8"), f"targets/{name}.toml")


_loading: list[Path] = []  # files that extend each other


def _strangers(path: Path, name: str) -> Target:
    """A target from a file that is not ours: what could run or write something needs the user's word."""
    from mlcc import trust
    from mlcc.artifact import plain

    if not path.is_file():
        raise Error("usage", "no such target file", name)
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}", path.stem):
        raise Error("usage", "no name for a target", name, "letters, digits, _ . and -, for it names a folder")
    if path.resolve() in _loading:
        raise Error("usage", "a target that extends itself", name)
    try:
        text = plain.read(path.resolve(), 1 << 20, "usage").decode()
    except (OSError, UnicodeDecodeError) as e:
        raise Error("usage", f"cannot read: {e}", name) from None
    _loading.append(path.resolve())
    try:
        found = read(path.stem, text, name)
    finally:
        _loading.pop()
    ours = [load(n) for n in names()]
    part = found.part
    wants = {
        f"it starts {' '.join(found.emulator)[:60]}": found.emulator not in {(), *(t.emulator for t in ours)},
        f"it links with {' '.join(found.flags)[:60]}": found.flags not in {(), *(t.flags for t in ours)},
        "it has its own commands for synthesis, or place and route": part is not None
        and (part.synthesis, part.place) not in {(t.part.synthesis, t.part.place) for t in ours if t.part},
        "it compiles for something that is no triple or CPU": not all(re.fullmatch(r"[\w.+,:=-]*", v) for v in (found.zig, found.cpu)),
    }
    for what, wanted in wants.items():
        if wanted:
            trust.demand(text, name, what)
    return found


def read(name: str, text: str, where: str) -> Target:
    """Parse and check a target description; messages name the line."""
    data = toml.parse(text, where)
    sections = {"": {k: v for k, v in data.items() if not isinstance(v, dict)}, **{k: v for k, v in data.items() if isinstance(v, dict)}}
    for section, values in sections.items():
        if section not in SECTIONS:
            raise Error(
                "usage",
                f"unknown section [{section}]",
                f"{where}, line {_line(text, '[' + section)}",
                f"sections: {', '.join(s for s in SECTIONS if s)}",
            )
        for key, value in values.items():
            wanted = SECTIONS[section].get(key)
            if wanted is None:
                raise Error(
                    "usage", f"unknown key {key}", f"{where}, line {_line(text, key)}", f"keys here: {', '.join(SECTIONS[section])}"
                )
            if not isinstance(value, wanted) or isinstance(value, bool) and wanted is not bool:
                raise Error("usage", f"{key} must be a {wanted.__name__}", f"{where}, line {_line(text, key)}")
            item = int if key == "dsp_bits" else str
            if isinstance(value, list) and not all(isinstance(v, item) for v in value):
                raise Error("usage", f"{key} must be a list of {item.__name__}", f"{where}, line {_line(text, key)}")
            if isinstance(value, int) and not 0 <= value < 2**40:
                raise Error("usage", f"{key} cannot be {value}", f"{where}, line {_line(text, key)}")
    top, kernel, link, run, board = (sections.get(s, {}) for s in ("", "kernel", "link", "run", "board"))
    if top.get("resolve") == "native":
        return replace(load(native()), name=name, description=top.get("description", ""), resolved=native(), source=text)
    memory = sections.get("memory", {})
    # what a file says of accelerators; one that extends another says only what differs
    accelerator: dict[str, Any] = {
        k: tuple(v) if isinstance(v, list) else v for s in ("gpu", "xla") for k, v in sections.get(s, {}).items()
    }
    part: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in sections.get("part", {}).items()}
    budget = Budget(memory.get("flash_bytes"), memory.get("ram_bytes"))
    if "extends" in top:
        base = load(top["extends"])
        own = {
            "name": name,
            "description": top.get("description", ""),
            "memory": budget,
            "flash_at": memory.get("flash_at"),
            "source": base.source + text,
            **accelerator,
        }
        return replace(base, **own)
    if "dispatch" in top:
        variants = tuple(v for other in top["dispatch"] for v in load(other).variants)
    else:
        missing = [k for k in ("mtriple", "vector_bits", "registers", "fma") if k not in kernel]
        if missing:
            raise Error("usage", f"[kernel] lacks {', '.join(missing)}", where)
        llvm = {("-".join(k.split("_"))): v for k, v in kernel.items() if k in LLVM_KEYS}
        variants = (
            KernelTarget(
                name,
                tuple((k, tuple(v) if isinstance(v, list) else v) for k, v in sorted(llvm.items())),
                Machine(**{k: kernel[k] for k in MACHINE_KEYS if k in kernel}),
            ),
        )
    if "zig" not in link:
        raise Error("usage", "[link] lacks zig", where)
    return Target(
        name,
        top.get("description", ""),
        top.get("backend", "cpu"),
        variants,
        link["zig"],
        link.get("cpu", ""),
        tuple(link.get("flags", ())),
        link.get("shared", True),
        top.get("compact", False),
        link.get("threads", True),
        link.get("endianness", "little"),
        run.get("machine", ""),
        tuple(run.get("emulator", ())),
        run.get("emulated_only", False),
        tuple(run.get("requires", ())),
        _whole(Board, {"vectors_at": board.get("flash_at", 0), **board}, f"{where}, [board]") if board else None,
        budget,
        flash_at=memory.get("flash_at"),
        part=_whole(Part, part, f"{where}, [part]") if part else None,
        source=text,
        **accelerator,
    )


def _whole(kind: type[Any], values: dict[str, Any], where: str) -> Any:
    """A section as its class. Raises Error(usage) where it lacks a key."""
    missing = [f.name for f in fields(kind) if f.name not in values and f.default is MISSING and f.default_factory is MISSING]
    if missing:
        raise Error("usage", f"{', '.join(missing)} missing", where)
    return kind(**values)


def _line(text: str, word: str) -> int:
    for i, line in enumerate(text.splitlines(), 1):
        if line.strip().startswith(word):
            return i
    return 1


@cache
def has_gpu() -> bool:
    """Whether NVIDIA's driver is here and knows of a GPU."""
    try:
        driver, count = ctypes.CDLL("libcuda.so.1"), ctypes.c_int()
        return driver.cuInit(0) == 0 and driver.cuDeviceGetCount(ctypes.byref(count)) == 0 and count.value > 0
    except (OSError, AttributeError):
        return False


@cache
def has_tpu() -> bool:
    """Whether a TPU's device files are here."""
    return any(Path("/dev").glob("accel[0-9]*"))


@cache
def has_opencl() -> bool:
    """Whether an OpenCL driver is installed."""
    try:
        library, count = ctypes.CDLL("libOpenCL.so.1"), ctypes.c_uint32()
        return library.clGetPlatformIDs(0, None, ctypes.byref(count)) == 0 and count.value > 0
    except (OSError, AttributeError):
        return False


@cache
def cpu_flags() -> frozenset[str]:
    """The host CPU's features as Linux names them."""
    try:
        for line in Path("/proc/cpuinfo").read_text("utf-8").splitlines():
            if line.startswith(("flags", "Features")):
                return frozenset(line.split(":", 1)[1].split())
    except OSError:
        pass
    return frozenset()


def runs_here(target: Target) -> bool:
    """Whether this machine's CPU has all that a target asks for."""
    devices = {"nvidia-gpu": has_gpu, "opencl": has_opencl, "tpu": has_tpu}
    here = all(devices[r]() if r in devices else r in cpu_flags() for r in target.requires)
    return here and target.machine in ("any", host_machine())


def roomier(target: Target, flash: int, ram: int) -> list[str]:
    """Boards with at least that much memory, smallest first."""
    known = [load(n) for n in names()]
    found = [
        t for t in known if t.memory.flash and t.memory.ram and t.memory.flash >= flash and t.memory.ram >= ram and t.name != target.name
    ]
    return [t.name for t in sorted(found, key=lambda t: (t.memory.ram or 0, t.memory.flash or 0, t.name))]


def fitted(target: Target, tiles: bool) -> Target:
    """The target without instruction sets that a program makes no use of: tiles serve bfloat16 alone."""
    useful = tuple(v for v in target.variants if tiles or not v.machine.amx)
    return replace(target, variants=useful) if useful else target


def host_machine() -> str:
    return {"amd64": "x86_64", "arm64": "aarch64"}.get(platform.machine().lower(), platform.machine().lower())


@cache
def native() -> str:
    """The best target for this machine."""
    machine = host_machine()
    if machine == "x86_64":
        for name in ("x86_64-amx", "x86_64-v4", "x86_64-v3", "x86_64-v2"):
            if runs_here(load(name)):
                return name
    found = {
        "aarch64": "aarch64-linux",
        "riscv64": "riscv64-linux",
        "armv7l": "armv7-linux",
        "s390x": "s390x-linux",
        "ppc64le": "ppc64le-linux",
    }.get(machine)
    if found is None:
        raise Error("unsupported", f"no target for this machine ({machine})", hint="name one of `mlcc targets`")
    return found
