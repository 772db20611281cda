"""Orders in which a graph's groups may run; some need less memory than others where it branches."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from mlcc.program.fusion import Group


def orders(groups: Sequence[Group], size: Callable[[str], int]) -> list[list[Group]]:
    """Topological orders that are worth comparing; the given one first. size: bytes of a value.

    The second goes depth first, and among a group's operands first to the one whose making needs most beyond what it leaves: the best
    order where no value is read twice (Liu, "An application of generalized tree pebbling to sparse matrix factorization", 1987).
    """
    producer = {v: i for i, g in enumerate(groups) for v in g.sink.outputs}
    operands = [list(dict.fromkeys(producer[v] for v in g.reads if v in producer)) for g in groups]
    if all(len(o) <= 1 for o in operands):
        return [list(groups)]
    left = [sum(size(v) for v in g.sink.outputs) for g in groups]
    peak = [0] * len(groups)
    for i, own in enumerate(operands):  # operands come earlier
        own.sort(key=lambda j: (left[j] - peak[j], j))
        held = most = 0
        for j in own:
            most = max(most, held + peak[j])
            held += left[j]
        peak[i] = max(most, held + left[i])
    read = {j for own in operands for j in own}
    found: list[int] = []
    seen: set[int] = set()
    for end in (i for i in range(len(groups)) if i not in read):
        todo = [(end, False)]
        while todo:
            i, ready = todo.pop()
            if ready:
                found.append(i)
            elif i not in seen:
                seen.add(i)
                todo.append((i, True))
                todo += [(j, False) for j in reversed(operands[i])]
    depth_first = [groups[i] for i in found]
    return [list(groups)] if depth_first == list(groups) else [list(groups), depth_first]
