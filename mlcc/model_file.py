"""The file that a model comes in: its name, its digest, where it was last seen."""

from __future__ import annotations

import hashlib
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from mlcc import plugin
from mlcc.cache.store import cache_folder
from mlcc.error import Error
from mlcc.names import library_name


def streams(model: Path) -> bool:
    """Whether a model comes from a pipe, a device or from stdin (`-`)."""
    return str(model) == "-" or model.is_fifo() or model.is_char_device() or model.is_socket()


@contextmanager
def received(model: Path, name: str) -> Iterator[Path]:
    """What comes from a stream, as an ONNX file for the time being. Raises Error(usage)."""
    if model.is_socket() or str(model) == "-" and sys.stdin is None:
        raise Error("usage", "a socket is no model file", str(model))
    with tempfile.TemporaryDirectory(prefix="mlcc-") as d:
        copy = Path(d) / f"{name or 'model'}.onnx"
        try:
            with open(model, "rb") if str(model) != "-" else sys.stdin.buffer as source, open(copy, "wb") as f:
                shutil.copyfileobj(source, f)
        except OSError as e:
            raise Error("usage", f"cannot read: {e.strerror or e}", str(model)) from None
        yield copy


def entered(path: Path) -> Path:
    """The file that makes a folder a model, as a framework writes it; any other path as it is."""
    if not path.is_dir():
        return path
    return next((path / name for name in sorted(plugin.folders()) if (path / name).is_file()), path)


def model_name(path: Path) -> str:
    """A C identifier from the file's name, or the folder's where a model is one: what the library and its functions are called."""
    if path.name in plugin.folders():
        path = path.resolve().parent
    return library_name(path.name.split(".onnx")[0] if path.name.endswith(".onnx") else path.stem)


def named(model: Path, name: str) -> str:
    """The library's name: as asked, else from the model's file. Raises Error(usage) where C could not use it."""
    if not name:
        return model_name(model)
    if name != library_name(name):
        raise Error("usage", f"--name {name} is no name for a C library", hint=f"such as {library_name(name)}")
    return name


def neighbours(path: Path, raw: bytes) -> Sequence[tuple[str, Path]]:
    """(name in the model, file) of what belongs to a model besides its file, as its importer says."""
    one = plugin.importer(path)
    return one.inputs(path, raw) if one else ()


def digest_model(path: Path) -> str:
    """SHA-256 over the model file and all that belongs to it."""
    try:
        raw = path.read_bytes() if path.is_file() else b""
        digest = hashlib.sha256(raw)
        for name, file in neighbours(path, raw):
            digest.update(name.encode() + b"\0")
            with open(file, "rb") as f:
                digest.update(hashlib.file_digest(f, "sha256").digest())
        return digest.hexdigest()
    except OSError as e:
        raise Error("usage", f"cannot read: {e.strerror}", str(path)) from None


def remember(path: Path, digest: str) -> None:
    """Note where a model lies, so that `run --compare` and `bench --against` find it again on this machine."""
    place = cache_folder() / "models" / digest
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(str(path.resolve()), "utf-8")
    except OSError:
        pass


def find_model(digest: str) -> Path | None:
    """The file that a model was last built from, if it is still there and unchanged."""
    try:
        path = Path((cache_folder() / "models" / digest).read_text("utf-8"))
    except (OSError, UnicodeDecodeError):
        return None
    return path if path.is_file() and digest_model(path) == digest else None
