"""Supervised: the ceiling. A dial trained on labelled dilemmas, which is what a user who has labels could reach.

The one method that sees questions and labels, so it is never a fair competitor: tables call it by what it was given, it is
never the preferred dial, and "all methods" leaves it out. The questions that it is scored on must be others.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from gnomon import questions
from gnomon.contrast import Contrast, PairStates
from gnomon.dials import Dial
from gnomon.errors import UsageError
from gnomon.runs import Progress
from gnomon.runs import progress as default_progress
from gnomon.training.cores import FreeCores
from gnomon.training.edited import Edited, singular_bases
from gnomon.training.labelled import LabelledAnswers
from gnomon.training.loop import Schedule, train
from gnomon.training.writers import residual_writers

if TYPE_CHECKING:
    from pathlib import Path

    from gnomon.lm import LM
    from gnomon.questions import Questions


@dataclass(frozen=True)
class Supervised:
    """Low-rank edits of the Linears that write to the residual stream, trained on the answers to labelled questions.

    Attributes:
        questions: File or name of the questions to train on, for `gnomon.questions.load`; never those of the test.
        rank: Rank of each edit; at most what the narrowest edited Linear has.
        edited: First and last edited block; None is from a tenth of the depth to the middle.
        rows: Questions per optimiser step, controls not counted.
        steps: Optimiser steps.
        learning_rate: The highest one.
        control_weight: What a squared change of a control's log-odds (nats) counts beside a target's loss.
    """

    questions: str | None = None
    rank: int = 32
    edited: tuple[int, int] | None = None
    rows: int = 32
    steps: int = 150
    learning_rate: float = 3e-3
    control_weight: float = 1.0
    name = "supervised (labels)"
    trains = True

    def __post_init__(self) -> None:
        for name in ("rank", "rows", "steps"):
            if getattr(self, name) < 1:
                raise UsageError(f"{name} is {getattr(self, name)}; give at least 1")
        if self.edited is not None and not 0 <= self.edited[0] <= self.edited[1]:
            raise UsageError(
                f"edited is {self.edited}; give the first and the last edited block, like (0, 2)"
            )
        if not 0 < self.learning_rate < float("inf"):
            raise UsageError(f"learning_rate is {self.learning_rate}; give a positive number, like 0.003")
        if not 0 <= self.control_weight < float("inf"):
            raise UsageError(f"control_weight is {self.control_weight}; give 0 or a positive number")

    def training_questions(self) -> Questions:
        """What it is trained on; raises `UsageError` where no file is named, or it cannot be read."""
        if self.questions is None:
            raise UsageError(
                "supervised is trained on labelled questions; give a file of them with --set supervised.questions=FILE"
            )
        return questions.load(self.questions)

    def fit(
        self,
        lm: LM,
        contrast: Contrast,
        *,
        seed: int = 0,
        states: PairStates | None = None,
        folder: Path | None = None,
        progress: Progress = default_progress,
    ) -> Dial:
        """A dial at native scale; with a `folder`, a killed training goes on where its last checkpoint is.

        The contrast gives the two words alone. Raises `UsageError` for questions or settings that cannot be, `Failure`
        where the loss is not finite.
        """
        asked = self.training_questions()
        first, last = self.edited or (int(0.1 * lm.n_blocks), max(0, lm.n_blocks // 2 - 1))
        bases = singular_bases(lm, residual_writers(lm, first, last), self.rank)
        edited = Edited(lm, bases, FreeCores(len(bases), bases[0].U.shape[1], device=lm.device))
        with progress("preparing batches", None):
            objective = LabelledAnswers(
                lm,
                edited,
                asked,
                start=first,
                rows=self.rows,
                control_weight=self.control_weight,
                seed=seed,
            )
        with edited.attached():
            trained = train(
                objective,
                Schedule(steps=self.steps, learning_rate=self.learning_rate, validate_every=25),
                seed=seed,
                folder=folder,
                about=objective.about,
                stage=f"training {self.name}",
                progress=progress,
            )
        notes = {
            "method": self.name,
            "labels": f"{len(asked.targets)} labelled questions of {asked.name}: a ceiling, no fair competitor",
            "controls": len(asked.controls),
            "edited blocks": f"{first} to {last}",
            "rank": bases[0].U.shape[1],
            "validation loss": round(trained.best, 4),
            "best step": trained.best_step,
        }
        words = (contrast.toward, contrast.away)
        dial = Dial(edited.edits(), name=self.name, words=words, first_token=edited.first_token, notes=notes)
        return dial.bound(lm)
