"""Each check of artifacts and caches by itself, in this process: what `make mutants` holds against changed code."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import stat
import tarfile
import time
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from mlcc.artifact import keys, manifest, oci, plain, sign, write
from mlcc.artifact.arrays import npy, read_npy, readable
from mlcc.cache import blob, bound, store
from mlcc.core.narrow import LETTERS, TEXTS, coded
from mlcc.error import Error

MESSAGES = Path(__file__).with_name("messages.txt")
FILES = {"manifest.json": b"{}\n", "lib/libm.a": b"code", "include/m.h": b"", "a": b"xyz"}


def refused(code: str, what: str, call: Callable[..., Any], *arguments: Any) -> Error:
    """The error of a call, which says what it has always said: every line that users see is in messages.txt, for review."""
    with pytest.raises(Error) as e:
        call(*arguments)
    assert e.value.code == code and what in e.value.what, (e.value.code, e.value.what)
    assert isinstance(e.value.hint, str) and isinstance(e.value.where, str) and "None" not in e.value.where
    assert e.value.where or code == "usage", "an error says where"
    said(e.value)
    return e.value


def said(error: Error) -> None:
    line = " | ".join((error.code, error.what, error.where, error.hint)).replace("\n", "⏎")
    line = re.sub(r"/\S*/pytest-of-[^/]+/pytest-\d+/[^/ ]+", "TMP", line)
    line = re.sub(r"(not a \.npy file|no image layout of an artifact): [^|]*", r"\1: … ", line)  # NumPy's words, and Python's
    line = re.sub(r"\b([0-9a-f]{16}(?=…)|[0-9a-f]{64}\b)", "DIGEST", line)
    known = MESSAGES.read_text().splitlines() if MESSAGES.exists() else []
    if os.environ.get("MLCC_GOLDEN") == "write" and line not in known:
        MESSAGES.write_text("\n".join(sorted({*known, line})) + "\n")
        return
    assert line in known, f"messages.txt lacks this line (MLCC_GOLDEN=write adds it): {line}"


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


# statements and envelopes


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


# folders


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


# plain files


def test_plain_files_alone_are_read(tmp_path: Path) -> None:
    file = tmp_path / "f"
    file.write_bytes(b"12345")
    assert (
        plain.read(file) == b"12345" and plain.read(file, 5) == b"12345" and plain.sha256(file, 5) == hashlib.sha256(b"12345").hexdigest()
    )
    assert "5 bytes, at most 4 belong" in refused("verification", "at most", plain.read, file, 4).what
    assert refused("usage", "at most", plain.read, file, 4, "usage").where == str(file)
    refused("verification", "at most", plain.sha256, file, 4)
    refused("verification", "no plain file", plain.read, tmp_path)
    os.mkfifo(tmp_path / "pipe")
    refused("verification", "no plain file", plain.read, tmp_path / "pipe")
    (tmp_path / "link").symlink_to(file)
    with pytest.raises(OSError):
        plain.read(tmp_path / "link")
    with pytest.raises(OSError):
        plain.read(tmp_path / "nothing")
    assert plain.SMALL == 64 << 20


def test_a_file_that_grows_is_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "f"
    file.write_bytes(b"123")
    with plain.opened(file, 3) as f:
        file.write_bytes(b"123456789")
        assert f.read(4)[:3] == b"123"


# writing


def test_only_what_is_ours_is_replaced(tmp_path: Path) -> None:
    place = tmp_path / "deep" / "out"
    write.folder({"a/b": b"1"}, place)
    assert (place / "a/b").read_bytes() == b"1" and [p.name for p in place.parent.iterdir()] == ["out"]
    assert not write.replaceable(place)
    refused("usage", "something that mlcc did not write", write.folder, {"a": b""}, place)
    assert (place / "a/b").read_bytes() == b"1"
    for mark in ("manifest.json", "oci-layout"):
        (place / mark).write_bytes(b"")
        assert write.replaceable(place)
        write.folder({"c": b"2", mark: b""}, place)
        assert sorted(p.name for p in place.iterdir()) == sorted(["c", mark]) and [p.name for p in place.parent.iterdir()] == ["out"]
        (place / mark).unlink()
    (tmp_path / "empty").mkdir()
    assert write.replaceable(tmp_path / "empty") and write.replaceable(tmp_path / "none")
    (tmp_path / "file").write_bytes(b"")
    (tmp_path / "link").symlink_to(tmp_path / "empty")
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    assert not any(write.replaceable(tmp_path / n) for n in ("file", "link", "dangling"))
    (tmp_path / "marked").mkdir()
    (tmp_path / "marked/manifest.json").mkdir()
    assert not write.replaceable(tmp_path / "marked")


def test_what_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_bytes(b"")
    error = refused("usage", "cannot write", write.folder, {"a": b""}, tmp_path / "file" / "out")
    assert error.where == str(tmp_path / "file" / "out") and "-o" in error.hint
    refused("usage", "cannot write", write.file, b"", tmp_path / "file" / "out")

    def full(*_: Any) -> Any:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    assert refused("usage", "No space left", write.folder, {"a": b""}, tmp_path / "new").hint == "free some space"
    assert [p.name for p in tmp_path.iterdir()] == ["file"]
    monkeypatch.setattr(Path, "replace", full)
    refused("usage", "No space left", write.file, b"x", tmp_path / "single")
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_files_are_written_whole(tmp_path: Path) -> None:
    write.file(b"one", tmp_path / "a" / "f")
    write.file(b"two", tmp_path / "a" / "f")
    assert (tmp_path / "a/f").read_bytes() == b"two" and [p.name for p in (tmp_path / "a").iterdir()] == ["f"]
    assert stat.S_IMODE((tmp_path / "a/f").stat().st_mode) == 0o644


# image layouts


def laid(folder: Path) -> dict[str, bytes]:
    layout, _ = oci.layout(FILES, {"title": "x"})
    write.folder(layout, folder)
    return layout


def test_layouts_are_whole_and_reproducible(tmp_path: Path) -> None:
    layout, digest = oci.layout(FILES, {"title": "x"})
    assert (layout, digest) == oci.layout(dict(reversed(FILES.items())), {"title": "x"}) and digest == oci.digest(layout)
    assert layout["oci-layout"] == b'{"imageLayoutVersion":"1.0.0"}'
    index = json.loads(layout["index.json"])
    (top,) = index["manifests"]
    assert index["schemaVersion"] == 2 and index["mediaType"] == "application/vnd.oci.image.index.v1+json"
    about = json.loads(layout["blobs/sha256/" + top["digest"].removeprefix("sha256:")])
    assert top["mediaType"] == about["mediaType"] == "application/vnd.oci.image.manifest.v1+json" and about["schemaVersion"] == 2
    assert top["artifactType"] == about["artifactType"] == "application/vnd.mlcc.artifact.v1+json" and about["annotations"] == {
        "title": "x"
    }
    assert about["config"]["mediaType"] == "application/vnd.oci.empty.v1+json" and about["config"]["size"] == 2
    (layer,) = about["layers"]
    assert layer["mediaType"] == "application/vnd.oci.image.layer.v1.tar"
    for d in (top, about["config"], layer):
        body = layout["blobs/sha256/" + d["digest"].removeprefix("sha256:")]
        assert hashlib.sha256(body).hexdigest() == d["digest"].removeprefix("sha256:") and len(body) == d["size"]
    with tarfile.open(fileobj=BytesIO(layout["blobs/sha256/" + layer["digest"].removeprefix("sha256:")])) as archive:
        members = archive.getmembers()
        assert [m.name for m in members] == sorted(FILES)
        assert {(m.mtime, m.uid, m.gid, m.uname, m.gname, m.mode) for m in members} == {(0, 0, 0, "", "", 0o644)}
    laid(tmp_path / "o")
    assert oci.unpacked(tmp_path / "o") == FILES
    assert hashlib.sha256(layout["index.json"]).hexdigest() == "67546689c7ca27da7c1abe77f65e9355912a8824d1a381b7a07bc06ad0477858"
    assert digest == "sha256:d57f9b05353b564f6c2944c2f9f6722ba2cec8188cb6c7a324390b8a282added"


def test_layouts_hold_what_they_should() -> None:
    layout, _ = oci.layout(FILES, {})
    assert oci.holds(layout, FILES) and oci.holds(
        {n: memoryview(b) for n, b in layout.items()}, {n: memoryview(b) for n, b in FILES.items()}
    )
    assert not oci.holds(layout, {**FILES, "a": b"other"}) and not oci.holds(layout, {n: b for n, b in FILES.items() if n != "a"})
    name = next(n for n in layout if n.startswith("blobs"))
    assert not oci.holds({**layout, name: b"changed"}, FILES)
    more = hashlib.sha256(b"more").hexdigest()
    assert not oci.holds({**layout, f"blobs/sha256/{more}": b"more"}, FILES)


def test_damaged_layouts(tmp_path: Path) -> None:
    def damaged(what: str, change: Callable[[Path, dict[str, bytes]], None]) -> None:
        folder = tmp_path / "o"
        change(folder, laid(folder))
        refused("verification", what, oci.unpacked, folder)

    def rewrite(folder: Path, layout: dict[str, bytes], change: Callable[[dict[str, Any]], None]) -> None:
        """The image manifest changed, its digest made to fit."""
        index = json.loads(layout["index.json"])
        old = index["manifests"][0]["digest"].removeprefix("sha256:")
        about = json.loads(layout[f"blobs/sha256/{old}"])
        change(about)
        raw = json.dumps(about).encode()
        digest = hashlib.sha256(raw).hexdigest()
        index["manifests"][0] |= {"digest": f"sha256:{digest}", "size": len(raw)}
        (folder / "blobs/sha256" / digest).write_bytes(raw)
        (folder / "index.json").write_text(json.dumps(index))

    def blob_of(layout: dict[str, bytes]) -> str:
        return max((n for n in layout if n.startswith("blobs")), key=lambda n: len(layout[n]))

    damaged("was changed", lambda f, o: (f / blob_of(o)).write_bytes(o[blob_of(o)][:-1] + b"x"))
    damaged("bytes, at most", lambda f, o: (f / blob_of(o)).write_bytes(o[blob_of(o)] + b"x"))
    damaged("cannot read", lambda f, o: (f / blob_of(o)).unlink())
    damaged("cannot read", lambda f, o: (f / "index.json").unlink())
    damaged("no image layout", lambda f, o: (f / "index.json").write_bytes(b"[]"))
    damaged("no image layout", lambda f, o: (f / "index.json").write_bytes(b'{"manifests": []}'))
    damaged("no image layout", lambda f, o: (f / "index.json").write_bytes(o["index.json"].replace(b'"sha256:', b'"sha512:')))
    damaged("no image layout", lambda f, o: (f / "index.json").write_bytes(o["index.json"].replace(b'"sha256:', b'"sha256:../')))
    damaged("no image layout", lambda f, o: rewrite(f, o, lambda m: m.update(layers=[])))
    damaged("no image layout", lambda f, o: rewrite(f, o, lambda m: m.update(layers=m["layers"] * 2)))
    damaged("no image layout", lambda f, o: rewrite(f, o, lambda m: m.pop("config")))

    def layer(members: list[tarfile.TarInfo]) -> Callable[[Path, dict[str, bytes]], None]:
        raw = BytesIO()
        with tarfile.open(fileobj=raw, mode="w") as archive:
            for m in members:
                archive.addfile(m)
        digest = hashlib.sha256(raw.getvalue()).hexdigest()

        def change(folder: Path, layout: dict[str, bytes]) -> None:
            (folder / "blobs/sha256" / digest).write_bytes(raw.getvalue())
            rewrite(folder, layout, lambda m: m["layers"][0].update(digest=f"sha256:{digest}", size=len(raw.getvalue())))

        return change

    link = tarfile.TarInfo("link")
    link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
    damaged("not files alone", layer([link]))
    damaged("not files alone", layer([tarfile.TarInfo("x"), tarfile.TarInfo("x")]))


# manifests

LABELS = next(t for t in TEXTS if t != LETTERS)
GOOD: dict[str, Any] = {
    "mlcc": 1, "name": "m", "model": "m", "model_digest": "", "program_digest": "", "output_digest": "", "target": "t", "class": "exact",
    "conformance": "passed", "instruction_sets": ["x"], "workspace_bytes": 0, "arena_bytes": 0, "library_bytes": 0, "constant_bytes": 0,
    "parameters": 0, "kernel_calls": 0, "inputs": [{"name": "x", "dtype": "float32", "shape": [2, 3]}],
    "outputs": [{"name": "y", "dtype": "int8", "shape": []}],
}  # fmt: skip


SIZE = {"name": "n", "least": 1, "most": 8, "step": 1}


def manifested(folder: Path, data: Any) -> Any:
    folder.mkdir(exist_ok=True)
    (folder / "manifest.json").write_bytes(data if isinstance(data, bytes) else json.dumps(data).encode())
    return manifest.read(folder)


def test_good_manifests(tmp_path: Path) -> None:
    assert manifested(tmp_path, GOOD) == GOOD
    for more in ({"instructions": 0}, {"cycles": 5, "architectures": ["sm_80"], "operators": {}}, {"kernels": 2**48 - 1}, {"unknown": [1]}):
        manifested(tmp_path, {**GOOD, **more})
    assert manifest.signature(GOOD) == " float32[2,3] > int8[] > 0"  # type: ignore[arg-type]
    assert manifest.dumps({"b": 1, "a": ["ü"]}) == '{\n  "a": [\n    "ü"\n  ],\n  "b": 1\n}\n'.encode()
    with pytest.raises(ValueError):
        manifest.dumps(float("nan"))
    opened = {**GOOD, "inputs": tensors(shape=[8, 2], open=["n", 2]) + tensors(name="z", shape=[]), "outputs": tensors(open=["n*2"])}
    assert manifest.signature(opened) == " float32[n,2] float32[] > float32[n*2] > 0"  # type: ignore[arg-type]


def tensors(**change: Any) -> list[dict[str, Any]]:
    return [{"name": "x", "dtype": "float32", "shape": [2], **change}]


@pytest.mark.parametrize(
    "change",
    [
        {k: None} for k in GOOD if k != "mlcc"
    ]
    + [
        {"name": "1x"}, {"name": "a b"}, {"name": "x" * 92}, {"name": "a/../b"},
        *({k: v} for k in ("workspace_bytes", "instructions", "stack_bytes", "kernels") for v in (-1, 2**48, True, "1", 1.0)),
        {"instruction_sets": [1]}, {"instruction_sets": "x"}, {"architectures": [1]}, {"operators": []}, {"class": 1},
        *({"inputs": v} for v in (
            {}, [1], tensors(name=1), tensors(dtype="float"), tensors(dtype=1), tensors(shape=2), tensors(shape=[-1]), tensors(shape=[True]),
            tensors(shape=["2"]), tensors(shape=[1] * 65), tensors(shape=[2**16, 2**15]), tensors() * 2,
            tensors(element="float32"), tensors(element="int4"), tensors(element=["int4"]), tensors(dtype="int8", element="uint4"),
            tensors(open="2"), tensors(open={"n": 1}), tensors(open=[]), tensors(open=[1, 2]), tensors(open=[-1]), tensors(open=[["n"]]),
            tensors(open=["n" * 4096]), tensors(counts={}), tensors(counts=1), tensors(counts=["0n"]), tensors(counts=[[0]]),
            tensors(counts=[[0, "n", 1]]), tensors(counts=[["n", 0]]), tensors(counts=[[1, "n"]]), tensors(counts=[[-1, "n"]]),
            tensors(counts=[[0, 1]]), tensors(counts=[[True, "n"]]), tensors(counts=[{0: "n", 1: "m"}]),
        )),
        *({"sizes": v} for v in (
            {}, ["n"], [{}], *([{**SIZE, **change}] for change in (
                {"name": 1}, {"name": "1n"}, {"name": "a b"}, {"least": 0}, {"least": "1"}, {"most": True}, {"step": 0}, {"step": -1},
            )), *([{k: v for k, v in SIZE.items() if k != key}] for key in SIZE),
        )),
        {"outputs": tensors(dtype="complex64")},
    ],
)  # fmt: skip
def test_damaged_manifests(change: dict[str, Any], tmp_path: Path) -> None:
    error = refused("verification", "damaged", manifested, tmp_path, {**GOOD, **change})
    assert next(iter(change)) in error.what or "two inputs of one name" in error.what


def test_shapes_at_the_limits(tmp_path: Path) -> None:
    for shape in ([2**31 - 1], [1] * 64, [0, 2**40]):
        manifested(tmp_path, {**GOOD, "inputs": tensors(shape=shape)})
    for more in (
        {"dtype": "int8", "element": "int4"}, {"dtype": "uint8", "element": "float8_e4m3fn"}, {"open": ["n"]}, {"open": [2**48 - 1]},
        {"counts": []}, {"counts": [[0, "n"]]}, {"shape": [3, 2], "counts": [[0, "n"], [1, "m"]]},
    ):  # fmt: skip
        manifested(tmp_path, {**GOOD, "inputs": tensors(**more), "outputs": tensors(**more), "sizes": [SIZE, {**SIZE, "most": 2**48 - 1}]})
    manifested(tmp_path, {**GOOD, "outputs": tensors(open=["n" * 4095])})
    manifested(tmp_path, {**GOOD, "name": "x" * 91})
    for inputs in (tensors(open=["2*n"]), tensors(open=["m"])):
        refused("verification", "damaged: a size", manifested, tmp_path, {**GOOD, "inputs": inputs, "sizes": [SIZE]})


def test_no_manifest_at_all(tmp_path: Path) -> None:
    for version in ({}, {"mlcc": 2}, {"mlcc": None}):
        data = {k: v for k, v in GOOD.items() if k != "mlcc"} | version
        refused("verification", "another version", manifested, tmp_path, data)
    refused("verification", "another version", manifested, tmp_path, [1])
    refused("verification", "no readable", manifested, tmp_path, b"{")
    for key in GOOD:
        refused("verification", "version" if key == "mlcc" else key, manifested, tmp_path, {k: v for k, v in GOOD.items() if k != key})
    (tmp_path / "manifest.json").unlink()
    refused("verification", "no readable manifest.json", manifest.read, tmp_path)
    refused("usage", "no such artifact", manifest.read, tmp_path / "none")


def test_sizes_that_a_run_decides() -> None:
    inputs = tensors(shape=[8, 64, 3], open=["n", "m", 3]) + tensors(name="z", shape=[8, 5], open=["n", 5]) + tensors(name="w")
    sizes = [SIZE, {"name": "m", "least": 16, "most": 64, "step": 16}]
    data: Any = {**GOOD, "inputs": inputs, "sizes": sizes}
    shapes = {"x": (4, 32, 3), "z": (4, 5), "w": (2,)}
    assert list(manifest.sizes_given(data, shapes).items()) == [("n", 4), ("m", 32)]
    for n, m in ((1, 16), (8, 64)):
        assert manifest.sizes_given(data, {"x": (n, m, 3), "z": (n, 5), "w": (2,)}) == {"n": n, "m": m}
    for n, m in ((0, 16), (9, 16), (1, 15), (1, 65), (1, 80), (1, 24)):
        error = refused("usage", "", manifest.sizes_given, data, {"x": (n, m, 3), "z": (n, 5), "w": (2,)})
        assert data["name"] in str(error)
    assert "input z" in refused("usage", "another input", manifest.sizes_given, data, {**shapes, "z": (8, 5)}).where
    assert manifest.sizes_given(GOOD, {"x": (7, 7)}) == {}  # type: ignore[arg-type]
    assert [manifest.extents(t, {"n": 3, "m": 16}) for t in inputs] == [(3, 16, 3), (3, 5), (2,)]  # type: ignore[arg-type]


# arrays


def test_outputs_as_people_want_them(tmp_path: Path) -> None:
    about = [
        {"name": "y", "dtype": "float32", "shape": [4, 2], "counts": [(0, "n")]}, {"name": "n", "dtype": "int64", "shape": []},
        {"name": "label", "dtype": "int32", "shape": [3], "element": LABELS, "labels": ["cat", "dog"]},
        {"name": "t", "dtype": "uint8", "shape": [2, 5], "element": LETTERS}, {"name": "q", "dtype": "int8", "shape": [2], "element": "int4"},
    ]  # fmt: skip
    words = np.array(["ab", "ü"])
    codes = coded(words, LETTERS, width=5)
    outputs = {
        "y": np.arange(8.0).reshape(4, 2),
        "n": np.int64(3),
        "label": np.array([1, 0, 1]),
        "t": codes,
        "q": np.array([-8, 7], np.int8),
    }
    found = readable({k: np.asarray(v) for k, v in outputs.items()}, about)
    assert found["y"].tolist() == [[0, 1], [2, 3], [4, 5]] and found["q"].tolist() == [-8, 7] and "n" not in found
    assert found["label"].tolist() == ["dog", "cat", "dog"] and found["t"].tolist() == ["ab", "ü"]
    assert {found[k].dtype.kind for k in ("label", "t")} == {"U"}
    np.save(tmp_path / "t.npy", words)
    assert np.array_equal(read_npy(tmp_path / "t.npy", "uint8", codes.shape, LETTERS), codes)
    assert "<U2[2] given" in refused("usage", "given", read_npy, tmp_path / "t.npy", "uint8", (2, 5)).what
    np.save(tmp_path / "n.npy", np.ones((2, 5)))
    assert read_npy(tmp_path / "n.npy", "uint8", (2, 5), LETTERS).tolist() == [[1] * 5] * 2
    assert "float64[2, 5] given, int8[2, '?', 1] wanted" in refused("usage", "", read_npy, tmp_path / "n.npy", "int8", (2, None, 1)).what


def test_arrays(tmp_path: Path) -> None:
    def read(array: np.ndarray, dtype: str, shape: tuple[int, ...]) -> np.ndarray:
        (tmp_path / "a.npy").write_bytes(npy(array))
        return read_npy(tmp_path / "a.npy", dtype, shape)

    assert np.array_equal(read(np.arange(6).reshape(2, 3), "float32", (2, 3)), np.arange(6, dtype=np.float32).reshape(2, 3))
    assert read(np.array([-1, 2]), "int8", (2,)).dtype == np.int8 and read(np.array(2.7), "int32", ()) == 2
    halves = np.array([1.5, -2], ml_dtypes.bfloat16)
    assert np.array_equal(np.load(BytesIO(npy(halves))), halves.view(np.uint16))
    for value in (300, -129):
        error = refused("usage", "numbers that int8 cannot hold", read, np.array([value]), "int8", (1,))
        assert error.where.endswith("a.npy")
    refused("usage", "numbers that uint8 cannot hold", read, np.array([-1]), "uint8", (1,))
    assert "float64[2] given, float32[3] wanted" in refused("usage", "given", read, np.zeros(2), "float32", (3,)).what
    refused("usage", "given", read, np.array(["x"]), "float32", (1,))
    (tmp_path / "bad").write_bytes(b"none")
    refused("usage", "not a .npy file", read_npy, tmp_path / "bad", "float32", ())
    refused("usage", "cannot read: No such file", read_npy, tmp_path / "nothing", "float32", ())
    np.savez(tmp_path / "z.npz", a=np.zeros(2))
    refused("usage", "no array given", read_npy, tmp_path / "z.npz", "float32", (2,))
    np.save(tmp_path / "o.npy", np.array([{}]), allow_pickle=True)
    refused("usage", "not a .npy file", read_npy, tmp_path / "o.npy", "float32", (1,))


# keys


def pem(private: Any) -> bytes:
    return private.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MLCC_CONFIG", str(tmp_path / "config"))
    monkeypatch.delenv("MLCC_SIGNING_KEY", raising=False)
    return tmp_path / "config"


def test_a_key_is_made_once(home: Path) -> None:
    first = keys.signing_key(None)
    assert first.fresh and first.path == home / "key.pem" and stat.S_IMODE(first.path.stat().st_mode) == 0o600
    assert stat.S_IMODE(home.stat().st_mode) == 0o700 and sorted(p.name for p in home.iterdir()) == ["key.pem", "key.pub"]
    again = keys.signing_key(None)
    assert not again.fresh and again.public_pem == first.public_pem == (home / "key.pub").read_bytes() and again.warning == ""
    assert keys._make(home / "key.pem").public_pem == first.public_pem and not keys._make(home / "key.pem").fresh
    assert [keys.pem(k) for k in keys.own_public_keys()] == [first.public_pem]


def test_keys_that_are_given(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    private = Ed25519PrivateKey.generate()
    file = tmp_path / "k.pem"
    file.write_bytes(pem(private))
    file.chmod(0o600)
    public = keys.pem(private.public_key())
    for given in (str(file), pem(private).decode(), f"\n{pem(private).decode()}  "):
        monkeypatch.setenv("MLCC_SIGNING_KEY", given)
        found = keys.signing_key(None)
        assert found.public_pem == public and not found.fresh and found.path == (file if given == str(file) else None)
        assert [keys.pem(k) for k in keys.own_public_keys()] == [public]
        with keys.withheld():
            assert "MLCC_SIGNING_KEY" not in os.environ and keys.signing_key(None).public_pem == public
            with keys.withheld():
                assert keys.signing_key(None).public_pem == public
        assert os.environ["MLCC_SIGNING_KEY"] == given
    assert not home.exists()
    for given in ("x" * 5000, "nowhere", "-----BEGIN NONSENSE"):
        monkeypatch.setenv("MLCC_SIGNING_KEY", given)
        error = refused("usage", "PEM private key", keys.signing_key, None)
        assert error.where == "$MLCC_SIGNING_KEY" and given not in str(error)
    monkeypatch.setenv("MLCC_SIGNING_KEY", "nonsense")
    assert keys.signing_key(file).public_pem == public
    monkeypatch.delenv("MLCC_SIGNING_KEY")
    with keys.withheld():
        assert "MLCC_SIGNING_KEY" not in os.environ
    assert "MLCC_SIGNING_KEY" not in os.environ


def test_keys_that_are_none(home: Path, tmp_path: Path) -> None:
    curve = generate_private_key(SECP256R1())
    (tmp_path / "curve").write_bytes(pem(curve))
    (tmp_path / "curve").chmod(0o600)
    assert "openssl" in refused("usage", "not an Ed25519 key", keys.signing_key, tmp_path / "curve").hint
    (tmp_path / "curve.pub").write_bytes(
        curve.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    )
    refused("usage", "not an Ed25519 key", keys.load_public, tmp_path / "curve.pub")
    (tmp_path / "text").write_bytes(b"text")
    (tmp_path / "text").chmod(0o600)
    refused("usage", "not an unencrypted PEM", keys.signing_key, tmp_path / "text")
    refused("usage", "not a PEM public key", keys.load_public, tmp_path / "text")
    refused("usage", "cannot read the key", keys.load_public, tmp_path / "none")
    refused("usage", "cannot read the signing key", keys.signing_key, tmp_path / "none")
    (tmp_path / "large").write_bytes(b" " * (keys.LARGEST + 1))
    (tmp_path / "large").chmod(0o600)
    refused("usage", "at most", keys.signing_key, tmp_path / "large")
    refused("usage", "at most", keys.load_public, tmp_path / "large")


def test_keys_that_others_could_change(home: Path, tmp_path: Path) -> None:
    (tmp_path / "safe").mkdir()
    file = tmp_path / "safe" / "k.pem"
    file.write_bytes(pem(Ed25519PrivateKey.generate()))
    for mode, warns in ((0o600, False), (0o400, False), (0o640, True), (0o604, True), (0o620, True)):
        file.chmod(mode)
        assert bool(keys.signing_key(file).warning) is warns, oct(mode)
    assert "0620" in keys.signing_key(file).warning
    file.chmod(0o602)
    assert "0602" in refused("usage", "anyone may change", keys.signing_key, file).what
    file.chmod(0o600)
    file.parent.chmod(0o777)
    refused("usage", "anyone may replace", keys.signing_key, file)
    file.parent.chmod(0o1777)
    assert keys.signing_key(file).warning == ""


def test_trusted_keys(home: Path) -> None:
    trusted = home / "trusted"
    trusted.mkdir(parents=True)
    others = [Ed25519PrivateKey.generate().public_key() for _ in range(2)]
    for name, k in zip(("b.pub", "a.pub"), others):
        (trusted / name).write_bytes(keys.pem(k))
    (trusted / "notes.txt").write_bytes(b"no key")
    assert [keys.pem(k) for k in keys.own_public_keys()] == [keys.pem(k) for k in reversed(others)]
    trusted.chmod(0o777)
    refused("usage", "others may put keys there", keys.own_public_keys)
    for name in ("a.pub", "b.pub"):
        (trusted / name).unlink()
    assert keys.own_public_keys() == []


def test_a_key_that_cannot_be_kept(home: Path) -> None:
    home.write_bytes(b"a file where the folder should be")
    error = refused("usage", "cannot keep a signing key", keys._make, home / "key.pem")
    assert "--key" in error.hint and "MLCC_SIGNING_KEY" in error.hint


# the store


def test_entries_are_bound_to_their_key(tmp_path: Path) -> None:
    s, key, other = store.Store(tmp_path), store.key_of("a"), store.key_of("b")
    assert s.get(key) is None and s.put(key, b"body") == b"body" and bytes(s.get(key) or b"") == b"body"
    path = tmp_path / key[:2] / key[2:]
    assert path.read_bytes() == hashlib.sha256(key.encode() + b"body").digest() + b"body"
    (tmp_path / other[:2]).mkdir(exist_ok=True)
    (tmp_path / other[:2] / other[2:]).write_bytes(path.read_bytes())
    assert s.get(other) is None
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    assert s.get(key) is None
    for raw in (b"", b"short"):
        path.write_bytes(raw)
        assert s.get(key) is None
    s.put(key, b"")
    assert (empty := s.get(key)) is not None and bytes(empty) == b""
    assert [p.name for p in path.parent.iterdir()] == [path.name]
    assert store.key_of("ab", "c") != store.key_of("a", "bc") and store.key_of("a", b"b") == store.key_of(b"a", "b")


def test_where_the_cache_lies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLCC_CACHE", str(tmp_path))
    assert store.cache_folder() == tmp_path
    monkeypatch.delenv("MLCC_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert store.cache_folder() == tmp_path / "xdg" / "mlcc"
    assert store.key_of("a", b"bc") == "9a8acca1b6c6c0befd3fbc756aed625da998c998f7252e738c4ef061906b9b21"


def test_what_others_remove_meanwhile_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    s, keys_ = store.Store(tmp_path), [store.key_of(str(i)) for i in range(3)]
    for k in keys_:
        s.put(k, b"x")

    def gone(*_: Any, **__: Any) -> None:
        raise FileNotFoundError(2, "gone")

    with monkeypatch.context() as m:
        m.setattr(Path, "unlink", gone)
        assert bound.clear(tmp_path) == (0, 0)
        (tmp_path / keys_[0][:2] / keys_[0][2:]).write_bytes(b"damaged")
        assert len(bound.damaged(tmp_path)) == 1
    with monkeypatch.context() as m:
        m.setattr(os, "utime", gone)
        assert bytes(s.get(keys_[1]) or b"") == b"x"
    real = os.scandir
    with monkeypatch.context() as m:
        m.setattr(os, "scandir", lambda p=".": gone() if len(Path(p).name) == 2 else real(p))
        assert list(bound.entries(tmp_path)) == []
    with monkeypatch.context() as m:
        m.setattr(Path, "touch", gone)
        bound.keep(tmp_path)
    assert not (tmp_path / ".looked").exists()
    (tmp_path / keys_[0][:2] / "dangling").symlink_to("nowhere")
    assert len(list(bound.entries(tmp_path))) == 4


def test_a_store_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_bytes(b"")
    assert store.Store(tmp_path / "file").put(store.key_of("a"), b"body") == b"body"

    def full(*_: Any) -> None:
        raise OSError(28, "full")

    monkeypatch.setattr(os, "replace", full)
    assert store.Store(tmp_path / "s").put(store.key_of("a"), b"body") == b"body"
    assert not [p for p in (tmp_path / "s").rglob("*") if p.is_file()]


def test_use_is_noted(tmp_path: Path) -> None:
    s, key = store.Store(tmp_path), store.key_of("a")
    s.put(key, b"x")
    path = tmp_path / key[:2] / key[2:]
    os.utime(path, (1, 1))
    s.get(key)
    assert time.time() - path.stat().st_mtime < 60


def test_files_of_others_are_not_ours(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"")
    assert store.ours(tmp_path / "f") and not store.ours(tmp_path / "none") and not store.ours(tmp_path)
    (tmp_path / "f").chmod(0o666)
    assert not store.ours(tmp_path / "f")
    (tmp_path / "f").chmod(0o644)
    tmp_path.chmod(0o777)
    assert not store.ours(tmp_path / "f")
    tmp_path.chmod(0o700)
    (tmp_path / "l").symlink_to(tmp_path / "f")
    assert not store.ours(tmp_path / "l")


def test_what_was_used_longest_ago_goes_first(tmp_path: Path) -> None:
    s = store.Store(tmp_path)
    names = [store.key_of(str(i)) for i in range(4)]
    for n, key in enumerate(names):
        s.put(key, b"x" * 68)  # 100 bytes with the digest
        os.utime(tmp_path / key[:2] / key[2:], (1000 + n, 1000 + n))
    assert sorted((e.bytes, e.used) for e in bound.entries(tmp_path)) == [(100, 1000.0 + n) for n in range(4)]
    assert bound.trim(tmp_path, 400) == (0, 0) and bound.trim(tmp_path, 399) == (1, 100)
    assert [s.get(k) is not None for k in names] == [False, True, True, True]
    left, nobodys = (tmp_path / names[1][:2] / n for n in ("tmpnew", "tmpold"))
    for f in (left, nobodys):
        f.write_bytes(b"abc")
    os.utime(nobodys, (time.time() - bound.LEFT - 60,) * 2)
    for key in names[1:]:
        os.utime(tmp_path / key[:2] / key[2:], (5, 5))  # older than what nobody owns
    assert bound.trim(tmp_path, 10_000) == (1, 3) and left.exists() and not nobodys.exists()
    path = tmp_path / names[2][:2] / names[2][2:]
    path.write_bytes(b"damaged")
    assert bound.damaged(tmp_path) == [path] and not path.exists() and left.exists()
    (tmp_path / names[1][:2] / "empty").write_bytes(b"")
    assert bound.clear(tmp_path) == (4, 203) and list(bound.entries(tmp_path)) == []


def test_stores_are_looked_at_now_and_then(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLCC_CACHE_LIMIT", "1K")
    s, key = store.Store(tmp_path / "s"), store.key_of("a")
    bound.keep(tmp_path / "s")
    assert not (tmp_path / "s").exists()
    s.put(key, b"x" * 2000)
    bound.keep(tmp_path / "s")
    assert s.get(key) is None and (tmp_path / "s/.looked").exists()
    s.put(key, b"x" * 2000)
    bound.keep(tmp_path / "s")
    assert s.get(key) is not None
    os.utime(tmp_path / "s/.looked", (time.time() - bound.PAUSE - 5,) * 2)
    bound.keep(tmp_path / "s")
    assert s.get(key) is None


def test_limits_of_the_store(monkeypatch: pytest.MonkeyPatch) -> None:
    for text, size in (("", 10 << 30), ("500M", 500_000_000), ("20G", 20_000_000_000), (" 7 ", 7)):
        monkeypatch.setenv("MLCC_CACHE_LIMIT", text)
        assert bound.limit() in (size, {500_000_000: 500 << 20, 20_000_000_000: 20 << 30}.get(size))
    monkeypatch.delenv("MLCC_CACHE_LIMIT")
    assert bound.limit() == 10 << 30
    monkeypatch.setenv("MLCC_CACHE_LIMIT", "much")
    assert "MLCC_CACHE_LIMIT=much" in refused("usage", "is no size", bound.limit).what


def test_blobs() -> None:
    files = {"a": b"1", "b/c": b"", "d": b"23" * 1000}
    raw = blob.packed(files)
    assert {n: bytes(b) for n, b in blob.unpacked(raw).items()} == files and blob.unpacked(blob.packed({})) == {}
    for damaged in (raw + b"x", raw[:-1], raw[:5], (1 << 40).to_bytes(8, "little") + raw[8:], b""):
        with pytest.raises(ValueError):
            blob.unpacked(damaged)
