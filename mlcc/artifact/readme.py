"""README.md of an artifact: what an engineer needs to feed the model and to place it in memory."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from math import prod
from typing import Any

import jinja2

from mlcc.artifact.manifest import Manifest
from mlcc.core.about import TEXTS
from mlcc.core.narrow import LETTERS
from mlcc.names import C_TYPES, identifier, markdown, unique

TEXT = """# {{ about.model | md }} for {{ about.target | md }}

Built by mlcc: {{ about.class }}, golden vectors {{ about.conformance }}. Program `{{ about.program_digest[:16] }}`: outputs are the same bits on every exact target, with any number of threads.

{% if known %}
| | |
|---|---|
{% for row in known %}
| {{ row[0] }} | {{ row[1] | md }} |
{% endfor %}

{% endif %}
{% for heading, tensors in (("Inputs", about.inputs), ("Outputs", about.outputs)) %}
## {{ heading }}

{% for t in tensors %}
### {{ t.name | md }}

| | |
|---|---|
| type | {{ t.dtype }} {{ (t.open or t.shape) | join(" x ") | md or "scalar" }}, C order |
{% for row in rows(t) %}
| {{ row[0] }} | {{ row[1] | md }} |
{% endfor %}

{% endfor %}
{% endfor %}
{% if about.sizes %}
## Sizes

Each call says them; memory is for the largest, results are the bits of a build for the size at hand alone.

| | least | most | in steps of |
|---|---|---|---|
{% for s in about.sizes %}
| {{ s.name | md }} | {{ s.least }} | {{ s.most }} | {{ s.step }} |
{% endfor %}

{% endif %}
## Memory

| bytes | |
|---|---|
{% for row in memory(about) %}
| {{ row[1] }} | {{ row[0] }} |
{% endfor %}

{% if "instructions" in about %}
## Speed

{{ "{:,}".format(about.instructions) }} instructions an inference, counted by the emulator; they do not vary.
{% if "cycles" in about %}
About {{ "{:,}".format(about.cycles) }} cycles, by the timings that Arm publishes for the core, with no wait states: flash that is slower than the core costs more.
{% endif %}

{% endif %}
{% if header %}
## Calling it

```c
#include "{{ name }}.h"

static uint8_t workspace[{{ NAME }}_WORKSPACE_BYTES];
{% for t, i in zip(about.inputs, members.inputs) %}
static {{ c_types[t.dtype] }} {{ i }}_data[{{ elements(t) }}];
{% endfor %}
{% for t, i in zip(about.outputs, members.outputs) %}
static {{ c_types[t.dtype] }} {{ i }}_result[{{ elements(t) }}];
{% endfor %}

int infer(void)
{
    const {{ name }}_inputs in = { {% for i in members.inputs %}{{ i }}_data{{ ", " if not loop.last }}{% endfor %}{{ "NULL" if not members.inputs }}{% for s in about.sizes or [] %}, /* {{ s.name }} */ {{ s.most }}{% endfor %} };
    const {{ name }}_outputs out = { {% for t, i in zip(about.outputs, members.outputs) %}{{ i }}_result{{ ", /* its shape */ NULL" if t.open }}{{ ", " if not loop.last }}{% endfor %} };
    return {{ name }}_run(&in, &out, workspace); /* {{ NAME }}_OK: the results are there */
}
```

Pointers must be aligned as their type is in C; outputs and workspace may overlap nothing, inputs may overlap each other. Nothing is kept after the call.
`{{ name }}_run_checked` takes the workspace's size, too, and checks all of this however it was compiled; `{{ name }}_run` does so where NDEBUG is not defined.
`{{ name }}_selftest` computes built-in vectors and compares their digests: call it once on the real device.

{% endif %}
## Checking where it came from

```
mlcc verify .      # the signature, and every file
mlcc inspect .
```
"""


def rows(t: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What is known of an input or output, in words."""
    found = []
    if "scale" in t and not isinstance(t["scale"], list):
        zero, scale = t["zero_point"], f"{t['scale']:.9g}"
        found += [
            ("scale", scale),
            ("zero point", str(zero)),
            ("a stored number q stands for", f"(q − {zero}) × {scale}" if zero >= 0 else f"(q + {-zero}) × {scale}"),
        ]
        low, high = _limits(t["dtype"])
        if high > low:
            found.append(("so it reaches from", f"{(low - zero) * t['scale']:.6g} to {(high - zero) * t['scale']:.6g}"))
    elif "scale" in t:
        found.append((f"scales along axis {t['axis']}", ", ".join(f"{x:.9g}" for x in t["scale"])))
        found.append(("zero points", ", ".join(map(str, t["zero_point"]))))
    for key, title in (("layout", "layout"), ("channels", "channels"), ("unit", "unit"), ("text", "meaning")):
        if key in t:
            found.append((title, str(t[key])))
    if "range" in t:
        found.append(("range", f"{t['range'][0]:g} to {t['range'][1]:g}"))
    elif "draw" in t and t["draw"]["kind"] in ("range", "ramp"):
        low, span = t["draw"]["low"], t["draw"]["span"]
        found.append(("golden vectors draw", f"{low} to {low + span - 1}, as {t['draw']['why']}"))
    if t.get("element") == LETTERS:
        found.append(("text", "code points (UTF-32) along the last axis, 0 behind a text's end"))
    if "labels" in t:
        found.append(
            ("classes", ", ".join(f"{i}: {label}" for i, label in enumerate(t["labels"][:200])) + (", …" if len(t["labels"]) > 200 else ""))
        )
    return found


def _limits(dtype: str) -> tuple[int, int]:
    bits = int(dtype.lstrip("uint")) if dtype.lstrip("u").startswith("int") else 0
    return (0, 2**bits - 1) if dtype.startswith("u") else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if bits else (0, 0)


def whose(about: Manifest) -> list[tuple[str, str]]:
    """Whose model it is and how it was trained."""
    known = about.get("about", {})
    titles = {"dataset": "trained on", "dataset_sha256": "SHA-256 of that", "revision": "trained by revision"}
    found = [(titles.get(k, k), known[k]) for k in TEXTS if k in known]
    found += [("made by", ", ".join(f"{n} {v}".strip() for n, v in sorted(known["frameworks"].items())))] if "frameworks" in known else []
    return found + [(name, f"{value:g}") for name, value in sorted(known.get("metrics", {}).items())]


def memory(about: Manifest) -> list[tuple[str, int]]:
    """What the model takes, in bytes."""
    parts = about["memory"]
    found = [("code", parts["flash"]["code"]), ("weights", parts["flash"]["weights"])]
    found += [(f"{k.replace('_', ' ')} (RAM)", v) for k, v in parts["ram"].items()]
    return found


def readme(about: Manifest, files: Collection[str]) -> bytes:
    """Pure. about: the manifest; files: the artifact's paths."""
    name = identifier(about["name"])
    members = {kind: unique([t["name"] for t in about[kind]]) for kind in ("inputs", "outputs")}
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True)
    environment.filters["md"] = markdown  # for each text that may be a stranger's
    values: dict[str, Any] = {
        "about": about,
        "rows": rows,
        "memory": memory,
        "known": whose(about),
        "name": name,
        "NAME": name.upper(),
        "members": members,
        "c_types": C_TYPES,
    }
    for group in ("inputs", "outputs"):
        values["about"] = {**values["about"], group: [{"open": None, **t} for t in about[group]]}
    values["about"] = {"sizes": None, **values["about"]}
    values |= {"header": f"include/{name}.h" in files, "elements": lambda t: max(1, prod(t["shape"])), "zip": zip}
    return environment.from_string(TEXT).render(values).encode()
