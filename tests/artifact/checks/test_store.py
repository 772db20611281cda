"""The store of the cache, its bound, its blobs."""

from __future__ import annotations

import hashlib
import os
import tempfile
import time
from pathlib import Path
from typing import Any

import pytest

from mlcc.artifact import keys, write
from mlcc.cache import blob, bound, store
from tests.artifact.checks.support import FILES, refused


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


def test_files_of_others_are_not_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "f").write_bytes(b"")
    assert store.ours(tmp_path / "f") and not store.ours(tmp_path / "none") and not store.ours(tmp_path)
    (tmp_path / "f").chmod(0o666)
    assert not store.ours(tmp_path / "f")
    (tmp_path / "f").chmod(0o645)  # others may run it: no harm
    assert store.ours(tmp_path / "f") and store.ours(tmp_path / "f", tmp_path) and not store.ours(tmp_path / "f", tmp_path / "none")
    (tmp_path / "f").chmod(0o644)
    tmp_path.chmod(0o777)
    assert not store.ours(tmp_path / "f")
    tmp_path.chmod(0o700)
    (tmp_path / "l").symlink_to(tmp_path / "f")
    assert not store.ours(tmp_path / "l")
    monkeypatch.setattr(os, "getuid", lambda: 1 << 20)  # a user of neither: the system's files alone are good
    assert store.ours(tmp_path / "f") is ((tmp_path / "f").stat().st_uid == 0)


def test_files_are_made_beside_their_place(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Never in the system's folder for temporary files, which may be another disk: they could not be renamed whole."""
    monkeypatch.setattr(tempfile, "tempdir", "/nowhere")
    write.folder(FILES, tmp_path / "a/b/c")
    write.file(b"x", tmp_path / "d/e/f")
    assert (tmp_path / "a/b/c/a").read_bytes() == b"xyz" and (tmp_path / "d/e/f").read_bytes() == b"x"
    s = store.Store(tmp_path / "store")
    s.put(store.key_of("k"), b"body")
    assert bytes(s.get(store.key_of("k")) or b"") == b"body"
    monkeypatch.setenv("MLCC_CONFIG", str(home / "deep/er"))
    assert keys.signing_key(None).fresh and (home / "deep/er/key.pem").exists()
    assert not [p for p in tmp_path.rglob(".*")]


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
    monkeypatch.setenv("MLCC_CACHE_LIMIT", "9" * 15)
    assert bound.limit() == int("9" * 15)
    monkeypatch.setenv("MLCC_CACHE_LIMIT", "9" * 16)
    refused("usage", "is no size", bound.limit)
    monkeypatch.setenv("MLCC_CACHE_LIMIT", "much")
    assert "MLCC_CACHE_LIMIT=much" in refused("usage", "is no size", bound.limit).what


def test_blobs() -> None:
    files = {"a": b"1", "b/c": b"", "d": b"23" * 1000}
    raw = blob.packed(files)
    assert {n: bytes(b) for n, b in blob.unpacked(raw).items()} == files and blob.unpacked(blob.packed({})) == {}
    for damaged in (raw + b"x", raw[:-1], raw[:5], (1 << 40).to_bytes(8, "little") + raw[8:], b""):
        with pytest.raises(ValueError):
            blob.unpacked(damaged)
