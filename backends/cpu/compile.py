"""Sources → libraries: kernels through TVM's LLVM, the C around them and the links through ziglang's clang and lld."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib import resources
from pathlib import Path

from mlcc.cache.native import zig
from mlcc.cache.store import working_folder
from mlcc.error import Error
from mlcc.plugin import Binaries, CompileOptions, Sources
from mlcc.target import Target
from mlcc.tir.parallel import compile_all
from mlcc_backends import links

FLAGS = (
    "-O2",
    "-std=c2x",
    "-ffp-contract=off",
    "-UNDEBUG",  # arguments are checked
    "-fno-sanitize=all",
    "-ffunction-sections",
    "-fdata-sections",
    "-fvisibility=hidden",
    "-g0",
    "-Wno-pedantic",
)

LARGE = 1 << 30  # bytes of weights


def compiler(target: Target, options: CompileOptions, static: bool = False) -> list[str]:
    """The C compiler's command for a target. static: against musl, for the runner's executables."""
    if options.compiler != "zig":
        command = shlex.split(options.compiler)
        if shutil.which(command[0]) is None:
            raise Error("toolchain", "no such compiler", options.compiler, "leave --compiler away to use the built-in one")
        return command
    triple = target.zig
    if static and "-linux-" in triple:
        base = triple.rsplit(".", 2)[0] if triple[-1].isdigit() else triple
        triple = base.replace("-gnueabihf", "-musleabihf").replace("-gnu", "-musl")
    return [*zig(), "cc", "-target", triple, *([f"-mcpu={target.cpu}"] if target.cpu else []), *target.flags]


def run(command: list[str], folder: Path, what: str) -> None:
    """Run a tool in a folder. Raises Error(toolchain) with the last lines that it printed."""
    done = _run(command, folder)
    if done.returncode:
        tail = [line for line in done.stderr.strip().splitlines() if line.strip()][-4:]
        raise Error("toolchain", f"{what} failed: {' | '.join(tail)}", hint="`mlcc build --no-cache` rules out a damaged cache")


def link(command: list[str], folder: Path, what: str) -> None:
    """Link by a command with -nostdlib: with the compiler's own functions (-lcompiler_rt) only where something calls them. zig builds those
    before its first link for each kind of CPU, which takes ten seconds. Raises Error(toolchain) with the last lines that were printed."""
    if _run(command, folder).returncode:
        run([*command, "-lcompiler_rt"], folder, what)


def _run(command: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    environment = {
        **os.environ,
        "ZIG_GLOBAL_CACHE_DIR": str(working_folder() / "zig"),
        "ZIG_LOCAL_CACHE_DIR": str(folder / ".zig"),
        "LC_ALL": "C",
        "SOURCE_DATE_EPOCH": "0",
    }
    try:
        return subprocess.run(command, cwd=folder, capture_output=True, text=True, env=environment)
    except OSError as e:
        raise Error("toolchain", f"cannot run the compiler: {e.strerror}", command[0]) from None


def write(sources: Sources, folder: Path) -> None:
    """The sources' files, in a folder."""
    for path, body in sources.files.items():
        place = folder / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(body)


