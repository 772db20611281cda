"""The pipeline, top to bottom: import → normalise → freeze → lower → package."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import sys
import tempfile
import time
import types
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from threading import Thread
from typing import Any

from mlcc import lock
from mlcc.artifact import write
from mlcc.artifact.keys import SigningKey, signing_key, withheld
from mlcc.cache import bound
from mlcc.cache.blob import packed, unpacked
from mlcc.cache.code import code_digest
from mlcc.cache.store import Store, cache_folder, key_of
from mlcc.cache.tools import tools
from mlcc.error import Error, explained
from mlcc.limits import Limits
from mlcc.names import library_name, printable
from mlcc.program import budget
from mlcc.target import Hardware, Serving, Target, fitted, runs_here
from mlcc.target import load as load_target

Progress = Callable[[str], None]
PRECISIONS = ("float32", "bf16")


@dataclass(frozen=True)
class Request:
    """What to build. shapes: input → dimensions; compiler: "zig" or a system compiler's command; jobs: processes;
    precision: "float32", or "bf16" for products with weights in bfloat16; lock: an mlcc.lock to follow, and with `tune` to write;
    flash, ram: bytes that a microcontroller has, where its target does not say; emit: further packagings for microcontrollers (`kits.FORMATS`, "mcuboot"), or "bitstream" for FPGAs;
    version, slot (address, bytes), image_key (PEM): of the image that "mcuboot" makes; serving: batches and chips, for XLA's targets;
    hardware: architecture, interval and share, for FPGAs and ASICs; samples: input → .npy files, real inputs that become golden vectors; describe: input or output → what the artifact
    says of it beyond the file (layout, unit, labels, … as `mlcc.graph.describe.Description`);
    limits: what the model may ask for; strict: fail where some operator is not exercised by the golden vectors; judge: compare the artifact's outputs with an outside judge's."""

    model: Path
    targets: tuple[str, ...]
    out: Path
    name: str = ""
    shapes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    key: Path | None = None
    cache: bool = True
    compiler: str = "zig"
    jobs: int = field(default_factory=lambda: int(os.environ.get("MLCC_JOBS") or os.cpu_count() or 1))
    check: bool = True
    precision: str = "float32"
    lock: Path | None = None
    tune: bool = False
    flash: int | None = None
    ram: int | None = None
    emit: tuple[str, ...] = ()
    version: str = "1.0.0"
    slot: tuple[int, int] | None = None
    image_key: Path | None = None
    serving: Serving | None = None
    hardware: Hardware | None = None
    samples: Mapping[str, tuple[Path, ...]] = field(default_factory=dict)
    describe: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    limits: Limits = field(default_factory=Limits)
    strict: bool = False
    judge: bool = True


@dataclass(frozen=True)
class Built:
    """One target's result, as kept in the cache."""

    summary: dict[str, Any]
    files: Mapping[str, bytes | memoryview]
    layout: Mapping[str, bytes | memoryview]


def build(
    model: str | Path,
    target: str | Sequence[str] = "native",
    shapes: Mapping[str, Sequence[int]] | None = None,
    out: str | Path = "dist",
    **options: Any,
) -> dict[str, Any]:
    """`mlcc build` from Python; returns what the command prints as JSON. Raises mlcc.Error."""
    targets = (target,) if isinstance(target, str) else tuple(target)
    return run(Request(Path(model), targets, Path(out), shapes={k: tuple(v) for k, v in (shapes or {}).items()}, **options))


def run(request: Request, progress: Progress = lambda text: None) -> dict[str, Any]:
    """Build, test, sign and write every target; the summary of design's `mlcc build --json`."""
    with withheld():
        return _run(request, progress)


