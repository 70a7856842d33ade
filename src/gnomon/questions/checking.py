"""Does the model answer in the expected form? The commonest failure of a question set, seen before anything is scored.

Knows the LM's answers; knows nothing of dials or scores.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from gnomon.errors import UsageError
from gnomon.questions.schema import Questions

if TYPE_CHECKING:
    import pandas as pd

    from gnomon.lm import LM
    from gnomon.lm.batches import Progress

# Below this share of the probability, most of what the model would say is no answer at all.
LOW_MASS = 0.5
LOW = "low answer mass"
UNUSABLE = "unusable answers"
_SAID_TOKENS = 5


def check(lm: LM, questions: Questions, *, progress: Progress | None = None) -> pd.DataFrame:
    """How much probability each question's answer classes have, and what the model says where they have little.

    Returns:
        One row per question: `prompt` (as the model reads it), `set`, `kind`, `cluster`, `label`, `choice_mass` (the
        probability of both classes together), `refusal_mass` (NaN: not measured), `says` (the likeliest
        continuation, where the choice mass is low), `flag` ("", "low answer mass" below 0.5, or "unusable answers")
        and `error` (why the answers are unusable: one class's spelling begins the other's, or has no tokens).
    """
    import pandas as pd

    masses = np.full((len(questions), 2), np.nan)
    errors = [""] * len(questions)
    _measure(lm, questions, range(len(questions)), masses, errors, progress)
    low: list[int] = np.flatnonzero(masses[:, 0] < LOW_MASS).tolist()
    says = [""] * len(questions)
    prompts = [questions[row].prompt for row in low]
    for row, said in zip(
        low, lm.generate(prompts, max_new_tokens=_SAID_TOKENS) if prompts else [], strict=True
    ):
        says[row] = said
    return pd.DataFrame(
        {
            "prompt": [lm.render(question.prompt) for question in questions],
            "set": [question.set for question in questions],
            "kind": [question.kind for question in questions],
            "cluster": [question.cluster for question in questions],
            "label": pd.array([question.label for question in questions], dtype="Int8"),
            "choice_mass": masses[:, 0],
            "refusal_mass": masses[:, 1],
            "says": says,
            "flag": [UNUSABLE if error else LOW if row in low else "" for row, error in enumerate(errors)],
            "error": errors,
        }
    )


def summary(table: pd.DataFrame) -> str:
    """One sentence on the table that `check` gives."""
    n, counts = len(table), table["flag"].value_counts()
    unusable, low = int(counts.get(UNUSABLE, 0)), int(counts.get(LOW, 0))
    if unusable:
        reason = next(error for error in table["error"] if error)
        return f"{unusable} of {n} questions have unusable answers, for example: {reason}"
    mass = table["choice_mass"].median()
    if not low:
        return f"All {n} questions are answered in the expected form (median answer mass {mass:.2f})."
    instead = table.loc[table["flag"] == LOW, "says"].value_counts().index[0]
    return (
        f"{low} of {n} questions have an answer mass below {LOW_MASS} (median {mass:.2f}), so the model answers in "
        f"another form, most often {instead!r}: ask for the answer in the prompt, or add the spellings it uses."
    )


def _measure(
    lm: LM,
    questions: Questions,
    rows: Sequence[int],
    masses: np.ndarray,
    errors: list[str],
    progress: Progress | None,
) -> None:
    """Fill in masses and errors; rows whose answers the LM refuses are found by halving."""
    if not rows:
        return
    asked = [questions[row] for row in rows]
    try:
        answers = lm.answers(
            [question.prompt for question in asked],
            [question.classes for question in asked],
            progress=progress,
        )
    except UsageError as error:
        if len(rows) == 1:
            errors[rows[0]] = str(error)
            return
        half = len(rows) // 2
        _measure(lm, questions, rows[:half], masses, errors, progress)
        _measure(lm, questions, rows[half:], masses, errors, progress)
        return
    masses[list(rows), 0] = answers.choice_mass
    masses[list(rows), 1] = answers.refusal_mass
