"""How diverse suffixes are: a number that needs no model and no label, and a sentence where it is low.

What is trained on suffixes of one kind carries over badly to texts of another. Knows texts; knows nothing of models,
methods or kinds of text.
"""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gnomon.lm import Prompt

LOW = 40.0
"""Fewer effective words than this are few.

Measured on touchstone:honesty (benchmarks/suffix_diversity.py): dials were trained on 34 lists of suffixes, of one to five
kinds and of 5 to 117 lines, and read on other suffixes of all kinds. Of the untrained loss there, lists below it left 21 to
47 % (median 31 %), lists above it 19 to 29 % (median 23 %). The rank correlation of what is left with this number is -0.86,
with the number of suffixes -0.55, and with the dimensions of their states (participation ratio) -0.45. A small world: in
plain English it is a floor, which eight unlike sentences pass; the packaged suffixes have more than 400.
"""


@dataclass(frozen=True)
class SuffixDiversity:
    """How many suffixes there are, and how many different words they amount to (`effective_words`)."""

    suffixes: int
    words: float

    @property
    def warning(self) -> str | None:
        """One sentence that says what to do where the words are few; else None."""
        if self.words >= LOW:
            return None
        return (
            f"the {self.suffixes} suffixes are alike: they amount to {self.words:.0f} different words, and below "
            f"{LOW:.0f} a dial may not carry over to other texts; add suffixes of other kinds (facts, questions, "
            "situations, abilities, preferences, arithmetic, begun answers)"
        )


def suffix_diversity(plain: Sequence[Prompt]) -> SuffixDiversity:
    """Diversity of the suffixes of contrast pairs, from the prompts without a persona; each suffix counts once."""
    texts = dict.fromkeys(prompt if isinstance(prompt, str) else prompt.assistant for prompt in plain)
    return SuffixDiversity(len(texts), effective_words(list(texts)))


def effective_words(texts: Sequence[str]) -> float:
    """The number of equally frequent words that would be as diverse as the words of these texts; 0 without a word.

    Hill number of order 1 (Hill 1973): exp of the entropy in nats. The unit is the text: all count alike, and a text's
    share is divided among its different words, case aside. Where words are not set apart, a phrase counts as one.
    """
    shares: defaultdict[str, float] = defaultdict(float)
    for text in texts:
        words = dict.fromkeys(re.findall(r"\w+", text.casefold()))
        for word in words:
            shares[word] += 1 / len(words)
    total = sum(shares.values())
    return (
        math.exp(-sum(share / total * math.log(share / total) for share in shares.values())) if total else 0.0
    )
