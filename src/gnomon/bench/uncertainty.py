"""Steering F1 as a function of summed marks, and how far a sample's value may be from the truth. Knows no answers."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from gnomon.stats import Bootstrap, Interval


def steering_f1(
    targets: Float[np.ndarray, "... 8"], controls: Float[np.ndarray, "... 3"]
) -> Float[np.ndarray, "..."]:
    """Mean of the two sides' F1, percent, from summed marks; a resample may have fewer than 20 rows to flip.

    That rule says whether a score is reported at all; inside a resample the ratio is defined as long as one row can flip.
    """
    total = np.zeros(np.broadcast_shapes(targets.shape[:-1], controls.shape[:-1]))
    with np.errstate(divide="ignore", invalid="ignore"):
        for at in (0, 1):
            can, flipped, unanswered, wrong = (targets[..., 4 * at + i] for i in range(4))
            arbitrary = can * controls[..., at] / controls[..., 2]
            net = flipped - 2 * wrong - unanswered
            total += np.where(can > 0, 100 * net / (flipped + wrong + unanswered + arbitrary + can), np.nan)
    return total


def unseen(
    targets: Float[np.ndarray, "... cluster 8"],
    controls: Float[np.ndarray, "... cluster 3"],
    *,
    level: float = 0.95,
) -> Float[np.ndarray, "..."]:
    """How far the score would fall by failures too rare to have been seen in a sample of this size, percent.

    What happens in f of n clusters on average is not seen at all with probability exp(-f), so a count of none leaves
    f = -ln((1 - level) / 2) possible, 3.7 at 95 %. The score is taken again with f more dilemmas in which half of the rows
    (at least one) lose their answers where the dial works, and with f more changed controls; the larger loss counts.
    "Where the dial works": in proportion to the rows that it flips, so a dial that flips nothing loses nothing.
    """
    failures = -math.log((1 - level) / 2)
    lost, changed = targets.sum(-2), controls.sum(-2)
    found = steering_f1(lost, changed)
    can = lost[..., [0, 4]]
    answers = can.sum(-1)
    rows = failures * np.maximum(1.0, answers / targets.shape[-2] / 2)
    fewer, more = lost.copy(), changed.copy()
    for at in (0, 1):
        share = lost[..., 4 * at + 1] / can[..., at]
        fails = share * np.minimum(rows * can[..., at] / answers, can[..., at])
        fewer[..., 4 * at + 1] -= fails
        fewer[..., 4 * at + 2] += fails
        fewer[..., 4 * at + 3] += share * rows * can[..., 1 - at] / answers
        more[..., at] = np.minimum(more[..., at] + share * failures, more[..., 2])
    return np.asarray(found - np.minimum(steering_f1(fewer, changed), steering_f1(lost, more)))


@dataclass(frozen=True)
class Drawn:
    """The resamples of one method, averaged over its seeds, and how far its score may fall by what was not seen."""

    bootstrap: Bootstrap
    unseen: float
    level: float
    n: int

    def interval(self, unit: str) -> Interval:
        """The interval of the score; `unit` names the clusters."""
        found = float(self.bootstrap.estimate)
        low, high = (float(end) for end in self.bootstrap.bca(self.level))
        return Interval(found, min(low, found - self.unseen), high, self.n, unit, self.level)


def in_step(p: float, gap: float, fall: float, level: float) -> float:
    """A p-value in step with an interval that reaches `fall` below a gap: at `fall` it is that of the interval's end."""
    return max(p, ((1 - level) / 2) ** (gap / fall)) if gap > 0 and fall > 0 else p
