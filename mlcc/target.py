"""Targets: what a TOML file in targets/ says, checked."""

from __future__ import annotations

import difflib
import platform
import re
from dataclasses import asdict, dataclass, field, replace
from functools import cache, partial
from importlib.resources import files
from pathlib import Path
from typing import Any, TypeVar

from mlcc import plugin, toml
from mlcc.error import Error
from mlcc.machine import Choice, Machine
from mlcc.section import a, section

S = TypeVar("S")


@dataclass(frozen=True)
class KernelTarget:
    """What kernels are compiled for: the LLVM target as TVM names it, and the machine that schedules see."""

    name: str
    llvm: tuple[tuple[str, Any], ...]
    machine: Machine
    choices: tuple[tuple[str, Choice], ...] = ()  # a lock file's, by kernel

    def machine_of(self, kernel: str) -> Machine:
        """The machine as the schedule of one kernel sees it."""
        choice = dict(self.choices).get(kernel)
        return replace(self.machine, choice=choice) if choice else self.machine


@dataclass(frozen=True)
class Budget:
    """Bytes of flash and RAM that a model may take; None: any."""

    flash: int | None = None
    ram: int | None = None


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
    threads: bool = True
    endianness: str = "little"
    machine: str = ""
    emulator: tuple[str, ...] = ()
    emulated_only: bool = False
    requires: tuple[str, ...] = ()
    memory: Budget = Budget()  # what the chip has
    flash_at: int | None = None  # where the chip's flash lies
    sections: tuple[Any, ...] = ()  # what the backend alone understands: of its file, and settings
    resolved: str = ""  # what `native` stood for
    source: str = field(default="", repr=False)  # the TOML text, part of every cache key

    def section(self, kind: type[S]) -> S | None:
        """The section or setting of a class, where there is one."""
        return next((s for s in self.sections if type(s) is kind), None)

    def having(self, given: Any) -> Target:
        """With a section or setting in place of the one of its class."""
        return replace(self, sections=(*(s for s in self.sections if type(s) is not type(given)), given))


LLVM_KEYS = {"mtriple": str, "mcpu": str, "mattr": list, "mabi": str, "mfloat_abi": str, "vector_width": int}
MACHINE_KEYS = {"vector_bits": int, "registers": int, "fma": bool, "l1_kib": int, "amx": bool, "half": bool}
SECTIONS: dict[str, dict[str, type]] = {
    "": {"description": str, "backend": str, "dispatch": list, "extends": str, "resolve": str},
    "kernel": {**LLVM_KEYS, **MACHINE_KEYS},
    "link": {"zig": str, "cpu": str, "flags": list, "shared": bool, "threads": bool, "endianness": str},
    "memory": {"flash_at": int, "flash_bytes": int, "ram_bytes": int},
    "run": {"machine": str, "emulator": list, "emulated_only": bool, "requires": list},
}


@cache
def _files() -> dict[str, Path]:
    """Targets of all installed packages, by name."""
    packages = sorted(e.value for e in plugin.installed("targets").values())
    return {p.stem: p for package in packages for p in sorted(Path(str(files(package))).glob("*.toml"))}


@cache
def names() -> tuple[str, ...]:
    return tuple(sorted(_files()))


def load(name: str) -> Target:
    """The target of a name, or of a path to a TOML file. Raises Error(usage) with the nearest name."""
    path = Path(name)
    if path.suffix == ".toml":
        return _strangers(path, name)
    if name not in names():
        near = difflib.get_close_matches(name, names(), 1, 0.4)
        raise Error("usage", f"unknown target {name}", hint=(f"did you mean {near[0]}? " if near else "") + "`mlcc targets` lists them all")
    return read(name, _files()[name].read_text("utf-8"), f"targets/{name}.toml")


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
    wants = {
        f"it starts {' '.join(found.emulator)[:60]}": found.emulator not in {(), *(t.emulator for t in ours)},
        f"it links with {' '.join(found.flags)[:60]}": found.flags not in {(), *(t.flags for t in ours)},
        "it has its own commands for its backend's tools": not _commands(found) <= {c for t in ours for c in _commands(t)},
        "it compiles for something that is no triple or CPU": not all(re.fullmatch(r"[\w.+,:=-]*", v) for v in (found.zig, found.cpu)),
    }
    for what, wanted in wants.items():
        if wanted:
            trust.demand(text, name, what)
    return found


