"""Bootstrap by cluster: the unit is what was sampled, so a resample draws clusters and takes all of their rows."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float


def multinomial_weights(
    clusters: int, resamples: int, random: np.random.Generator
) -> Float[np.ndarray, "draw cluster"]:
    """How often each cluster is drawn in each resample: `[draw, cluster]`, every row sums to `clusters`."""
    if clusters == 0:
        return np.zeros((resamples, 0))
    return random.multinomial(clusters, np.full(clusters, 1 / clusters), size=resamples).astype(float)


def bootstrap_interval(
    draws: Float[np.ndarray, "draw"],
    estimate: float,
    jackknife: Float[np.ndarray, "cluster"],
    level: float = 0.95,
) -> tuple[float, float]:
    """BCa interval (Efron 1987): percentiles of the draws, shifted for bias and for skewness.

    `jackknife` holds the statistic with each cluster left out. Draws that are not finite are left out; where all draws are
    equal, the interval is that point.
    """
    from scipy.special import ndtr, ndtri

    finite = np.sort(draws[np.isfinite(draws)])
    if len(finite) == 0:
        return float("nan"), float("nan")
    if finite[0] == finite[-1]:
        return float(finite[0]), float(finite[0])
    # Half of the draws that equal the estimate count as below it: the statistic is discrete.
    below = (np.sum(finite < estimate) + 0.5 * np.sum(finite == estimate)) / len(finite)
    bias = ndtri(np.clip(below, 1 / (2 * len(finite)), 1 - 1 / (2 * len(finite))))
    deviation = np.nanmean(jackknife) - jackknife[np.isfinite(jackknife)]
    spread = float((deviation**2).sum()) ** 1.5
    acceleration = float((deviation**3).sum()) / (6 * spread) if spread > 0 else 0.0
    ends = []
    for tail in ((1 - level) / 2, (1 + level) / 2):
        z = bias + ndtri(tail)
        ends.append(float(np.quantile(finite, ndtr(bias + z / (1 - acceleration * z)))))
    return ends[0], ends[1]


def paired_p_values(draws: Float[np.ndarray, "draw"]) -> tuple[float, float]:
    """p values of a difference from its bootstrap draws: two-sided, and one-sided against "not greater than zero"."""
    finite = draws[np.isfinite(draws)]
    if len(finite) == 0:
        return float("nan"), float("nan")
    # The observed sample is one of the possible ones, so no p value is zero.
    not_greater = (1 + np.sum(finite <= 0)) / (1 + len(finite))
    not_less = (1 + np.sum(finite >= 0)) / (1 + len(finite))
    return float(min(1.0, 2 * min(not_greater, not_less))), float(not_greater)
