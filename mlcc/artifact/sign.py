"""Signatures: an in-toto statement over every file, with SLSA provenance as predicate, in a DSSE envelope.

The statement names each file and its SHA-256, so one signature covers the whole folder; the envelope itself is checked to be in its
one canonical form, so that no byte of it can change either.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from securesystemslib.dsse import Envelope
from securesystemslib.exceptions import VerificationError
from securesystemslib.signer import CryptoSigner, SSlibKey

from mlcc.artifact.keys import SigningKey
from mlcc.artifact.manifest import dumps
from mlcc.error import Error

FILE = "attestation.dsse.json"
PAYLOAD_TYPE = "application/vnd.in-toto+json"


def statement(files: Mapping[str, bytes], provenance: Mapping[str, Any]) -> bytes:
    """An in-toto Statement v1 with SLSA Provenance v1."""
    return dumps(
        {
            "_type": "https://in-toto.io/Statement/v1",
            "subject": [{"name": n, "digest": {"sha256": hashlib.sha256(files[n]).hexdigest()}} for n in sorted(files)],
            "predicateType": "https://slsa.dev/provenance/v1",
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
    statement_: dict[str, Any] = json.loads(decoded)
    return statement_


def check_files(files: Mapping[str, bytes | memoryview], trusted: list[Ed25519PublicKey], where: str) -> dict[str, Any]:
    """The signed statement over exactly these files. Raises Error(verification)."""
    found = check_envelope(bytes(files[FILE]) if FILE in files else b"", trusted, where)
    listed = {s["name"]: s["digest"]["sha256"] for s in found["subject"]}
    if listed != {n: hashlib.sha256(body).hexdigest() for n, body in files.items() if n != FILE}:
        raise Error("verification", "the files are not those that were signed", where)
    return found


def verify(folder: Path, trusted: list[Ed25519PublicKey]) -> dict[str, Any]:
    """Check every byte of an artifact folder: signature, all files present and unchanged, none added."""
    path = folder / FILE
    if not folder.is_dir():
        raise Error("usage", "no such artifact", str(folder), "give a folder that `mlcc build` wrote: DIR/<model>/<target>")
    try:
        raw = path.read_bytes()
    except OSError:
        raise Error("verification", f"{FILE} is missing", str(folder), "the folder is no complete artifact") from None
    found = check_envelope(raw, trusted, str(folder))
    listed = {s["name"]: s["digest"]["sha256"] for s in found["subject"]}
    present = {}
    for p in sorted(folder.rglob("*")):
        name = p.relative_to(folder).as_posix()
        if p.is_symlink():
            raise Error("verification", f"{name} is a symbolic link", str(folder), "an artifact holds plain files only")
        if p.is_dir():
            if not any(p.iterdir()):
                raise Error("verification", f"{name}/ is not part of the signed artifact", str(folder))
            continue
        if name != FILE:
            present[name] = hashlib.sha256(p.read_bytes()).hexdigest()
    for problem, names in (
        ("is missing", sorted(set(listed) - set(present))),
        ("is not part of the signed artifact", sorted(set(present) - set(listed))),
        ("was changed", sorted(n for n in set(listed) & set(present) if listed[n] != present[n])),
    ):
        if names:
            more = f" (and {len(names) - 1} more)" if len(names) > 1 else ""
            raise Error("verification", f"{names[0]} {problem}{more}", str(folder))
    return found
