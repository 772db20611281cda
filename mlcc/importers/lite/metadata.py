"""What a TensorFlow Lite file says of itself: TFLite Metadata, a FlatBuffers table of its own in one of the file's buffers, and label files
in an archive behind it. https://ai.google.dev/edge/litert/models/metadata

Nothing of it changes what is computed, and the file is a stranger's: what is odd in it is left out.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

NAME = b"TFLITE_METADATA"
# Places of fields in their tables: of the model, of a subgraph, of a tensor, of a file.
MODEL, SUBGRAPHS, OUTPUTS, FILES, KIND = {"description": 1, "version": 2, "author": 4, "license": 5}, 3, 3, 6, 2
LABELS = 2  # of a file's kinds: TENSOR_AXIS_LABELS
MOST, LONGEST = 64, 1 << 20  # entries of a list, bytes of a file of labels


def known(file: Any, raw: bytes) -> dict[str, str]:
    """For the imported model's metadata (`mlcc.core.about`, `mlcc.core.describe`)."""
    with suppress(Exception):
        body = next(
            file.Buffers(m.Buffer()).DataAsNumpy().tobytes()
            for m in (file.Metadata(i) for i in range(min(file.MetadataLength(), MOST)))
            if m.Name() == NAME
        )
        return _read(body, raw)
    return {}


def _read(body: bytes, raw: bytes) -> dict[str, str]:
    from flatbuffers import encode, packer
    from flatbuffers.table import Table

    root = Table(body, encode.Get(packer.uoffset, body, 0))
    found = {key: text for key, place in MODEL.items() if (text := _text(root, place))}
    outputs = [o for graph in list(_tables(root, SUBGRAPHS))[:1] for o in _tables(graph, OUTPUTS)]
    labels = [f for o in outputs for f in _tables(o, FILES) if _kind(f) == LABELS]
    if len(labels) == 1:  # the same list in another language is another file
        with suppress(Exception), zipfile.ZipFile(io.BytesIO(raw)) as archive, archive.open(_text(labels[0], 0)) as f:
            words = f.read(LONGEST).decode("utf-8").splitlines()
            found["labels"] = json.dumps([w.strip() for w in words])
    return found


def _at(table: Any, place: int) -> int:
    return int(table.Offset(4 + 2 * place))


def _text(table: Any, place: int) -> str:
    at = _at(table, place)
    return table.String(at + table.Pos).decode("utf-8", "replace") if at else ""


def _kind(table: Any) -> int:
    from flatbuffers import number_types

    at = _at(table, KIND)
    return int(table.Get(number_types.Int8Flags, at + table.Pos)) if at else 0


def _tables(table: Any, place: int) -> Iterator[Any]:
    from flatbuffers.table import Table

    at = _at(table, place)
    for i in range(min(table.VectorLen(at), MOST) if at else 0):
        yield Table(table.Bytes, table.Indirect(table.Vector(at) + 4 * i))
