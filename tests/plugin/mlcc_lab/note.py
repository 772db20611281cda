"""A packaging for any target: a line of text about the artifact."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from mlcc.plugin import Packed
from mlcc.target import Target


@dataclass(frozen=True)
class Note:
    greeting: str = "hello"


options = Note


def refuses(target: Target) -> str:
    return "machines that can read" if target.name == "c99" else ""


def files(built: Packed, options: Note) -> Mapping[str, bytes]:
    return {"note.txt": f"{options.greeting} from {built.model} for {built.target.name}, {len(built.files)} files\n".encode()}


def tools() -> Mapping[str, str]:
    return {}
