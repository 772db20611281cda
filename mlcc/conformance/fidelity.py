"""How far an artifact may be from the framework that its model came from: `[fidelity]` in mlcc.toml."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mlcc.conformance.judge import Verdict
from mlcc.error import Error

LIMITS = {
    "max_ulp": "units in the last place",
    "max_abs": "the largest difference",
    "argmax": "the share of rows whose largest number stands in the same place",
}


def demand(verdict: Verdict, limits: Mapping[str, float], model: Path) -> None:
    """Raise Error(conformance) where ordinary golden outputs are further from the judge's than is allowed, or where nobody judged."""
    if not limits:
        return
    hint = "see comparison.html of a build without [fidelity], or allow more"
    if not verdict.engine:
        raise Error("conformance", f"[fidelity] asks for a judge: {verdict.said}", str(model), "install the framework's runtime")
    for vector in verdict.comparison["vectors"]:
        if vector["kind"] == "edge":
            continue
        for name, found in vector.get("outputs", {}).items():
            for key, limit in limits.items():
                if key in found and not _fits(found, key, limit):
                    what = f"output {name}: {key} is {found[key]:.4g}, where [fidelity] allows {limit:.4g}, by {verdict.engine}"
                    raise Error("conformance", what, str(model), hint)
            if found.get("unequal"):
                raise Error("conformance", f"output {name}: {found['unequal']} elements differ, by {verdict.engine}", str(model), hint)


def _fits(found: Mapping[str, Any], key: str, limit: float) -> bool:
    return bool(found[key] >= limit) if key == "argmax" else bool(found[key] <= limit)
