"""The terms that are read off next-token distributions, coherence and monotonicity, and the ramps that bring terms in.

Pure functions of per-token numbers (see `vocabulary`); they know nothing of models. All logarithms are natural. Source:
AntiPaSTO (Clark, arXiv 2601.07473) and its public code.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from gnomon.training.losses import mean_over_positions


def variation_limit(
    entropy: Float[Tensor, "*position"], *, scale: float = 0.9, offset: float = 0.02
) -> Float[Tensor, "*position"]:
    """How far a token's distribution may move in total variation: `scale * sqrt(H + offset)`.

    `entropy` is that of the reference distribution, in nats. A total variation is never above 1, so a token with a limit
    of 1 or more (at the defaults: H above 1.21 nats) can never be penalised and need not be compared at all.
    """
    return scale * (entropy + offset).sqrt()


def coherence_barrier(
    total_variation: Float[Tensor, "row position"],
    limit: Float[Tensor, "row position"],
    mask: Bool[Tensor, "row position"],
    *,
    weight: float,
) -> Float[Tensor, "row"]:
    """Penalty on tokens whose distribution moved beyond its limit, averaged over each row's masked tokens.

    `v = relu(TV - limit)`, `ln(1 + weight * v)^2 + v` (published weight: 10 after the warm-up).
    """
    excess = (total_variation - limit).relu()
    return mean_over_positions((weight * excess).log1p().square() + excess, mask)


def monotonic_threshold(
    entropy: Float[Tensor, "pair"], *, scale: float = 0.5, offset: float = 0.04
) -> Float[Tensor, "pair"]:
    """How far a pair's preference must move, in nats per token: `scale * sqrt(H) + offset`.

    `entropy` is the mean over the tokens of the pair's toward row, at alpha = 0.
    """
    return scale * entropy.sqrt() + offset


def monotonic_barrier(
    change_plus: Float[Tensor, "pair"],
    change_minus: Float[Tensor, "pair"],
    threshold: Float[Tensor, "pair"],
) -> Float[Tensor, ""]:
    """The preference for the toward row must rise with one sign of alpha and fall with the other.

    A pair's preference is the mean log-probability of the toward row's own tokens minus that of the away row's, and D its
    change from alpha = 0. `forward = relu(D- + t) + relu(t - D+)`, `backward` the same with D+ and D- exchanged, and the
    loss is the smaller of the two means over the batch: the orientation is the batch's own.
    """

    def outside(rising: Tensor, falling: Tensor) -> Tensor:
        return ((falling + threshold).relu() + (threshold - rising).relu()).mean()

    return torch.minimum(outside(change_plus, change_minus), outside(change_minus, change_plus))


def ramp(step: int, start: float, end: float) -> float:
    """From 0 up to `start` linearly to 1 from `end` on, in optimiser steps; where both are equal, a switch at `start`."""
    if start == end:
        return float(step >= start)
    return min(1.0, max(0.0, (step - start) / (end - start)))
