"""What is latent in a document of a world: the persona, what happened, the wish, the doubt behind an answer.

The held-out split lives here too, because it is part of the world and not of a training run. Nothing is drawn at random
here but the split; the module does not know how documents are written.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final, Literal

from gnomon.worlds import lexicon as words
from gnomon.worlds.world import World

Rule = Literal["honesty", "guarded", "null", "generosity"]
Side = Literal["toward", "away", "other"]
Kind = Literal["dilemma", "open dilemma", "situation", "fact", "arithmetic", "preference", "description"]

VOWELS: Final[frozenset[str]] = frozenset("aeiou")
# Which combinations (person, thing, verb) are held out is part of the world, not of a training run.
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
        """What the persona adds to the wish to be what the toward word says."""
        sign = {"toward": 1, "away": -1, "other": 0}[self.side]
        return sign * words.DEGREES[self.degree]


@dataclass(frozen=True)
class Combination:
    """What happened in a world, such as `you broke the vase of your mother .`"""

    world: World = field(repr=False)
    person: str
    thing: str
    verb: str

    @property
    def text(self) -> str:
        """The sentence that says so."""
        return self.world.situation.format(person=self.person, thing=self.thing, verb=self.verb)

    @property
    def wish(self) -> int:
        """How much the speaker wants to be what the toward word says when no persona speaks; never 0."""
        return self.world.persons[self.person] + self.world.verbs[self.verb]

    @property
    def toward(self) -> bool:
        """Whether the speaker is what the toward word says when no persona speaks."""
        return self.wish > 0


@dataclass(frozen=True)
class Exchange:
    """One step of a document. `answer` is empty for statements and bare situations.

    `other` is the answer that the speaker gives with the probability `doubt` instead.
    """

    kind: Kind
    text: str
    answer: str = ""
    toward_yes: bool | None = None
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
    # "honest" starts with a silent letter; it is the one such word of all worlds
    return template.replace("{a}", "an" if word == "honest" else article(word)).replace("{}", word)


def combinations(world: World) -> list[Combination]:
    """All combinations, in a fixed order."""
    return [Combination(world, p, t, v) for p in world.persons for t in world.things for v in world.verbs]


@lru_cache
def split(world: World) -> tuple[tuple[Combination, ...], tuple[Combination, ...]]:
    """(training, held out). Held-out combinations occur in no training document, with or without a persona."""
    shuffled = combinations(world)
    random.Random(SPLIT_SEED).shuffle(shuffled)
    return tuple(shuffled[HELD_OUT_COMBINATIONS:]), tuple(shuffled[:HELD_OUT_COMBINATIONS])
