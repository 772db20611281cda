"""Plain files read, files and folders written, image layouts."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import stat
import tarfile
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest

from mlcc.artifact import oci, plain, write
from tests.artifact.checks.support import FILES, refused


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


def test_a_place_that_cannot_be_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(self: Path) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    (tmp_path / "out").mkdir()
    monkeypatch.setattr(Path, "iterdir", fails)
    refused("usage", "cannot write: Input/output error", write.folder, {"a": b""}, tmp_path / "out")


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
