"""Signing keys: Ed25519. One is made on first use; CI brings its own."""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import platformdirs
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from mlcc.artifact import plain, write
from mlcc.error import Error

VARIABLE = "MLCC_SIGNING_KEY"
LARGEST = 1 << 16  # bytes of a key's file


def config_folder() -> Path:
    """$MLCC_CONFIG, or the user's configuration folder."""
    return Path(os.environ.get("MLCC_CONFIG") or platformdirs.user_config_dir("mlcc"))


@dataclass(frozen=True)
class SigningKey:
    """A private key, and whether it was just made."""

    private: Ed25519PrivateKey
    path: Path | None
    fresh: bool = False
    warning: str = ""

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
        key = serialization.load_pem_public_key(plain.read(path.resolve(), LARGEST, "usage"))
    except OSError as e:
        raise Error("usage", f"cannot read the key: {e.strerror}", str(path)) from None
    except ValueError:
        raise Error(
            "usage", "not a PEM public key", str(path), "the signer's public key is in their configuration folder: key.pub"
        ) from None
    if not isinstance(key, Ed25519PublicKey):
        raise Error("usage", "not an Ed25519 key", str(path))
    return key


_held: str | None = None  # $MLCC_SIGNING_KEY while it is withheld


@contextmanager
def withheld() -> Iterator[None]:
    """No process that is started meanwhile finds the signing key in its environment."""
    global _held
    given = os.environ.pop(VARIABLE, None)
    if given is None:
        yield
        return
    before, _held = _held, given
    try:
        yield
    finally:
        os.environ[VARIABLE], _held = given, before


def _given() -> str | None:
    return os.environ.get(VARIABLE) or _held


def signing_key(path: Path | None) -> SigningKey:
    """The key to sign with: `path`, else $MLCC_SIGNING_KEY (a path, or the PEM itself), else the user's own, made if need be."""
    given = _given()
    if path is not None:
        return _loaded(path, str(path))
    if given:
        where = f"${VARIABLE}"  # whatever it holds is never shown
        if "-----BEGIN" in given:
            return SigningKey(_private(given.strip().encode(), where), None)
        if len(given) > 4096 or not Path(given).exists():
            raise Error("usage", "neither a file nor a PEM private key", where, "give the path of a key, or the whole PEM text")
        return _loaded(Path(given), where)
    own = config_folder() / "key.pem"
    return _loaded(own, str(own)) if own.exists() else _make(own)


def _loaded(path: Path, where: str) -> SigningKey:
    try:
        warning = _guarded(path, where)
        return SigningKey(_private(plain.read(path.resolve(), LARGEST, "usage"), where), path, warning=warning)
    except OSError as e:
        raise Error("usage", f"cannot read the signing key: {e.strerror}", where) from None


def _guarded(path: Path, where: str) -> str:
    """A warning where others may read a private key; raises where they may change it, or put another one in its place."""
    if os.name != "posix":
        return ""
    about, folder = path.stat(), path.resolve().parent.stat()
    if about.st_mode & 0o002:
        raise Error("usage", f"anyone may change the signing key (mode {stat.S_IMODE(about.st_mode):04o})", where, "chmod 600 it")
    if folder.st_mode & 0o002 and not folder.st_mode & stat.S_ISVTX:
        raise Error("usage", "anyone may replace the signing key: its folder is writable by all", where, "chmod 700 the folder")
    return (
        f"others may read the signing key {where} (mode {stat.S_IMODE(about.st_mode):04o}): chmod 600 it" if about.st_mode & 0o077 else ""
    )


def _make(path: Path) -> SigningKey:
    """A new key, there at once and whole, or the one that another build made meanwhile."""
    key = Ed25519PrivateKey.generate()
    body = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".key.") as f:  # of mode 0600
            f.write(body)
            f.flush()
            os.fsync(f.fileno())
            try:
                os.link(f.name, path)
            except FileExistsError:
                return _loaded(path, str(path))
        write.file(pem(key.public_key()), path.with_suffix(".pub"))
    except OSError as e:
        raise Error("usage", f"cannot keep a signing key: {e.strerror}", str(path), f"pass --key FILE or set ${VARIABLE}") from None
    return SigningKey(key, path, fresh=True)


def own_public_keys() -> list[Ed25519PublicKey]:
    """Keys that this user trusts without being asked: their own, and those in trusted/ beside it."""
    folder, found = config_folder() / "trusted", []
    try:
        others = sorted(p for p in folder.iterdir() if p.suffix == ".pub") if folder.exists() else []
        if others and os.name == "posix" and (folder.stat().st_mode & 0o002 or folder.stat().st_uid not in (0, os.getuid())):
            raise Error("usage", "others may put keys there", str(folder), "it must be yours, and not writable by all")
    except OSError as e:
        raise Error("usage", f"cannot read the trusted keys: {e.strerror}", str(folder)) from None
    for path in [config_folder() / "key.pub", *others]:
        if path.exists():
            found.append(load_public(path))
    if _given():
        found.append(signing_key(None).private.public_key())
    return found