def _run(request: Request, progress: Progress) -> dict[str, Any]:
    start = time.monotonic()
    if not request.targets:
        raise Error("usage", "no target", hint="name one: --target native")
    if request.precision not in PRECISIONS:
        raise Error("usage", f"no precision {request.precision}", hint=f"precisions: {', '.join(PRECISIONS)}")
    if not re.fullmatch(r"\d+(\.\d+){0,3}([-+][0-9A-Za-z.-]+)?", request.version):
        raise Error("usage", f"version {printable(request.version)} is not of the form 1.2.3")
    tiles = lock.read(request.lock) if request.lock else {}
    targets = [lock.locked(load_target(t), tiles) for t in dict.fromkeys(request.targets)]
    if request.serving:
        if all(t.backend != "tpu" for t in targets):
            raise Error("usage", "[serving] is for XLA's targets", ", ".join(t.name for t in targets), "such as stablehlo and tpu-v5e")
        targets = [replace(t, serving=request.serving) if t.backend == "tpu" else t for t in targets]
    if request.hardware:
        if all(t.part is None for t in targets):
            raise Error("usage", "[hardware] is for FPGAs and ASICs", ", ".join(t.name for t in targets), "such as hls-zu3eg and ecp5-85k")
        targets = [replace(t, hardware=request.hardware) if t.part else t for t in targets]
    asked = _asked_of(request, targets)
    if request.tune and request.lock is None:
        raise Error("usage", "tuning needs a lock file to write", hint="lock=Path('mlcc.lock')")
    if str(request.model) == "-" or request.model.is_fifo() or request.model.is_char_device() or request.model.is_socket():
        return _from_stream(request, progress)
    if not request.model.exists():
        raise Error("usage", "no such file", str(request.model), "give the path of a model file")
    model_digest = digest_model(request.model)
    remember(request.model, model_digest)
    key = signing_key(request.key)
    if key.fresh:
        progress(f"made a signing key: {key.path} (give others {key.path.with_suffix('.pub') if key.path else ''} to verify with)")
    name = _named(request)
    store = Store(cache_folder() / "actions") if request.cache else None
    built = {t.name: None if request.tune else _cached(store, request, model_digest, t, key, name) for t in targets}
    missing = [t for t in targets if built[t.name] is None]
    comparison: dict[str, Any] = {}
    if missing:
        with explained("building", str(request.model)):
            fresh, comparison = _build(request, missing, name, model_digest, key, store, progress)
        built.update(fresh)
    results = [built[t.name] for t in targets]
    assert all(r is not None for r in results)
    artifacts = []
    for t, result in zip(targets, results):
        assert result is not None
        place = request.out / name / t.name
        progress(f"{t.name}: writing {place}")
        write.folder(result.files, place)
        write.folder(result.layout, place.with_name(f"{t.name}.oci"))
        artifacts.append({**result.summary["artifact"], "path": str(place), "oci": str(place.with_name(f"{t.name}.oci"))})
    if store:
        bound.keep(store.folder)
    if comparison:
        _write_comparison(request.out / name, name, comparison, artifacts)
    first = results[0]
    assert first is not None
    return {
        "model": name,
        "program_digest": first.summary["program_digest"],
        "output_digest": first.summary["output_digest"],
        "artifacts": artifacts,
        "notes": list(
            dict.fromkeys([*filter(None, [key.warning]), *asked, *(note for r in results if r is not None for note in r.summary["notes"])])
        ),
        "seconds": round(time.monotonic() - start, 3),
    }


def _from_stream(request: Request, progress: Progress) -> dict[str, Any]:
    """A model that comes from a pipe or from stdin (`-`): an ONNX file, kept while it is built."""
    if request.model.is_socket() or str(request.model) == "-" and sys.stdin is None:
        raise Error("usage", "a socket is no model file", str(request.model))
    try:
        with tempfile.TemporaryDirectory(prefix="mlcc-") as d:
            copy = Path(d) / f"{request.name or 'model'}.onnx"
            with open(request.model, "rb") if str(request.model) != "-" else sys.stdin.buffer as source, open(copy, "wb") as f:
                shutil.copyfileobj(source, f)
            return run(replace(request, model=copy), progress)
    except OSError as e:
        raise Error("usage", f"cannot read: {e.strerror or e}", str(request.model)) from None


def model_name(path: Path) -> str:
    """A C identifier from the file's name: what the library and its functions are called."""
    return library_name(path.name.split(".onnx")[0] if path.name.endswith(".onnx") else path.stem)


def _named(request: Request) -> str:
    """The library's name: as asked, else from the model's file."""
    if not request.name:
        return model_name(request.model)
    if request.name != library_name(request.name):
        raise Error("usage", f"--name {request.name} is no name for a C library", hint=f"such as {library_name(request.name)}")
    return request.name


