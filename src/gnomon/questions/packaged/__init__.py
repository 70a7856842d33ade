"""Question sets that come with gnomon for real models, and which pair of words each of them asks about.

All of them were written for gnomon; none is taken from a data set. Knows names and files; knows nothing of models.
"""

from __future__ import annotations

from pathlib import Path

from gnomon.errors import UsageError

__all__ = ["default_for", "file", "names"]

_HERE = Path(__file__).parent
# Toward words and away words that a set's labels hold for, in this order: swapped words would need other labels.
_WORDS = {
    "honesty": (
        {"honest", "truthful", "sincere"},
        {"dishonest", "untruthful", "insincere", "deceitful", "lying"},
    )
}


def names() -> tuple[str, ...]:
    """The names of the packaged sets."""
    return tuple(_WORDS)


def file(name: str) -> Path:
    """The file of a packaged set.

    Raises:
        UsageError: there is none of this name.
    """
    if name not in _WORDS:
        raise UsageError(f"there is no packaged set {name!r}; choose from {', '.join(_WORDS)}")
    return _HERE / f"{name}.jsonl"


def default_for(toward: str, away: str) -> str | None:
    """The packaged set that asks about these two words; None where there is none, or the words are swapped."""
    sides = toward.strip().casefold(), away.strip().casefold()
    found = (
        name for name, words in _WORDS.items() if all(w in side for w, side in zip(sides, words, strict=True))
    )
    return next(found, None)
