"""Shared beginnings of token sequences: contrast sets are templates, so their rows begin alike.

Pure arithmetic on lists of ids: it knows nothing of models.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise


@dataclass(frozen=True)
class Group:
    """Rows whose first `shared` tokens are the same (0 for rows that go through the model whole)."""

    shared: int
    rows: list[int]


def share(ids: Sequence[Sequence[int]], overhead: int) -> list[Group]:
    """Partition the rows so that computing each group's common beginning once saves the most tokens.

    The candidates are the intervals of equal beginning in the sorted rows (the lcp-interval tree); from the leaves
    up, each is weighed against the best partition of its parts. At least one token of every row is left out of
    the shared beginning, because a row's last token is what is read.

    Args:
        ids: Token ids per row.
        overhead: What one more forward pass costs, in tokens; a group must save more than that.
    """
    order = sorted(range(len(ids)), key=lambda row: tuple(ids[row]))
    common = [_common(ids[a], ids[b]) for a, b in pairwise(order)]
    chosen: list[tuple[int, int, int]] = []
    stack: list[_Interval] = []
    for end, length in enumerate([*common, 0], start=1):
        part = _Interval(length, end - 1, 0, [])
        while stack and stack[-1].shared > length:
            interval = stack.pop()
            own = (end - interval.start - 1) * interval.shared - overhead
            if own >= interval.saved + part.saved and own > 0:
                part = _Interval(length, interval.start, own, [(interval.shared, interval.start, end)])
            else:
                part = _Interval(
                    length, interval.start, interval.saved + part.saved, interval.groups + part.groups
                )
        if stack and stack[-1].shared == length:
            stack[-1].saved += part.saved
            stack[-1].groups += part.groups
        elif length:
            stack.append(part)
        else:
            chosen += part.groups
    groups = [Group(shared, order[start:end]) for shared, start, end in chosen]
    taken = {row for group in groups for row in group.rows}
    loose = [row for row in range(len(ids)) if row not in taken]
    return groups + ([Group(0, loose)] if loose else [])


@dataclass
class _Interval:
    shared: int
    start: int
    saved: int
    groups: list[tuple[int, int, int]]


def _common(a: Sequence[int], b: Sequence[int]) -> int:
    limit = min(len(a), len(b)) - 1
    return next((i for i in range(limit) if a[i] != b[i]), limit)
