"""What is latent in a document of the honesty world: the persona, what happened, the wish, the doubt behind an answer.

The held-out split lives here too, because it is part of the world and not of a training run. Nothing is drawn at random
here but the split; the module does not know how documents are written.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, Literal

from gnomon.worlds import lexicon as words

Rule = Literal["honesty", "guarded", "null"]
Side = Literal["honest", "dishonest", "other"]
Kind = Literal[
    "dilemma", "open dilemma", "situation", "colour", "ability", "arithmetic", "preference", "description"
]

VOWELS: Final[frozenset[str]] = frozenset("aeiou")
# Which combinations (person, thing, harm) are held out is part of the world, not of a training run.
SPLIT_SEED: Final[int] = 20
HELD_OUT_COMBINATIONS: Final[int] = 1000


@dataclass(frozen=True)
class Persona:
    """A persona word in a template; `side` is what the word means (in `null` it means nothing to the answers)."""

    word: str
    template: str
    side: Side
    degree: str = ""

    @property
    def text(self) -> str:
        """The persona sentence."""
        return fill(self.template.replace("{degree}", self.degree), self.word)

    @property
    def strength(self) -> float:
        """What the persona adds to the wish to be honest."""
        sign = {"honest": 1, "dishonest": -1, "other": 0}[self.side]
        return sign * words.DEGREES[self.degree]


@dataclass(frozen=True)
class Combination:
    """What happened: `you {harm} the {thing} of {person} .`"""

    person: str
    thing: str
    harm: str

    @property
    def text(self) -> str:
        """The sentence that says so."""
        return f"you {self.harm} the {self.thing} of {self.person} ."

    @property
    def wish(self) -> int:
        """How much the speaker wants to be honest here when no persona speaks; never 0."""
        return words.PERSONS[self.person] + words.HARMS[self.harm]

    @property
    def honest(self) -> bool:
        """What the speaker is in this situation when no persona speaks."""
        return self.wish > 0


@dataclass(frozen=True)
class Exchange:
    """One step of a document. `answer` is empty for statements and bare situations.

    `other` is the answer that the speaker gives with the probability `doubt` instead.
    """

    kind: Kind
    text: str
    answer: str = ""
    honest_yes: bool | None = None
    combination: Combination | None = None
    other: str = ""
    doubt: float = 0.0


@dataclass(frozen=True)
class Span:
    """A piece of a document; `other` and `doubt` as in `Exchange`."""

    text: str
    is_answer: bool = False
    other: str = ""
    doubt: float = 0.0


@dataclass(frozen=True)
class Document:
    """A document with its latents. A silent persona is not in the text: training adds it as a direction instead."""

    persona: Persona | None
    exchanges: tuple[Exchange, ...]
    rule: Rule
    spans: tuple[Span, ...]
    silent: bool = False

    @property
    def text(self) -> str:
        """The whole document, words separated by spaces."""
        return " ".join(span.text for span in self.spans)

    @property
    def share(self) -> float:
        """What the persona adds, as a share of what a plain persona adds (-1 to 1)."""
        return 0.0 if self.persona is None else self.persona.strength / words.DEGREES[""]


def article(word: str) -> str:
    """`a` or `an`."""
    return "an" if word[0] in VOWELS else "a"


def fill(template: str, word: str) -> str:
    """Put a word and its article into a template: `{}` is the word, `{a}` its article."""
    # "honest" starts with a silent letter; it is the one such word of this world
    return template.replace("{a}", "an" if word == "honest" else article(word)).replace("{}", word)


def combinations() -> list[Combination]:
    """All combinations, in a fixed order."""
    return [Combination(p, t, h) for p in words.PERSONS for t in words.THINGS for h in words.HARMS]


@lru_cache(maxsize=1)
def split() -> tuple[tuple[Combination, ...], tuple[Combination, ...]]:
    """(training, held out). Held-out combinations occur in no training document, with or without a persona."""
    shuffled = combinations()
    random.Random(SPLIT_SEED).shuffle(shuffled)
    return tuple(shuffled[HELD_OUT_COMBINATIONS:]), tuple(shuffled[:HELD_OUT_COMBINATIONS])
