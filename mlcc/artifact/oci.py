"""The artifact as an OCI image layout (image-spec v1.1): one layer a file group, so that every registry stores it."""

from __future__ import annotations

import hashlib
import io
import json
import re
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mlcc.artifact import plain
from mlcc.error import Error

ARTIFACT_TYPE = "application/vnd.mlcc.artifact.v1+json"
LAYER_TYPE = (
    "application/vnd.oci.image.layer.v1.tar"  # not compressed: weights hardly are smaller then, and a compressor's bytes differ by version
)
EMPTY = b"{}"


def tar(files: Mapping[str, bytes]) -> bytes:
    """A tar of files in name order, with no times and no owners."""
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name in sorted(files):
            info = tarfile.TarInfo(name)
            info.size, info.mode = len(files[name]), 0o644
            archive.addfile(info, io.BytesIO(files[name]))
    return raw.getvalue()


def digest(layout: Mapping[str, bytes | memoryview]) -> str:
    """The image manifest's digest, as the index gives it."""
    return str(json.loads(bytes(layout["index.json"]))["manifests"][0]["digest"])


def holds(layout: Mapping[str, bytes | memoryview], files: Mapping[str, bytes | memoryview]) -> bool:
    """Whether a layout is an artifact's: each blob what its name says, one layer, and in it exactly these files."""
    blobs = {n.removeprefix("blobs/sha256/"): body for n, body in layout.items() if n not in ("oci-layout", "index.json")}
    if any(hashlib.sha256(body).hexdigest() != n for n, body in blobs.items()):
        return False
    manifest = json.loads(bytes(blobs[digest(layout).removeprefix("sha256:")]))
    layers = [d["digest"].removeprefix("sha256:") for d in manifest["layers"]]
    held = {digest(layout).removeprefix("sha256:"), manifest["config"]["digest"].removeprefix("sha256:"), *layers}
    if len(layers) != 1 or held != set(blobs):
        return False
    return blobs[layers[0]] == tar({n: bytes(body) for n, body in files.items()})


def _descriptor(media_type: str, body: bytes, **more: Any) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": f"sha256:{hashlib.sha256(body).hexdigest()}", "size": len(body), **more}


def layout(files: Mapping[str, bytes], annotations: Mapping[str, str]) -> tuple[dict[str, bytes], str]:
    """(layout files by path, the image manifest's digest)."""
    layer = tar(files)
    manifest = json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "artifactType": ARTIFACT_TYPE,
            "config": _descriptor("application/vnd.oci.empty.v1+json", EMPTY),
            "layers": [_descriptor(LAYER_TYPE, layer)],
            "annotations": dict(annotations),
        },
        sort_keys=True,
        separators=(",", ":"),
    ).encode()
    top = _descriptor("application/vnd.oci.image.manifest.v1+json", manifest, artifactType=ARTIFACT_TYPE)
    index = json.dumps(
        {"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": [top]},
        sort_keys=True,
        separators=(",", ":"),
    ).encode()
    blobs = {f"blobs/sha256/{hashlib.sha256(b).hexdigest()}": b for b in (EMPTY, layer, manifest)}
    return {"oci-layout": b'{"imageLayoutVersion":"1.0.0"}', "index.json": index, **blobs}, str(top["digest"])


def unpacked(folder: Path) -> dict[str, bytes]:
    """The files in the layer of a layout on disk. Raises Error(verification) where it is none of ours, or a blob is not what its name
    says."""

    def blob(descriptor: Mapping[str, Any]) -> bytes:
        algorithm, _, digest = str(descriptor["digest"]).partition(":")
        if algorithm != "sha256" or not re.fullmatch(r"[0-9a-f]{64}", digest):
            raise ValueError("no SHA-256")
        body = plain.read(folder / "blobs" / algorithm / digest, int(descriptor["size"]))
        if hashlib.sha256(body).hexdigest() != digest:
            raise Error("verification", f"blob {digest[:16]}… was changed", str(folder))
        return body

    try:
        (top,) = json.loads(plain.read(folder / "index.json"))["manifests"]
        manifest = json.loads(blob(top))
        (layer,) = manifest["layers"]
        blob(manifest["config"])
        with tarfile.open(fileobj=io.BytesIO(blob(layer)), mode="r:") as archive:
            members = archive.getmembers()
            if any(not m.isreg() for m in members) or len({m.name for m in members}) != len(members):
                raise ValueError("not files alone")
            return {m.name: f.read() for m in members if (f := archive.extractfile(m)) is not None}
    except OSError as e:
        raise Error("verification", f"cannot read: {e.strerror or e}", str(e.filename or folder)) from None
    except (ValueError, KeyError, TypeError, AttributeError, tarfile.TarError, RecursionError) as e:
        raise Error("verification", f"no image layout of an artifact: {e}", str(folder)) from None
