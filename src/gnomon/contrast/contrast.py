"""A contrast: two words, the persona templates that they fill, and the suffixes that follow.

`Contrast` is what a user says; `resolve` makes it into `Pairs` for one model, of which only tokens are read.
"""

from __future__ import annotations

import dataclasses
import json
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from gnomon.contrast import lines, pairs, tokens, words
from gnomon.contrast.pairs import Pairs
from gnomon.errors import UsageError

if TYPE_CHECKING:
    from gnomon.lm import LM, Prompt

# What the user of a chat asks for, so that any beginning of an answer fits.
REQUEST = "Say something."


@dataclass(frozen=True)
class Contrast:
    """Two words (or short phrases) and what to build contrast pairs from.

    In a template `{}` is the word and `{a}` its article; the packaged templates expect adjectives. Templates
    and suffixes that are not given come from the touchstone that is opened, else from the packaged lists. Of
    all combinations at most `max_pairs` are drawn, every template and every suffix equally often;
    `validation_share` of the suffixes are kept for validation.

    Raises `UsageError` for words, templates, suffixes or numbers that cannot work.
    """

    toward: str
    away: str
    templates: tuple[str, ...] | None = None
    suffixes: tuple[str, ...] | None = None
    validation_share: float = 0.25
    max_pairs: int = 800

    def __post_init__(self) -> None:
        keep = {
            "toward": words.checked_word(self.toward, "toward"),
            "away": words.checked_word(self.away, "away"),
            "templates": None if self.templates is None else _templates(self.templates),
            "suffixes": None if self.suffixes is None else _suffixes(self.suffixes),
        }
        for name, value in keep.items():
            object.__setattr__(self, name, value)
        if self.toward.casefold() == self.away.casefold():
            raise UsageError(
                f"the toward and the away word are both {self.toward!r}; give two different words"
            )
        if not isinstance(self.validation_share, int | float) or not 0 < self.validation_share < 1:
            raise UsageError(
                f"validation_share is {self.validation_share!r}; give a number between 0 and 1, like 0.25"
            )
        if type(self.max_pairs) is not int or self.max_pairs < 2:
            raise UsageError(f"max_pairs is {self.max_pairs!r}; give a whole number of at least 2")

    @classmethod
    def from_file(cls, path: str | Path) -> Self:
        """Read a contrast from a TOML, YAML or JSON file whose keys are the fields of this class."""
        data = _parsed(Path(path))
        fields = [field.name for field in dataclasses.fields(cls)]
        if not isinstance(data, dict):
            raise UsageError(f"{path} holds no table of settings; write the keys toward and away")
        if unknown := [key for key in data if key not in fields]:
            raise UsageError(f"{path} has an unknown key {unknown[0]!r}; the keys are {', '.join(fields)}")
        if missing := [key for key in ("toward", "away") if key not in data]:
            raise UsageError(f"{path} has no key {missing[0]!r}; write the {missing[0]} word")
        try:
            return cls(**data)
        except UsageError as error:
            raise UsageError(f"{path}: {error}") from error

    def resolve(self, lm: LM, *, seed: int = 0) -> Pairs:
        """The contrast pairs for a model.

        A chat model gets one user turn (persona, then `REQUEST`) and an answer that begins with the suffix; a
        base model gets persona and suffix as plain text. `seed` draws combinations and validation suffixes.

        Raises `UsageError` where the tokenizer cannot tell the words apart or does not align a pair's tail.
        """
        templates, suffixes = self.lists(lm)
        tokens.check_words(lm, self.toward, self.away)
        personas = tuple((words.fill(t, self.toward), words.fill(t, self.away)) for t in templates)
        drawn = pairs.draw(len(templates), len(suffixes), self.max_pairs, seed)
        used = sorted({suffix for _, suffix in drawn})
        flags = pairs.split([suffixes[index] for index in used], self.validation_share, seed)
        validation = dict(zip(used, flags, strict=True))
        resolved = Pairs(
            toward=tuple(prompt(lm, personas[t][0], suffixes[s]) for t, s in drawn),
            away=tuple(prompt(lm, personas[t][1], suffixes[s]) for t, s in drawn),
            plain=tuple(prompt(lm, "", suffixes[s]) for _, s in drawn),
            template=tuple(t for t, _ in drawn),
            suffix=tuple(s for _, s in drawn),
            validation=tuple(validation[s] for _, s in drawn),
            personas=personas,
            words=(self.toward, self.away),
        )
        tokens.check_pairs(lm, resolved, [(prompt(lm, t, ""), prompt(lm, a, "")) for t, a in personas])
        return resolved

    def lists(self, lm: LM) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Templates and suffixes for a model: the given ones, else its touchstone's, else the packaged."""
        brought: dict[str, Any] = {}
        if lm.touchstone is not None:
            from gnomon import touchstones

            brought = touchstones.contrast(lm.touchstone)
        templates = self.templates or _templates(brought.get("templates", lines.packaged("templates")))
        suffixes = self.suffixes or _suffixes(brought.get("suffixes", lines.packaged("suffixes")))
        return templates, suffixes


def prompt(lm: LM, persona: str, suffix: str) -> Prompt:
    """A persona (empty: none) and a suffix as one prompt, which stops before anything is generated."""
    if not lm.is_chat:
        return " ".join(part for part in (persona, suffix) if part)
    from gnomon.lm import Chat

    return Chat(user=f"{persona}\n\n{REQUEST}" if persona else REQUEST, assistant=suffix)


def _templates(given: object) -> tuple[str, ...]:
    templates = words.checked_lines(given, "templates")
    if not templates:
        raise UsageError("there are no templates; give at least one, or none at all to use the packaged ones")
    return tuple(words.checked_template(template) for template in templates)


def _suffixes(given: object) -> tuple[str, ...]:
    suffixes = words.checked_lines(given, "suffixes")
    if len(suffixes) < 2:
        raise UsageError(
            f"there are {len(suffixes)} different suffixes; give at least 2, one of them for validation"
        )
    return suffixes


def _parsed(path: Path) -> object:
    """What a TOML, YAML or JSON file holds, by its extension."""
    text = lines.read_text(path)
    try:
        if path.suffix == ".toml":
            return tomllib.loads(text)
        if path.suffix == ".json":
            return json.loads(text)
        if path.suffix in (".yaml", ".yml"):
            import yaml

            try:
                return yaml.safe_load(text)
            except yaml.YAMLError as error:
                raise ValueError(str(error)) from error
    except (ValueError, RecursionError) as error:
        raise UsageError(
            f"{path} is not valid {path.suffix[1:].upper()} ({' '.join(str(error).split())})"
        ) from error
    raise UsageError(f"{path} must end in .toml, .yaml or .json to be read as a contrast")
