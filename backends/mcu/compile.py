"""C sources → a static library, and an executable for the emulated board; both by ziglang's clang and lld."""

from __future__ import annotations

import json
import struct
import tempfile
from pathlib import Path

from mlcc.cache.native import zig
from mlcc.plugin import Binaries, CompileOptions, Sources
from mlcc.target import Target
from mlcc_backends import links
from mlcc_backends.c.compile import STRICT
from mlcc_backends.cpu.compile import compiler, link, run, write

FLAGS = (
    "-ffreestanding",
    "-ffp-contract=off",
    "-UNDEBUG",  # arguments are checked
    "-fno-math-errno",
    "-fno-sanitize=all",
    "-fno-unwind-tables",
    "-fno-asynchronous-unwind-tables",
    "-ffunction-sections",
    "-fdata-sections",
    "-g0",
)
SMALL, FAST = "-Os", "-O3"
MEMORY = ("memcpy", "memset")
LINK = ("-nostdlib", "-Wl,--gc-sections", "-Wl,--build-id=none", "-Wl,-z,max-page-size=4096", "-s")


def level(sources: Sources) -> str:
    """Float models spend their time in loops that are unrolled by hand, so that small code is as good; byte kernels want inlining.

    Measured on Cortex-M4F: ResNet-8 in float32 31.0 M instructions and 317,584 bytes with -Os, 26.5 M and 326,396 with -O2;
    keyword spotting in int8 8.0 M and 29,852 bytes with -Os, 6.2 M and 35,592 with -O3.
    """
    text = sources.files[f"src/{sources.name}.c"]
    return FAST if b"words_2x2_" in text or b"vectors_2x2_" in text else SMALL


def private(name: str) -> str:
    """What the library's units include: the calls that a compiler makes by itself go to functions of the library's own, under names that no
    firmware has. A copy of memcpy that took the place of a C library's would slow down the whole program."""
    return f'__asm__("{"; ".join(f".set {f}, {name}_{f}" for f in MEMORY)}");\n'


# No float, enum or wide character crosses the library's interface, so it links with code of either float ABI and of any size of enums:
# Arm's build
# attributes (ABI-addenda32, "Tag_ABI_VFP_args" 28, "Tag_ABI_enum_size" 26, "Tag_ABI_PCS_wchar_t" 18) say so to linkers.
ANY_ABI = """#if defined(__arm__)
#if defined(__ARM_FP)
__asm__(".eabi_attribute 28, 3");
#endif
__asm__(".eabi_attribute 26, 0\\n.eabi_attribute 18, 0");
#endif
"""


def plain(name: str) -> list[str]:
    """Flags that give the library's memcpy and memset their common names, for programs of our own that have no others."""
    return [f"-D{name}_{f}={f}" for f in MEMORY]


