"""What is known of a model beside what it computes: whose it is, under which licence, and how it was trained."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from mlcc.error import Error
from mlcc.names import printable

if TYPE_CHECKING:
    import onnx_ir as ir

ABOUT = "mlcc.about"  # metadata of a model that an importer made: JSON of these keys
TEXTS = ("description", "licence", "author", "url", "version", "dataset", "dataset_sha256", "revision")
TABLES: dict[str, type] = {"metrics": float, "frameworks": str}  # name → number, or version
SPELLINGS = {  # what ONNX files say under which names
    "license": "licence", "licence": "licence", "licenses": "licence", "author": "author", "authors": "author",
    "description": "description",
    "url": "url", "homepage": "url", "repository": "url", "version": "version", "model_version": "version", "dataset": "dataset",
    "git_revision": "revision", "revision": "revision", "commit": "revision",
}  # fmt: skip
LONGEST = 2000


def checked(given: Mapping[str, Any], where: str) -> dict[str, Any]:
    """What a project says, as this has it. Raises Error(usage)."""
    for key, value in given.items():
        if key in TEXTS and isinstance(value, str):
            continue
        if key not in TEXTS and key not in TABLES:
            raise Error("usage", f"unknown key {key}", where, f"keys: {', '.join((*TEXTS, *TABLES))}")
        if key in TEXTS:
            raise Error("usage", f"{key} must be a text", where)
        if not isinstance(value, Mapping) or not all(_is(TABLES[key], v) for v in value.values()):
            wanted = "numbers, such as { accuracy = 0.93 }" if key == "metrics" else 'versions, such as { torch = "2.13.0" }'
            raise Error("usage", f"{key} is a table of {wanted}", where)
    digest = given.get("dataset_sha256", "")
    if digest and (len(digest) != 64 or not set(digest) <= set("0123456789abcdef")):
        raise Error("usage", "dataset_sha256 must be 64 hexadecimal digits", where)
    return {k: dict(v) if isinstance(v, Mapping) else v for k, v in given.items()}


def _is(kind: type, value: Any) -> bool:
    if kind is str:
        return isinstance(value, str)
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def known(model: ir.Model, given: Mapping[str, Any]) -> dict[str, Any]:
    """What the file says, and over it what its user says (`checked`). The file is a stranger's: what is odd in it is left out."""
    found: dict[str, Any] = {}
    if model.producer_name:
        found["frameworks"] = {printable(model.producer_name, 80): printable(model.producer_version or "", 80)}
    text = (model.doc_string or model.graph.doc_string or "").strip()
    if text:
        found["description"] = printable(text, LONGEST)
    for key, value in model.metadata_props.items():
        name = SPELLINGS.get(key.lower())
        if name and isinstance(value, str) and value.strip():
            found[name] = printable(value.strip(), LONGEST)
    for more in (_said(model), given):
        for key, value in more.items():
            found[key] = {**found.get(key, {}), **value} if key in TABLES else value
    return found


def _said(model: ir.Model) -> dict[str, Any]:
    """What an importer found."""
    said = json.loads(model.metadata_props.get(ABOUT) or "{}")
    texts = {k: printable(str(v), LONGEST) for k, v in said.items() if k in TEXTS and v}
    return {**texts, **{k: {printable(str(n), 80): v for n, v in said[k].items()} for k in TABLES if k in said}}
