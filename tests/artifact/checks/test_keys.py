"""Signing keys."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import platformdirs
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from mlcc.artifact import keys
from tests.artifact.checks.support import pem, refused


def test_where_keys_lie(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLCC_CONFIG")
    assert keys.config_folder() == Path(platformdirs.user_config_dir("mlcc"))


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


def test_keys_that_are_none(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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
    monkeypatch.setenv("MLCC_SIGNING_KEY", str(tmp_path / "text"))
    assert refused("usage", "not an unencrypted PEM", keys.signing_key, None).where == "$MLCC_SIGNING_KEY"
    monkeypatch.delenv("MLCC_SIGNING_KEY")
    home.mkdir()
    (home / "key.pem").write_bytes(b"text")
    (home / "key.pem").chmod(0o600)
    for call in (lambda: keys.signing_key(None), lambda: keys._make(home / "key.pem")):
        assert refused("usage", "not an unencrypted PEM", call).where == str(home / "key.pem")
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
    for mode, warns in ((0o600, False), (0o400, False), (0o640, True), (0o604, True), (0o601, True), (0o620, True)):
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


def test_trusted_keys(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trusted = home / "trusted"
    trusted.mkdir(parents=True)
    others = [Ed25519PrivateKey.generate().public_key() for _ in range(2)]
    for name, k in zip(("b.pub", "a.pub"), others):
        (trusted / name).write_bytes(keys.pem(k))
    (trusted / "notes.txt").write_bytes(b"no key")
    assert [keys.pem(k) for k in keys.own_public_keys()] == [keys.pem(k) for k in reversed(others)]
    trusted.chmod(0o777)
    refused("usage", "others may put keys there", keys.own_public_keys)
    trusted.chmod(0o755)
    with monkeypatch.context() as m:
        m.setattr(os, "getuid", lambda: 1 << 20)
        if trusted.stat().st_uid == 0:  # the system's are good
            assert len(keys.own_public_keys()) == 2
        else:
            refused("usage", "others may put keys there", keys.own_public_keys)
    for name in ("a.pub", "b.pub", "notes.txt"):
        (trusted / name).unlink()
    assert keys.own_public_keys() == []
    trusted.rmdir()
    trusted.write_bytes(b"")
    refused("usage", "cannot read the trusted keys: Not a directory", keys.own_public_keys)


def test_a_key_that_cannot_be_kept(home: Path) -> None:
    home.write_bytes(b"a file where the folder should be")
    error = refused("usage", "cannot keep a signing key", keys._make, home / "key.pem")
    assert "--key" in error.hint and "MLCC_SIGNING_KEY" in error.hint
