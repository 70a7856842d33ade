"""The objective of AntiPaSTO: both signs turn the gap between two personas along itself, coherently and in order.

Clark, arXiv 2601.07473, and its public code. Knows recorded pairs and edited Linears; how the edits begin, and for how
long they are trained, is decided elsewhere.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor

from gnomon.training.barriers import coherence_barrier, monotonic_barrier, monotonic_threshold, ramp
from gnomon.training.edited import computing
from gnomon.training.losses import antiparallel_loss, dpo_loss, ipo_loss, projection_loss, reward_margin
from gnomon.training.pair_batch import PairBatch
from gnomon.training.trainable import Trainable
from gnomon.training.vocabulary import IGNORED, NextTokenTerms, next_token_terms

if TYPE_CHECKING:
    from gnomon.lm import LM, Head

COSINE, SYMLOG, DPO, IPO = "cosine", "symlog", "dpo", "ipo"
PROJECTIONS = (COSINE, SYMLOG, DPO, IPO)
"""The projection loss of the later code, that of the paper, and preferences in its place: `projection_loss`,
`antiparallel_loss`, `dpo_loss`, `ipo_loss`."""


@dataclass(frozen=True)
class Terms:
    """The objective's terms: weights in their final state, and the steps in which each of them comes in.

    A pair of steps is where a weight begins to rise and where it is at its value; before it begins, the term is left out.
    """

    projection: str = COSINE
    softness: float = 0.25
    beta: float = 0.1
    focus_steps: tuple[float, float] = (0, 0)
    coherence: float = 10.0
    coherence_steps: tuple[float, float] = (0, 0)
    monotonic: float = 30.0
    monotonic_steps: tuple[float, float] = (0, 0)
    threshold_scale: float = 0.5
    threshold_offset: float = 0.04


class AntiPaSTOObjective:
    """Projection loss at one block, coherence barrier and monotonic barrier over recorded batches."""

    def __init__(
        self,
        lm: LM,
        head: Head,
        edited: Trainable,
        basis: Float[Tensor, "d_model k"],
        training: Sequence[PairBatch],
        validation: Sequence[PairBatch],
        weights: Terms,
    ) -> None:
        self._lm = lm
        self._head = head
        self._edited = edited
        self.basis = basis
        self._training = training
        self._validation = validation
        self.weights = weights

    @property
    def batches(self) -> int:
        """How many training batches."""
        return len(self._training)

    @property
    def parameters(self) -> Mapping[str, Tensor]:
        """What is trained in the Linears."""
        return self._edited.parameters

    def terms(self, batch: int, step: int) -> dict[str, Float[Tensor, ""]]:
        """The terms on one training batch, as they weigh at a step; a term that is not yet there is left out."""
        weights = self.weights
        return self._losses(
            self._training[batch],
            softness=1 - (1 - weights.softness) * ramp(step, *weights.focus_steps),
            coherence=_weight(weights.coherence, step, weights.coherence_steps),
            monotonic=_weight(weights.monotonic, step, weights.monotonic_steps),
        )

    def validation(self) -> Float[Tensor, ""]:
        """All terms at their final weights on the validation pairs, averaged over batches."""
        weights = self.weights
        final = {"softness": weights.softness, "coherence": weights.coherence, "monotonic": weights.monotonic}
        losses = [torch.stack([*self._losses(batch, **final).values()]).sum() for batch in self._validation]
        return torch.stack(losses).mean()

    @torch.no_grad()
    def leaning(self) -> Float[Tensor, "pair"]:
        """How much more +1 than -1 raises a validation pair's preference for the toward row's tokens, in nats per token.

        The objective is satisfied by either sign; this says which one is toward. See `monotonic_barrier`.
        """
        found = []
        for batch in self._validation:
            _, last = batch.run(self._edited, predictions=True)
            assert last is not None  # predictions were asked for
            successor = batch.predictions.successor.repeat(2)
            with computing(self._lm):
                terms = next_token_terms(self._head, self._head.norm(last).flatten(0, 1), successor)
            plus, minus = _changes(batch, terms)
            found.append((plus - minus).cpu())
        return torch.cat(found)

    def _losses(
        self, batch: PairBatch, *, softness: float, coherence: float | None, monotonic: float | None
    ) -> dict[str, Float[Tensor, ""]]:
        compares = coherence is not None and batch.compares
        gaps, last = batch.run(self._edited, predictions=compares or bool(monotonic))
        found = {"projection": self._projection(batch, gaps.to(self.basis.device), softness)}
        if last is None:
            return found
        successor = batch.predictions.successor.repeat(2)
        with computing(self._lm):
            terms = next_token_terms(
                self._head,
                self._head.norm(last).flatten(0, 1),
                successor if monotonic else torch.full_like(successor, IGNORED),
                reference=batch.reference.repeat(2, 1) if compares else None,
                compared=batch.compared.flatten(),
            )
        if coherence is not None and compares:
            variation = terms.total_variation.view(2, -1)
            found["coherence"] = self._coherence(batch, variation, coherence)
        if monotonic:
            changes = _changes(batch, terms)
            threshold = monotonic_threshold(
                batch.entropy, scale=self.weights.threshold_scale, offset=self.weights.threshold_offset
            )
            found["monotonic"] = monotonic * monotonic_barrier(changes[0], changes[1], threshold)
        return found

    def _projection(
        self, batch: PairBatch, gaps: Float[Tensor, "copy pair d_model"], softness: float
    ) -> Float[Tensor, ""]:
        plus, minus = (gaps @ self.basis).unbind()
        if self.weights.projection == SYMLOG:
            return antiparallel_loss(batch.inside, plus, minus, batch.sigma).mean()
        if self.weights.projection in (DPO, IPO):
            loss = dpo_loss if self.weights.projection == DPO else ipo_loss
            margins = (reward_margin(batch.inside, gap, batch.sigma) for gap in (plus, minus))
            return loss(*margins, beta=self.weights.beta).mean()
        norms: Tensor = torch.linalg.vector_norm(gaps - batch.gap, dim=-1)
        return projection_loss(
            batch.inside, plus, minus, norms[0], norms[1], batch.sigma, softness=softness
        ).mean()

    def _coherence(
        self, batch: PairBatch, variation: Float[Tensor, "copy prediction"], weight: float
    ) -> Float[Tensor, ""]:
        """Of the toward rows at +1 and of the away rows at -1."""
        compared_by = batch.predictions.compared_by
        moved = torch.cat([variation[0, compared_by[: batch.n]], variation[1, compared_by[batch.n :]]])
        return 2 * coherence_barrier(moved, batch.limit, batch.predictions.joint, weight=weight).mean()


def _changes(batch: PairBatch, terms: NextTokenTerms) -> Float[Tensor, "copy pair"]:
    """How far each pair's preference for the toward row's own tokens is from that at alpha = 0."""
    scores = batch.predictions.mean_scores(terms.log_prob.view(2, -1))
    return scores[:, : batch.n] - scores[:, batch.n :] - batch.preference


def _weight(final: float, step: int, steps: tuple[float, float]) -> float | None:
    """A term's weight at a step; None before it begins."""
    return None if step < steps[0] else final * ramp(step, *steps)