def digest_model(path: Path) -> str:
    """SHA-256 over the model file and all the external data that it names."""
    from mlcc.importers.external import files

    try:
        raw = path.read_bytes() if path.is_file() else b""
        digest = hashlib.sha256(raw)
        for name, file in files(path, raw) if path.suffix == ".onnx" else []:
            digest.update(name.encode() + b"\0")
            with open(file, "rb") as f:
                digest.update(hashlib.file_digest(f, "sha256").digest())
        return digest.hexdigest()
    except OSError as e:
        raise Error("usage", f"cannot read: {e.strerror}", str(path)) from None


def remember(path: Path, digest: str) -> None:
    """Note where a model lies, so that `run --compare` and `bench --against` find it again on this machine."""
    place = cache_folder() / "models" / digest
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(str(path.resolve()), "utf-8")
    except OSError:
        pass


def find_model(digest: str) -> Path | None:
    """The file that a model was last built from, if it is still there and unchanged."""
    try:
        path = Path((cache_folder() / "models" / digest).read_text("utf-8"))
    except (OSError, UnicodeDecodeError):
        return None
    return path if path.is_file() and digest_model(path) == digest else None


@dataclass(frozen=True)
class Frozen:
    """A model past the freeze: what every target shares."""

    name: str
    model_digest: str
    identity: str
    outputs: str
    graph: Any
    program: Any
    meaning: Any  # the outputs in terms (mlcc.translation): what every program of the graph must compute
    vectors: Any
    coverage: Any  # what the vectors exercise
    verdict: Any  # the outside judge's
    notes: list[str]


def _versions(request: Request, frozen: Frozen, targets: Sequence[Target]) -> dict[str, Frozen]:
    """By target: with the program that suits it. Compact targets share theirs, one for each kind of packing and, where it must be smaller, size of RAM;
    backends that take no narrow weights share one, where there are such."""
    from mlcc.program import program as loop
    from mlcc.program.lower import lower
    from mlcc_backends import interface

    def version(**options: bool) -> Frozen:
        return replace(frozen, program=_proven(lower(frozen.graph, **options), frozen.graph, frozen.meaning))

    made: dict[tuple[bool, int | None], Frozen] = {}
    wide: Frozen | None = None
    found = {}
    for t in targets:
        found[t.name] = frozen
        if not t.compact:
            if loop.narrow(frozen.program) and not getattr(interface.load(t.backend), "NARROW", False):
                wide = found[t.name] = wide or version()
            continue
        vectors, ram = t.variants[0].machine.vector_bits >= 128, _limits(request, t).ram
        if (vectors, None) not in made:
            made[vectors, None] = version(compact=True, vectors=vectors)
        if t.board is None or ram is None or budget.ram_bytes(made[vectors, None].program) <= ram:
            found[t.name] = made[vectors, None]
            continue
        if (vectors, ram) not in made:
            made[vectors, ram] = _in_strips(made[vectors, None], ram, vectors)
        found[t.name] = made[vectors, ram]
    return found


def _in_strips(whole: Frozen, ram: int, vectors: bool) -> Frozen:
    """With the early layers in strips of rows, as RAM demands."""
    from mlcc.program import patch

    smaller = patch.within(whole.graph, ram, vectors)
    if smaller is None or budget.ram_bytes(smaller[0]) >= budget.ram_bytes(whole.program):
        return whole
    program, cut = _proven(smaller[0], whole.graph, whole.meaning), smaller[1]
    end = whole.graph.nodes[cut.last]
    note = f"to fit {ram:,} bytes of RAM, the layers up to {(end.origin or end.outputs[0])[-60:]} run in {cut.strips} strips of rows: {cut.work - 1:.0%} more work there"
    return replace(whole, program=program, notes=[*whole.notes, note])


def _build(
    request: Request, targets: list[Target], name: str, model_digest: str, key: SigningKey, store: Store | None, progress: Progress
) -> tuple[dict[str, Built], dict[str, Any]]:
    """The stages, for the targets that no cache holds."""
    from mlcc.program.kernel import BlockDot

    frozen = _freeze(request, name, model_digest, progress)
    tiles = any(isinstance(k, BlockDot) for k in frozen.program.kernels.values())
    asked = {t.name: t for t in targets}
    targets = [fitted(t, tiles) for t in targets]
    if request.tune:
        targets = _tune(request, targets, frozen.program, progress)
    versions = _versions(request, frozen, targets)
    for t in targets:
        _fits(request, t, versions[t.name].program)
    binaries = {t.name: _compile(request, t, versions[t.name], key, store, progress) for t in targets}
    for t in targets:
        _fits(request, t, versions[t.name].program, binaries[t.name].figures.get("flash_bytes"))
    progress("running golden vectors on " + ", ".join(t.name for t in targets))
    with ThreadPoolExecutor(max(1, request.jobs)) as pool:  # each run is a process of its own
        results = list(pool.map(lambda t: _check(request, t, versions[t.name], binaries[t.name]), targets))
    built = {}
    for target, result in zip(targets, results):
        progress(f"{target.name}: packaging")
        built[target.name] = _package(request, target, versions[target.name], binaries[target.name], result, key)
        if store:
            store.put(_key(request, model_digest, asked[target.name], key, name), _freeze_built(built[target.name]))
    return built, frozen.verdict.comparison


