"""The one error type; its classes are the exit codes that scripts rely on."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

EXIT_CODES = {"usage": 2, "model": 3, "unsupported": 4, "verification": 5, "toolchain": 6, "conformance": 7}


class Error(Exception):
    """Something the user can act on.

    `code` is one of EXIT_CODES, `what` says what is wrong, `where` names the file, node or value, `hint` the next step.
    """

    def __init__(self, code: str, what: str, where: str = "", hint: str = "") -> None:
        super().__init__(code, what, where, hint)  # all four, so that pickling keeps them
        self.code, self.what, self.where, self.hint = code, what, where, hint

    @property
    def exit_code(self) -> int:
        return EXIT_CODES[self.code]

    def __str__(self) -> str:
        place = f"{_one_line(self.where)}: " if self.where else ""
        hint = f"\n  {_one_line(self.hint)}" if self.hint else ""
        return f"{place}{_one_line(self.what)}{hint}"


class Undecided(Error):
    """What must be known at build time depends on inputs of the model: on these."""

    def __init__(self, what: str, where: str, inputs: tuple[str, ...] = ()) -> None:
        super().__init__("unsupported", what, where, f"store {', '.join(inputs) or 'it'} in the model as an initializer")
        self.args, self.inputs = (what, where, inputs), inputs


def _one_line(text: str, limit: int = 600) -> str:
    flat = "".join(c if c.isprintable() else "?" for c in " ".join(str(text).split()))
    return flat if len(flat) <= limit else flat[: limit - 1] + "…"


@contextmanager
def explained(doing: str, where: str, code: str = "unsupported") -> Iterator[None]:
    """What goes wrong inside, whatever it is, as an Error that says what was done and where. A stranger's file can break any assumption,
    ours or a library's; `MLCC_DEBUG=1` lets the exception through."""
    try:
        yield
    except (Error, MemoryError):
        raise
    except RecursionError:
        raise Error("model", f"nested too deeply, while {doing}", where) from None
    except OSError as e:
        raise Error(
            "usage", f"{e.strerror or e}, while {doing}", str(e.filename or where), "check the disk's space and the folders' rights"
        ) from e
    except Exception as e:
        if os.environ.get("MLCC_DEBUG"):
            raise
        hint = "this is a bug in mlcc, please report it with the model; MLCC_DEBUG=1 shows where"
        raise Error(code, f"{type(e).__name__} while {doing}: {e}", where, hint) from e
