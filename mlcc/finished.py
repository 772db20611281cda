"""Finished artifacts in the cache: what decides one, and when what is found there may be shipped."""

from __future__ import annotations

import hashlib
import json
from dataclasses import fields
from pathlib import Path
from typing import Any

from mlcc import plugin
from mlcc.artifact.keys import SigningKey
from mlcc.cache.blob import packed, unpacked
from mlcc.cache.code import code_digest
from mlcc.cache.store import Store, key_of
from mlcc.cache.tools import tools
from mlcc.core.ranges import Range
from mlcc.error import Error
from mlcc.request import Built, Request, Settled
from mlcc.target import Target, cpu_flags


def tools_of(request: Request, settled: Settled, target: Target) -> dict[str, str]:
    """What takes part in building a target, with versions."""
    models = [request.model, *plugin.within(request.model)]
    importers = [one for m in models if (one := plugin.importer(m))]
    packagings = settled.packagings(request, target).values()
    theirs = [plugin.backend(target.backend).tools(target), *(one.tools() for one in importers), *(p.tools() for p in packagings)]
    return tools(request.compiler, *theirs)


def _said(shape: tuple[int | Range, ...]) -> list[int | str]:
    return [n if isinstance(n, int) else str(n) for n in shape]


def parameters_of(request: Request) -> dict[str, Any]:
    """What the provenance says was asked for."""
    shapes = {k: _said(v) for k, v in sorted(request.shapes.items())}
    return {
        "model": request.model.name,
        "shapes": shapes,
        **({"dims": {k: str(v) for k, v in sorted(request.dims.items())}} if request.dims else {}),
        "compiler": request.compiler,
        "precision": request.precision,
        "version": request.version,
        **({"passes": list(request.passes)} if request.passes else {}),
        **({"trust_pickle": True} if request.trust_pickle else {}),
        **({"functions": {p.name: digest_of(p) for p in request.functions}} if request.functions else {}),
    }


def digest_of(path: Path | None) -> str | None:
    """SHA-256 of a file's contents."""
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest() if path else None
    except OSError as e:
        raise Error("usage", f"cannot read: {e.strerror}", str(path)) from None


def _told(options: Any) -> dict[str, Any]:
    """A packaging's options; files by their contents."""
    values = {f.name: getattr(options, f.name) for f in fields(options)}
    return {k: digest_of(v) if isinstance(v, Path) else repr(v) for k, v in values.items()}


def key_for(request: Request, settled: Settled, model_digest: str, target: Target, key: SigningKey, name: str) -> str:
    """Everything that decides a finished artifact."""
    from mlcc.conformance.judge import engine_version

    runs = plugin.runs(target)
    parts = {
        "code": code_digest(),
        "tools": tools_of(request, settled, target),
        "model": model_digest,
        "file": request.model.name,
        "name": name,
        "shapes": {k: _said(v) for k, v in sorted(request.shapes.items())},
        "dims": {k: str(v) for k, v in sorted(request.dims.items())},
        "target": repr(target),
        "text": target.source,
        "compiler": request.compiler,
        "precision": request.precision,
        "memory": [request.flash, request.ram],
        "emit": [request.emit, request.version, {kind: _told(options) for kind, options in sorted(settled.options.items())}],
        "passes": request.passes,
        "key": key.public_pem.decode(),
        "runs": runs,
        "check": request.check,
        "samples": {k: [digest_of(p) for p in v] for k, v in sorted(request.samples.items())},
        "describe": {k: dict(v) for k, v in sorted(request.describe.items())},
        "strict": request.strict,
        "judge": engine_version(plugin.runtime(request.model)) if request.judge else None,
        "fidelity": sorted(request.fidelity.items()),
        "about": dict(request.about),
        "functions": [digest_of(p) for p in request.functions],
        "cpu": sorted(cpu_flags()) if runs == "native" else None,
    }
    return key_of("artifact", json.dumps(parts, sort_keys=True))


def kept(
    store: Store | None, request: Request, settled: Settled, model_digest: str, target: Target, key: SigningKey, name: str
) -> Built | None:
    """The finished artifact of this very request, if the cache has it. Nothing that a cache says is believed: what is shipped is signed by
    the key in use, and is for this model, target and request; anything else is a miss."""
    from mlcc.artifact import manifest, oci, sign

    body = store.get(key_for(request, settled, model_digest, target, key, name)) if store else None
    if body is None:
        return None
    try:
        built = thaw(body)
        said = sign.check_files(built.files, [key.private.public_key()], "the cache")
        about = json.loads(bytes(built.files[manifest.FILE]))
        wanted = {
            "model": request.model.name,
            "name": name,
            "model_digest": model_digest,
            "target": target.name,
            "precision": request.precision,
        }
        parameters = {**parameters_of(request), "target": target.name}
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


def freeze(built: Built) -> bytes:
    """One blob: the summary, and the files of both groups."""
    groups = {"files": built.files, "layout": built.layout}
    return packed(
        {"summary": json.dumps(built.summary).encode(), **{f"{g}/{n}": body for g, files in groups.items() for n, body in files.items()}}
    )


def thaw(body: memoryview) -> Built:
    """The blob's parts as views: nothing is copied."""
    found = unpacked(body)
    groups = {g: {n.removeprefix(f"{g}/"): view for n, view in found.items() if n.startswith(f"{g}/")} for g in ("files", "layout")}
    return Built(json.loads(bytes(found["summary"])), groups["files"], groups["layout"])
