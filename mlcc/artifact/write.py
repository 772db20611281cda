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


def folder(files: Mapping[str, bytes | memoryview], place: Path) -> None:
    """Replace `place` by a folder of these files. Raises Error(usage) where that is impossible; leaves nothing half-written."""
    temporary: Path | None = None
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
