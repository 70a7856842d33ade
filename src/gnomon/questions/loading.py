"""From a file or the name of a packaged set to `Questions`: which column is what, and which label means what.

Knows the names of sets and of columns; knows nothing of models.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from gnomon.errors import UsageError
from gnomon.questions import files, packaged
from gnomon.questions.schema import ChatFields, Question, Questions, validate

YES_NO = "yes=yes;no=no"
_SIGNS = {"1": 1, "+1": 1, "1.0": 1, "-1": -1, "-1.0": -1}
_WORDS = {"yes": 1, "true": 1, "no": -1, "false": -1}


@dataclass(frozen=True)
class Columns:
    """Which column of a file holds what; `classes`, `kind` and `set` are always called so."""

    prompt: str = "prompt"
    label: str = "label"
    cluster: str = "cluster"


def load(
    source: str | Path,
    *,
    prompt: str = "prompt",
    label: str = "label",
    cluster: str = "cluster",
    answers: str | Mapping[str, Sequence[str]] | None = None,
) -> Questions:
    """Read questions from a CSV, JSONL or parquet file, or by name ("touchstone:honesty", "honesty").

    Args:
        source: The file, or the name of a set.
        prompt: The column with the prompts: text, or an object with `user`, `system`, `assistant`.
        label: The column with the labels: 1 / -1, yes / no, true / false, or the name of an answer class.
        cluster: The column that says which questions belong together; without one, every prompt is alone.
        answers: The answer classes of a file without a column `classes`, the positive one first, as a mapping
            or as text: "yes=yes,Yes;no=no,No". Spellings are taken as they are. By default yes and no.

    Returns:
        The questions, with notes on what was assumed and on labels that are out of balance.

    Raises:
        UsageError: There is no such set or column, or a row does not hold a question; it names file and row.
    """
    columns = Columns(prompt, label, cluster)
    scheme, _, name = str(source).partition(":")
    if scheme in NAMED:
        if columns != Columns() or answers is not None:
            raise UsageError(f"{source} has columns and answers of its own; name them only for a file")
        return NAMED[scheme](name)
    return _from_file(Path(source), str(source), columns, answers)


def dilemmas(name: str) -> Questions:
    """The dilemmas of a set ("touchstone:honesty", "honesty"), and its controls."""
    found = load(name)
    kept = [question for question in found if question.set == "dilemmas" or question.kind == "control"]
    if all(question.kind == "control" for question in kept):
        raise UsageError(f"{name} has no dilemmas; load all of its questions with questions.load")
    return Questions(kept, name=found.name, notes=found.notes)


def parse_answers(text: str) -> dict[str, list[str]]:
    """Answer classes from text: "yes=yes,Yes;no=no,No" -> {"yes": ["yes", "Yes"], "no": ["no", "No"]}."""
    classes: dict[str, list[str]] = {}
    for part in text.split(";"):
        name, equals, spellings = part.partition("=")
        if not equals or not name.strip() or name.strip() in classes:
            raise UsageError(f"the answers {text!r} do not read like 'yes=yes,Yes;no=no,No'; write them so")
        classes[name.strip()] = [spelling.strip() for spelling in spellings.split(",")]
    return classes


def _touchstone(name: str) -> Questions:
    from gnomon import touchstones

    return _from_file(Path(touchstones.questions_file(name)), f"touchstone:{name}", Columns(), None)


def _packaged(name: str, rest: str) -> Questions:
    if rest:
        raise UsageError(f"the set {name} has no part {rest!r}; write {name} alone")
    return _from_file(packaged.file(name), name, Columns(), None)


# A name is SCHEME:NAME, or SCHEME alone; each scheme has the function that loads it.
NAMED: dict[str, Callable[[str], Questions]] = {
    "touchstone": _touchstone,
    **{name: partial(_packaged, name) for name in packaged.names()},
}


def _from_file(
    path: Path, name: str, columns: Columns, answers: str | Mapping[str, Sequence[str]] | None
) -> Questions:
    rows = files.read(path)
    present = list(dict.fromkeys(column for _, row in rows for column in row))
    notes = []
    if columns.cluster not in present:
        if columns.cluster != Columns.cluster:
            raise _no_column(str(path), columns.cluster, "cluster", present)
        notes.append(f"{name} has no column {columns.cluster!r}, so every prompt is its own cluster")
    if "classes" in present and answers is not None:
        raise UsageError(f"{path} has a column 'classes'; leave it out of the file, or do not name answers")
    if "classes" not in present and answers is None:
        notes.append(f"{name} has no column 'classes', so the answers are yes and no")
        answers = YES_NO
    constant = parse_answers(answers) if isinstance(answers, str) else answers
    used = {columns.prompt, columns.label, columns.cluster, *files.COLUMNS}
    if unused := [column for column in present if column not in used]:
        notes.append(f"{name} has columns that are not used: {', '.join(map(repr, unused))}")

    questions = []
    for where, row in rows:
        try:
            questions.append(_question(row, columns, present, constant, path.stem))
        except UsageError as error:
            raise UsageError(f"{where}: {error}") from error
    notes += _repeats(questions, [where for where, _ in rows])
    notes += _balance(questions)
    return Questions(questions, name=name, notes=notes)


def _question(
    row: Mapping[str, Any],
    columns: Columns,
    present: Sequence[str],
    constant: Mapping[str, Sequence[str]] | None,
    default_set: str,
) -> Question:
    """One row as a question; `present` are the columns that any row has."""

    def cell(column: str, argument: str) -> Any:
        if column not in row:
            raise _no_column("it", column, argument, list(row))
        return row[column]

    prompt: Any = cell(columns.prompt, "prompt")
    text = prompt
    if isinstance(prompt, dict):
        from gnomon.lm import Chat

        validate(ChatFields, prompt)
        prompt, text = Chat(**prompt), prompt["user"]
    classes: Any = constant if constant is not None else cell("classes", "answers")
    if isinstance(classes, str):
        classes = parse_answers(classes)
    kind = _filled(row.get("kind"), "target")
    unlabelled = kind == "control" and columns.label not in row
    return Question(
        prompt=prompt,
        classes=classes,
        label=None if unlabelled else _label(cell(columns.label, "label"), columns.label, classes),
        cluster=_cluster(cell(columns.cluster, "cluster"), columns.cluster)
        if columns.cluster in present
        else text,
        kind=kind,
        set=_filled(row.get("set"), default_set),
    )


def _filled(value: Any, default: str) -> Any:
    """The value of a cell that may be left empty."""
    return default if value is None or value == "" else value


def _no_column(place: str, column: str, argument: str, present: Sequence[str]) -> UsageError:
    return UsageError(
        f"{place} has no column {column!r} but {', '.join(map(repr, present))}; "
        f"add it, or name the right column as {argument}"
    )


def _label(value: Any, column: str, classes: Any) -> int | None:
    """A label as +1 (the first class), -1 (the second) or None (empty)."""
    if value is None or value == "" or value != value:
        return None
    word = str(value).strip().casefold()
    names = [str(name).strip().casefold() for name in classes] if isinstance(classes, dict) else []
    if word in _SIGNS and not isinstance(value, bool):
        return _SIGNS[word]
    if word in names:
        return 1 if names.index(word) == 0 else -1
    if word not in _WORDS:
        known = "1 or -1, yes or no, true or false" + "".join(
            f", {name}" for name in names if name not in _WORDS
        )
        raise UsageError(f"the label in column {column!r} is {value!r}; write {known}")
    if any(_WORDS.get(name, sign) != sign for name, sign in zip(names, (1, -1), strict=False)):
        raise UsageError(
            f"the label {value!r} in column {column!r} does not fit the classes {names}; write 1 or -1"
        )
    return _WORDS[word]


def _cluster(value: Any, column: str) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int | float) or value != value or value == "":
        raise UsageError(f"the cluster in column {column!r} is {value!r}; write a name or a number")
    return str(value)


def _repeats(questions: Sequence[Question], places: Sequence[str]) -> list[str]:
    """A note on prompts that are asked twice; raises `UsageError` where their labels contradict each other."""
    first: dict[str, int] = {}
    repeats = 0
    for index, question in enumerate(questions):
        earlier = first.setdefault(repr((question.prompt, question.classes)), index)
        if earlier != index:
            repeats += 1
            if questions[earlier].label != question.label:
                raise UsageError(
                    f"{places[index]}: the same question has another label at {places[earlier]}; keep one"
                )
    return [f"{repeats} questions repeat an earlier one and count twice"] if repeats else []


def _balance(questions: Sequence[Question]) -> list[str]:
    """A note where so many labels agree that a dial which only changes the answer habit would score."""
    labels = [question.label for question in questions if question.kind == "target"]
    if not labels:
        return ["there are no targets, only controls"]
    share = labels.count(1) / len(labels)
    if 1 / 3 <= share <= 2 / 3:
        return []
    return [
        f"{share:.0%} of the labels are 1, so a dial that only favours one answer would look right; "
        "ask every dilemma in both polarities"
    ]
