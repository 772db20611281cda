"""Statements, envelopes, and the folders that they are signed over."""

from __future__ import annotations

import base64
import hashlib
import json
import os
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from mlcc.artifact import keys, manifest, plain, sign, write
from tests.artifact.checks.support import FILES, refused


@pytest.fixture
def key() -> keys.SigningKey:
    return keys.SigningKey(Ed25519PrivateKey.generate(), None)


@pytest.fixture
def signed(key: keys.SigningKey, tmp_path: Path) -> Path:
    """A folder that a key has signed."""
    folder = tmp_path / "artifact"
    raw = sign.sign(sign.statement(FILES, {"by": "test"}), key)
    write.folder({**FILES, sign.FILE: raw}, folder)
    return folder


def test_statements_name_every_file(key: keys.SigningKey) -> None:
    text = json.loads(sign.statement(FILES, {"buildDefinition": {}}))
    assert text["_type"] == "https://in-toto.io/Statement/v1" and text["predicateType"] == "https://slsa.dev/provenance/v1"
    assert text["predicate"] == {"buildDefinition": {}}
    assert [s["name"] for s in text["subject"]] == sorted(FILES)
    for s in text["subject"]:
        body = FILES[s["name"]]
        assert s["digest"] == {"sha256": hashlib.sha256(body).hexdigest()} and s["annotations"] == {"size": len(body)}
    assert sign.listed_files(text)["a"] == sign.Listed(hashlib.sha256(b"xyz").hexdigest(), 3)
    envelope = json.loads(sign.sign(b"payload", key))
    assert envelope["payloadType"] == "application/vnd.in-toto+json" and base64.b64decode(envelope["payload"]) == b"payload"


@pytest.mark.parametrize(
    "subject",
    [
        {"name": 1, "annotations": {"size": 1}, "digest": {"sha256": ""}},
        {"name": "x", "annotations": {"size": "1"}, "digest": {"sha256": ""}},
        {"name": "x", "annotations": {"size": True}, "digest": {"sha256": ""}},
        {"name": "x", "annotations": {"size": -1}, "digest": {"sha256": ""}},
        {"name": "x", "digest": {"sha256": ""}},
        {"name": "x", "annotations": {"size": 1}},
    ],
)
def test_malformed_subjects(subject: dict[str, Any], key: keys.SigningKey) -> None:
    with pytest.raises((ValueError, KeyError)):
        sign.listed_files({"subject": [subject]})
    text = {"_type": sign.TYPE, "predicateType": sign.PREDICATE, "predicate": {}, "subject": [subject]}
    trusted = [key.private.public_key()]
    refused("verification", "no statement", sign.check_envelope, sign.sign(manifest.dumps(text), key), trusted, "here")


def test_an_empty_file_and_two_of_one_name() -> None:
    empty = {"name": "x", "annotations": {"size": 0}, "digest": {"sha256": "d"}}
    assert sign.listed_files({"subject": [empty]}) == {"x": sign.Listed("d", 0)}
    with pytest.raises(ValueError, match="malformed"):
        sign.listed_files({"subject": [empty, empty]})


def test_what_is_signed_must_be_a_statement(key: keys.SigningKey) -> None:
    good = {"_type": sign.TYPE, "predicateType": sign.PREDICATE, "predicate": {}, "subject": []}
    trusted = [key.private.public_key()]
    assert sign.check_envelope(sign.sign(manifest.dumps(good), key), trusted, "x") == good
    for change in ({"_type": "other"}, {"predicateType": "other"}, {"predicate": []}, {"subject": 1}):
        raw = sign.sign(manifest.dumps({**good, **change}), key)
        assert refused("verification", "what is signed is no statement", sign.check_envelope, raw, trusted, "x").where == "x"
    for payload in (b"[]", b"no json", b"1"):
        refused("verification", "what is signed is no statement", sign.check_envelope, sign.sign(payload, key), trusted, "x")


def test_envelopes_have_one_form(key: keys.SigningKey) -> None:
    raw, trusted = sign.sign(sign.statement(FILES, {}), key), [key.private.public_key()]
    sign.check_envelope(raw, trusted, "x")
    data = json.loads(raw)
    signature = data["signatures"][0]
    odd = {
        "spaces": raw + b" ",
        "another order": json.dumps(data).encode(),
        "a key more": manifest.dumps({**data, "more": 1}),
        "a type": manifest.dumps({**data, "payloadType": "text/plain"}),
        "no payload": manifest.dumps({k: v for k, v in data.items() if k != "payload"}),
        "two signatures": manifest.dumps({**data, "signatures": [signature, signature]}),
        "none": manifest.dumps({**data, "signatures": []}),
        "more in a signature": manifest.dumps({**data, "signatures": [{**signature, "cert": ""}]}),
        "no base64": manifest.dumps({**data, "payload": "*" + data["payload"][1:]}),
        "base64 with line ends": manifest.dumps({**data, "signatures": [{**signature, "sig": signature["sig"] + "\n"}]}),
        "no object": b"[]\n",
        "nothing": b"",
        "null": b"null\n",
    }
    for what, changed in odd.items():
        assert refused("verification", "is damaged", sign.check_envelope, changed, trusted, "here").where == "here", what