def _limits(request: Request, target: Target) -> budget.Budget:
    """What the model may take: as asked, else as the target says."""
    return budget.Budget(request.flash or target.memory.flash, request.ram or target.memory.ram)


def _fits(request: Request, target: Target, program: Any, flash: int | None = None) -> None:
    """Raise where a program needs more memory than its chip has; `flash`: the bytes measured once it is compiled."""
    from mlcc.target import roomier

    limits = _limits(request, target)
    if target.board is None or limits == budget.Budget():
        return
    code = budget.CODE if flash is None else flash - budget.weight_bytes(program)
    budget.check(program, limits, target.name, code, lambda flash, ram: roomier(target, flash, ram)[:3])


def _takes(target: Target, kind: str) -> bool:
    """Whether a packaging is for this target."""
    return target.part is not None and bool(target.part.place) if kind == "bitstream" else target.board is not None


def _asked_of(request: Request, targets: Sequence[Target]) -> list[str]:
    """What is asked that some targets have no use for, in words. Raises Error(usage) where none has, or where a packaging is unknown."""
    from mlcc_backends.mcu import kits

    known = (*kits.FORMATS, "mcuboot", "bitstream")
    notes = []
    for kind in request.emit:
        if kind not in known:
            raise Error("usage", f"cannot emit {printable(kind)}", hint=f"one of {', '.join(known)}")
        others = [t.name for t in targets if not _takes(t, kind)]
        purpose = "parts with an open place and route" if kind == "bitstream" else "microcontrollers"
        if len(others) == len(targets):
            raise Error(
                "usage", f"--emit {kind} is for {purpose}", ", ".join(others), "ecp5-85k and ice40-up5k" if kind == "bitstream" else ""
            )
        if others:
            notes.append(f"{', '.join(others)}: no {kind}, which is for {purpose}")
    for option, value in (("--flash", request.flash), ("--ram", request.ram)):
        others = [t.name for t in targets if t.board is None]
        if value is not None and len(others) == len(targets):
            raise Error(
                "usage", f"{option} is for microcontrollers", ", ".join(others), "on other targets the manifest says what is needed"
            )
        if value is not None and others:
            notes.append(f"{', '.join(others)}: {option} is not checked, since it is for microcontrollers")
    return notes


def _tune(request: Request, targets: list[Target], program: Any, progress: Progress) -> list[Target]:
    """Measure tiles for the instruction sets that this machine has, and add them to the lock file."""
    from mlcc.schedule.tune import tune

    assert request.lock is not None
    tiles = lock.read(request.lock)
    for variant in {v.name: v for t in targets for v in t.variants}.values():
        if not runs_here(load_target(variant.name)):
            continue

        def report(n: int, total: int, name: str = variant.name) -> None:
            progress(f"{name}: compiling candidates {n}/{total}")

        progress(f"{variant.name}: tuning")
        known = {k: t for k, t in tiles.get(variant.name, {}).items() if k not in program.kernels}
        tiles[variant.name] = known | tune(program, replace(variant, tiles=()), request.jobs, report)
    write.file(lock.dumps(tiles), request.lock)
    return [lock.locked(t, tiles) for t in targets]


