"""One batch of contrast pairs, recorded: where it is read, and everything that does not change while it is trained on.

Knows pairs and a model's blocks and head; knows nothing of the weights of losses.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from gnomon.lm import Layout, Places, Replay, pack
from gnomon.training.barriers import variation_limit
from gnomon.training.edited import computing
from gnomon.training.losses import gap_scale, mean_over_positions
from gnomon.training.pair_rows import PairRows
from gnomon.training.predictions import Predictions
from gnomon.training.vocabulary import IGNORED, next_token_entropy, next_token_terms

if TYPE_CHECKING:
    from gnomon.lm import LM, Head
    from gnomon.training.trainable import Trainable


@dataclass(frozen=True, eq=False)
class PairBatch:
    """A recorded batch of n pairs; rows 0 to n - 1 are the toward rows and n to 2n - 1 the away rows.

    Attributes:
        n: How many pairs.
        gap: Toward minus away at the loss block, without edits, averaged over the last joint positions.
        inside: The gap in the loss subspace.
        sigma: Scale of the subspace's coordinates; see `gap_scale`.
        predictions: Those that a loss can use.
        compared: Where the total variation is read, on the CPU: toward rows at +1 (copy 0), away rows at -1 (copy 1), and
            only where a distribution can move beyond its limit.
        limit: How far the distribution at a row's joint position may move; see `variation_limit`.
        reference: The head's input for the predictions, without edits.
        preference: Mean log-probability of the toward row's own tokens minus that of the away row's, without edits, nats.
        entropy: Mean entropy along the toward row, without edits, nats.
    """

    n: int
    gap: Float[Tensor, "pair d_model"]
    inside: Float[Tensor, "pair k"]
    sigma: Float[Tensor, "k"]
    predictions: Predictions
    compared: Bool[Tensor, "copy prediction"]
    limit: Float[Tensor, "row column"]
    reference: Float[Tensor, "prediction d_head"]
    preference: Float[Tensor, "pair"]
    entropy: Float[Tensor, "pair"]
    _replay: Replay
    _where: _Where

    @classmethod
    @torch.no_grad()
    def record(
        cls,
        lm: LM,
        head: Head,
        rows: PairRows,
        pairs: Sequence[int],
        *,
        basis: Float[Tensor, "d_model k"],
        first: int,
        block: int,
        last_tokens: int,
        limit_scale: float,
    ) -> PairBatch:
        """Record some pairs of one template.

        Args:
            lm: The model, without edits.
            head: Its head.
            rows: All pairs.
            pairs: Which of them.
            basis: The loss subspace.
            first: The first block that is edited.
            block: The block whose output the projection loss reads.
            last_tokens: How many of the last joint positions it reads there.
            limit_scale: How wide the limits of the total variation are.
        """
        n = len(pairs)
        ids = [rows.toward[pair] for pair in pairs] + [rows.away[pair] for pair in pairs]
        layout = pack(lm, ids, groups=[range(n), range(n, 2 * n)])
        predictions = Predictions.of(layout)
        where = _Where.of(layout, predictions, block, lm.n_blocks - 1, last_tokens, lm.device)
        replay = Replay.record(lm, layout, start=first, reads=where.reads(predictions=True))
        tail, states = where.split(
            {place: state.unsqueeze(0) for place, state in replay.reference.items()}, predictions=True
        )
        assert states is not None  # they were asked for
        replay.reference.clear()
        with computing(lm):
            reference = head.norm(states[0])
            entropy = next_token_entropy(head, reference)
            terms = next_token_terms(head, reference, predictions.successor)
        inner = predictions.on(reference.device)
        along = entropy[inner.compared_by]
        limit = variation_limit(along, scale=limit_scale)
        narrow = torch.zeros(len(predictions.row), dtype=torch.bool)
        narrow[predictions.compared_by[(inner.joint & (limit < 1)).cpu()]] = True
        toward = predictions.row < n
        kept = (predictions.successor != IGNORED) | narrow
        few = predictions.only(kept)
        scores = inner.mean_scores(terms.log_prob)
        gap = (tail[0, :n] - tail[0, n:]).to(basis.device)
        return cls(
            n=n,
            gap=gap,
            inside=gap @ basis,
            sigma=gap_scale(gap @ basis),
            predictions=few.on(reference.device),
            compared=torch.stack([narrow & toward, narrow & ~toward])[:, kept],
            limit=limit,
            reference=reference[kept.to(reference.device)],
            preference=scores[:n] - scores[n:],
            entropy=mean_over_positions(along[:n], inner.joint[:n]),
            _replay=replay,
            _where=_Where.of(layout, few, block, lm.n_blocks - 1, last_tokens, tail.device),
        )

    @property
    def compares(self) -> bool:
        """Whether any distribution can move beyond its limit."""
        return bool(self.compared.any())

    def run(
        self, edited: Trainable, *, predictions: bool
    ) -> tuple[Float[Tensor, "copy pair d_model"], Float[Tensor, "copy prediction d_model"] | None]:
        """The gap at +1 and -1, and the last block's output for the predictions; without these, fewer blocks run."""
        states = edited.run(self._replay, self._where.reads(predictions=predictions))
        tail, last = self._where.split(states, predictions=predictions)
        return tail[:, : self.n] - tail[:, self.n :], last


@dataclass(frozen=True, eq=False)
class _Where:
    """The places of a batch: the last joint positions at the loss block, the predictions at the last block."""

    block: int
    last: int
    weight: Float[Tensor, "row position 1"]
    tail: Places
    predictions: Places
    both: Places

    @classmethod
    def of(
        cls,
        layout: Layout,
        predictions: Predictions,
        block: int,
        last: int,
        last_tokens: int,
        device: torch.device,
    ) -> _Where:
        joint = predictions.joint.sum(1)
        length = torch.tensor([len(row) for row in layout.rows])
        back = torch.arange(last_tokens, 0, -1)
        real = back <= joint[:, None]
        rows = torch.arange(len(length)).repeat_interleave(last_tokens)
        positions = (length[:, None] - back).clamp_min(0).flatten()
        own = (predictions.row, predictions.position)
        return cls(
            block,
            last,
            (real / real.sum(1, keepdim=True)).unsqueeze(2).to(device),
            layout.at(rows, positions),
            layout.at(*own),
            layout.at(torch.cat([rows, own[0]]), torch.cat([positions, own[1]])),
        )

    def reads(self, *, predictions: bool) -> Mapping[int, Places]:
        if not predictions:
            return {self.block: self.tail}
        if self.block == self.last:
            return {self.last: self.both}
        return {self.block: self.tail, self.last: self.predictions}

    def split(
        self, states: Mapping[int, Float[Tensor, "copy place 1 d_model"]], *, predictions: bool
    ) -> tuple[Float[Tensor, "copy row d_model"], Float[Tensor, "copy prediction d_model"] | None]:
        """The mean state of each row's tail, and the predictions' states."""
        tail, last = states[self.block].squeeze(2), None
        if predictions and self.block == self.last:
            tail, last = tail[:, : self.weight.numel()], tail[:, self.weight.numel() :]
        elif predictions:
            last = states[self.last].squeeze(2)
        weight = self.weight.to(tail.device)
        rows = tail.float().view(len(tail), *weight.shape[:2], -1)
        return (rows * weight).sum(2), last
