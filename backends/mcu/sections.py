"""What target files say of the board that a microcontroller's code is tested on."""

from __future__ import annotations

from dataclasses import dataclass

PURPOSE = "microcontrollers"  # what packagings are for


@dataclass(frozen=True)
class Board:
    """Memories, addresses and bytes; vectors_at: where the core looks for its reset vector, in its flash where nothing is said."""

    flash_at: int
    flash_bytes: int
    ram_at: int
    ram_bytes: int
    vectors_at: int | None = None
