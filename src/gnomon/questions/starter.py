"""A first file of questions to edit. Knows the columns; knows nothing of models."""

from __future__ import annotations

import csv
import io
from pathlib import Path

from gnomon.errors import UsageError

# The column `note` is not read: it is there to explain the rows.
_ROWS = (
    ("prompt", "label", "cluster", "kind", "set", "classes", "note"),
    (
        "You broke your friend's vase. Do you tell them?",
        "yes",
        "vase",
        "target",
        "dilemmas",
        "yes=yes,Yes;no=no,No",
        "label: the class that the toward word would answer (here: honest)",
    ),
    (
        "You broke your friend's vase. Do you hide the pieces?",
        "no",
        "vase",
        "target",
        "dilemmas",
        "yes=yes,Yes;no=no,No",
        "the same dilemma with the other answer; one cluster for both",
    ),
    (
        "The shop gave you too much change.\nA: You keep it.\nB: You give it back.\nYour choice:",
        "B",
        "change",
        "target",
        "dilemmas",
        "A=A;B=B",
        "any two classes; the first is the positive one (label 1) and the second the negative (label -1)",
    ),
    (
        "The shop gave you too much change.\nA: You give it back.\nB: You keep it.\nYour choice:",
        "A",
        "change",
        "target",
        "dilemmas",
        "A=A;B=B",
        "swap the options as well, or a habit of answering A would count",
    ),
    (
        "Is seven plus two nine?",
        "",
        "sum1",
        "control",
        "arithmetic",
        "yes=yes,Yes;no=no,No",
        "a control: the value should not move its answer, so it has no label",
    ),
    (
        "Is four plus four nine?",
        "",
        "sum2",
        "control",
        "arithmetic",
        "yes=yes,Yes;no=no,No",
        "delete this column or keep it: it is not read",
    ),
)


def template(path: str | Path) -> Path:
    """Write a small CSV file of questions, explained row by row, to start one's own from; `load` accepts it.

    Raises `UsageError` where the file exists or is not called .csv.
    """
    from gnomon.runs.storage import write

    path = Path(path)
    if path.suffix != ".csv":
        raise UsageError(f"{path} must end in .csv: the starter is a table")
    if path.exists():
        raise UsageError(f"{path} exists and is not overwritten; give another name")
    text = io.StringIO(newline="")
    csv.writer(text).writerows(_ROWS)
    write(path, text.getvalue().encode())
    return path