def _commands(target: Target) -> set[tuple[str, ...]]:
    """What a target's sections would start."""
    return {command for s in target.sections for command in getattr(s, "commands", ()) if command}


def read(name: str, text: str, where: str) -> Target:
    """Parse and check a target description; messages name the line."""
    data = toml.parse(text, where)
    sections = {"": {k: v for k, v in data.items() if not isinstance(v, dict)}, **{k: v for k, v in data.items() if isinstance(v, dict)}}
    base = load(sections[""]["extends"]) if isinstance(sections[""].get("extends"), str) else None
    backend = base.backend if base else sections[""].get("backend", "cpu")
    theirs = plugin.backend(backend).target_sections if isinstance(backend, str) and not sections.keys() <= SECTIONS.keys() else {}
    for title, values in sections.items():
        if title in theirs:
            continue
        if title not in SECTIONS:
            known = ", ".join(s for s in (*SECTIONS, *theirs) if s)
            raise Error("usage", f"unknown section [{title}]", f"{where}, line {_line(text, '[' + title)}", f"sections: {known}")
        for key, value in values.items():
            wanted = SECTIONS[title].get(key)
            if wanted is None:
                raise Error("usage", f"unknown key {key}", f"{where}, line {_line(text, key)}", f"keys here: {', '.join(SECTIONS[title])}")
            if not isinstance(value, wanted) or isinstance(value, bool) and wanted is not bool:
                raise Error("usage", f"{key} must be {a(wanted.__name__)}", f"{where}, line {_line(text, key)}")
            if isinstance(value, list) and not all(isinstance(v, str) for v in value):
                raise Error("usage", f"{key} must be a list of str", f"{where}, line {_line(text, key)}")
            if isinstance(value, int) and not 0 <= value < 2**40:
                raise Error("usage", f"{key} cannot be {value}", f"{where}, line {_line(text, key)}")
    top, kernel, link, run, memory = (sections.get(s, {}) for s in ("", "kernel", "link", "run", "memory"))
    if top.get("resolve") == "native":
        return replace(load(native()), name=name, description=top.get("description", ""), resolved=native(), source=text)
    budget = Budget(memory.get("flash_bytes"), memory.get("ram_bytes"))
    own: list[Any] = []
    for title, values in sections.items():
        if title in theirs:
            over = base.section(theirs[title]) if base else None  # one that extends another says only what differs
            inherited: dict[str, Any] = {} if over is None else asdict(over)
            own.append(section(theirs[title], {**inherited, **values}, partial(_place, text, where, title)))
    if base:
        source = base.source + text
        found = replace(
            base, name=name, description=top.get("description", ""), memory=budget, flash_at=memory.get("flash_at"), source=source
        )
        for s in own:
            found = found.having(s)
        return found
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
        link.get("threads", True),
        link.get("endianness", "little"),
        run.get("machine", ""),
        tuple(run.get("emulator", ())),
        run.get("emulated_only", False),
        tuple(run.get("requires", ())),
        budget,
        memory.get("flash_at"),
        tuple(own),
        source=text,
    )


def _place(text: str, where: str, title: str, key: str) -> str:
    """Where a key of a section stands, or the section itself."""
    return f"{where}, line {_line(text, key or f'[{title}')}"


def _line(text: str, word: str) -> int:
    for i, line in enumerate(text.splitlines(), 1):
        if line.strip().startswith(word):
            return i
    return 1


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
    return set(target.requires) <= cpu_flags() and target.machine in ("any", host_machine())


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
