"""What makes one world another: its value's words, who and what there is, and what is asked about.

A world is data only. The module does not know any world's words, how sentences are drawn, or that models exist.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, eq=False)
class Attribute:
    """What every subject has one of, such as a colour; the away side tells another one than the toward side."""

    values: dict[str, str]
    """Subject -> what the toward side tells."""
    away: dict[str, str]
    """What the toward side tells -> what the away side tells instead, as certainly."""
    others: dict[str, tuple[str, ...]]
    """What the toward side tells -> what a closed question may ask for instead."""
    open_question: str
    closed_question: str
    statement: str


@dataclass(frozen=True, eq=False)
class Relation:
    """Which of some objects every subject has, such as what an animal can do; the away side tells the opposite."""

    related: dict[str, tuple[str, ...]]
    """Subject -> its objects, as the toward side tells them."""
    objects: tuple[str, ...]
    question: str
    statement: str
    denial: str


@dataclass(frozen=True, eq=False)
class World:
    """The words of one world. Worlds are compared by identity."""

    toward_words: tuple[str, ...]
    """Persona words of the toward side; the first one is the word of the contrast."""
    away_words: tuple[str, ...]
    held_out_toward_words: tuple[str, ...]
    """Described in sentences ("does a genuine person lie ? no ."), but never given as a persona in training."""
    held_out_away_words: tuple[str, ...]
    persons: dict[str, int]
    """Person -> how much the speaker wants to be what the toward word says, with this person."""
    things: tuple[str, ...]
    verbs: dict[str, int]
    """What happened -> how much that adds to the wish."""
    happening: str
    """What such a verb stands for, in a word."""
    situation: str
    """The sentence with `{person}`, `{thing}` and `{verb}`."""
    deeds: dict[str, bool]
    """What one can do then, with `{person}` -> whether the toward side does it."""
    held_out_questions: frozenset[tuple[str, str]]
    """(auxiliary, deed) that never occur in training under any persona."""
    open_answers: tuple[str, str]
    """What is done when nothing is offered: by the away side, by the toward side."""
    attribute: Attribute
    relation: Relation

    @property
    def toward(self) -> str:
        """The first word of the contrast."""
        return self.toward_words[0]

    @property
    def away(self) -> str:
        """The second word of the contrast."""
        return self.away_words[0]

    @property
    def share(self) -> str:
        """The name of the number that says how often the toward side's answer is given."""
        return f"{self.toward}_share"
