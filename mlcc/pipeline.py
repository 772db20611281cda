"""The pipeline, top to bottom: import → normalise → freeze → judge → lower → prove → emit → compile → check → package."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

from mlcc import finished, importers, lock, plugin
from mlcc.artifact import write
from mlcc.artifact.keys import SigningKey, signing_key, withheld
from mlcc.cache import bound
from mlcc.cache.store import Store, cache_folder
from mlcc.core.ranges import parse_range
from mlcc.error import Error, explained
from mlcc.model_file import digest_model, entered, named, received, remember, streams
from mlcc.request import Built, Frozen, Progress, Request, Settled, settle
from mlcc.target import Target, fitted, runs_here
from mlcc.target import load as load_target


def build(
    model: str | Path | Any,
    target: str | Sequence[str] = "native",
    shapes: Mapping[str, Sequence[int | str]] | None = None,
    out: str | Path = "dist",
    dims: Mapping[str, int | str] | None = None,
    args: Sequence[Any] = (),
    kwargs: Mapping[str, Any] | None = None,
    dynamic_shapes: Any = None,
    **options: Any,
) -> dict[str, Any]:
    """`mlcc build` from Python; returns what the command prints as JSON. Sizes may be ranges: "1..512", "32..640:32". A torch.nn.Module, or
    a function of JAX (a module of Flax), is exported with example arguments args and kwargs, a torch.nn.Module with dynamic_shapes as
    torch.export has them. Raises mlcc.Error.

    >>> mlcc.build(module, "native", args=(torch.zeros(1, 3, 224, 224),))
    """
    if not isinstance(model, str | Path):
        from mlcc.importers.held import saved

        with tempfile.TemporaryDirectory(prefix="mlcc-") as d:
            return build(saved(model, args, kwargs, dynamic_shapes, Path(d)), target, shapes, out, dims, **options)
    if args or kwargs or dynamic_shapes:
        raise Error("usage", "args, kwargs and dynamic_shapes are for modules and functions", str(model), "leave them away for a file")
    targets = (target,) if isinstance(target, str) else tuple(target)
    try:
        whole = {k: tuple(parse_range(str(n)) for n in v) for k, v in (shapes or {}).items()}
        named = {k: parse_range(str(n)) for k, n in (dims or {}).items()}
    except ValueError as e:
        raise Error("usage", f"{e} is no size", hint='such as 224, "1..512" or "32..640:32"') from None
    return run(Request(Path(model), targets, Path(out), shapes=whole, dims=named, **options))


def run(request: Request, progress: Progress = lambda text: None) -> dict[str, Any]:
    """Build, test, sign and write every target; the summary of design's `mlcc build --json`."""
    with withheld():
        return _run(request, progress)


def _run(request: Request, progress: Progress) -> dict[str, Any]:
    start = time.monotonic()
    choices = lock.read(request.lock) if request.lock else {}
    settled = settle(request, [lock.locked(load_target(t), choices) for t in dict.fromkeys(request.targets)])
    targets = settled.targets
    if request.tune and request.lock is None:
        raise Error("usage", "tuning needs a lock file to write", hint="lock=Path('mlcc.lock')")
    if streams(request.model):
        with received(request.model, request.name) as copy:
            return _run(replace(request, model=copy), progress)
    if not request.model.exists():
        raise Error("usage", "no such file", str(request.model), "give the path of a model file")
    request = replace(request, model=entered(request.model))
    importers.demand_trust(request.model, request.trust_pickle)
    model_digest = digest_model(request.model)
    remember(request.model, model_digest)
    key = signing_key(request.key)
    if key.fresh:
        progress(f"made a signing key: {key.path} (give others {key.path.with_suffix('.pub') if key.path else ''} to verify with)")
    name = named(request.model, request.name)
    store = Store(cache_folder() / "actions") if request.cache else None
    built = {t.name: None if request.tune else finished.kept(store, request, settled, model_digest, t, key, name) for t in targets}
    missing = [t for t in targets if built[t.name] is None]
    comparison: dict[str, Any] = {}
    if missing:
        with explained("building", str(request.model)):
            fresh, comparison = _build(request, settled, missing, name, model_digest, key, store, progress)
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
            dict.fromkeys(
                [*filter(None, [key.warning]), *settled.notes, *(note for r in results if r is not None for note in r.summary["notes"])]
            )
        ),
        "seconds": round(time.monotonic() - start, 3),
    }