def compile(sources: Sources, target: Target, options: CompileOptions) -> Binaries:
    """lib/libNAME.a, and privately the firmware that tests it."""
    name = sources.name
    with tempfile.TemporaryDirectory(prefix="mlcc-") as d:
        folder = Path(d)
        write(sources, folder)
        cc = [*compiler(target, options), *FLAGS, level(sources), "-Iinclude", "-Isrc"]
        (folder / "private.h").write_text(private(name))
        (folder / "abi.h").write_text(ANY_ABI)
        cc_any = [*cc, "-include", "abi.h"]
        ours = [*cc_any, "-include", "private.h"]
        run([*ours, *STRICT, *usage(options, name), "-c", f"src/{name}.c", "-o", f"{name}.o"], folder, f"compiling {name}.c")
        for unit in ("selftest", "workspace"):
            run([*ours, *usage(options, unit), "-c", f"src/{unit}.c", "-o", f"{unit}.o"], folder, f"compiling {unit}.c")
        frames = {f: n for unit in (name, "selftest", "workspace") for f, n in stack_frames(folder / f"{unit}.su").items()}
        run([*cc_any, "-c", "src/memory.c", "-o", "memory.o"], folder, "compiling memory.c")
        run([*cc, "-c", "src/firmware.c", "-o", "firmware.o"], folder, "compiling firmware.c")
        run([*cc, *plain(name), "-c", "src/memory.c", "-o", "common.o"], folder, "compiling the test firmware")
        members = [f"{name}.o", "selftest.o", "workspace.o", "memory.o"]
        run([*zig(), "ar", "rcsD", f"lib{name}.a", *members], folder, "archiving")
        counted = f"-D{name}_run_arrays=counted_run_arrays"
        run([*cc, counted, "-c", "src/selftest.c", "-o", "counted.o"], folder, "compiling the test firmware")
        objects = ["firmware.o", "counted.o", f"{name}.o", "memory.o", "common.o"]
        link([*cc, *LINK, "-Wl,-T,src/firmware.ld", "-o", "test", *objects], folder, "linking the test firmware")
        alone = ["-Wl,-e," + f"{name}_run", "-Wl,-T,src/alone.ld", "-o", "alone", f"{name}.o", "memory.o"]
        (folder / "src/alone.ld").write_text(
            "SECTIONS { .text 0x10000 : { *(.text*) *(.rodata*) } .data : { *(.data*) } .bss : { *(.bss*) } /DISCARD/ : { "
            "*(.ARM.exidx*) } }\n"
        )
        link([*cc, *LINK, *alone], folder, "measuring")
        files = {f"include/{name}.h": sources.files[f"include/{name}.h"], f"src/{name}.c": sources.files[f"src/{name}.c"]}
        files[f"lib/lib{name}.a"] = (folder / f"lib{name}.a").read_bytes()
        files |= {f"share/selftest/{p}": sources.files[f"src/{p}"] for p in ("firmware.c", "firmware.ld", "selftest.c", "internal.h")}
        flash, ram = loaded((folder / "alone").read_bytes())
        files["report/stack.json"] = (json.dumps(frames, indent=2, sort_keys=True) + "\n").encode()
        above = {
            "stack_bytes": sum(frames.get(f"{name}_{f}", 0) for f in ("run", "run_parallel")),
            "selftest_stack_bytes": frames.get(f"{name}_selftest", 0),
        }
        tests = {"test": (folder / "test").read_bytes()}
        files |= links.files(name, options.model, target, options.version, files)
        return Binaries(name, files, tests, {"flash_bytes": flash, "static_ram_bytes": ram}, above)


def usage(options: CompileOptions, unit: str) -> list[str]:
    """Flags that have each function's stack frame written to UNIT.su."""
    return ["-Xclang", "-stack-usage-file", "-Xclang", f"{unit}.su"] if options.compiler == "zig" else ["-fstack-usage"]


def stack_frames(path: Path) -> dict[str, int]:
    """Function → bytes of its frame, as the compiler reports them; none where it does not."""
    if not path.is_file():
        return {}
    rows = [line.split("\t") for line in path.read_text("utf-8").splitlines()]
    return {row[0].rsplit(":", 1)[-1]: int(row[1]) for row in rows if len(row) > 2 and row[1].isdigit()}


def loaded(elf: bytes) -> tuple[int, int]:
    """(bytes of an ELF file's sections that are stored, bytes that are only reserved), of those that are loaded."""
    wide = elf[4] == 2
    order = "<" if elf[5] == 1 else ">"
    (offset,) = struct.unpack_from(order + ("Q" if wide else "I"), elf, 0x28 if wide else 0x20)
    size, count = struct.unpack_from(order + "HH", elf, 0x3A if wide else 0x2E)
    stored = reserved = 0
    for i in range(count):
        at = offset + i * size
        (kind,) = struct.unpack_from(order + "I", elf, at + 4)
        flags, length = struct.unpack_from(order + ("Q16xQ" if wide else "I8xI"), elf, at + 8)
        if flags & 2:  # SHF_ALLOC
            if kind == 8:  # SHT_NOBITS
                reserved += length
            else:
                stored += length
    return stored, reserved
