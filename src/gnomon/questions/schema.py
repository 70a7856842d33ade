"""A question with two answer classes, and a set of questions: what is asked, and what the value would answer.

Everything is validated here, whether it comes from a file or from code. Knows nothing of files or models.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self, overload

from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationError, model_validator

from gnomon.errors import UsageError

if TYPE_CHECKING:
    from gnomon.lm import Prompt


def _encodable(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ValueError("must be valid Unicode, without lone surrogates") from error
    return text


def _not_blank(text: str) -> str:
    if not text.strip():
        raise ValueError("must not be empty")
    return text


def _sign(label: int) -> int:
    if label not in (1, -1):
        raise ValueError("must be 1 or -1")
    return label


AnyText = Annotated[str, AfterValidator(_encodable)]
Text = Annotated[AnyText, AfterValidator(_not_blank)]


class ChatFields(BaseModel):
    """A prompt with its turns, as a file holds it."""

    model_config = ConfigDict(strict=True, extra="forbid")
    user: Text
    system: AnyText | None = None
    assistant: AnyText = ""


class _Fields(BaseModel):
    """The fields of a question whose prompt is text."""

    model_config = ConfigDict(strict=True, extra="forbid")
    prompt: Text
    classes: dict[Text, list[Text]]
    label: Annotated[int, AfterValidator(_sign)] | None
    cluster: Text
    kind: Literal["target", "control"]
    set: Text

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if len(self.classes) != 2:
            raise ValueError(
                f"there are {len(self.classes)} answer classes; give exactly two, the positive one first"
            )
        (first, ones), (second, others) = self.classes.items()
        if not ones or not others:
            raise ValueError(
                f"the answer class {second if ones else first!r} has no spelling; give at least one"
            )
        if first.strip().casefold() == second.strip().casefold():
            raise ValueError(f"both answer classes are called {first!r}; give them different names")
        if first.strip() == "-1" or second.strip() == "1":
            raise ValueError(
                "the answer classes 1 and -1 are in the wrong order; the first one is the label 1"
            )
        if both := [spelling for spelling in ones if spelling in others]:
            raise ValueError(f"{both[0]!r} is a spelling of both answer classes; leave it in one of them")
        if self.kind == "target" and self.label is None:
            raise ValueError("a target needs a label; give 1 or -1, or make it a control")
        if self.kind == "control" and self.label is not None:
            raise ValueError("a control has no label; leave it empty, or make it a target")
        return self


@dataclass(frozen=True)
class Question:
    """One question: a prompt and two answer classes (name -> spellings), the positive class first.

    The log-odds of a question are log P(first class) - log P(second class). `label` is +1 where the first class is
    what the toward word would answer and -1 where the second is; a control, which the value should not move, has
    None. Questions of one `cluster` (a dilemma in both polarities) are sampled together. `set` names the group that
    a table may report apart.

    Raises `UsageError` where a field is missing its sense.
    """

    prompt: Prompt
    classes: dict[str, tuple[str, ...]]
    label: int | None
    cluster: str
    kind: Literal["target", "control"]
    set: str

    def __post_init__(self) -> None:
        fields = {**self.__dict__, "classes": _lists(self.classes)}
        if not isinstance(self.prompt, str):
            from gnomon.lm import Chat

            if not isinstance(self.prompt, Chat):
                raise UsageError(f"the prompt is {_shown(self.prompt)}; give text or a chat with a user turn")
            validate(ChatFields, self.prompt.__dict__)
            fields["prompt"] = self.prompt.user
        validate(_Fields, fields)
        object.__setattr__(
            self, "classes", {name: tuple(spellings) for name, spellings in self.classes.items()}
        )


class Questions(Sequence[Question]):
    """A set of questions with its name; `notes` says what a reader of the numbers should know about it."""

    def __init__(self, questions: Iterable[Question], *, name: str, notes: Iterable[str] = ()) -> None:
        self._questions = tuple(questions)
        self.name = name
        self.notes = tuple(notes)

    @overload
    def __getitem__(self, index: int) -> Question: ...
    @overload
    def __getitem__(self, index: slice) -> Questions: ...
    def __getitem__(self, index: int | slice) -> Question | Questions:
        if isinstance(index, slice):
            return Questions(self._questions[index], name=self.name, notes=self.notes)
        return self._questions[index]

    def __len__(self) -> int:
        return len(self._questions)

    def __repr__(self) -> str:
        targets = self.targets
        clusters = len({question.cluster for question in targets})
        return f"Questions({self.name!r}: {len(targets)} targets in {clusters} clusters, {len(self.controls)} controls)"

    @property
    def targets(self) -> Questions:
        """The questions where the value is at stake."""
        return self._of("target")

    @property
    def controls(self) -> Questions:
        """The questions that the value should not move."""
        return self._of("control")

    @property
    def prompts(self) -> list[Prompt]:
        """What is asked, in order."""
        return [question.prompt for question in self]

    @property
    def classes(self) -> list[dict[str, tuple[str, ...]]]:
        """The answer classes of every question, in order."""
        return [question.classes for question in self]

    @cached_property
    def fingerprint(self) -> str:
        """sha256 (hexadecimal) of everything that is asked, in order; the name and the notes do not count."""
        digest = hashlib.sha256()
        for question in self:
            row = fields(question)
            row["classes"] = list(row["classes"].items())  # the order of the classes is part of the question
            digest.update(json.dumps(row, sort_keys=True).encode() + b"\n")
        return digest.hexdigest()

    def _of(self, kind: str) -> Questions:
        return Questions(
            (question for question in self if question.kind == kind), name=self.name, notes=self.notes
        )


def fields(question: Question) -> dict[str, Any]:
    """A question as a file holds it: the prompt is text, or a table of turns."""
    prompt: object = question.prompt
    if not isinstance(question.prompt, str):
        prompt = {turn: text for turn, text in question.prompt.__dict__.items() if text is not None}
    return {**question.__dict__, "prompt": prompt, "classes": _lists(question.classes)}


def validate(model: type[BaseModel], given: object) -> None:
    """Raise `UsageError` with one sentence about the first thing that the model does not accept."""
    try:
        model.model_validate(given)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        what = (
            first["msg"]
            .removeprefix("Value error, ")
            .replace("Input should", "should")
            .replace("Extra inputs", "")
        )
        where = ".".join(str(part) for part in first["loc"] if part != "[key]")
        if not where:
            raise UsageError(what) from error
        raise UsageError(f"the field {where} is {_shown(first['input'])}; it {what.strip()}") from error


def _lists(classes: Any) -> Any:
    """Answer classes with lists for tuples, as JSON has them; anything else is left to the validation."""
    if not isinstance(classes, dict):
        return classes
    return {name: list(given) if isinstance(given, tuple) else given for name, given in classes.items()}


def _shown(value: object) -> str:
    shown = repr(value)
    return shown if len(shown) <= 60 else f"{shown[:57]}..."
