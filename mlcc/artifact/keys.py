"""Signing keys: Ed25519. One is made on first use; CI brings its own."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import platformdirs
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from mlcc.error import Error

VARIABLE = "MLCC_SIGNING_KEY"


def config_folder() -> Path:
    """$MLCC_CONFIG, or the user's configuration folder."""
    return Path(os.environ.get("MLCC_CONFIG") or platformdirs.user_config_dir("mlcc"))


@dataclass(frozen=True)
class SigningKey:
    """A private key, and whether it was just made."""

    private: Ed25519PrivateKey
    path: Path | None
    fresh: bool = False

    @property
    def public_pem(self) -> bytes:
        return pem(self.private.public_key())


def pem(key: Ed25519PublicKey) -> bytes:
    return key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


def _private(body: bytes, where: str) -> Ed25519PrivateKey:
    try:
        key = serialization.load_pem_private_key(body, password=None)
    except (ValueError, TypeError):
        raise Error("usage", "not an unencrypted PEM private key", where, "make one with: openssl genpkey -algorithm ed25519") from None
    if not isinstance(key, Ed25519PrivateKey):
        raise Error("usage", "not an Ed25519 key", where, "make one with: openssl genpkey -algorithm ed25519")
    return key


def load_public(path: Path) -> Ed25519PublicKey:
    try:
        key = serialization.load_pem_public_key(path.read_bytes())
    except OSError as e:
        raise Error("usage", f"cannot read the key: {e.strerror}", str(path)) from None
    except ValueError:
        raise Error(
            "usage", "not a PEM public key", str(path), "the signer's public key is in their configuration folder: key.pub"
        ) from None
    if not isinstance(key, Ed25519PublicKey):
        raise Error("usage", "not an Ed25519 key", str(path))
    return key


def signing_key(path: Path | None) -> SigningKey:
    """The key to sign with: `path`, else $MLCC_SIGNING_KEY (a path, or the PEM itself), else the user's own, made if need be."""
    given = os.environ.get(VARIABLE)
    if path is None and given:
        if given.lstrip().startswith("-----BEGIN"):
            return SigningKey(_private(given.encode(), f"${VARIABLE}"), None)
        path = Path(given)
    if path is not None:
        try:
            return SigningKey(_private(path.read_bytes(), str(path)), path)
        except OSError as e:
            raise Error("usage", f"cannot read the signing key: {e.strerror}", str(path)) from None
    own = config_folder() / "key.pem"
    if own.exists():
        return SigningKey(_private(own.read_bytes(), str(own)), own)
    return _make(own)


def _make(path: Path) -> SigningKey:
    key = Ed25519PrivateKey.generate()
    body = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:  # another build made it meanwhile
            return SigningKey(_private(path.read_bytes(), str(path)), path)
        with os.fdopen(descriptor, "wb") as f:
            f.write(body)
        path.with_suffix(".pub").write_bytes(pem(key.public_key()))
    except OSError as e:
        raise Error("usage", f"cannot keep a signing key: {e.strerror}", str(path), f"pass --key FILE or set ${VARIABLE}") from None
    return SigningKey(key, path, fresh=True)


def own_public_keys() -> list[Ed25519PublicKey]:
    """Keys that this user trusts without being asked: their own, and those in trusted/ beside it."""
    found = []
    for path in [config_folder() / "key.pub", *sorted((config_folder() / "trusted").glob("*.pub"))]:
        if path.exists():
            found.append(load_public(path))
    given = os.environ.get(VARIABLE)
    if given:
        found.append(signing_key(None).private.public_key())
    return found
