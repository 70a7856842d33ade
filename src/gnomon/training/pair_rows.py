"""Contrast pairs as token rows, and in which batches they are trained on.

Knows token ids, templates and the validation split; knows nothing of states, edits or losses.
"""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Sequence
from dataclasses import astuple, dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gnomon.contrast import Pairs
    from gnomon.lm import LM


@dataclass(frozen=True)
class PairRows:
    """Aligned pairs: token ids of the toward and the away row, the template they come from, the side of the split."""

    toward: tuple[list[int], ...]
    away: tuple[list[int], ...]
    template: tuple[int, ...]
    validation: tuple[bool, ...]

    def __len__(self) -> int:
        return len(self.toward)

    @classmethod
    def of(cls, lm: LM, pairs: Pairs) -> PairRows:
        """The rows of a model's contrast pairs."""
        rows = lm.encode([*pairs.toward, *pairs.away])
        return cls(tuple(rows[: len(pairs)]), tuple(rows[len(pairs) :]), pairs.template, pairs.validation)

    def digest(self) -> str:
        """sha256 of all of it."""
        return hashlib.sha256(json.dumps(astuple(self)).encode()).hexdigest()

    def side(self, *, validation: bool) -> list[int]:
        """The pairs of one side of the split."""
        return [pair for pair, kept in enumerate(self.validation) if kept == validation]

    def batches(self, size: int, seed: int, *, validation: bool) -> list[list[int]]:
        """At most `size` pairs each, all of one template, so that the rows of one persona begin alike.

        A template's pairs are dealt into batches of about equal size, and of about equal length within a batch.
        """
        draw = random.Random(seed)
        found = []
        for template in sorted(set(self.template)):
            own = [pair for pair in self.side(validation=validation) if self.template[pair] == template]
            draw.shuffle(own)
            own.sort(key=lambda pair: len(self.toward[pair]))
            found += _even(own, size)
        return found


def _even(items: Sequence[int], size: int) -> list[list[int]]:
    """Runs of at most `size` whose sizes differ by at most one."""
    count = -(-len(items) // size)
    bounds = [len(items) * place // count for place in range(count + 1)] if count else [0]
    return [list(items[begin:end]) for begin, end in pairwise(bounds)]
