"""State distillation: with the dial and without a persona, the model reaches the states that a persona causes.

The objective of `shift`. Knows texts, replays and edited Linears; which sides may be imitated, and where, it is told.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from gnomon.errors import UsageError
from gnomon.lm import Places, Replay, lay_out
from gnomon.training.losses import mean_square
from gnomon.training.texts import PersonaStates, Text
from gnomon.training.trainable import Trainable

if TYPE_CHECKING:
    from gnomon.lm import LM, Progress

DISTIL, MIRROR_AWAY, MIRROR_TOWARD, HALF = "both", "toward only", "away only", "half the difference"
SIDES = (DISTIL, MIRROR_AWAY, MIRROR_TOWARD, HALF)
"""What is imitated: both personas; one of them, the other side being its mirror; or plus and minus half of their gap."""


def targets(
    toward: Float[Tensor, "*any d_model"],
    away: Float[Tensor, "*any d_model"],
    sides: str,
    away_over_toward: float = 1.0,
) -> tuple[Float[Tensor, "*any d_model"], Float[Tensor, "*any d_model"]]:
    """The shifts that +1 and -1 are to cause, from the shifts that the two personas cause.

    A mirror is turned by 180 degrees and as long as the persona's shift that it stands for: `away_over_toward` is the ratio
    of their root mean squares over all texts, at the first matched block.
    """
    half = (toward - away) / 2
    return {
        DISTIL: (toward, away),
        MIRROR_AWAY: (toward, -toward * away_over_toward),
        MIRROR_TOWARD: (-away / away_over_toward, away),
        HALF: (half, -half),
    }[sides]


@dataclass(frozen=True, eq=False)
class _Batch:
    replay: Replay
    places: Places
    wanted: dict[int, Float[Tensor, "copy row position d_model"]]
    mask: Bool[Tensor, "copy_row position"]


class StateDistillation:
    """`sum_block sum_sign mean |h - target|^2 / gap^2` over every shared position of the texts.

    The target is the plain state plus the shift that belongs to the sign, and `gap^2` the mean squared length of these
    shifts over the training texts, block by block: an untrained dial's loss is about 2 per block, a perfect one's 0.

    Raises `UsageError` where there are no training texts, or none for validation.
    """

    def __init__(
        self,
        lm: LM,
        edited: Trainable,
        texts: Sequence[Text],
        states: PersonaStates,
        blocks: Sequence[int],
        *,
        start: int,
        sides: str,
        rows: int,
        seed: int,
        progress: Progress | None = None,
    ) -> None:
        self._edited = edited
        self._blocks = tuple(blocks)
        self._away_over_toward = states.away_over_toward(0)
        self._training: list[_Batch] = []
        self._validation: list[_Batch] = []
        if len({text.validation for text in texts}) < 2:
            raise UsageError(
                f"the {len(texts)} texts leave none to train on or none to validate on; give more suffixes or more texts"
            )
        self.about = {
            "weights": lm.weights_id(),
            "modules": list(edited.modules),
            "first_token": edited.first_token,
            "blocks": list(blocks),
            "start": start,
            "sides": sides,
            "rows": rows,
            "texts": _digest(texts),
        }
        """What tells this objective from another, for a checkpoint."""
        total, done = len(texts), 0
        for kept, batches in ((False, self._training), (True, self._validation)):
            for chosen in _cut(texts, kept, rows, seed):
                batches.append(self._record(lm, texts, states, chosen, start, sides))
                done += len(chosen)
                if progress is not None:
                    progress(done, total)
        self._gaps = [self._gap(place) for place in range(len(blocks))]

    @property
    def batches(self) -> int:
        """How many training batches."""
        return len(self._training)

    @property
    def parameters(self) -> Mapping[str, Tensor]:
        """What is trained in the Linears."""
        return self._edited.parameters

    def terms(self, batch: int, step: int) -> dict[str, Float[Tensor, ""]]:
        """The distance of both signs, one term per block."""
        return self._distances(self._training[batch])

    def validation(self) -> Float[Tensor, ""]:
        """The same on the validation texts, every position counting alike."""
        losses = [torch.stack(list(self._distances(batch).values())).sum() for batch in self._validation]
        return _mean(losses, self._validation)

    def _distances(self, batch: _Batch) -> dict[str, Float[Tensor, ""]]:
        states = self._edited.run(batch.replay, dict.fromkeys(self._blocks, batch.places))
        return {
            f"block {block}": 2
            * mean_square((states[block] - batch.wanted[block]).flatten(0, 1).float(), batch.mask)
            / gap
            for block, gap in zip(self._blocks, self._gaps, strict=True)
        }

    def _record(
        self, lm: LM, texts: Sequence[Text], states: PersonaStates, chosen: list[int], start: int, sides: str
    ) -> _Batch:
        layout = lay_out(lm, [texts[index].plain for index in chosen])
        places = layout.since([len(texts[index].plain) - texts[index].tail for index in chosen])
        replay = Replay.record(lm, layout, start=start, reads=dict.fromkeys(self._blocks, places))
        wanted = {}
        for place, block in enumerate(self._blocks):
            base = replay.reference[block]
            toward, away = (
                _padded([side[index][place] for index in chosen], base)
                for side in (states.toward, states.away)
            )
            plus, minus = targets(
                (toward - base).float(), (away - base).float(), sides, self._away_over_toward
            )
            wanted[block] = torch.stack([base + plus.to(base.dtype), base + minus.to(base.dtype)])
        mask = places.mask.repeat(2, 1)
        return _Batch(replay, places, wanted, mask)

    def _gap(self, place: int) -> Float[Tensor, ""]:
        block = self._blocks[place]
        sums = [
            mean_square((b.wanted[block] - b.replay.reference[block]).flatten(0, 1).float(), b.mask)
            for b in self._training
        ]
        return _mean(sums, self._training).clamp_min(1e-12)


def _mean(values: Sequence[Float[Tensor, ""]], batches: Sequence[_Batch]) -> Float[Tensor, ""]:
    """The mean over all positions, from the mean over each batch's."""
    weights = torch.stack([batch.mask.sum() for batch in batches])
    return (torch.stack(list(values)) * weights).sum() / weights.sum()


def _digest(texts: Sequence[Text]) -> str:
    rows = [(text.plain, text.toward, text.away, text.tail, text.validation) for text in texts]
    return hashlib.sha256(repr(rows).encode()).hexdigest()


def _cut(texts: Sequence[Text], validation: bool, rows: int, seed: int) -> list[list[int]]:
    """Batches of texts of about the same length, otherwise at random."""
    own = [index for index, text in enumerate(texts) if text.validation == validation]
    random.Random(seed).shuffle(own)
    own.sort(key=lambda index: len(texts[index].plain))
    return [own[first : first + rows] for first in range(0, len(own), rows)]


def _padded(
    states: Sequence[Float[Tensor, "_ d_model"]], like: Float[Tensor, "row position d_model"]
) -> Float[Tensor, "row position d_model"]:
    """States of each row's tail, filled up to the batch's width; what is filled is masked."""
    padded = torch.zeros_like(like)
    for row, state in enumerate(states):
        padded[row, : len(state)] = state.to(padded)
    return padded
