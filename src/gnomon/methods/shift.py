"""Shift: low-rank edits trained so that the model, without a persona, reaches the states that a persona causes.

Our own. Orientation and magnitude come with the targets: +1 is what the toward words do to the residual stream, -1 what the
away words do. A side whose persona makes the model refuse is not imitated; it becomes the mirror of the other side, so
that a refusal is not distilled. Personas whose shifts have more in common than apart give half of their difference.
docs/experiments.md says what each part is worth.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from gnomon.contrast import Contrast, Pairs, PairStates
from gnomon.dials import Dial, LowRank
from gnomon.dials.strength import NOTABLE_REFUSAL
from gnomon.errors import UsageError
from gnomon.methods.direction import states_of
from gnomon.methods.trained import diversity_of
from gnomon.runs import Progress
from gnomon.runs import progress as default_progress
from gnomon.training.distillation import DISTIL, HALF, MIRROR_AWAY, MIRROR_TOWARD, SIDES, StateDistillation
from gnomon.training.edited import singular_bases
from gnomon.training.kinds import FREE, KINDS, available, trainable
from gnomon.training.loop import Schedule, Trained, train
from gnomon.training.texts import PersonaStates, persona_states, texts_of
from gnomon.training.writers import residual_writers

if TYPE_CHECKING:
    from pathlib import Path

    from gnomon.lm import LM


@dataclass(frozen=True)
class Shift:
    """State distillation into low-rank edits of the Linears that write to the residual stream.

    Attributes:
        rank: Rank of each edit; at most what the narrowest edited Linear has.
        edited: First and last edited block; None is from a tenth of the depth to the one before the reading block.
        targets: The blocks whose states are matched; None is the reading block and the one behind it.
        continued: How often each suffix is also used with a continuation that the model itself writes.
        max_new_tokens: The longest continuation.
        max_texts: At most so many texts are trained and validated on.
        rows: Texts per optimiser step.
        steps: Optimiser steps.
        learning_rate: The highest one.
        sides: What is imitated ("both", "toward only", "away only", "half the difference"); None sees for itself
            (`sides_to_imitate`).
        restarts: Trainings with other batches, of which the best validation is kept.
        adapter: What is trained in the Linears; see `gnomon.training.kinds`.
    """

    rank: int = 128
    edited: tuple[int, int] | None = None
    targets: tuple[int, ...] | None = None
    continued: int = 3
    max_new_tokens: int = 14
    max_texts: int = 600
    rows: int = 24
    steps: int = 500
    learning_rate: float = 1e-2
    sides: str | None = None
    restarts: int = 1
    adapter: str = FREE
    name = "shift"
    trains = True

    def __post_init__(self) -> None:
        lowest = dict.fromkeys(("rank", "max_new_tokens", "rows", "steps", "restarts"), 1)
        for name, least in {**lowest, "max_texts": 2, "continued": 0}.items():
            if getattr(self, name) < least:
                raise UsageError(f"{name} is {getattr(self, name)}; give at least {least}")
        if not 0 < self.learning_rate < float("inf"):
            raise UsageError(f"learning_rate is {self.learning_rate}; give a positive number, like 0.01")
        if self.sides not in (None, *SIDES):
            raise UsageError(f"sides is {self.sides!r}; choose from {', '.join(map(repr, SIDES))}")
        if self.edited is not None and not 0 <= self.edited[0] <= self.edited[1]:
            raise UsageError(
                f"edited is {self.edited}; give the first and the last edited block, like (0, 2)"
            )
        if self.adapter not in KINDS:
            raise UsageError(f"adapter is {self.adapter!r}; choose from {', '.join(map(repr, KINDS))}")

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

        Raises `UsageError` for settings that the model does not allow, `Failure` where the loss is not finite.
        """
        available(self.adapter)
        states = states_of(lm, contrast, states, seed)
        pairs = contrast.resolve(lm, seed=seed)
        diversity = diversity_of(pairs)
        (first, last), blocks = self._blocks(lm, states)
        with progress("writing texts", None):
            texts = texts_of(
                lm,
                pairs,
                continued=self.continued,
                max_new_tokens=self.max_new_tokens,
                seed=seed,
                most=self.max_texts,
            )
        with progress("reading what the personas do", None):
            wanted = persona_states(lm, texts, blocks)
        sides = self.sides or sides_to_imitate(lm, pairs, wanted)
        modules = residual_writers(lm, first, last)
        bases = cache(lambda: singular_bases(lm, modules, self.rank))
        found: list[tuple[Trained, tuple[LowRank, ...]]] = []
        for restart in range(self.restarts):
            edited = trainable(
                lm, self.adapter, modules, bases, rank=self.rank, width=0.0, seed=seed + restart
            )
            own = folder if folder is None or self.restarts == 1 else folder / f"restart-{restart}"
            with progress("preparing batches", None):
                objective = StateDistillation(
                    lm,
                    edited,
                    texts,
                    wanted,
                    blocks,
                    start=first,
                    sides=sides,
                    rows=self.rows,
                    seed=seed + restart,
                )
            with edited.attached():
                trained = train(
                    objective,
                    self.schedule(),
                    seed=seed + restart,
                    folder=own,
                    about={**objective.about, "adapter": self.adapter},
                    stage=f"training {self.name}",
                    progress=progress,
                )
            found.append((trained, edited.edits()))
        best, edits = min(found, key=lambda one: one[0].best)
        notes = {
            "method": self.name,
            "edited blocks": f"{first} to {last}",
            "matched blocks": ", ".join(map(str, blocks)),
            "imitates": sides,
            "cosine of the personas' shifts": round(wanted.cosine(0), 3),
            "adapter": self.adapter,
            "rank": max(edit.core.rank for edit in edits),
            "texts": len(texts),
            "suffix diversity": diversity,
            "validation loss": round(best.best, 4),
            "best step": best.best_step,
        }
        words = (contrast.toward, contrast.away)
        dial = Dial(edits, name=self.name, words=words, first_token=edited.first_token, notes=notes)
        return dial.bound(lm)

    def schedule(self) -> Schedule:
        """The training's schedule."""
        return Schedule(steps=self.steps, learning_rate=self.learning_rate)

    def _blocks(self, lm: LM, states: PairStates) -> tuple[tuple[int, int], tuple[int, ...]]:
        """First and last edited block, and the blocks that are matched."""
        reading = states.reading_block
        before = max(0, reading - 1)
        first, last = self.edited or (min(int(0.1 * lm.n_blocks), before), before)
        blocks = self.targets or tuple(range(max(reading, last), min(max(reading, last) + 2, lm.n_blocks)))
        if not 0 <= first <= last <= min(blocks) or max(blocks) >= lm.n_blocks:
            raise UsageError(
                f"blocks {first} to {last} are edited and {list(blocks)} matched; matched blocks lie at or behind the last "
                f"edited one and below {lm.n_blocks}"
            )
        return (first, last), blocks


def sides_to_imitate(lm: LM, pairs: Pairs, states: PersonaStates) -> str:
    """Both personas, where their shifts oppose each other and neither brings about refusals; see docs/training.md.

    Where the shifts have more in common than apart (a cosine above 0), what they share is not the value, but that something
    was said before: half of their difference is left.
    """
    return HALF if states.cosine(0) > 0 else sides_without_refusal(lm, pairs)


def sides_without_refusal(lm: LM, pairs: Pairs) -> str:
    """Which personas can be imitated: those that do not raise the mean probability of a refusal on training suffixes."""
    rows = [index for index, kept in enumerate(pairs.validation) if not kept]
    plain, toward, away = (
        float(np.mean(lm.refusal_mass([side[row] for row in rows])))
        for side in (pairs.plain, pairs.toward, pairs.away)
    )
    refused = (toward - plain > NOTABLE_REFUSAL, away - plain > NOTABLE_REFUSAL)
    return {
        (False, False): DISTIL,
        (False, True): MIRROR_AWAY,
        (True, False): MIRROR_TOWARD,
        (True, True): HALF,
    }[refused]
