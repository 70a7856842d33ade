"""Bootstrap by cluster, for statistics that are functions of summed counts; knows nothing of models.

The rows of one cluster (a dilemma, a game) are drawn together or not at all. Where the rows come from several independent
samples (target questions and control questions), each is a stratum: it is resampled for itself and keeps its size.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Shaped
from numpy.typing import ArrayLike, NDArray

from gnomon.errors import UsageError
from gnomon.stats.intervals import Interval

Array = NDArray[np.float64]
Statistic = Callable[..., Array]
"""Sums `[..., count]`, one array per stratum -> the statistic `[...]`; NaN where it is not defined."""

UNDEFINED = 0.05
"""An interval is missing where the statistic is undefined in more than this share of the resamples."""


@dataclass(frozen=True)
class Bootstrap:
    """A statistic with its resamples. Trailing axes `...` hold independent data sets (simulations), if there are any.

    Attributes:
        estimate: `[...]`, the statistic of the sample.
        resampled: `[resample, ...]`.
        left_out: one array per stratum, `[cluster, ...]`: the statistic without each cluster in turn.
    """

    estimate: Float[np.ndarray, "..."]
    resampled: Float[np.ndarray, "resample ..."]
    left_out: tuple[Float[np.ndarray, "cluster ..."], ...]

    def __sub__(self, other: Bootstrap) -> Bootstrap:
        """The difference, paired by cluster: both sides come from the same clusters, resamples and seed."""
        return Bootstrap(
            self.estimate - other.estimate,
            self.resampled - other.resampled,
            tuple(a - b for a, b in zip(self.left_out, other.left_out, strict=True)),
        )

    @property
    def standard_error(self) -> Array:
        """`[...]`, the standard deviation of the resamples."""
        return np.asarray(np.nanstd(self.resampled, axis=0, ddof=1))

    def percentile(self, level: float = 0.95) -> tuple[Array, Array]:
        """Ends `[...]` of the percentile interval, widened for few clusters.

        The widening replaces the normal by the t quantile and divides by n - 1 instead of n (Hesterberg 2015, What
        Teachers Should Know About the Bootstrap, section 5.3).
        """
        from scipy.special import ndtr

        reach = self._spread().reach(level)
        return self._quantile(ndtr(-reach)), self._quantile(ndtr(reach))

    def bca(self, level: float = 0.95) -> tuple[Array, Array]:
        """Ends `[...]` of the bias-corrected and accelerated interval (Efron 1987), widened as `percentile`."""
        from scipy.special import ndtr, ndtri

        spread = self._spread()
        reach, bias = spread.reach(level), ndtri(self._share_below(self.estimate))
        low, high = (ndtr(bias + (bias + z) / (1 - spread.skew * (bias + z))) for z in (-reach, reach))
        return self._quantile(low), self._quantile(high)

    def p_above(self, value: float = 0.0) -> Array:
        """One-sided p `[...]` of "the statistic is at most `value`": the level at which the BCa interval ends there."""
        return self._p(value, sign=1)

    def p_below(self, value: float = 0.0) -> Array:
        """One-sided p `[...]` of "the statistic is at least `value`"."""
        return self._p(value, sign=-1)

    def _p(self, value: float, sign: int) -> Array:
        from scipy.special import ndtri, stdtr

        spread = self._spread()
        bias = ndtri(self._share_below(self.estimate))
        gap = ndtri(self._share_below(value)) - bias
        z = gap / (1 + spread.skew * gap) - bias
        p = stdtr(spread.freedom, sign * z * np.sqrt(spread.freedom / (spread.freedom + 1)))
        return np.where(self._defined(), p, np.nan)

    def _spread(self) -> _Spread:
        """What leaving out one cluster at a time says: the clusters' influence, over all strata."""
        cubes = squares = parts = np.zeros_like(self.estimate)
        for left in self.left_out:
            n = len(left)
            with np.errstate(invalid="ignore"):
                influence = np.nan_to_num((n - 1) / n * (np.nanmean(left, axis=0) - left))
            variance = (influence**2).sum(0)
            cubes, squares = cubes + (influence**3).sum(0), squares + variance
            parts = parts + variance**2 / max(n - 1, 1)
        moves = squares > 0
        skew = cubes / np.where(moves, 6 * squares**1.5, 1.0)
        most = float(max(len(left) for left in self.left_out))
        freedom = np.where(moves, squares**2 / np.where(moves, parts, 1.0), most)
        return _Spread(skew, freedom)

    def _share_below(self, value: Array | float) -> Array:
        """Share of the resamples below a value, ties half; never 0 or 1."""
        band = 1e-9 * (1 + np.abs(value))
        defined = np.isfinite(self.resampled).sum(0)
        below = (self.resampled < value - band).sum(0)
        tied = (np.abs(self.resampled - value) <= band).sum(0)
        return np.asarray((below + tied / 2 + 0.5) / (defined + 1))

    def _quantile(self, share: Array) -> Array:
        """Quantiles `[...]` of the resamples, one share per data set; undefined resamples are left out."""
        ordered = np.sort(self.resampled, axis=0)  # NaN last
        defined = np.isfinite(self.resampled).sum(0)
        last = np.maximum(defined - 1, 0)
        place = np.clip((defined + 1) * share - 1, 0, last)
        below = np.floor(place).astype(np.int64)
        above = np.minimum(below + 1, last)
        low, high = (np.take_along_axis(ordered, at[None], axis=0)[0] for at in (below, above))
        return np.where(self._defined(), low + (place - below) * (high - low), np.nan)

    def _defined(self) -> NDArray[np.bool_]:
        """Whether there is a statistic, in the sample and in nearly all resamples; one cluster cannot vary."""
        share = np.isfinite(self.resampled).mean(0)
        varies = all(len(left) > 1 for left in self.left_out)
        return np.asarray(np.isfinite(self.estimate) & (share >= 1 - UNDEFINED) & varies)


