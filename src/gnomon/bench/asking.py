"""Ask a model questions with the dial at several coefficients; one row per question and coefficient.

Knows questions and dials; knows nothing of scores.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

    from gnomon.dials import Dial
    from gnomon.lm import LM, Answers, Progress
    from gnomon.questions import Question, Questions


def ask(
    lm: LM,
    questions: Sequence[Question],
    dial: Dial | None = None,
    alphas: Sequence[float] = (0.0,),
    *,
    progress: Progress | None = None,
) -> pd.DataFrame:
    """The answers at every coefficient: columns question, alpha, log_odds (nats), choice_mass, refusal_mass.

    Log-odds are log P(first class) - log P(second class). Without a dial only alpha = 0 can be asked.
    """
    import pandas as pd

    prompts = [question.prompt for question in questions]
    classes = [question.classes for question in questions]
    if dial is None:
        levels = [lm.answers(prompts, classes, progress=progress)]
    else:
        dial.check(lm)
        levels = lm.answers_at(prompts, classes, dial, alphas, progress=progress)
    return pd.concat(
        [_frame(answers, alpha) for answers, alpha in zip(levels, alphas, strict=True)], ignore_index=True
    )


def labels(questions: Questions) -> pd.DataFrame:
    """What is known of each question without asking: columns question, kind, set, cluster, label (0: none)."""
    import pandas as pd

    return pd.DataFrame(
        {
            "question": range(len(questions)),
            "kind": [question.kind for question in questions],
            "set": [question.set for question in questions],
            "cluster": [question.cluster for question in questions],
            "label": [question.label or 0 for question in questions],
        }
    )


def _frame(answers: Answers, alpha: float) -> pd.DataFrame:
    import pandas as pd

    return pd.DataFrame(
        {
            "question": range(len(answers.log_odds)),
            "alpha": alpha,
            "log_odds": answers.log_odds,
            "choice_mass": answers.choice_mass,
            "refusal_mass": answers.refusal_mass,
        }
    )
