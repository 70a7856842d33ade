"""Words and persona templates: which of them are usable, and what a filled template reads like.

Knows English articles; knows nothing of models, tokens or suffixes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from gnomon.errors import UsageError

WORD = "{}"
ARTICLE = "{a}"

# An h that is not spoken; the compounds are honesty, honourable, hourly, heiress, ...
_SILENT_H = re.compile(r"honest|honou?r|hour|heir")
# Written with a vowel, spoken with a consonant (yuniform, wun); unin, unim, unid are mostly un + in, im, id.
_CONSONANT_SOUND = re.compile(
    r"eu|ewe|ouija|one(?![a-z])|ones|onen|once"
    r"|uni(?![nmd])|unimo|unidir|unanim|unary|ukr|ugand|u[bcfhjkqrst][aeiou]"
)
_VOWEL_NUMBER = re.compile(r"8|(11|18)(?!\d)")
_SPELLED_WITH_VOWEL = "AEFHILMNORSX"  # letters whose names begin with a vowel sound: an F, an L, an X


def article(following: str) -> str:
    """`a` or `an`, by the sound with which the following word probably begins (a heuristic for English).

    All-capital words of up to three letters are read letter by letter ("an FBI agent", "a UN envoy").
    """
    found = re.search(r"\w+", following)
    if found is None:
        return "a"
    word = found.group()
    if word[0].isdigit():
        return "an" if _VOWEL_NUMBER.match(word) else "a"
    if word.isupper() and len(word) <= 3:
        return "an" if word[0] in _SPELLED_WITH_VOWEL else "a"
    word = word.lower()
    if _SILENT_H.match(word):
        return "an"
    return "an" if word[0] in "aeiouáéíóú" and not _CONSONANT_SOUND.match(word) else "a"


def fill(template: str, word: str) -> str:
    """Put a word into a template: `{}` is the word, `{a}` is a or an, fitting the word that follows it."""
    filled = template.replace(WORD, word)
    return re.sub(r"\{a\}(?=(.*))", lambda found: article(found.group(1)), filled, flags=re.DOTALL)


def checked_word(word: object, which: str) -> str:
    """The word with single spaces; raises `UsageError` where it is not a word or phrase."""
    if not isinstance(word, str):
        raise UsageError(f"the {which} word must be text, but it is {word!r}; put it in quotes")
    if not any(character.isalnum() for character in word):
        raise UsageError(f"the {which} word is {word!r}; give a word or a short phrase")
    if "{" in word or "}" in word:
        raise UsageError(f"the {which} word {word!r} has a brace; braces belong into templates")
    return " ".join(word.split())


def checked_template(template: str) -> str:
    """The template itself; raises `UsageError` where it would not give a pair that differs in one span."""
    if template.count(WORD) != 1:
        raise UsageError(
            f"the template {template!r} has {template.count(WORD)} places for the word; write {{}} once"
        )
    rest = template.replace(WORD, "").replace(ARTICLE, "")
    if "{" in rest or "}" in rest:
        raise UsageError(
            f"the template {template!r} has a brace of its own; only {{}} and {{a}} are filled in"
        )
    if re.search(r"\{a\}\s*$", template):
        raise UsageError(f"the template {template!r} ends in {{a}}; an article needs a word behind it")
    return template


def checked_lines(lines: object, what: str) -> tuple[str, ...]:
    """The lines stripped, each once, in their order; raises `UsageError` for anything but lines of text."""
    if isinstance(lines, str) or not isinstance(lines, Iterable):
        raise UsageError(f"{what} must be a list of texts, but they are {lines!r}")
    kept: dict[str, None] = {}
    for number, line in enumerate(lines, 1):
        if not isinstance(line, str):
            raise UsageError(f"{what} must be texts, but number {number} is {line!r}; put it in quotes")
        if not line.strip():
            raise UsageError(f"number {number} of the {what} is empty; remove it")
        kept[line.strip()] = None
    return tuple(kept)
