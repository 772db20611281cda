"""Sources → one library that holds code for every architecture, and the test programs."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from mlcc.cache.native import zig
from mlcc.cache.store import key_of
from mlcc.plugin import Binaries, CompileOptions, Sources
from mlcc.target import Target
from mlcc_backends import links
from mlcc_backends.cpu.compile import FLAGS, compiler, link_shared, run, write
from mlcc_backends.cuda import nvrtc
from mlcc_backends.cuda.sections import architectures_of

HOST = ("-O2", "-ffp-contract=off", "-fno-sanitize=all", "-g0", "-Wall", "-Wextra", "-Wno-unused-function", "-Wno-gnu")
EXPORTED = [
    "create",
    "destroy",
    "run_on_stream",
    "run",
    "error",
    "workspace_bytes",
    "selftest",
    "selftest_bytes",
    "selftest_vector",
    "signature",
    "run_arrays",
    "queue_arrays",
    "allocate",
    "release",
    "copy_in",
    "copy_out",
    "wait",
    "variant_runs",
    "variant_name",
    "weights",
    "weights_bytes",
]
SHARE = ("main.c", "selftest.c", "internal.h", "launches.h", "shim.h", "shim_run.cpp", "weights.c")


def compile(sources: Sources, target: Target, options: CompileOptions) -> Binaries:
    """lib/libNAME.so; privately a test program with the kernels on the host, and one for a GPU."""
    name, source = sources.name, sources.files[f"src/{sources.name}.cu"]
    wanted = nvrtc.images(architectures_of(target))
    done = 0

    def image(option: str) -> bytes:
        nonlocal done
        key = key_of("cuda", nvrtc.library()[1], option, repr(nvrtc.OPTIONS), source.decode())
        found = options.store.get(key) if options.store else None
        body = bytes(found) if found is not None else nvrtc.compile_image(source, name, option)
        if options.store and found is None:
            options.store.put(key, body)
        done += 1
        if options.progress:
            options.progress("architectures", done, len(wanted))
        return body

    nvrtc.library()
    with tempfile.TemporaryDirectory(prefix="mlcc-") as d, ThreadPoolExecutor(options.jobs) as pool:
        folder = Path(d)
        write(sources, folder)
        shim = pool.submit(shim_program, folder)
        (folder / "src/images").mkdir()
        for i, body in zip(wanted, pool.map(image, [i["option"] for i in wanted])):
            (folder / "src/images" / i["symbol"]).write_bytes(body)
        library, test = link(folder, name, compiler(target, options), options, ("gpu", "images", "selftest", "weights"), EXPORTED)
        files = {p: body for p, body in sources.files.items() if not p.startswith("src/")}
        files |= {f"share/selftest/{p}": sources.files[f"src/{p}"].replace(b'"../include/', b'"../../include/') for p in SHARE}
        files[f"share/selftest/{name}.cu"] = source
        files[f"lib/lib{name}.so"] = library
        private = {"test": shim.result().read_bytes(), "gpu_test": test}
        sizes = {f"{i['symbol']}_bytes": (folder / "src/images" / i["symbol"]).stat().st_size for i in wanted}
    files |= links.files(name, options.model, target, options.version, files)
    return Binaries(name, files, private, sizes, facts={"architectures": list(architectures_of(target))})


def link(
    folder: Path, name: str, cc: Sequence[str], options: CompileOptions, units: Sequence[str], exported: Sequence[str]
) -> tuple[bytes, bytes]:
    """The shared library of the C files `units` in src/, which loads its driver at run time, and a program that tests it."""
    for unit in units:
        run([*cc, *FLAGS, "-fPIC", "-c", f"src/{unit}.c", "-o", f"{unit}.o"], folder, f"compiling {unit}.c")
    (folder / "exports.map").write_text(f"{{ global: {' '.join(f'{name}_{e};' for e in exported)} local: *; }};\n")
    objects = [f"{unit}.o" for unit in units]
    how = ["-shared", f"-Wl,-soname,lib{name}.so", "-Wl,--version-script=exports.map", "-Wl,--build-id=none"]
    link_shared([*cc, "-o", f"lib{name}.so", *objects, *how, "-s"], folder, options, "-ldl")
    run([*cc, *FLAGS, "-o", "device_test", "src/main.c", *objects, "-s", "-lpthread", "-ldl"], folder, "linking the test program")
    return (folder / f"lib{name}.so").read_bytes(), (folder / "device_test").read_bytes()


def shim_program(folder: Path) -> Path:
    """The kernels' own source, compiled for this machine's CPU, with what runs test vectors on it."""
    cc = [*zig(), "cc", "-mcpu=native"]  # this machine's own C library: none must be built
    kernels = [
        *cc,
        *HOST,
        "-std=c++20",
        "-nostdinc++",
        "-fno-exceptions",
        "-fno-rtti",
        "-fno-threadsafe-statics",
        "-c",
        "src/shim_run.cpp",
    ]
    run([*kernels, "-o", "shim_run.o"], folder, "compiling the kernels for the host")
    for unit in ("selftest", "weights", "main"):
        run([*cc, *FLAGS, "-c", f"src/{unit}.c", "-o", f"shim_{unit}.o"], folder, f"compiling {unit}.c")
    objects = [f"shim_{unit}.o" for unit in ("run", "selftest", "weights", "main")]
    run([*cc, "-fno-sanitize=all", "-o", "test", *objects, "-lpthread", "-lm", "-s"], folder, "linking the test program")
    return folder / "test"
