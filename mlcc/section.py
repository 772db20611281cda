"""A table of a TOML file, or options, as the frozen dataclass that says what may stand there."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field, fields
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from mlcc.error import Error

T = TypeVar("T")
LARGEST = 2**40  # of whole numbers: sizes and addresses


def section(kind: type[T], values: Mapping[str, Any], where: Callable[[str], str]) -> T:
    """The dataclass filled with `values`. where(key): the place to name in messages; where(""): the whole table's.

    Raises Error(usage) for unknown keys, other types, keys that are missing, and what the class itself refuses (an Error from its
    __post_init__)."""
    known = {f.name: f for f in fields(kind)}  # type: ignore[arg-type]
    types = get_type_hints(kind)
    found = {}
    for key, value in values.items():
        if key not in known:
            raise Error("usage", f"unknown key {key}", where(key), f"keys here: {', '.join(known)}")
        found[key] = _value(types[key], value, key, where)
    if missing := [name for name, f in known.items() if name not in values and not _has_default(f)]:
        raise Error("usage", f"{', '.join(missing)} missing", where(""))
    try:
        return kind(**found)
    except Error as e:
        raise Error(e.code, e.what, e.where or where(""), e.hint) from None


def a(noun: str) -> str:
    """With its article."""
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"


def _has_default(f: Field[Any]) -> bool:
    return f.default is not MISSING or f.default_factory is not MISSING


def _value(wanted: Any, value: Any, key: str, where: Callable[[str], str]) -> Any:
    if isinstance(wanted, UnionType):  # X | None
        wanted = next(t for t in get_args(wanted) if t is not NoneType)
    if get_origin(wanted) is tuple:
        items = get_args(wanted)
        count = None if items[-1] is Ellipsis else len(items)
        if not isinstance(value, list | tuple) or not all(_is(items[0], v) for v in value) or count not in (None, len(value)):
            raise Error("usage", f"{key} must be a list of {f'{count} ' if count else ''}{items[0].__name__}", where(key))
        return tuple(value)
    if wanted is Path and isinstance(value, str):
        return Path(value)
    if not _is(wanted, value):
        raise Error("usage", f"{key} must be {a(wanted.__name__)}", where(key))
    if wanted is int and not 0 <= value < LARGEST:
        raise Error("usage", f"{key} cannot be {value}", where(key))
    return float(value) if wanted is float else value


def _is(wanted: type, value: Any) -> bool:
    if isinstance(value, bool):
        return wanted is bool
    return isinstance(value, (int, float) if wanted is float else wanted)
