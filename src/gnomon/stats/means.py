"""Means and paired differences of rows, by cluster. Knows nothing of models."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike

from gnomon.errors import UsageError
from gnomon.stats.intervals import Interval
from gnomon.stats.resampling import Array, Limits, bootstrap, cluster_sums


def cluster_mean(
    values: ArrayLike, clusters: ArrayLike, *, unit: str = "clusters", level: float = 0.95, **draws: int
) -> Interval:
    """The mean over rows with its BCa interval by cluster. `draws`: `resamples`, `seed`."""
    sums = _counted(np.asarray(values, dtype=float), clusters)
    return interval(bootstrap([sums], _ratio, **draws).bca, n=len(sums), unit=unit, level=level)


@dataclass(frozen=True)
class Paired:
    """A paired difference with its interval.

    Attributes:
        interval: of first minus second; n counts clusters.
        p: two-sided p of "no difference".
        p_greater: one-sided p of "the first is not greater than the second".
    """

    interval: Interval
    p: float
    p_greater: float

    def to_dict(self) -> dict[str, Any]:
        """The fields as strict JSON."""
        p, p_greater = (None if math.isnan(value) else value for value in (self.p, self.p_greater))
        return {"interval": self.interval.to_dict(), "p": p, "p_greater": p_greater}


def paired_difference(
    first: ArrayLike,
    second: ArrayLike,
    clusters: ArrayLike,
    *,
    unit: str = "clusters",
    level: float = 0.95,
    **draws: int,
) -> Paired:
    """The difference of the means of two columns measured on the same rows, by cluster.

    Raises:
        UsageError: the columns have different lengths.
    """
    a, b = np.asarray(first, dtype=float), np.asarray(second, dtype=float)
    if a.shape != b.shape:
        raise UsageError(f"a paired difference needs the same rows on both sides, not {a.size} and {b.size}")
    sums = _counted(a - b, clusters)
    limits = bootstrap([sums], _ratio, **draws).percentile
    return paired(interval(limits, n=len(sums), unit=unit, level=level), limits.p_above(), limits.p_below())


def paired(difference: Interval, p_above: ArrayLike, p_below: ArrayLike) -> Paired:
    """A paired difference from its two one-sided p-values."""
    greater, less = float(np.asarray(p_above)), float(np.asarray(p_below))
    return Paired(difference, min(1.0, 2 * min(greater, less)), greater)


def interval(limits: Limits, *, n: int, unit: str, level: float = 0.95) -> Interval:
    """The interval of one bootstrapped number; without ends where fewer than two clusters were sampled."""
    low, high = limits.interval(level)
    return Interval(float(limits.drawn.estimate), float(low), float(high), n, unit, level)


def _counted(values: Float[np.ndarray, "row"], clusters: ArrayLike) -> Float[np.ndarray, "cluster 2"]:
    return cluster_sums(np.stack([values, np.ones_like(values)], axis=-1), clusters)


def _ratio(sums: Array) -> Array:
    return np.asarray(sums[..., 0] / sums[..., 1])
