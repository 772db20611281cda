"""Binaries and proofs → the artifact's files."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, cast

from mlcc.artifact import bill, manifest, oci, sign
from mlcc.artifact.arrays import npy
from mlcc.artifact.keys import SigningKey
from mlcc.artifact.manifest import Manifest
from mlcc.artifact.readme import readme
from mlcc.conformance.check import Result
from mlcc.conformance.page import conformance_page, workspace_picture
from mlcc.core.describe import Description
from mlcc.core.terms import public
from mlcc.program.budget import ram_bytes
from mlcc.program.program import Program, lifetimes
from mlcc.program.statistics import step_costs
from mlcc.target import Target

if TYPE_CHECKING:
    from mlcc.plugin import Binaries
    from mlcc.request import Frozen


def library_bytes(files: Mapping[str, bytes]) -> int:
    """The shared library's size, or the static one's where there is no shared one; else an executable's for an accelerator, or its portable
    program's."""
    sizes = {p: len(b) for p, b in files.items() if p.startswith("lib/")}
    return next((n for kind in (".so", ".a", ".tpu", ".stablehlo") for p, n in sizes.items() if p.endswith(kind)), 0)


def describe(frozen: Frozen, source: str, target: Target, result: Result, binaries: Binaries, parameters: Mapping[str, Any]) -> Manifest:
    """The manifest."""
    graph, program = frozen.graph, frozen.program.largest
    tensors = [[{"name": n, "dtype": t.dtype, "shape": list(t.shape)} for n, t in group] for group in (program.inputs, program.outputs)]
    for entries, group in zip(tensors, (frozen.program.inputs, frozen.program.outputs)):
        for entry, (_, t) in zip(entries, group):
            entry |= {} if t.static else {"open": [public(n) for n in t.shape]}
    drawn: Mapping[str, Any] = next((g.draws for g in frozen.vectors if g.drawn), {})
    for entry in tensors[0]:
        draw = drawn.get(entry["name"])
        if draw is not None and draw.kind != "free":
            entry["draw"] = asdict(draw)
    for entry in (*tensors[0], *tensors[1]):
        entry |= program.described.get(entry["name"], Description()).entry()
    sizes = [{"name": s.name, "least": s.sizes[0], "most": s.sizes[-1], "step": s.step} for s in frozen.program.sizes]
    weights = sum(b.nbytes for b in program.buffers.values() if b.place == "constant")
    figures = {"flash_bytes": library_bytes(binaries.files), **binaries.figures, **result.figures}
    found = {
        "mlcc": manifest.VERSION,
        "model": source,
        "name": frozen.name,
        "model_digest": frozen.model_digest,
        "program_digest": frozen.identity,
        "output_digest": frozen.outputs,
        "version": parameters["version"],
        "target": target.name,
        "resolved_target": target.resolved or target.name,
        "instruction_sets": [v.name for v in target.variants],
        "class": "exact" if binaries.exact else "bounded",
        **({"bound": dict(result.bound)} if result.bound else {}),
        "precision": parameters["precision"],
        "conformance": result.status,
        **({"sizes": sizes} if sizes else {}),
        "inputs": tensors[0],
        "outputs": tensors[1],
        "arena_bytes": program.arena_bytes,
        "arena_lower_bound_bytes": program.arena_lower_bound,
        "ram_bytes": ram_bytes(program),
        "workspace_bytes": program.arena_bytes + 64,
        "constant_bytes": weights,
        "library_bytes": library_bytes(binaries.files),
        **figures,
        "memory": _places(program, figures, weights),
        **binaries.facts,
        **({"instructions": result.instructions} if result.instructions else {}),
        "parameters": graph.parameters,
        "operators": dict(sorted(Counter(n.op for n in graph.nodes).items())),
        "kernels": len(program.kernels),
        "kernel_calls": len(program.calls),
        "rewrites": dict(sorted(Counter(r.rule for r in graph.rewrites).items())),
        "licences": {"model": frozen.about.get("licence", "see the model's own"), "libraries": "none linked"},
        **({"about": dict(frozen.about)} if frozen.about else {}),
    }
    return cast(Manifest, found)


def _places(program: Program, figures: Mapping[str, int], weights: int) -> dict[str, dict[str, int]]:
    """Bytes of flash and RAM by what takes them. Code: all that is stored besides weights."""
    ram = {
        "workspace": program.arena_bytes + 64,
        "inputs": sum(t.nbytes for _, t in program.inputs),
        "outputs": sum(t.nbytes for _, t in program.outputs),
    }
    named = {"static_ram_bytes": "static", "stack_bytes": "stack", "selftest_stack_bytes": "selftest_stack"}
    measured = {name: figures[k] for k, name in named.items() if k in figures}
    return {"flash": {"code": max(0, figures["flash_bytes"] - weights), "weights": weights}, "ram": ram | measured}


def _spans(program: Program) -> list[tuple[str, int, int, int, int]]:
    """The workspace's buffers: name, offset, bytes, first and last call."""
    alive = lifetimes(program.calls, program.loops)
    return [
        (b.name, b.offset, b.nbytes, *alive[b.name])
        for b in program.buffers.values()
        if b.place == "arena" and b.name in alive and b.nbytes
    ]


def package(
    frozen: Frozen,
    source: str,
    target: Target,
    result: Result,
    binaries: Binaries,
    key: SigningKey,
    parameters: Mapping[str, Any],
    tools: Mapping[str, str],
) -> tuple[dict[str, bytes], dict[str, bytes], str, Manifest]:
    """(artifact files, OCI layout files, OCI digest, manifest). Pure: equal inputs give equal bytes."""
    files = dict(binaries.files)
    about = describe(frozen, source, target, result, binaries, parameters)
    report = result.report(frozen.vectors) | {"coverage": frozen.coverage.report(), "judge": frozen.verdict.report()}
    libraries = {p: hashlib.sha256(b).hexdigest() for p, b in files.items() if p.startswith("lib/") and p.endswith((".so", ".a"))}
    picture = workspace_picture(_spans(frozen.program), len(frozen.program.calls), frozen.program.arena_bytes)
    files[manifest.FILE] = manifest.dumps(about)
    files["README.md"] = readme(about, files)
    files["conformance.json"] = manifest.dumps(report)
    files["coverage.json"] = manifest.dumps(frozen.coverage.rows())
    files["conformance.html"] = conformance_page(about, report, picture)
    files["steps.json"] = manifest.dumps([asdict(c) for c in step_costs(frozen.program.largest)])
    files["rewrites.json"] = manifest.dumps([{"rule": r.rule, "where": r.where} for r in frozen.graph.rewrites])
    files["sbom.cdx.json"] = bill.sbom(about, libraries, tools)
    for i, g in enumerate(frozen.vectors):
        for kind, tensors in (("input", g.inputs), ("output", g.outputs)):
            for j, array in enumerate(tensors.values()):
                files[f"golden/{i}/{kind}_{j}.npy"] = npy(array)
    predicate = bill.provenance(frozen.model_digest, source, {**parameters, "target": target.name}, tools)
    files[sign.FILE] = sign.sign(sign.statement(files, predicate), key)
    layout, digest = oci.layout(files, {"org.opencontainers.image.title": f"{source}-{target.name}", "dev.mlcc.program": frozen.identity})
    return files, layout, digest, about
