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
    f = -ln((1 - level) / 2) possible, 3.7 at 95 %. The score is taken again after f dilemmas lost the answers of half of
    their rows (at least one), and again after f controls changed; the larger fall counts. Both are weighted by the
    sixth power of the share of rows that flip: near 100 failures are too rare to be resampled and this decides the low end;
    where a third of the rows do not flip (a score of 80) they have been seen, BCa covers by itself, and this adds nothing.
    """
    failures = -math.log((1 - level) / 2)
    lost, changed = targets.sum(-2), controls.sum(-2)
    found = steering_f1(lost, changed)
    can = lost[..., [0, 4]]
    answers = can.sum(-1)
    rows = failures * np.maximum(1.0, answers / targets.shape[-2] / 2)
    fewer, more = lost.copy(), changed.copy()
    for at in (0, 1):
        share = (lost[..., 4 * at + 1] / can[..., at]) ** 6
        fails, breaks = (share * np.minimum(rows / answers, 1.0) * can[..., side] for side in (at, 1 - at))
        fewer[..., 4 * at + 1] -= fails
        fewer[..., 4 * at + 2] += fails
        fewer[..., 4 * at + 3] += breaks
        more[..., at] = np.minimum(more[..., at] + share * failures, more[..., 2])
    return np.asarray(found - np.minimum(steering_f1(fewer, changed), steering_f1(lost, more)))


@dataclass(frozen=True)
class Drawn:
    """The resamples of one method, averaged over its seeds, and how far its score may fall by what was not seen."""

    bootstrap: Bootstrap
    unseen: Float[np.ndarray, "..."] | float
    level: float
    n: int

    def ends(self) -> tuple[Float[np.ndarray, "..."], Float[np.ndarray, "..."]]:
        """Low and high end: BCa, and at least as low as what was not seen may take the score."""
        low, high = self.bootstrap.bca.interval(self.level)
        return np.minimum(low, self.bootstrap.estimate - self.unseen), high

    def interval(self, unit: str) -> Interval:
        """The interval of the score; `unit` names the clusters."""
        low, high = (float(end) for end in self.ends())
        return Interval(float(self.bootstrap.estimate), low, high, self.n, unit, self.level)


Pair = tuple[Float[np.ndarray, "..."], Float[np.ndarray, "..."]]


def compared(first: Drawn, second: Drawn) -> tuple[Pair, Pair]:
    """Ends of the paired difference of two scores of the same clusters, and its one-sided p-values.

    Percentile limits, as a difference is nearly symmetric, and either score may fall by what was not seen of it. The
    p-values ("first is not greater", "first is not less") agree: a difference of exactly `unseen` has that of an end at 0.
    """
    gap = first.bootstrap - second.bootstrap
    limits = gap.percentile
    low, high = limits.interval(first.level)
    ends = (np.minimum(low, gap.estimate - first.unseen), np.maximum(high, gap.estimate + second.unseen))
    tail = (1 - first.level) / 2
    greater = np.maximum(limits.p_above(), _p_of(gap.estimate, first.unseen, tail))
    less = np.maximum(limits.p_below(), _p_of(-gap.estimate, second.unseen, tail))
    return ends, (greater, less)


def _p_of(
    gap: Float[np.ndarray, "..."], fall: Float[np.ndarray, "..."] | float, tail: float
) -> Float[np.ndarray, "..."]:
    """exp(-f), where f unseen failures take as much as the gap; 0 where failures take nothing or there is no gap."""
    counts = (gap > 0) & (np.asarray(fall) > 0)
    return np.asarray(np.where(counts, tail ** np.where(counts, gap / np.where(counts, fall, 1.0), 1.0), 0.0))
