"""The sources of microcontroller artifacts, compiled as integrators compile them: by other compilers, at every level, without our flags;
run on the board."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

import pytest

from mlcc import build
from mlcc.plugin import Environment, runs
from mlcc.target import load
from mlcc_backends.environment import environment
from mlcc_backends.mcu.run import emulate
from tests.backends.models import small

ARM = ["-mthumb", "-ffunction-sections", "-nostartfiles", "-nostdlib"]
RISCV = ["-ffreestanding", "-mcmodel=medany", "-nostartfiles", "-nostdlib"]
CORES = {  # target: (of GCC, of clang)
    "cortex-m0plus": (["-mcpu=cortex-m0plus"], ["--target=thumbv6m-none-eabi", "-mcpu=cortex-m0plus"]),
    "cortex-m3": (["-mcpu=cortex-m3"], ["--target=thumbv7m-none-eabi", "-mcpu=cortex-m3"]),
    "cortex-m4": (["-mcpu=cortex-m4", "-mfloat-abi=soft"], ["--target=thumbv7em-none-eabi", "-mcpu=cortex-m4", "-mfloat-abi=soft"]),
    "cortex-m4f": (
        ["-mcpu=cortex-m4", "-mfpu=fpv4-sp-d16", "-mfloat-abi=hard"],
        ["--target=thumbv7em-none-eabihf", "-mcpu=cortex-m4", "-mfpu=fpv4-sp-d16", "-mfloat-abi=hard"],
    ),
    "cortex-m7": (
        ["-mcpu=cortex-m7", "-mfpu=fpv5-d16", "-mfloat-abi=hard"],
        ["--target=thumbv7em-none-eabihf", "-mcpu=cortex-m7", "-mfpu=fpv5-d16", "-mfloat-abi=hard"],
    ),
    "cortex-m33": (
        ["-mcpu=cortex-m33", "-mfpu=fpv5-sp-d16", "-mfloat-abi=hard"],
        ["--target=thumbv8m.main-none-eabihf", "-mcpu=cortex-m33", "-mfpu=fpv5-sp-d16", "-mfloat-abi=hard"],
    ),
    "cortex-m55": (
        ["-mcpu=cortex-m55", "-mfloat-abi=hard"],
        ["--target=thumbv8.1m.main-none-eabihf", "-mcpu=cortex-m55", "-mfloat-abi=hard"],
    ),
    "rv32imc": (["-march=rv32imc_zicsr", "-mabi=ilp32"], ["--target=riscv32-none-elf", "-march=rv32imc", "-mabi=ilp32"]),
    "rv32imafc": (["-march=rv32imafc", "-mabi=ilp32f"], ["--target=riscv32-none-elf", "-march=rv32imafc", "-mabi=ilp32f"]),
    "rv64imac": (["-march=rv64imac_zicsr", "-mabi=lp64"], ["--target=riscv64-none-elf", "-march=rv64imac", "-mabi=lp64"]),
}
LEVELS = ["-O0", "-O1", "-O2", "-O3", "-Os", "-O2 -flto"]
HERE = [c for c in CORES if runs(load(c))]


def gcc(core: str) -> str:
    return "riscv64-unknown-elf-gcc" if core.startswith("rv") else "arm-none-eabi-gcc"


def library(core: str, name: str, abi: Sequence[str] = ()) -> str:
    """One of GCC's libraries for a core; abi: flags over the core's own."""
    return subprocess.run(
        [
            gcc(core),
            *(["-mthumb"] if not core.startswith("rv") else []),
            *(o.removesuffix("_zicsr") for o in CORES[core][0] if not (abi and "float-abi" in o)),
            *abi,
            f"-print-file-name={name}",
        ],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()


def compiled(core: str, compiler: str, level: str) -> list[str]:
    """A compiler's command for a core, as an integrator has it: none of the flags that our own builds use."""
    of_gcc, of_clang = CORES[core]
    plain = RISCV if core.startswith("rv") else ARM
    if compiler == "gcc":
        return [gcc(core), "-std=gnu99", *of_gcc, *plain, *level.split()]
    return [compiler, "-std=gnu99", *of_clang, *plain, "-fuse-ld=lld", *level.split()]


Artifacts = Callable[[str], Path]


