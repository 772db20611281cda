"""A regular expression as an automaton that reads one character after the other and never goes back.

The syntax is RE2's (https://github.com/google/re2/wiki/Syntax), which ONNX names: \\d, \\w, \\s and \\b are ASCII's, `$` is the text's end.
Python's own parser reads it; what the two take differently is refused. The automaton is the subset construction (Rabin and Scott, 1959),
its states told apart by the kind of the character before, which ^, $ and \\b look at.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from re import _parser as parser  # type: ignore[attr-defined]  # the standard library's, which has no public name
from typing import Any

import numpy as np

TOP = 0x110000
MOST_STATES = 4096
Runs = tuple[tuple[int, int], ...]  # characters from each first one up to before each second
WORD: Runs = ((48, 58), (65, 91), (95, 96), (97, 123))
CATEGORIES: dict[str, Runs] = {
    "CATEGORY_DIGIT": ((48, 58),),
    "CATEGORY_WORD": WORD,
    "CATEGORY_SPACE": ((9, 11), (12, 14), (32, 33)),
}
PLACES = {
    "AT_BEGINNING": "start",
    "AT_BEGINNING_STRING": "start",
    "AT_END": "end",
    "AT_END_STRING": "end",
    "AT_BOUNDARY": "boundary",
    "AT_NON_BOUNDARY": "inside",
}
FOREIGN = re.compile(r"\[:|\{,\d|\\[ZCQEpPX]")  # what Python reads otherwise than RE2, or not at all


class Refused(Exception):
    """A pattern that no automaton of ours stands for, with the reason."""


@dataclass(frozen=True)
class Automaton:
    """State 0 is the first. starts: the first character of each run of those that no state tells apart, ascending from 0; kinds: each run's
    kind; moves [states, kinds]: the next state; accepts [states]: whether a text may end there."""

    starts: np.ndarray
    kinds: np.ndarray
    moves: np.ndarray
    accepts: np.ndarray


@dataclass
class _Nondeterministic:
    """States are numbers; each has the ways out that take no character (under a condition, or '') and those that take one."""

    free: list[list[tuple[str, int]]] = field(default_factory=list)
    taking: list[list[tuple[Runs, int]]] = field(default_factory=list)

    def state(self) -> int:
        if len(self.free) > MOST_STATES:
            raise Refused(f"more than {MOST_STATES} states")
        self.free.append([])
        self.taking.append([])
        return len(self.free) - 1

    def closure(self, states: Iterable[int], before: str, behind: str) -> frozenset[int]:
        """What is reached without a character; before, behind: "start", "end", "word" or "other"."""
        holds = {
            "": True,
            "start": before == "start",
            "end": behind == "end",
            "boundary": (before == "word") != (behind == "word"),
            "inside": (before == "word") == (behind == "word"),
        }
        found, todo = set(states), list(states)
        while todo:
            for condition, to in self.free[todo.pop()]:
                if holds[condition] and to not in found:
                    found.add(to)
                    todo.append(to)
        return frozenset(found)


def _complement(runs: Runs) -> Runs:
    edges = [0, *(e for run in sorted(runs) for e in run), TOP]
    return tuple((a, c) for a, c in zip(edges[::2], edges[1::2]) if a < c)


def _merged(runs: Iterable[tuple[int, int]]) -> Runs:
    found: list[tuple[int, int]] = []
    for a, c in sorted(runs):
        if found and a <= found[-1][1]:
            found[-1] = found[-1][0], max(c, found[-1][1])
        else:
            found.append((a, c))
    return tuple(found)


def _category(name: str) -> Runs:
    plain = name.replace("_NOT_", "_")
    if plain not in CATEGORIES:
        raise Refused(name.lower())
    return CATEGORIES[plain] if plain == name else _complement(CATEGORIES[plain])


def _set(items: list[tuple[object, object]]) -> Runs:
    runs: list[tuple[int, int]] = []
    negative = False
    for kind, value in items:
        match str(kind), value:
            case "NEGATE", _:
                negative = True
            case "LITERAL", int(c):
                runs.append((c, c + 1))
            case "RANGE", (int(a), int(c)):
                runs.append((a, c + 1))
            case "CATEGORY", name:
                runs += _category(str(name))
            case other, _:
                raise Refused(other.lower())
    return _complement(_merged(runs)) if negative else _merged(runs)


def _built(n: _Nondeterministic, items: Iterable[tuple[object, object]], at: int) -> int:
    """Add what a sequence matches behind a state; the state at its end."""
    for kind, value in items:
        at = _one(n, str(kind), value, at)
    return at


def _one(n: _Nondeterministic, kind: str, value: Any, at: int) -> int:
    def taking(runs: Runs) -> int:
        to = n.state()
        n.taking[at].append((runs, to))
        return to

    match kind, value:
        case "LITERAL", int(c):
            return taking(((c, c + 1),))
        case "NOT_LITERAL", int(c):
            return taking(_complement(((c, c + 1),)))
        case "ANY", _:
            return taking(_complement(((10, 11),)))
        case "IN", list(items):
            return taking(_set(items))
        case "AT", place if str(place) in PLACES:
            to = n.state()
            n.free[at].append((PLACES[str(place)], to))
            return to
        case "SUBPATTERN", (_, 0, 0, items):
            return _built(n, items, at)
        case "BRANCH", (_, branches):
            to = n.state()
            for items in branches:
                start = n.state()
                n.free[at].append(("", start))
                n.free[_built(n, items, start)].append(("", to))
            return to
        case (("MAX_REPEAT" | "MIN_REPEAT"), (int(low), high, items)):
            for _ in range(low):
                at = _built(n, items, at)
            if high is parser.MAXREPEAT:
                start = n.state()
                n.free[at].append(("", start))
                n.free[_built(n, items, start)].append(("", start))
                return start
            to = n.state()
            for _ in range(int(high) - low):
                n.free[at].append(("", to))
                at = _built(n, items, at)
            n.free[at].append(("", to))
            return to
    raise Refused(kind.lower().replace("_", " "))


def automaton(pattern: str) -> Automaton:
    """Of whole texts that a pattern matches. Raises Refused."""
    if FOREIGN.search(pattern):
        raise Refused("syntax that RE2 and Python read differently")
    try:
        tree = parser.parse(pattern)
    except (re.error, OverflowError, RecursionError) as e:
        raise Refused(f"no pattern: {e}") from None
    if tree.state.flags & ~re.UNICODE:
        raise Refused("flags")
    n = _Nondeterministic()
    start = n.state()
    end = _built(n, tree, start)
    starts, kinds, examples = _kinds([WORD, *(runs for ways in n.taking for runs, _ in ways)])
    return _determined(n, start, end, starts, kinds, examples)


def _within(c: int, runs: Runs) -> bool:
    return any(a <= c < b for a, b in runs)


def _kinds(sets: list[Runs]) -> tuple[np.ndarray, np.ndarray, list[int]]:
    """(first character of each run, its kind, a character of each kind): characters are of one kind where all sets hold both or neither."""
    sets = list(dict.fromkeys(sets))
    starts = sorted({0, *(e for runs in sets for run in runs for e in run if e < TOP)})
    numbers: dict[tuple[bool, ...], int] = {}
    kinds, examples = list[int](), list[int]()
    for c in starts:
        kind = numbers.setdefault(tuple(_within(c, runs) for runs in sets), len(numbers))
        if kind == len(examples):
            examples.append(c)
        kinds.append(kind)
    return np.array(starts, np.int32), np.array(kinds, np.int32), examples


def _determined(n: _Nondeterministic, start: int, end: int, starts: np.ndarray, kinds: np.ndarray, examples: list[int]) -> Automaton:
    first = (frozenset({start}), "start")
    numbers, todo, moves, accepts = {first: 0}, [first], list[list[int]](), list[bool]()
    for states, before in todo:  # grows as new ones are met
        row = []
        for c in examples:
            behind = "word" if _within(c, WORD) else "other"
            reached = n.closure(states, before, behind)
            to = frozenset(s for r in reached for runs, s in n.taking[r] if _within(c, runs)), behind
            if to not in numbers:
                if len(numbers) == MOST_STATES:
                    raise Refused(f"more than {MOST_STATES} states")
                numbers[to] = len(numbers)
                todo.append(to)
            row.append(numbers[to])
        moves.append(row)
        accepts.append(end in n.closure(states, before, "end"))
    return Automaton(starts, kinds, np.array(moves, np.int32), np.array(accepts))