def test_keys_are_told_apart(key: keys.SigningKey) -> None:
    other = keys.SigningKey(Ed25519PrivateKey.generate(), None)
    raw = sign.sign(sign.statement(FILES, {}), key)
    ours, theirs = key.private.public_key(), other.private.public_key()
    sign.check_envelope(raw, [theirs, ours], "x")
    assert "unknown key" in refused("verification", "unknown key", sign.check_envelope, raw, [theirs], "x").what
    assert "--trust" in refused("verification", "no trusted key", sign.check_envelope, raw, [], "x").hint
    data = json.loads(raw)
    forged = manifest.dumps({**data, "payload": base64.b64encode(sign.statement({}, {})).decode()})
    refused("verification", "does not fit the contents", sign.check_envelope, forged, [ours], "x")


def test_every_change_of_a_folder_is_found(signed: Path, key: keys.SigningKey) -> None:
    trusted = [key.private.public_key()]

    def verify(what: str) -> str:
        return refused("verification", what, sign.verify, signed, trusted).what

    assert sign.verify(signed, trusted)["predicate"] == {"by": "test"}
    (signed / "lib/libm.a").write_bytes(b"codE")
    assert verify("was changed") == "lib/libm.a was changed"
    (signed / "a").write_bytes(b"xyzz")
    assert verify("was changed") == "a was changed (and 1 more)"
    (signed / "a").unlink()
    assert verify("is missing") == "a is missing"
    (signed / "manifest.json").unlink()
    assert verify("is missing") == "a is missing (and 1 more)"
    (signed / "manifest.json").write_bytes(b"")
    write.folder({**FILES, sign.FILE: (signed / sign.FILE).read_bytes()}, signed)
    (signed / "lib/more").write_bytes(b"")
    assert verify("not part") == "lib/more is not part of the signed artifact"
    (signed / "lib/more").unlink()
    (signed / "lib/sub").mkdir()
    assert verify("not part") == "lib/sub/ is not part of the signed artifact"
    (signed / "lib/sub").rmdir()
    (signed / "a").unlink()
    (signed / "a").symlink_to(signed / "manifest.json")
    verify("a is a symbolic link")
    (signed / "a").unlink()
    (signed / "a").write_bytes(b"xyz")
    (signed / "lib" / sign.FILE).write_bytes(b"")
    verify("not part")
    (signed / "lib" / sign.FILE).unlink()
    assert sign.verify(signed, trusted)
    (signed / sign.FILE).unlink()
    verify("is missing or unreadable")
    refused("usage", "no such artifact", sign.verify, signed / "nowhere", trusted)
    refused("usage", "no such artifact", sign.verify, signed / "manifest.json", trusted)


def test_no_more_is_read_than_is_signed(signed: Path, key: keys.SigningKey, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    real = plain.sha256
    monkeypatch.setattr(plain, "sha256", lambda path, most: seen.append((path.name, most)) or real(path, most))
    (signed / "a").write_bytes(b"x" * 1000)
    refused("verification", "a was changed", sign.verify, signed, [key.private.public_key()])
    assert sorted(seen) == [("libm.a", 4), ("m.h", 0), ("manifest.json", 3)]


def test_an_unknown_key_is_said_with_the_folder(signed: Path) -> None:
    other = Ed25519PrivateKey.generate().public_key()
    assert refused("verification", "unknown key", sign.verify, signed, [other]).where == str(signed)


def test_unreadable_folders(signed: Path, key: keys.SigningKey, monkeypatch: pytest.MonkeyPatch) -> None:
    def scan(path: Path) -> Any:
        raise PermissionError(13, "no entry", str(path))

    monkeypatch.setattr(os, "scandir", scan)
    assert "no entry" in refused("verification", "cannot read", sign.verify, signed, [key.private.public_key()]).what


def test_files_in_memory(key: keys.SigningKey) -> None:
    trusted = [key.private.public_key()]
    raw = sign.sign(sign.statement(FILES, {"x": 1}), key)
    whole: dict[str, bytes | memoryview] = {**{n: memoryview(b) for n, b in FILES.items()}, sign.FILE: raw}
    assert sign.check_files(whole, trusted, "x")["predicate"] == {"x": 1}
    for changed in ({**whole, "a": b"?"}, {**whole, "more": b""}, {n: b for n, b in whole.items() if n != "a"}):
        assert refused("verification", "not those that were signed", sign.check_files, changed, trusted, "there").where == "there"
    refused("verification", "is damaged", sign.check_files, FILES, trusted, "x")