def _freeze(request: Request, name: str, model_digest: str, progress: Progress) -> Frozen:
    """import → normalise → freeze → lower."""
    from mlcc import importers
    from mlcc.graph import core, freeze
    from mlcc.graph.describe import told
    from mlcc.graph.normalise import normalise
    from mlcc.graph.passes import optimise
    from mlcc.tir import parallel

    progress("importing")
    source = importers.load(request.model)

    progress("normalising")
    with explained("reading the graph", str(request.model), "model"):  # a hostile file can break any assumption of any library under us
        graph = optimise(normalise(source, name, request.shapes, str(request.model), request.limits), request.precision)
    core.validate(graph)
    graph = replace(graph, described=told(graph.described, request.describe, [*graph.inputs, *graph.outputs]))

    progress("freezing: golden vectors by the reference")
    identity = core.digest(graph)
    if request.jobs > 1 and len(graph.nodes) >= parallel.WORTH:
        parallel.prepare()
    lowered = _beside(_lowered, graph)  # neither needs the other, and both spend their time outside Python
    vectors, coverage = freeze.frozen_vectors(graph, sampled(request.samples, graph))
    notes = [*shape_notes(source, request.shapes, str(request.model)), *_idle_notes(coverage.report(), request)]
    verdict = _judged(request, graph, vectors, progress)
    progress("proving the translation")
    program, meaning = lowered.result()
    outputs = freeze.program_output_digest(vectors)
    return Frozen(name, model_digest, identity, outputs, graph, program, meaning, vectors, coverage, verdict, notes)


def _beside(work: Callable[..., Any], *arguments: Any) -> Future[Any]:
    """Work in a thread that nobody waits for where the build ends before it, by an error or by Ctrl-C."""
    future: Future[Any] = Future()

    def run() -> None:
        try:
            future.set_result(work(*arguments))
        except BaseException as e:
            future.set_exception(e)

    Thread(target=run, daemon=True).start()
    return future


def _lowered(graph: Any) -> tuple[Any, Any]:
    """The program of a core graph, proven to compute what the graph means, and that meaning."""
    from mlcc.program.lower import lower
    from mlcc.translation.check import means

    meaning = means(graph)
    return _proven(lower(graph, narrow=True), graph, meaning), meaning


def _proven(program: Any, graph: Any, meaning: Any) -> Any:
    """The program, checked and proven to compute what the graph means."""
    from mlcc.program import program as loop
    from mlcc.translation.check import prove

    loop.validate(program)
    prove(program, graph, meaning)
    return program


def sampled(files: Mapping[str, Sequence[Path]], graph: Any) -> list[dict[str, Any]]:
    """Given inputs as vectors: the k-th file of each input makes the k-th vector. Raises Error(usage) where one does not fit."""
    from mlcc.artifact.arrays import read_npy

    for name in files:
        if name not in graph.inputs:
            raise Error("usage", f"--sample names no input: {name}", hint=f"inputs: {', '.join(graph.inputs)}")
    found: list[dict[str, Any]] = [{} for _ in range(max((len(f) for f in files.values()), default=0))]
    for name, paths in files.items():
        t = graph.types[name]
        for vector, path in zip(found, paths):
            vector[name] = read_npy(Path(path), t.dtype, t.shape)
    return found


def _judged(request: Request, graph: Any, vectors: Any, progress: Progress) -> Any:
    """The outside judge's verdict. Raises Error(conformance) where what we compute is wrong by it."""
    from mlcc.conformance.judge import Verdict, judge

    if not request.judge:
        return Verdict("", "not judged: --no-judge")
    progress("asking an outside judge")
    return judge(request.model, graph, vectors)


def _idle_notes(coverage: Mapping[str, Any], request: Request) -> list[str]:
    """What the golden vectors do not exercise, in words. Raises Error(conformance) under `strict`."""
    idle = coverage["not_exercised"]
    if not idle:
        return []
    named = "; ".join(f"{n['operator']} ({n['where'] or '?'}): {n['why']}" for n in idle[:4])
    text = (
        f"{len(idle)} of {coverage['operators']} operators are not exercised by the golden vectors: {named}{'; …' if len(idle) > 4 else ''}"
    )
    if request.strict:
        raise Error("conformance", text, str(request.model), "--sample NAME=FILE.npy gives real inputs")
    return [text]


def _subject(backend: Any, frozen: Frozen) -> Any:
    """What a backend compiles."""
    return frozen.graph if getattr(backend, "CONSUMES", "program") == "graph" else frozen.program


