"""AntiPaSTO: rotations of singular directions, trained so that the gap between two personas turns with the sign of alpha.

Clark, arXiv 2601.07473, and its public code, written anew. Three presets: `antipasto` has the settings of the later code,
`antipasto-paper` those nearest the paper, both with the known defects mended; `antipasto-published` keeps the defects.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING

from gnomon.contrast import Contrast, PairStates
from gnomon.dials import Dial
from gnomon.errors import UsageError
from gnomon.lm import Head
from gnomon.methods.orientation import oriented
from gnomon.runs import Progress
from gnomon.runs import progress as default_progress
from gnomon.training.antipasto import COSINE, PROJECTIONS, SYMLOG, AntiPaSTOObjective, Terms
from gnomon.training.antipasto_start import (
    SUBSPACES,
    TASK_SUPPRESSED_WRITE,
    TASK_WRITE_NOT_HEAD,
    Stream,
    loss_subspace,
    published_rows,
    turned_bases,
)
from gnomon.training.kinds import KINDS, ROTATION, available, trainable
from gnomon.training.loop import Schedule, train
from gnomon.training.pair_batch import PairBatch
from gnomon.training.pair_rows import PairRows
from gnomon.training.trainable import Trainable
from gnomon.training.writers import residual_writers

if TYPE_CHECKING:
    from pathlib import Path

    from gnomon.lm import LM

_START = 0.003
"""Width of the noise that a start without any change is shaken by: that of the published rotations."""


@dataclass(frozen=True)
class AntiPaSTO:
    """Rotated singular directions of the Linears that write to the residual stream.

    The presets are `CODE` (which this class's own values are), `PAPER` and `PUBLISHED`.

    Attributes:
        name: What tables call it.
        rank: Rank of each edit; at most what the narrowest edited Linear has.
        edited_from: Share of the depth at which the edits begin; they end before the loss block.
        loss_depth: Share of the depth at which the projection loss is read.
        subspace: What the loss subspace is made of; see `loss_subspace`.
        subspace_rank: How many directions it has.
        projection: "cosine", "symlog", "dpo" or "ipo"; see `gnomon.training.losses`.
        last_tokens: How many last positions the projection loss reads.
        softness: How much it ignores what changes outside of the subspace.
        beta: How small a preference is enough for "dpo" and "ipo"; the larger, the smaller.
        coherence: Weight in the coherence barrier.
        limit_scale: How wide its limits are.
        monotonic: Weight of the monotonic barrier.
        threshold_scale: How far it asks the preference to move.
        coherence_ramp: Shares of the steps in which the barrier's weight begins to rise and is at its value.
        monotonic_ramp: The same of the monotonic barrier.
        focus_ramp: The same of the focus on the subspace.
        pairs_per_step: Pairs per batch, all of one template.
        accumulation: Batches per optimiser step.
        epochs: How often every pair is trained on.
        learning_rate: The highest one.
        weight_decay: Of AdamW.
        patience: Validations without a better one before the training stops; None trains all epochs.
        defects: Keep those of the public code: the wrong token and a centred task space where the training begins, ramps
            that count batches and not steps, and the last weights instead of the best.
        adapter: What is trained in the Linears; see `gnomon.training.kinds`.
    """

    name: str = "antipasto"
    rank: int = 64
    edited_from: float = 0.1
    loss_depth: float = 0.5
    subspace: str = TASK_SUPPRESSED_WRITE
    subspace_rank: int = 4
    projection: str = COSINE
    last_tokens: int = 3
    softness: float = 0.25
    beta: float = 0.1
    coherence: float = 10.0
    limit_scale: float = 0.9
    monotonic: float = 30.0
    threshold_scale: float = 0.5
    coherence_ramp: tuple[float, float] = (0.0, 0.2)
    monotonic_ramp: tuple[float, float] = (0.0, 0.2)
    focus_ramp: tuple[float, float] = (0.0, 0.2)
    pairs_per_step: int = 16
    accumulation: int = 1
    epochs: int = 30
    learning_rate: float = 2e-3
    weight_decay: float = 1e-4
    patience: int | None = 16
    defects: bool = False
    adapter: str = ROTATION
    trains = True

    def __post_init__(self) -> None:
        counts = ("rank", "subspace_rank", "last_tokens", "pairs_per_step", "accumulation", "epochs")
        for name in (*counts, "patience"):
            if (value := getattr(self, name)) is not None and value < 1:
                raise UsageError(f"{name} is {value}; give at least 1")
        for name, like in (("beta", 0.1), ("learning_rate", 0.002)):
            if not 0 < (value := getattr(self, name)) < float("inf"):
                raise UsageError(f"{name} is {value}; give a positive number, like {like}")
        for name in ("coherence", "limit_scale", "monotonic", "threshold_scale", "weight_decay"):
            if not 0 <= (value := getattr(self, name)) < float("inf"):
                raise UsageError(f"{name} is {value}; give a number of 0 or more")
        if not 0 <= self.softness <= 1:
            raise UsageError(f"softness is {self.softness}; give a share from 0 to 1")
        for name in ("edited_from", "loss_depth"):
            if not 0 <= (value := getattr(self, name)) < 1:
                raise UsageError(f"{name} is {value}; give a share of the depth from 0 to below 1")
        for name, known in (("subspace", SUBSPACES), ("projection", PROJECTIONS), ("adapter", KINDS)):
            if (value := getattr(self, name)) not in known:
                raise UsageError(f"{name} is {value!r}; choose from {', '.join(map(repr, known))}")
        for name in ("coherence_ramp", "monotonic_ramp", "focus_ramp"):
            begin, end = getattr(self, name)
            if not 0 <= begin <= end <= 1:
                raise UsageError(
                    f"{name} is {begin, end}; give two rising shares of the steps, like (0, 0.2)"
                )

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
        rows = PairRows.of(lm, contrast.resolve(lm, seed=seed))
        first, last, block = self.blocks(lm.n_blocks)
        with progress("preparing batches", None):
            objective, edited = self.prepared(lm, rows, seed)
        with edited.attached():
            trained = train(
                objective,
                self.schedule(objective.batches),
                seed=seed,
                folder=folder,
                about={
                    "weights": lm.weights_id(),
                    "settings": json.loads(json.dumps(asdict(self))),
                    "rows": rows.digest(),
                },
                keep_best=not self.defects,
                stage=f"training {self.name}",
                progress=progress,
            )
            leaning = objective.leaning()
        edits = edited.edits()
        dial = Dial(
            edits,
            name=self.name,
            words=(contrast.toward, contrast.away),
            first_token=edited.first_token,
            notes={
                "method": self.name,
                "edited blocks": f"{first} to {last}",
                "loss block": block,
                "adapter": self.adapter,
                "rank": max(edit.core.rank for edit in edits),
                "optimiser steps": trained.steps,
                **({} if self.defects else {"best step": trained.best_step}),
            },
        )
        return oriented(dial, leaning).bound(lm)

    def prepared(self, lm: LM, rows: PairRows, seed: int) -> tuple[AntiPaSTOObjective, Trainable]:
        """The objective on recorded batches, and the edits as they begin."""
        first, last, block = self.blocks(lm.n_blocks)
        head = Head.find(lm)
        stream = self._stream(lm, rows)
        basis = loss_subspace(
            lm, head, stream, kind=self.subspace, block=block, rank=self.subspace_rank, centred=self.defects
        ).basis.to(lm.device)
        edited = trainable(
            lm,
            self.adapter,
            residual_writers(lm, first, last),
            lambda: turned_bases(lm, stream, first, last, self.rank),
            rank=self.rank,
            width=_START,
            seed=seed,
        )
        training, validation = (
            [
                PairBatch.record(
                    lm,
                    head,
                    rows,
                    batch,
                    basis=basis,
                    first=first,
                    block=block,
                    last_tokens=self.last_tokens,
                    limit_scale=self.limit_scale,
                )
                for batch in rows.batches(pairs, seed, validation=kept)
            ]
            # Without gradients there is room for more at once.
            for kept, pairs in ((False, self.pairs_per_step), (True, 4 * self.pairs_per_step))
        )
        terms = self.terms(len(training))
        return AntiPaSTOObjective(lm, head, edited, basis, training, validation, terms), edited

    def schedule(self, batches: int) -> Schedule:
        """The training's schedule, for so many batches per epoch."""
        steps = max(1, self.epochs * batches // self.accumulation)
        warm = max(end for _, end in (self.coherence_ramp, self.monotonic_ramp, self.focus_ramp))
        return Schedule(
            steps=steps,
            learning_rate=self.learning_rate,
            end_divisor=1.0,
            weight_decay=self.weight_decay,
            accumulation=self.accumulation,
            validate_every=32,
            patience=self.patience,
            patient_until=round(warm * steps),
        )

    def terms(self, batches: int) -> Terms:
        """The objective's terms, for so many batches per epoch."""
        steps = self.schedule(batches).steps

        def at(ramp: tuple[float, float]) -> tuple[float, float]:
            # The public code compares batches with a number of steps, so its ramps end that much earlier.
            counted = steps / self.accumulation if self.defects else steps
            return ramp[0] * counted, ramp[1] * counted

        return Terms(
            projection=self.projection,
            softness=self.softness,
            beta=self.beta,
            focus_steps=at(self.focus_ramp),
            coherence=self.coherence,
            coherence_steps=at(self.coherence_ramp),
            monotonic=self.monotonic,
            monotonic_steps=at(self.monotonic_ramp),
            threshold_scale=self.threshold_scale,
        )

    def blocks(self, depth: int) -> tuple[int, int, int]:
        """First and last edited block, and the block whose output the projection loss reads."""
        first, block = int(self.edited_from * depth), int(self.loss_depth * depth)
        if first > block:
            raise UsageError(
                f"the edits begin at block {first} and the loss is read at block {block}; give an edited_from below "
                "loss_depth"
            )
        # In a very shallow model the loss is read behind the only edited block.
        return first, max(first, block - 1), block

    def _stream(self, lm: LM, rows: PairRows) -> Stream:
        """What the training pairs have in the stream, at their last token (with the defects: where the code looks)."""
        own = rows.side(validation=False)
        both = [row for pair in own for row in (rows.toward[pair], rows.away[pair])]
        if self.defects:
            both = published_rows(both, 2 * self.pairs_per_step)
        return Stream.read(lm, both[::2], both[1::2])


CODE = AntiPaSTO()
PUBLISHED = replace(CODE, name="antipasto-published", pairs_per_step=7, accumulation=2, defects=True)
PAPER = AntiPaSTO(
    name="antipasto-paper",
    loss_depth=0.9,
    subspace=TASK_WRITE_NOT_HEAD,
    subspace_rank=8,
    projection=SYMLOG,
    coherence_ramp=(0.1, 0.1),
    monotonic_ramp=(0.5, 0.5),
    focus_ramp=(0.0, 0.0),
    epochs=20,
    learning_rate=5e-4,
    weight_decay=1e-8,
)
