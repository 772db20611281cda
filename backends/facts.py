"""What a header says of inputs and outputs beyond their types: macros and a line in words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from mlcc.core.describe import Description
from mlcc.core.graph import DTYPES, TensorType
from mlcc.core.narrow import LETTERS
from mlcc.core.terms import most
from mlcc.names import comment, string, unique


def number(x: float) -> str:
    """A binary32 literal of C."""
    text = f"{np.float32(x):.9g}"
    return f"{text}f" if any(c in text for c in ".en") else f"{text}.0f"


def macros(kind: str, names: Sequence[str], tensors: Sequence[TensorType], known: Sequence[Description]) -> list[list[tuple[str, str]]]:
    """(name, value) pairs for each input or output: `kind` alone begins the names where there is one, else the tensor's name follows."""
    tags = [""] if len(names) == 1 else [f"_{n}" for n in unique([n.upper() for n in names])]
    return [[(f"{kind}{tag}_{suffix}", value) for suffix, value in _values(t, d)] for tag, t, d in zip(tags, tensors, known, strict=True)]


def _values(t: TensorType, d: Description) -> list[tuple[str, str]]:
    found = [("ELEMENTS", str(most(t.size))), ("BYTES", str(t.nbytes)), ("ALIGNMENT", str(DTYPES[t.dtype].itemsize))]
    if len(d.scale) == 1:
        found += [("SCALE", number(d.scale[0])), ("ZERO_POINT", f"({d.zero_point[0]})" if d.zero_point[0] < 0 else str(d.zero_point[0]))]
    elif d.scale:
        found += [("SCALES", f"{{ {', '.join(map(number, d.scale))} }}"), ("ZERO_POINTS", f"{{ {', '.join(map(str, d.zero_point))} }}")]
        found += [("SCALE_AXIS", str(d.axis))]
    if d.range is not None:
        found += [("LOWEST", number(d.range[0])), ("HIGHEST", number(d.range[1]))]
    if d.labels:
        found += [("CLASSES", str(len(d.labels))), ("LABELS", f"{{ {', '.join(map(string, d.labels))} }}")]
    return found


def words(d: Description) -> str:
    """One line for a comment: layout, what a stored number stands for, its range and unit."""
    said = [d.layout, d.channels, "text: code points along the last axis, 0 behind its end" if d.element == LETTERS else ""]
    if len(d.scale) == 1:
        zero = f" - {d.zero_point[0]}" if d.zero_point[0] > 0 else f" + {-d.zero_point[0]}" if d.zero_point[0] < 0 else ""
        said.append(f"stands for {f'(stored{zero})' if zero else 'stored'} * {np.float32(d.scale[0]):.9g}")
    elif d.scale:
        said.append(f"a scale for each index of axis {d.axis}")
    if d.range is not None:
        said.append(f"{d.range[0]:g} to {d.range[1]:g}")
    return comment(", ".join(s for s in (*said, d.unit, d.text) if s))


def about(kind: str, group: Sequence[dict[str, Any]], tensors: Sequence[TensorType], known: Sequence[Description]) -> None:
    """Add `macros` and `words` to what templates know of each input or output."""
    for entry, found, d in zip(group, macros(kind, [t["name"] for t in group], tensors, known), known, strict=True):
        entry["macros"], entry["words"] = found, words(d)