@pytest.fixture(scope="module")
def artifact_of(tmp_path_factory: pytest.TempPathFactory) -> Artifacts:
    """A core's, built when it is first asked for."""
    folder = tmp_path_factory.mktemp("compilers")
    model = small(folder / "small.onnx")

    @cache
    def built(core: str) -> Path:
        build(model, target=core, out=folder, emit=("platformio", "arduino", "esp-idf", "cmsis-pack"))
        return folder / "small" / core

    return built


def outcome(
    artifact: Path, core: str, command_line: Sequence[str], tmp_path: Path, parts: Sequence[Path] = (), abi: Sequence[str] = ()
) -> list[tuple[str, str]]:
    """(digest that the board computes, digest wanted) of each vector; the firmware is linked with the compiler's own C library, where it
    has one. parts: the model's sources and libraries; abi: further flags of the firmware."""
    share = artifact / "share/selftest"
    given = list(parts) or [artifact / "src/small.c", share / "selftest.c"]
    sources = [*(p for p in given if p.suffix == ".c"), share / "firmware.c"]
    objects, libraries = [], [library(core, "libgcc.a", abi)]
    if core.startswith("rv"):  # Debian has no C library for RISC-V that any firmware may take
        sources.append(Path(__file__).with_name("memory.c"))
    else:
        libraries.insert(0, library(core, "libc.a", abi))
    counted = ["-Dsmall_run_arrays=counted_run_arrays"]
    special = {
        "selftest": counted,
        "small_selftest": counted,
        "memory": ["-fno-lto"],
        "firmware": ["-Dcounted_run_arrays=not_counted"] if parts and parts[0].suffix == ".a" else [],
    }
    for s in sources:
        objects.append(tmp_path / f"{s.stem}.o")
        extra = special.get(s.stem, [])
        line = [*command_line, *extra, "-I", artifact / "include", "-I", share, "-c", s, "-o", objects[-1]]
        done = subprocess.run(list(map(str, line)), capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[:2000]
    line = [
        *command_line,
        "-T",
        share / "firmware.ld",
        "-Wl,--gc-sections",
        "-o",
        tmp_path / "test",
        *objects,
        *(p for p in given if p.suffix == ".a"),
        *libraries,
    ]
    done = subprocess.run(list(map(str, line)), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[:2000]
    assert "libsmall.a" not in done.stderr, done.stderr[:2000]  # no warning names the library
    wanted = [v["outputs_sha256"] for v in json.loads((artifact / "conformance.json").read_text())["vectors"] if v["kind"] != "sample"]
    found = environment(load(core))
    assert isinstance(found, Environment)
    return [(emulate(found.prefix, tmp_path / "test", ["test", str(i), "2"], core).split()[0], w) for i, w in enumerate(wanted)]


def check(core: str, compiler: str, level: str, artifact_of: Artifacts, tmp_path: Path) -> None:
    if shutil.which(gcc(core)) is None or compiler != "gcc" and shutil.which(compiler) is None:
        pytest.skip(f"no {gcc(core)} or no {compiler} here")
    results = outcome(artifact_of(core), core, compiled(core, compiler, level), tmp_path)
    assert results and all(found == wanted for found, wanted in results)


FLOAT_ABIS = [("cortex-m4f", ["-mfloat-abi=softfp"]), ("cortex-m4f", []), ("cortex-m33", ["-mfloat-abi=softfp"]), ("cortex-m3", [])]


@pytest.mark.parametrize("core, abi", [f for f in FLOAT_ABIS if f[0] in HERE])
@pytest.mark.parametrize("enums", ["-fshort-enums", "-fno-short-enums"])
def test_the_library_links_with_every_abi(core: str, abi: list[str], enums: str, artifact_of: Artifacts, tmp_path: Path) -> None:
    """Hard and softfp, short and long enums: without a word from the linker."""
    if shutil.which(gcc(core)) is None:
        pytest.skip(f"no {gcc(core)} here")
    line = [*compiled(core, "gcc", "-O2"), *abi, enums]
    results = outcome(artifact_of(core), core, line, tmp_path, [artifact_of(core) / "lib/libsmall.a"], abi)
    assert results and all(found == wanted for found, wanted in results)


@pytest.mark.parametrize("kind", ["folder", "pack"])
@pytest.mark.parametrize("core, compiler", [("cortex-m4f", "gcc"), ("cortex-m33", "clang"), ("rv32imc", "gcc")])
def test_packages_on_boards(core: str, compiler: str, kind: str, artifact_of: Artifacts, tmp_path: Path) -> None:
    """What Arduino, PlatformIO and ESP-IDF compile (all of src/), and what a CMSIS pack holds: the self-test is in it."""
    if shutil.which(gcc(core)) is None or compiler != "gcc" and shutil.which(compiler) is None or core not in HERE:
        pytest.skip(f"no {gcc(core)} or no {compiler} here")
    root = artifact_of(core)
    if kind == "pack":
        with zipfile.ZipFile(root / "mlcc.small.1.0.0.pack") as pack:
            pack.extractall(tmp_path / "pack")
        root = tmp_path / "pack"
    sources = sorted((root / "src").glob("*.c"))
    assert [s.name for s in sources] == ["small.c", "small_selftest.c"]
    results = outcome(artifact_of(core), core, compiled(core, compiler, "-Os"), tmp_path, sources)
    assert results and all(found == wanted for found, wanted in results)


QUICK = [("cortex-m4f", "gcc", "-O2 -flto"), ("cortex-m4f", "clang", "-O2"), ("cortex-m0plus", "gcc", "-Os"), ("rv32imafc", "gcc", "-O3")]
EVERY = [
    (c, compiler, level) for c in HERE for compiler in ("gcc", "clang") for level in LEVELS if not (compiler == "clang" and "lto" in level)
]


@pytest.mark.parametrize("core, compiler, level", [q for q in QUICK if q[0] in HERE])
def test_sources_on_boards(core: str, compiler: str, level: str, artifact_of: Artifacts, tmp_path: Path) -> None:
    check(core, compiler, level, artifact_of, tmp_path)


@pytest.mark.full
@pytest.mark.parametrize("core, compiler, level", [e for e in EVERY if e not in QUICK])
def test_sources_on_every_board(core: str, compiler: str, level: str, artifact_of: Artifacts, tmp_path: Path) -> None:
    check(core, compiler, level, artifact_of, tmp_path)


BREAKS = [
    "-ffast-math",
    "-funsafe-math-optimizations",
    "-fassociative-math -fno-signed-zeros -fno-trapping-math",
    "-freciprocal-math",
    "-fno-signed-zeros",
]


@pytest.mark.parametrize("flags", BREAKS)
@pytest.mark.parametrize("compiler", ["gcc", "clang", "zig"])
def test_flags_that_break_bits_are_refused(compiler: str, flags: str, artifact_of: Artifacts, tmp_path: Path) -> None:
    """By the preprocessor where a macro tells; else by the self-test."""
    line = [sys.executable, "-m", "ziglang", "cc"] if compiler == "zig" else [compiler]
    if compiler != "zig" and shutil.which(compiler) is None:
        pytest.skip(f"no {compiler} here")
    artifact = artifact_of("cortex-m0plus")
    share = artifact / "share/selftest"
    program = tmp_path / "test.c"
    program.write_text(
        '#include <stdlib.h>\n#include "small.h"\nint main(void) { return small_selftest(malloc(small_selftest_bytes())); }\n'
    )
    sources = [program, artifact / "src/small.c", share / "selftest.c"]
    done = subprocess.run(
        list(map(str, [*line, "-O2", *flags.split(), "-I", artifact / "include", "-I", share, *sources, "-o", tmp_path / "t", "-lm"])),
        capture_output=True,
        text=True,
    )
    if done.returncode:
        assert "results are exact only without" in done.stderr
    else:
        assert subprocess.run([tmp_path / "t"]).returncode == 2


def test_c90_is_one_error(artifact_of: Artifacts, tmp_path: Path) -> None:
    artifact = artifact_of("cortex-m0plus")
    line = ["gcc", "-std=c90", "-I", artifact / "include", "-c", artifact / "src/small.c", "-o", tmp_path / "o"]
    done = subprocess.run(list(map(str, line)), capture_output=True, text=True)
    assert done.returncode and done.stderr.count(": error:") == 1 and "this is C99" in done.stderr
