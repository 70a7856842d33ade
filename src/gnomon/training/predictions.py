"""Which next-token predictions of a batch of contrast pairs the losses read: each once, whatever it stands for.

Rows of one persona begin alike, so a prediction inside a shared beginning stands for many rows. Arithmetic on token ids;
knows nothing of states, edits or losses.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from gnomon.lm import Layout
from gnomon.training.vocabulary import IGNORED


@dataclass(frozen=True, eq=False)
class Predictions:
    """The predictions of n pairs, laid out toward rows first (row i), then away rows (row n + i).

    A pair's joint positions are those that are real in both rows, counted from the ends; column 0 is the first of them.

    Attributes:
        row, position: Which token each prediction is made behind; of several rows that begin with it, one.
        successor: The token whose log-probability is read, or `IGNORED`.
        joint: Where a row has a joint position.
        scored_by: The prediction that scores the next token of a row's position.
        share: What this log-probability counts in the row's mean: 0 where there is no next token, and where it is that of
            the same token behind the same beginning in the pair's other row, because the difference is what is read.
        compared_by: The prediction whose distribution stands for a row's position.
    """

    row: Int[Tensor, "prediction"]
    position: Int[Tensor, "prediction"]
    successor: Int[Tensor, "prediction"]
    joint: Bool[Tensor, "row column"]
    scored_by: Int[Tensor, "row column"]
    share: Float[Tensor, "row column"]
    compared_by: Int[Tensor, "row column"]

    @classmethod
    def of(cls, layout: Layout) -> Predictions:
        """All predictions at joint positions of a batch."""
        rows, n = layout.rows, len(layout.rows) // 2
        lengths = [min(len(rows[pair]), len(rows[n + pair])) for pair in range(n)]
        group = {row: index for index, members in enumerate(layout.groups) for row in members}
        shape = (2 * n, max(lengths))
        joint, share = torch.zeros(shape, dtype=torch.bool), torch.zeros(shape)
        scored_by, compared_by = torch.zeros(shape, dtype=torch.long), torch.zeros(shape, dtype=torch.long)
        numbers: dict[tuple[object, int], int] = {}
        places: list[tuple[int, int, int]] = []
        standing: dict[object, int] = {}
        for row, ids in enumerate(rows):
            length, other = lengths[row % n], rows[(row + n) % (2 * n)]
            alike = _alike(ids, other)
            for column, position in enumerate(range(len(ids) - length, len(ids))):
                cancels = position + 1 < alike and position >= len(other) - length
                scored = position + 1 < len(ids) and not cancels
                successor = ids[position + 1] if scored else IGNORED
                shared = position < layout.shared[group[row]]
                token = ("group", group[row], position) if shared else ("row", row, position)
                if (token, successor) not in numbers:
                    numbers[token, successor] = len(places)
                    places.append((row, position, successor))
                joint[row, column] = True
                compared_by[row, column] = standing.setdefault(token, numbers[token, successor])
                if scored:
                    scored_by[row, column] = numbers[token, successor]
                    share[row, column] = 1 / (length - 1)
        of_row, of_position, successors = torch.tensor(places).unbind(1)
        return cls(of_row, of_position, successors, joint, scored_by, share, compared_by)

    def only(self, kept: Bool[Tensor, "prediction"]) -> Predictions:
        """Some of them; what the others stood for points anywhere."""
        number = (kept.cumsum(0) - 1).clamp_min(0) * kept
        return replace(
            self,
            row=self.row[kept],
            position=self.position[kept],
            successor=self.successor[kept],
            scored_by=number[self.scored_by],
            compared_by=number[self.compared_by],
        )

    def on(self, device: torch.device) -> Predictions:
        """With what is indexed in every step on a device; which tokens they are stays on the CPU."""
        names = ("joint", "scored_by", "share", "compared_by")
        return replace(self, **{name: getattr(self, name).to(device) for name in names})

    def mean_scores(self, log_prob: Float[Tensor, "*copy prediction"]) -> Float[Tensor, "*copy row"]:
        """Mean log-probability of each row's own tokens, nats, but for what both rows of a pair have in common."""
        return (log_prob[..., self.scored_by] * self.share).sum(-1)


def _alike(one: Sequence[int], other: Sequence[int]) -> int:
    """How many first tokens agree."""
    pairs = zip(one, other, strict=False)
    return next((place for place, (a, b) in enumerate(pairs) if a != b), min(len(one), len(other)))
