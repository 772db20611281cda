"""Signatures: an in-toto statement over every file, with SLSA provenance as predicate, in a DSSE envelope.

The statement names each file and its SHA-256, so one signature covers the whole folder; the envelope itself is checked to be in its
one canonical form, so that no byte of it can change either.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from securesystemslib.dsse import Envelope
from securesystemslib.exceptions import VerificationError
from securesystemslib.signer import CryptoSigner, SSlibKey

from mlcc.artifact import plain
from mlcc.artifact.keys import SigningKey
from mlcc.artifact.manifest import dumps
from mlcc.error import Error

FILE = "attestation.dsse.json"
PAYLOAD_TYPE = "application/vnd.in-toto+json"
TYPE, PREDICATE = "https://in-toto.io/Statement/v1", "https://slsa.dev/provenance/v1"


def statement(files: Mapping[str, bytes], provenance: Mapping[str, Any]) -> bytes:
    """An in-toto Statement v1 with SLSA Provenance v1."""
    return dumps(
        {
            "_type": TYPE,
            "subject": [
                {"name": n, "digest": {"sha256": hashlib.sha256(files[n]).hexdigest()}, "annotations": {"size": len(files[n])}}
                for n in sorted(files)
            ],
            "predicateType": PREDICATE,
            "predicate": dict(provenance),
        }
    )


def sign(payload: bytes, key: SigningKey) -> bytes:
    """The envelope file."""
    signer = CryptoSigner(key.private)
    envelope = Envelope(payload, PAYLOAD_TYPE, {})
    envelope.sign(signer)
    return dumps(envelope.to_dict())


def check_envelope(raw: bytes, trusted: list[Ed25519PublicKey], where: str) -> dict[str, Any]:
    """The signed statement. Raises Error(verification) unless a trusted key signed exactly these bytes."""

    def bad(what: str, hint: str = "") -> Error:
        return Error("verification", what, where, hint)

    try:
        data = json.loads(raw)
        payload, signatures = data["payload"], data["signatures"]
        decoded = base64.b64decode(payload, validate=True)
        canonical = (
            dumps(data) == raw and set(data) == {"payload", "payloadType", "signatures"} and base64.b64encode(decoded).decode() == payload
        )
        canonical = (
            canonical
            and len(signatures) == 1
            and set(signatures[0]) == {"keyid", "sig"}
            and base64.b64encode(base64.b64decode(signatures[0]["sig"], validate=True)).decode() == signatures[0]["sig"]
        )
    except (ValueError, KeyError, TypeError, binascii.Error, RecursionError):
        raise bad(f"{FILE} is damaged") from None
    if not canonical or data["payloadType"] != PAYLOAD_TYPE:
        raise bad(f"{FILE} is damaged")
    if not trusted:
        raise bad("no trusted key to check the signature with", "pass the signer's public key: --trust KEY.pub")
    keys = [SSlibKey.from_crypto(k) for k in trusted]
    try:
        Envelope.from_dict(json.loads(raw)).verify(keys, 1)  # from_dict empties what it is given
    except (VerificationError, ValueError, KeyError, TypeError):
        known = signatures[0]["keyid"] in [k.keyid for k in keys]
        if known:
            raise bad("the signature does not fit the contents: the artifact was changed after signing") from None
        raise bad(
            f"signed by an unknown key ({str(signatures[0]['keyid'])[:16]}…)",
            "if you trust it, pass the signer's public key: --trust KEY.pub",
        ) from None
    try:
        statement_: dict[str, Any] = json.loads(decoded)
        whole = statement_["_type"] == TYPE and statement_["predicateType"] == PREDICATE and isinstance(statement_["predicate"], dict)
        listed_files(statement_)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        whole = False
    if not whole:
        raise bad("what is signed is no statement about an artifact")
    return statement_


@dataclass(frozen=True)
class Listed:
    """What a statement says of a file."""

    sha256: str
    size: int


def listed_files(statement_: Mapping[str, Any]) -> dict[str, Listed]:
    """By name. Raises what a malformed statement makes it raise."""
    found = {}
    for s in statement_["subject"]:
        name, size = s["name"], s["annotations"]["size"]
        if not isinstance(name, str) or not isinstance(size, int) or isinstance(size, bool) or size < 0 or name in found:
            raise ValueError("malformed")
        found[name] = Listed(str(s["digest"]["sha256"]), size)
    return found


def check_files(files: Mapping[str, bytes | memoryview], trusted: list[Ed25519PublicKey], where: str) -> dict[str, Any]:
    """The signed statement over exactly these files. Raises Error(verification)."""
    found = check_envelope(bytes(files[FILE]) if FILE in files else b"", trusted, where)
    listed = {n: f.sha256 for n, f in listed_files(found).items()}
    if listed != {n: hashlib.sha256(body).hexdigest() for n, body in files.items() if n != FILE}:
        raise Error("verification", "the files are not those that were signed", where)
    return found


def verify(folder: Path, trusted: list[Ed25519PublicKey]) -> dict[str, Any]:
    """Check every byte of an artifact folder: signature, all files present and unchanged, none added; no link, pipe or device among them.
    Nothing is read that the statement does not list, and no more of it than it says."""
    if not folder.is_dir():
        raise Error("usage", "no such artifact", str(folder), "give a folder that `mlcc build` wrote: DIR/<model>/<target>")
    try:
        raw = plain.read(folder / FILE)
    except OSError:
        raise Error("verification", f"{FILE} is missing or unreadable", str(folder), "the folder is no complete artifact") from None
    found = check_envelope(raw, trusted, str(folder))
    listed = listed_files(found)
    folders = {parent.as_posix() for name in listed for parent in PurePosixPath(name).parents}
    changed, present = [], set()
    todo = [""]
    try:
        while todo:
            within = todo.pop()
            for entry in sorted(os.scandir(folder / within), key=lambda e: e.name):
                name = f"{within}/{entry.name}" if within else entry.name
                if entry.is_symlink():
                    raise Error("verification", f"{name} is a symbolic link", str(folder), "an artifact holds plain files only")
                if entry.is_dir(follow_symlinks=False):
                    if name not in folders:
                        raise Error("verification", f"{name}/ is not part of the signed artifact", str(folder))
                    todo.append(name)
                elif name == FILE:
                    continue
                elif name not in listed:
                    raise Error("verification", f"{name} is not part of the signed artifact", str(folder))
                else:
                    present.add(name)
                    size = entry.stat(follow_symlinks=False).st_size
                    if size != listed[name].size or plain.sha256(folder / name, size) != listed[name].sha256:
                        changed.append(name)
    except OSError as e:
        raise Error("verification", f"cannot read: {e.strerror or e}", str(e.filename or folder)) from None
    for problem, names in (("is missing", sorted(set(listed) - present)), ("was changed", sorted(changed))):
        if names:
            more = f" (and {len(names) - 1} more)" if len(names) > 1 else ""
            raise Error("verification", f"{names[0]} {problem}{more}", str(folder))
    return found