def _compile(request: Request, target: Target, frozen: Frozen, key: SigningKey, store: Store | None, progress: Progress) -> Any:
    """emit → compile."""
    from mlcc_backends import interface, links

    backend = interface.load(target.backend)
    progress(f"{target.name}: compiling")
    sources = backend.emit(_subject(backend, frozen), target, frozen.vectors)

    def report(what: str, n: int, total: int) -> None:
        progress(f"{target.name}: compiling {what} {n}/{total}")

    binaries = backend.compile(sources, target, interface.CompileOptions(store, request.compiler, request.jobs, report))
    known = links.files(sources.name, request.model.name, target, request.version, binaries.files)
    binaries = replace(binaries, files={**binaries.files, **known})
    wanted = tuple(k for k in request.emit if _takes(target, k))
    return _emitted(replace(request, emit=wanted), target, frozen, sources, binaries, key) if wanted else binaries


def _emitted(request: Request, target: Target, frozen: Frozen, sources: Any, binaries: Any, key: SigningKey) -> Any:
    """The binaries with the packagings that were asked for."""
    from mlcc_backends.mcu import kits, module

    if "bitstream" in request.emit:
        from mlcc_backends.hls.synth import bitstream

        return replace(binaries, files={**binaries.files, **bitstream(binaries.files, sources.name, target)})
    wanted = tuple(k for k in request.emit if k in kits.FORMATS)
    files = {
        **binaries.files,
        **kits.files(wanted, sources.name, request.model.name, request.version, target.variants[0].machine.fma, binaries.files),
    }
    if "mcuboot" in request.emit:
        address, size = request.slot or module.default_slot(target)
        pem = request.image_key or key.path
        if pem is None:
            raise Error("usage", "no key to sign the image with", hint="--image-key FILE")
        slot = module.Slot(address, size, request.version, pem)
        files |= module.build(sources, frozen.program, target, frozen.identity, binaries.figures["flash_bytes"], slot)
    return replace(binaries, files=files)


def _digest_of(path: Path | None) -> str | None:
    """SHA-256 of a file's contents."""
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest() if path else None
    except OSError as e:
        raise Error("usage", f"cannot read: {e.strerror}", str(path)) from None


def _check(request: Request, target: Target, frozen: Frozen, binaries: Any) -> Any:
    """Conformance, where the target can run here."""
    from mlcc.conformance.check import Result, check, check_outputs
    from mlcc_backends import interface

    if not request.check:
        return Result("not-run", "not run: --no-test", ())
    backend = interface.load(target.backend)
    runner = backend.runner(binaries, target, _subject(backend, frozen))
    if runner is not None and hasattr(runner, "outputs"):
        return check_outputs(runner, target, frozen.graph, frozen.vectors)
    return check(runner, target, frozen.program, frozen.graph, frozen.vectors)


def _tools(request: Request, target: Target) -> dict[str, str]:
    """What takes part in building a target, with versions."""
    return tools(target.backend, request.model.suffix, [k for k in request.emit if _takes(target, k)], request.compiler)


def _parameters(request: Request) -> dict[str, Any]:
    """What the provenance says was asked for."""
    shapes = {k: list(v) for k, v in sorted(request.shapes.items())}
    return {
        "model": request.model.name,
        "shapes": shapes,
        "compiler": request.compiler,
        "precision": request.precision,
        "version": request.version,
    }


def _package(request: Request, target: Target, frozen: Frozen, binaries: Any, result: Any, key: SigningKey) -> Built:
    """The artifact's files and the summary of it."""
    from mlcc.artifact.package import package
    from mlcc.cache.tools import named

    parameters = _parameters(request)
    files, layout, digest, about = package(
        frozen, request.model.name, target, result, binaries, key, parameters, named(_tools(request, target))
    )
    artifact = {
        "target": target.name,
        "digest": digest,
        "class": about["class"],
        "conformance": result.status,
        "arena_bytes": about["arena_bytes"],
        "library_bytes": about["library_bytes"],
        "flash_bytes": about["flash_bytes"],
        **({"instructions": result.instructions} if result.instructions else {}),
        **({"ram_bytes": about["ram_bytes"]} if target.board else {}),
        "environment": result.environment,
        **({"bound": dict(result.bound)} if result.bound else {}),
        **({"architectures": list(target.architectures)} if target.architectures else {}),
    }
    summary = {"program_digest": frozen.identity, "output_digest": frozen.outputs, "notes": frozen.notes, "artifact": artifact}
    return Built(summary, files, layout)


