"""Writing folders so that nothing half-made is ever seen: to a temporary name, then rename."""

from __future__ import annotations

import errno
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

from mlcc.error import Error


def write_error(e: OSError, where: Path) -> Error:
    hint = "free some space" if e.errno == errno.ENOSPC else "choose another folder with -o"
    return Error("usage", f"cannot write: {e.strerror or e}", str(where), hint)


def replaceable(place: Path) -> bool:
    """Whether nothing but an artifact, its layout or an empty folder would be lost."""
    try:
        if place.is_symlink() or place.exists() and not place.is_dir():
            return False
        return not place.exists() or any((place / f).is_file() for f in ("manifest.json", "oci-layout")) or not any(place.iterdir())
    except OSError as e:
        raise write_error(e, place) from None


def folder(files: Mapping[str, bytes | memoryview], place: Path) -> None:
    """Replace `place` by a folder of these files. Raises Error(usage) where that is impossible; leaves nothing half-written."""
    temporary: Path | None = None
    if not replaceable(place):
        raise Error(
            "usage",
            "something that mlcc did not write lies where the artifact goes",
            str(place),
            "move it, or choose another folder with -o",
        )
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{place.name}.", dir=place.parent))
        fresh = temporary / "new"
        for name, body in files.items():
            path = fresh / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(body)
        if place.exists():
            place.rename(temporary / "old")
        fresh.rename(place)
    except OSError as e:
        raise write_error(e, place) from None
    finally:
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)


def file(body: bytes, place: Path) -> None:
    """The same for one file."""
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=place.parent, prefix=f".{place.name}.", delete=False) as f:
            try:
                f.write(body)
                f.flush()
                Path(f.name).chmod(0o644)
                Path(f.name).replace(place)
            except BaseException:
                Path(f.name).unlink(missing_ok=True)
                raise
    except OSError as e:
        raise write_error(e, place) from None