def compile(sources: Sources, target: Target, options: CompileOptions) -> Binaries:
    """Build lib/libNAME.so and .a, and the private test program."""
    name = sources.name
    report = options.progress
    jobs = [(j.symbol, j.kernel, j.target.machine, j.target.llvm) for j in sources.jobs]
    objects = compile_all(jobs, options.store, options.jobs, (lambda n, total: report("kernels", n, total)) if report else None)
    with tempfile.TemporaryDirectory(prefix="mlcc-") as d:
        folder = Path(d)
        write(sources, folder)
        (folder / "k").mkdir()
        for symbol, body in objects.items():
            (folder / "k" / f"{symbol}.o").write_bytes(body)
        cc = compiler(target, options)
        units = sorted(p for p in sources.files if p.startswith("src/") and p.endswith(".c") and p != "src/main.c")
        pic = ["-fPIC"] if target.shared else []
        if target.machine == "x86_64" and len(sources.files["src/weights.bin"]) > LARGE:
            pic = [*pic, "-mcmodel=medium"]  # weights lie outside the 2 GiB that code reaches
        compiled = [f"src/{Path(u).stem}.o" for u in units]
        with ThreadPoolExecutor(options.jobs) as pool:  # zig cc takes one source with -c
            list(pool.map(lambda u: run([*cc, *FLAGS, *pic, "-c", u, "-o", f"src/{Path(u).stem}.o"], folder, f"compiling {u}"), units))
        kernels = [f"k/{symbol}.o" for symbol in sorted(objects)]
        (folder / "objects.txt").write_text("\n".join([*compiled, *kernels]))
        files = {p: body for p, body in sources.files.items() if not p.startswith("src/")}
        files.update(
            {
                f"share/selftest/{p}": sources.files[f"src/{p}"].replace(b'"../include/', b'"../../include/')
                for p in ("main.c", "internal.h")
            }
        )
        if target.shared:
            (folder / "exports.map").write_text(
                f"{{ global: {name}_run; {name}_run_checked; {name}_run_parallel; {name}_run_arrays; {name}_workspace_bytes; "
                f"{name}_selftest; {name}_selftest_bytes; "
                f"{name}_selftest_vector; {name}_signature; {name}_variant_runs; {name}_variant_name; {name}_pool_create; "
                f"{name}_pool_for; {name}_pool_destroy; {name}_build_*; local: *; }};\n"
            )
            shared = ["-shared", "-o", f"lib{name}.so", "@objects.txt", f"-Wl,-soname,lib{name}.so", "-Wl,--version-script=exports.map"]
            shared += ["-Wl,-Bsymbolic"]  # beside another build of this name, its own functions are called
            shared += ["-Wl,--gc-sections", "-Wl,--build-id=none", "-s"]
            link_shared([*cc, *shared], folder, options)
            files[f"lib/lib{name}.so"] = (folder / f"lib{name}.so").read_bytes()
        run([*zig(), "ar", "rcsD", f"lib{name}.a", "@objects.txt"], folder, "archiving the static library")
        files[f"lib/lib{name}.a"] = (folder / f"lib{name}.a").read_bytes()
        files |= links.files(name, options.model, target, options.version, files)
        return Binaries(name, files, {"test": _test_program(folder, name, target, options)})


def link_shared(command: list[str], folder: Path, options: CompileOptions, further: str = "-lm") -> None:
    """Link a shared library for Linux that calls the C library's functions. further: one of its libraries."""
    libraries, what = ["-lc", further, "-lpthread"], "linking the shared library"
    if options.compiler == "zig":
        link([*command, "-nostdlib", "-Wl,-z,defs", *libraries], folder, what)
    else:
        run([*command, *libraries], folder, what)


def _test_program(folder: Path, name: str, target: Target, options: CompileOptions) -> bytes:
    """A static executable of the library and src/main.c, for emulators."""
    objects = [line for line in (folder / "objects.txt").read_text("utf-8").splitlines() if line != "src/pool.o"]
    (folder / "test.txt").write_text("\n".join(objects))
    large = (folder / "src/weights.bin").stat().st_size > LARGE
    return program(folder, ["src/main.c"], ["@test.txt"], target, options, large).read_bytes()


def program(
    folder: Path, main: Sequence[str], library: Sequence[str], target: Target, options: CompileOptions, large: bool = False
) -> Path:
    """A static executable of main (a C file and flags for it) and a library's objects; for Linux without a C library, which takes a
    minute to build for each kind of CPU. large: the weights have more than LARGE bytes."""
    cc = compiler(target, options, static=True)
    if options.compiler == "zig" and "-linux-" in target.zig and not large:
        (folder / "start.c").write_bytes(resources.files("mlcc_backends.cpu").joinpath("templates", "start.c").read_bytes())
        for unit, source in (("start", ["start.c"]), ("main", main)):
            run([*cc, *FLAGS, "-fno-builtin", "-c", *source, "-o", f"{unit}.o"], folder, f"compiling {unit}.c")
        cc[cc.index("-target") + 1] = target.zig  # whose compiler's library may be there already
        link([*cc, *FLAGS, "-static", "-nostdlib", "start.o", "main.o", *library, "-o", "test", "-s"], folder, "linking the test program")
    else:
        how = ["-static"] if "linux" in target.zig else []
        if large and target.machine == "x86_64":
            how += ["-fPIE", "-pie"]  # absolute addresses in the C library would not reach past the weights
        run([*cc, *FLAGS, *how, *main, *library, "-lm", "-o", "test", "-s"], folder, "linking the test program")
    return next(p for p in (folder / "test", folder / "test.wasm") if p.exists())
