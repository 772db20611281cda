"""One C file, several compilers: strict C99 by GCC and Clang, C++, and a big-endian machine; each gives the reference's answer."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import mlcc
from mlcc.cache.store import cache_folder
from tests.backends.models import small

BIG = [sys.executable, "-m", "ziglang", "cc", "-target", "s390x-linux-musl", "-mcpu=z13", "-static", "-fno-builtin", "-fno-stack-protector"]
START = Path(__file__).parents[2] / "backends/cpu/templates/start.c"  # in place of a C library, which takes a minute to build
STRICT = ["-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Wshadow", "-Werror"]
COMPILERS = {
    "gcc": ["gcc", "-std=c99", *STRICT],
    "gcc-gnu": ["gcc", "-O3", "-march=x86-64-v3", *STRICT],  # where GCC fuses unless told otherwise
    "g++": ["g++", "-std=c++11", "-x", "c++", *STRICT],
    "clang": ["clang", "-std=c99", *STRICT],
    "s390x": [*BIG, "-std=c99", "-fno-sanitize=all", *STRICT],
}


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("c")
    mlcc.build(small(folder / "small.onnx"), target=["c99", "native"], out=folder / "dist")
    return folder / "dist" / "small" / "c99"


@pytest.mark.parametrize("name", sorted(COMPILERS))
def test_compiles_without_a_warning_and_agrees(name: str, artifact: Path, tmp_path: Path) -> None:
    command = COMPILERS[name]
    if shutil.which(command[0]) is None:
        pytest.skip(f"no {command[0]} here")
    environment = {
        "ZIG_GLOBAL_CACHE_DIR": str(cache_folder() / "zig"),
        "ZIG_LOCAL_CACHE_DIR": str(tmp_path),
        "PATH": "/usr/bin:/bin",
        "HOME": str(tmp_path),
    }

    def run(line: list[str]) -> str:
        done = subprocess.run(line, cwd=tmp_path, capture_output=True, text=True, env=environment)
        assert done.returncode == 0, done.stderr[-2000:]
        return done.stdout

    include = [f"-I{artifact}/include", f"-I{artifact}/share/selftest"]
    run([*command, "-O2", *include, "-c", f"{artifact}/src/small.c", "-o", "model.o"])
    plain = [c for c in command if c not in STRICT and c not in ("-x", "c++", "-std=c++11")]
    plain = ["gcc" if c == "g++" else c for c in plain]
    rest = [artifact / "share/selftest/selftest.c", artifact / "share/selftest/main.c", *([START] if name == "s390x" else [])]
    for source in rest:
        run([*plain, "-std=gnu11", *include, "-c", str(source), "-o", f"{source.stem}.o"])
    objects = ["model.o", *(f"{source.stem}.o" for source in rest)]
    run([*plain, *objects, *(["-nostdlib"] if name == "s390x" else ["-lm"]), "-o", "test"])
    emulator = shutil.which("qemu-s390x-static") if name == "s390x" else ""
    if emulator is None:
        pytest.skip("no qemu-s390x-static here")
    for vector in range(3):
        digest, status = run([*([emulator] if emulator else []), "./test", "test", str(vector), "-1"]).split()
        assert status == "0", (name, vector, digest)