@dataclass(frozen=True)
class _Spread:
    """Skew of the clusters' influence (Davison & Hinkley 1997, eq. 5.24), degrees of freedom (Welch-Satterthwaite)."""

    skew: Array
    freedom: Array

    def reach(self, level: float) -> Array:
        """Half-width `[...]` of the interval in standard errors of the resamples."""
        from scipy.special import stdtrit

        return np.asarray(stdtrit(self.freedom, (1 + level) / 2) * np.sqrt((self.freedom + 1) / self.freedom))


def cluster_sums(
    values: Shaped[np.ndarray, "row count"], clusters: ArrayLike
) -> Float[np.ndarray, "cluster count"]:
    """Sum the rows of each cluster; clusters are in the order of their sorted names.

    Raises:
        UsageError: there is not one cluster name per row.
    """
    names = np.asarray(clusters)
    if names.shape != (len(values),):
        raise UsageError(f"there are {len(values)} rows and {names.size} cluster names: give one per row")
    found, place = np.unique(names, return_inverse=True)
    sums = np.zeros((len(found), values.shape[1]))
    np.add.at(sums, place, values)
    return sums


def cluster_weights(n: int, resamples: int, rng: np.random.Generator) -> Float[np.ndarray, "resample n"]:
    """How often each of `n` clusters is drawn in each resample of `n` draws with replacement."""
    drawn = rng.integers(0, n, size=(resamples, n))
    drawn += n * np.arange(resamples)[:, None]
    return np.bincount(drawn.ravel(), minlength=resamples * n).reshape(resamples, n).astype(np.float64)


def bootstrap(
    strata: Sequence[Float[np.ndarray, "... cluster count"]],
    statistic: Statistic,
    *,
    resamples: int = 2000,
    seed: int = 0,
) -> Bootstrap:
    """Resample the clusters of every stratum. The same seed and sizes draw the same clusters: differences pair.

    Args:
        strata: counts summed by cluster; leading axes hold independent data sets, drawn alike.
        statistic: function of the summed counts of each stratum, vectorised over leading axes.
        resamples: how many.
        seed: of the draws.

    Raises:
        UsageError: a stratum has no cluster.
    """
    if any(counts.shape[-2] == 0 for counts in strata):
        raise UsageError("there is nothing to resample: a sample has no cluster")
    rng = np.random.default_rng(seed)
    totals = [counts.sum(-2) for counts in strata]
    drawn = [
        np.tensordot(cluster_weights(counts.shape[-2], resamples, rng), counts, axes=(1, counts.ndim - 2))
        for counts in strata
    ]
    with np.errstate(divide="ignore", invalid="ignore"):
        left_out = tuple(
            statistic(*totals[:i], totals[i] - np.moveaxis(counts, -2, 0), *totals[i + 1 :])
            for i, counts in enumerate(strata)
        )
        return Bootstrap(np.asarray(statistic(*totals)), statistic(*drawn), left_out)


def mean_of(drawn: Sequence[Bootstrap]) -> Bootstrap:
    """The mean of statistics of the same clusters, drawn with the same seed (one per training seed, say)."""
    return Bootstrap(
        np.mean([one.estimate for one in drawn], axis=0),
        np.mean([one.resampled for one in drawn], axis=0),
        tuple(np.mean(lefts, axis=0) for lefts in zip(*(one.left_out for one in drawn), strict=True)),
    )


def cluster_mean(
    values: ArrayLike, clusters: ArrayLike, *, unit: str = "clusters", level: float = 0.95, **draws: int
) -> Interval:
    """The mean over rows with its BCa interval by cluster. `draws`: `resamples`, `seed`."""
    sums = _counted(np.asarray(values, dtype=float), clusters)
    drawn = bootstrap([sums], _ratio, **draws)
    return interval(drawn, n=len(sums), unit=unit, level=level)


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
    drawn = bootstrap([sums], _ratio, **draws)
    greater, less = float(drawn.p_above()), float(drawn.p_below())
    return Paired(
        interval(drawn, n=len(sums), unit=unit, level=level), min(1.0, 2 * min(greater, less)), greater
    )


def interval(drawn: Bootstrap, *, n: int, unit: str, level: float = 0.95) -> Interval:
    """The BCa interval of one bootstrapped number; without ends where fewer than two clusters were sampled."""
    low, high = drawn.bca(level)
    return Interval(float(drawn.estimate), float(low), float(high), n, unit, level)


def _counted(values: Float[np.ndarray, "row"], clusters: ArrayLike) -> Float[np.ndarray, "cluster 2"]:
    return cluster_sums(np.stack([values, np.ones_like(values)], axis=-1), clusters)


def _ratio(sums: Array) -> Array:
    return np.asarray(sums[..., 0] / sums[..., 1])
