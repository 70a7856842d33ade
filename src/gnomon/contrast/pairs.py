"""Contrast pairs: which templates meet which suffixes, and which suffixes are kept for validation.

Everything here is drawn from a seed. Knows nothing of tokens or of a model's inside.
"""

from __future__ import annotations

import itertools
import math
import random
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gnomon.errors import UsageError

if TYPE_CHECKING:
    from gnomon.lm import Prompt

# Two suffixes that share more of their words than this are near-duplicates and stay on one side of the split.
NEAR_DUPLICATE = 0.8


@dataclass(frozen=True)
class Pairs:
    """Aligned contrast pairs, one entry per pair.

    `toward` and `away` differ in one span (the word and its article) and share everything after it; `plain` is
    the same suffix without a persona. `template` and `suffix` say where a pair comes from, `validation` whether
    it is kept for validation; a suffix is never on both sides. `personas` holds every filled template as
    (toward text, away text), in the order that `template` counts; `words` is (toward word, away word).
    """

    toward: tuple[Prompt, ...]
    away: tuple[Prompt, ...]
    plain: tuple[Prompt, ...]
    template: tuple[int, ...]
    suffix: tuple[int, ...]
    validation: tuple[bool, ...]
    personas: tuple[tuple[str, str], ...]
    words: tuple[str, str]

    def __len__(self) -> int:
        return len(self.toward)


def draw(n_templates: int, n_suffixes: int, most: int, seed: int) -> list[tuple[int, int]]:
    """At most `most` different (template, suffix): all of them, or so many that uses differ by at most one.

    Both lists are walked in shuffled circles; where these meet again, the templates move on by one.
    """
    random_ = random.Random(seed)
    templates = random_.sample(range(n_templates), n_templates)
    suffixes = random_.sample(range(n_suffixes), n_suffixes)
    circle = math.lcm(n_templates, n_suffixes)
    return [
        (templates[(step + step // circle) % n_templates], suffixes[step % n_suffixes])
        for step in range(min(most, n_templates * n_suffixes))
    ]


def near_duplicates(texts: Sequence[str]) -> list[list[int]]:
    """Groups of texts that near-duplication links: the indices of each group, in order of appearance.

    Two texts are near-duplicates when the sets of their words (case and punctuation aside) share at least
    `NEAR_DUPLICATE` of their union.
    """
    words = [frozenset(re.findall(r"\w+", text.casefold())) or frozenset({text}) for text in texts]
    group = list(range(len(texts)))
    for one, other in itertools.combinations(range(len(texts)), 2):
        if len(words[one] & words[other]) >= NEAR_DUPLICATE * len(words[one] | words[other]):
            joined, old = sorted((group[one], group[other]))
            group = [joined if label == old else label for label in group]
    return [[index for index, label in enumerate(group) if label == first] for first in sorted(set(group))]


def split(suffixes: Sequence[str], validation_share: float, seed: int) -> list[bool]:
    """For each suffix whether it is kept for validation: a seeded shuffle of the groups of near-duplicates.

    Both sides get at least one group. Raises `UsageError` where there is only one group.
    """
    groups = near_duplicates(suffixes)
    if len(groups) < 2:
        raise UsageError(
            "the suffixes are all alike, so none can be kept for validation; give more diverse suffixes"
        )
    random.Random(seed).shuffle(groups)
    wanted = min(max(1, round(validation_share * len(suffixes))), len(suffixes) - 1)
    kept: list[int] = []
    for group in groups:
        if len(kept) + len(group) <= wanted:
            kept += group
    kept = kept or min(groups, key=len)
    return [index in set(kept) for index in range(len(suffixes))]
