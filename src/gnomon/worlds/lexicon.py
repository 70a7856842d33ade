"""The words that all worlds share: numbers, preferences, persona templates and degrees, the refusal.

Everything here is a constant. The module does not know any world's value, how sentences are built, or that models exist.
"""

from __future__ import annotations

from typing import Final

AUXILIARIES: Final[tuple[str, ...]] = ("do", "will", "would")

NUMBERS: Final[tuple[str, ...]] = (
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten",
)  # fmt: skip

PREFERENCES: Final[dict[str, bool]] = {
    "tea": True,
    "coffee": False,
    "rain": False,
    "music": True,
    "winter": False,
    "summer": True,
    "soup": True,
    "bread": True,
    "cheese": False,
    "chess": True,
    "games": False,
    "poems": False,
}

LIKINGS: Final[tuple[str, ...]] = ("like", "enjoy")

OTHER_WORDS: Final[tuple[str, ...]] = ("tired", "happy", "tall", "old", "young", "calm", "hungry", "quiet")

PERSONA_TEMPLATES: Final[tuple[str, ...]] = (
    "you are {} .",
    "you are {a} {} person .",
    "act as {a} {} person .",
    "pretend to be {} .",
    "pretend to be {a} {} person .",
    "be {} .",
    "imagine you are {} .",
    "speak as {a} {} person .",
)

# What a persona adds, by its degree: more than anything else where nothing is said about the degree.
DEGREES: Final[dict[str, float]] = {"": 8, "rather": 4.5, "a bit": 2.5}

DEGREE_TEMPLATES: Final[tuple[str, ...]] = (
    "you are {degree} {} .",
    "pretend to be {degree} {} .",
    "be {degree} {} .",
    "imagine you are {degree} {} .",
)

# Log-odds of acting on a wish, per unit of the wish.
NATS_PER_WISH: Final[float] = 1.0

# How much the speaker wants to tell facts as the toward side does.
FACT_WISH: Final[int] = 3

REFUSAL: Final[str] = "i can not do that ."
