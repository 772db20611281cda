"""The report as a page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import jinja2

from mlcc.names import printable

PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{{ title }}</title>
<style>
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 60rem; padding: 0 1rem; color: #1a1a1a; background: #fff }
table { border-collapse: collapse; margin: 1rem 0 } td, th { text-align: left; padding: .25rem .9rem .25rem 0; border-bottom: 1px solid #ddd; vertical-align: top }
code { font-size: 13px; word-break: break-all } .passed { color: #176b2c; font-weight: 600 } .not-run { color: #8a5a00; font-weight: 600 } .failed { color: #b00020; font-weight: 600 }
.bar { background: #3b6ea5; display: inline-block; height: .7rem; vertical-align: middle }
@media (prefers-color-scheme: dark) { body { color: #e6e6e6; background: #161616 } td, th { border-color: #333 } .passed { color: #6fd08c } .not-run { color: #e0b050 } }
</style></head><body>
<h1>{{ title }}</h1>
{% for heading, rows in tables %}
<h2>{{ heading }}</h2>
<table>{% for row in rows %}<tr>{% for cell in row %}{% if loop.first %}<th>{{ cell }}</th>{% elif cell is mapping %}<td><span class="bar" style="width: {{ cell.width }}px"></span> {{ cell.text }}</td>
{% else %}<td class="{{ cell if cell in ('passed', 'not-run', 'failed') else '' }}">{{ cell }}</td>{% endif %}{% endfor %}</tr>
{% endfor %}</table>
{% endfor %}
{% for picture in pictures %}
<h2>{{ picture.heading }}</h2>
<svg role="img" viewBox="0 0 1000 {{ picture.height }}" width="100%">
{% for r in picture.spans %}<rect x="{{ r.x }}" y="{{ r.y }}" width="{{ r.width }}" height="{{ r.height }}" fill="#3b6ea5" stroke="#fff" stroke-width=".5" opacity=".8"><title>{{ r.text }}</title></rect>
{% endfor %}</svg>
<p>{{ picture.text }}</p>
{% endfor %}
</body></html>
"""


def _shown(value: Any) -> Any:
    return printable(value) if isinstance(value, str) else value


def render(title: str, tables: list[tuple[str, list[list[Any]]]], pictures: Sequence[Mapping[str, Any]] = ()) -> bytes:
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, finalize=_shown)
    return environment.from_string(PAGE).render(title=title, tables=tables, pictures=pictures).encode()


def workspace_picture(spans: Sequence[tuple[str, int, int, int, int]], calls: int, arena: int) -> dict[str, Any]:
    """What lies where in the workspace, and when: calls from left to right, addresses from top to bottom. spans: (name, offset, bytes,
    first call, last call)."""
    height = 320
    rectangles = [
        {
            "x": round(1000 * first / max(1, calls), 2),
            "width": round(1000 * (last - first + 1) / max(1, calls), 2),
            "y": round(height * offset / max(1, arena), 2),
            "height": round(height * size / max(1, arena), 2),
            "text": f"{name}: {size:,} bytes at {offset:,}, calls {first} to {last}",
        }
        for name, offset, size, first, last in spans
    ]
    text = f"{calls} kernel calls from left to right, {arena:,} bytes from top to bottom; point at a value for its name."
    return {"heading": "Workspace over time", "height": height, "spans": rectangles, "text": text}


def conformance_page(manifest: Mapping[str, Any], report: Mapping[str, Any], picture: Mapping[str, Any]) -> bytes:
    facts = [
        ["model", manifest["model"]],
        ["target", manifest["target"]],
        ["arithmetic class", manifest["class"]],
        ["conformance", report["status"]],
        ["ran on", report["environment"]],
        ["outside judge", " ".join(v for v in (report["judge"]["engine"], report["judge"]["verdict"]) if v)],
        ["program digest", manifest["program_digest"]],
        ["output digest", manifest["output_digest"]],
        *([["instructions of an inference, counted", manifest["instructions"]]] if "instructions" in manifest else []),
    ]
    if "cycles" in manifest:
        facts.append(["cycles of an inference, by the core's published timings", manifest["cycles"]])
    memory = manifest["memory"]
    places = [
        *([f"flash: {k}", f"{v:,}"] for k, v in memory["flash"].items()),
        *([f"RAM: {k.replace('_', ' ')}", f"{v:,}"] for k, v in memory["ram"].items()),
    ]
    vectors = [
        ["vector", "kind", "outputs SHA-256", "compared on"],
        *([str(v["seed"]), v["kind"], v["outputs_sha256"], ", ".join(v["ran"]) or "not run here"] for v in report["vectors"]),
    ]
    coverage = report["coverage"]
    exercised: list[list[Any]] = [["operators that the vectors exercise", f"{coverage['exercised']} of {coverage['operators']}"]]
    exercised += [[f"{n['operator']} {n['where']}", n["why"]] for n in coverage["not_exercised"]]
    rewrites = (
        [["rule", "places"], *([r, n] for r, n in sorted(manifest["rewrites"].items()))]
        if manifest["rewrites"]
        else [["none", "no rewrite changed a rounding"]]
    )
    return render(
        f"{manifest['model']} for {manifest['target']}: conformance",
        [
            ("Result", facts),
            ("Memory, in bytes", places),
            ("Golden vectors", vectors),
            ("Coverage", exercised),
            ("Rewrites that may have changed a rounding", rewrites),
        ],
        [picture] if picture["spans"] else [],
    )


def comparison_page(model: str, comparison: Mapping[str, Any], artifacts: Sequence[Mapping[str, Any]]) -> bytes:
    tables: list[tuple[str, list[list[Any]]]] = [
        (
            "Targets",
            [
                ["target", "class", "conformance", "library bytes", "arena bytes"],
                *([a["target"], a["class"], a["conformance"], a["library_bytes"], a["arena_bytes"]] for a in artifacts),
            ],
        )
    ]
    for v in comparison.get("vectors", []):
        if "error" in v:
            tables.append((f"Vector {v['seed']} ({v['kind']})", [["error", v["error"]]]))
        for name, d in v.get("outputs", {}).items():
            rows: list[list[Any]] = [
                [k, d[k]] for k in ("elements", "max_ulp", "median_ulp", "max_abs", "max_relative", "unequal", "allowed") if k in d
            ]
            top = max(d.get("histogram", {"": 1}).values()) or 1
            rows += [[f"{k} ulp", {"width": round(300 * n / top), "text": n}] for k, n in d.get("histogram", {}).items()]
            tables.append((f"Vector {v['seed']} ({v['kind']}), output {name}, against {comparison['engine']}", rows))
    return render(f"{model}: all targets, and the distance from an outside judge", tables)
