"""Writes the table in docs/frameworks.md: models saved in their frameworks' own files (`docs/framework_models.py`), built for three instruction
sets and judged by the frameworks' own runtimes. `python -m docs.make_frameworks [FRAMEWORK …]`, in as many environments as it takes."""

from __future__ import annotations

import json
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import mlcc
from docs.framework_models import FRAMEWORKS

PAGE = Path(__file__).with_name("frameworks.md")
TARGETS = ("x86_64-linux", "aarch64-linux", "cortex-m7")
HEAD = "| framework | model | judge | bits beside it | one digest on |\n|---|---|---|---|---|"


def row(framework: str, name: str, path: Path, options: dict[str, Any], out: Path) -> str:
    built = mlcc.build(path, TARGETS, out=out, cache=False, **options)  # what a cache holds is not judged again
    about = json.loads((Path(built["artifacts"][0]["path"]) / "conformance.json").read_text())["judge"]
    assert all(a["class"] == "exact" and a["conformance"] == "passed" for a in built["artifacts"])
    beside = json.loads((out / built["model"] / "comparison.json").read_text()) if about["engine"] else {}
    return f"| {framework} | {name} | {about['engine'] or '—'} | {_apart(beside)} | {', '.join(TARGETS)} |"


def _apart(comparison: dict[str, Any]) -> str:
    """How far ordinary outputs are from the judge's."""
    outputs = [
        o for v in comparison.get("judge", comparison).get("vectors", []) if v["kind"] != "edge" for o in v.get("outputs", {}).values()
    ]
    if not outputs:
        return "not judged"
    unequal = sum(o.get("unequal", 0) for o in outputs)
    floats = [o for o in outputs if "max_abs" in o]
    if not floats:
        return "all equal" if not unequal else f"{unequal} differ"
    most = max(float(o["max_abs"]) for o in floats)
    return f"{'classes equal, ' if unequal == 0 and len(outputs) > len(floats) else ''}{most:.1g} at most"


def main() -> None:
    """Rows of frameworks that are not installed here stay as they are; name frameworks to do these alone."""
    for name, (make, needs) in FRAMEWORKS.items():
        if all(find_spec(n) for n in needs) and (len(sys.argv) < 2 or name in sys.argv[1:]):
            with tempfile.TemporaryDirectory() as d:
                written(name, [row(*case, Path(d) / "out") for case in make(Path(d))])


def written(name: str, rows: list[str]) -> None:
    """A framework's rows, in the place that FRAMEWORKS gives them."""
    text = PAGE.read_text("utf-8")
    start = text.index(HEAD.splitlines()[0])
    end = text.index("\n\n", start)
    before = text[start:end].splitlines()[2:]
    kept = [row for one in FRAMEWORKS for row in (rows if one == name else [r for r in before if r.startswith(f"| {one} (")])]
    PAGE.write_text(text[:start] + "\n".join([HEAD, *kept]) + text[end:], "utf-8")
    print("\n".join(rows), flush=True)


if __name__ == "__main__":
    main()