def _build(
    request: Request,
    settled: Settled,
    targets: list[Target],
    name: str,
    model_digest: str,
    key: SigningKey,
    store: Store | None,
    progress: Progress,
) -> tuple[dict[str, Built], dict[str, Any]]:
    """The stages, for the targets that no cache holds."""
    from mlcc.freezing import frozen_model
    from mlcc.program.kernel import BlockDot
    from mlcc.versions import fits, versions

    frozen = frozen_model(request, name, model_digest, progress)
    tiles = any(isinstance(k, BlockDot) for k in frozen.program.kernels.values())
    asked = {t.name: t for t in targets}
    targets = [fitted(t, tiles) for t in targets]
    if request.tune:
        targets = _tune(request, targets, frozen.program, progress)
    programs = versions(request, frozen, targets)
    for t in targets:
        fits(request, t, programs[t.name].program)
    binaries = {t.name: _compile(request, settled, t, programs[t.name], key, store, progress) for t in targets}
    for t in targets:
        fits(request, t, programs[t.name].program, binaries[t.name].figures.get("flash_bytes"))
    progress("running golden vectors on " + ", ".join(t.name for t in targets))
    with ThreadPoolExecutor(max(1, request.jobs)) as pool:  # each run is a process of its own
        results = list(pool.map(lambda t: _check(request, t, programs[t.name], binaries[t.name]), targets))
    built = {}
    for target, result in zip(targets, results):
        progress(f"{target.name}: packaging")
        built[target.name] = _package(request, settled, target, programs[target.name], binaries[target.name], result, key)
        if store:
            made = finished.key_for(request, settled, model_digest, asked[target.name], key, name)
            store.put(made, finished.freeze(built[target.name]))
    return built, frozen.verdict.comparison


def _tune(request: Request, targets: list[Target], program: Any, progress: Progress) -> list[Target]:
    """Measure schedules for the instruction sets that this machine has, and add them to the lock file."""
    from mlcc.tune import tune

    assert request.lock is not None
    choices = lock.read(request.lock)
    for variant in {v.name: v for t in targets for v in t.variants}.values():
        if not runs_here(load_target(variant.name)):
            continue

        def report(n: int, total: int, name: str = variant.name) -> None:
            progress(f"{name}: compiling candidates {n}/{total}")

        progress(f"{variant.name}: tuning")
        known = {k: c for k, c in choices.get(variant.name, {}).items() if k not in program.kernels}
        choices[variant.name] = known | tune(program, replace(variant, choices=()), request.jobs, report)
    write.file(lock.dumps(choices), request.lock)
    return [lock.locked(t, choices) for t in targets]


def _subject(backend: plugin.Backend, frozen: Frozen) -> Any:
    """What a backend compiles."""
    return frozen.graph if backend.consumes == "graph" else frozen.program


def _compile(
    request: Request, settled: Settled, target: Target, frozen: Frozen, key: SigningKey, store: Store | None, progress: Progress
) -> plugin.Binaries:
    """emit → compile → the packagings that were asked for."""
    backend = plugin.backend(target.backend)
    progress(f"{target.name}: compiling")
    sources = backend.emit(_subject(backend, frozen), target, frozen.vectors)

    def report(what: str, n: int, total: int) -> None:
        progress(f"{target.name}: compiling {what} {n}/{total}")

    options = plugin.CompileOptions(store, request.compiler, request.jobs, report, request.model.name, request.version)
    binaries = backend.compile(sources, target, options)
    for kind, packaging in settled.packagings(request, target).items():
        built = plugin.Packed(request.model.name, request.version, target, frozen.identity, frozen.program, sources, binaries, key.path)
        binaries = replace(binaries, files={**binaries.files, **packaging.files(built, settled.options[kind])})
    return binaries


def _check(request: Request, target: Target, frozen: Frozen, binaries: Any) -> Any:
    """Conformance, where the target can run here."""
    from mlcc.conformance.check import Result, check, check_outputs

    if not request.check:
        return Result("not-run", "not run: --no-test", ())
    backend = plugin.backend(target.backend)
    runner = backend.runner(binaries, target, _subject(backend, frozen))
    if runner is not None and backend.consumes == "graph":
        return check_outputs(runner, target, frozen.graph, frozen.vectors)
    return check(runner, target, frozen.program, frozen.graph, frozen.vectors, request.jobs)


def _package(request: Request, settled: Settled, target: Target, frozen: Frozen, binaries: Any, result: Any, key: SigningKey) -> Built:
    """The artifact's files and the summary of it."""
    from mlcc.cache.tools import named
    from mlcc.package import package

    parameters = finished.parameters_of(request)
    files, layout, digest, about = package(
        frozen, request.model.name, target, result, binaries, key, parameters, named(finished.tools_of(request, settled, target))
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
        **({"ram_bytes": about["ram_bytes"]} if plugin.backend(target.backend).lowering(target).bounded else {}),
        "environment": result.environment,
        **({"bound": dict(result.bound)} if result.bound else {}),
        **binaries.facts,
    }
    summary = {"program_digest": frozen.identity, "output_digest": frozen.outputs, "notes": frozen.notes, "artifact": artifact}
    return Built(summary, files, layout)


def _write_comparison(folder: Path, name: str, comparison: dict[str, Any], artifacts: list[dict[str, Any]]) -> None:
    from mlcc.artifact.manifest import dumps
    from mlcc.conformance.page import comparison_page

    write.file(dumps(comparison), folder / "comparison.json")
    write.file(comparison_page(name, comparison, artifacts), folder / "comparison.html")