def shape_notes(source: Any, shapes: Mapping[str, tuple[int, ...]], where: str) -> list[str]:
    """What was assumed of the inputs' shapes."""
    from mlcc.graph.normalise import input_types

    initial = {v.name for v in source.graph.initializers.values()}
    return input_types([v for v in source.graph.inputs if v.name not in initial], shapes, where).assumed


def _write_comparison(folder: Path, name: str, comparison: dict[str, Any], artifacts: list[dict[str, Any]]) -> None:
    from mlcc.artifact.manifest import dumps
    from mlcc.conformance.page import comparison_page

    write.file(dumps(comparison), folder / "comparison.json")
    write.file(comparison_page(name, comparison, artifacts), folder / "comparison.html")


def _key(request: Request, model_digest: str, target: Target, key: SigningKey, name: str) -> str:
    from mlcc.conformance.emulator import environment
    from mlcc.conformance.judge import engine_version
    from mlcc.target import cpu_flags

    runs = environment(target)
    parts = {
        "code": code_digest(),
        "tools": _tools(request, target),
        "model": model_digest,
        "file": request.model.name,
        "name": name,
        "shapes": {k: list(v) for k, v in sorted(request.shapes.items())},
        "target": repr(target),
        "text": target.source,
        "compiler": request.compiler,
        "precision": request.precision,
        "memory": [request.flash, request.ram],
        "emit": [request.emit, request.version, request.slot, _digest_of(request.image_key)],
        "key": key.public_pem.decode(),
        "runs": runs,
        "check": request.check,
        "samples": {k: [_digest_of(p) for p in v] for k, v in sorted(request.samples.items())},
        "describe": {k: dict(v) for k, v in sorted(request.describe.items())},
        "strict": request.strict,
        "judge": engine_version() if request.judge else None,
        "cpu": sorted(cpu_flags()) if runs == "native" else None,
    }
    return key_of("artifact", json.dumps(parts, sort_keys=True))


def _cached(store: Store | None, request: Request, model_digest: str, target: Target, key: SigningKey, name: str) -> Built | None:
    """The finished artifact of this very request, if the cache has it. Nothing that a cache says is believed: what is shipped is signed by the
    key in use, and is for this model, target and request; anything else is a miss."""
    from mlcc.artifact import manifest, oci, sign

    body = store.get(_key(request, model_digest, target, key, name)) if store else None
    if body is None:
        return None
    try:
        built = _thaw_built(body)
        said = sign.check_files(built.files, [key.private.public_key()], "the cache")
        about = json.loads(bytes(built.files[manifest.FILE]))
        wanted = {
            "model": request.model.name,
            "name": name,
            "model_digest": model_digest,
            "target": target.name,
            "precision": request.precision,
        }
        parameters = {**_parameters(request), "target": target.name}
        fits = (
            all(about.get(k) == v for k, v in wanted.items()) and said["predicate"]["buildDefinition"]["externalParameters"] == parameters
        )
        summary = built.summary["artifact"]
        same = all(about.get(k) == built.summary[k] for k in ("program_digest", "output_digest")) and all(
            about.get(k) == summary[k] for k in ("target", "class", "conformance", "arena_bytes", "library_bytes")
        )
        whole = oci.holds(built.layout, built.files) and summary["digest"] == oci.digest(built.layout)
        return built if fits and same and whole else None
    except (Error, ValueError, KeyError, TypeError, IndexError, RecursionError):
        return None


def _freeze_built(built: Built) -> bytes:
    """One blob: the summary, and the files of both groups."""
    groups = {"files": built.files, "layout": built.layout}
    return packed(
        {"summary": json.dumps(built.summary).encode(), **{f"{g}/{n}": body for g, files in groups.items() for n, body in files.items()}}
    )


def _thaw_built(body: memoryview) -> Built:
    """The blob's parts as views: nothing is copied."""
    found = unpacked(body)
    groups = {g: {n.removeprefix(f"{g}/"): view for n, view in found.items() if n.startswith(f"{g}/")} for g in ("files", "layout")}
    return Built(json.loads(bytes(found["summary"])), groups["files"], groups["layout"])


class _CallableModule(types.ModuleType):
    """`mlcc.build` is this module and, for those who import mlcc, the function of that name."""

    def __call__(self, *arguments: Any, **options: Any) -> dict[str, Any]:
        return build(*arguments, **options)


sys.modules[__name__].__class__ = _CallableModule
