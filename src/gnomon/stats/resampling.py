"""Bootstrap by cluster, for statistics that are functions of summed counts; knows nothing of models.

The rows of one cluster (a dilemma, a game) are drawn together or not at all. Where the rows come from several independent
samples (target questions and control questions), each is a stratum: it is resampled for itself and keeps its size.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Shaped
from numpy.typing import ArrayLike, NDArray

from gnomon.errors import UsageError

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

    @property
    def percentile(self) -> Limits:
        """Percentile limits: for statistics with a symmetric distribution, such as differences."""
        _, freedom = self._spread()
        zero = np.zeros_like(self.estimate)
        return Limits(self, zero, zero, freedom)

    @property
    def bca(self) -> Limits:
        """Bias-corrected and accelerated limits (Efron 1987): for statistics with a skewed distribution."""
        from scipy.special import ndtri

        skew, freedom = self._spread()
        return Limits(self, ndtri(self.share_below(self.estimate)), skew, freedom)

    def _spread(self) -> tuple[Array, Array]:
        """From leaving out one cluster at a time, over all strata: the acceleration and the degrees of freedom.

        Acceleration: Davison & Hinkley 1997, equation 5.24. Degrees of freedom: Welch-Satterthwaite.
        """
        cubes = squares = parts = np.zeros_like(self.estimate)
        for left in self.left_out:
            n = len(left)
            seen = np.isfinite(left)
            mean = np.where(seen, left, 0.0).sum(0) / np.maximum(seen.sum(0), 1)
            influence = np.where(seen, (n - 1) / n * (mean - left), 0.0)
            variance = (influence**2).sum(0)
            cubes, squares = cubes + (influence**3).sum(0), squares + variance
            parts = parts + variance**2 / max(n - 1, 1)
        moves = squares > 0
        skew = cubes / np.where(moves, 6 * squares**1.5, 1.0)
        most = float(max(len(left) for left in self.left_out))
        return skew, np.where(moves, squares**2 / np.where(moves, parts, 1.0), most)

    def share_below(self, value: Array | float) -> Array:
        """Share of the resamples below a value, ties half; never 0 or 1."""
        band = 1e-9 * (1 + np.abs(value))
        defined = np.isfinite(self.resampled).sum(0)
        below = (self.resampled < value - band).sum(0)
        tied = (np.abs(self.resampled - value) <= band).sum(0)
        return np.asarray((below + tied / 2 + 0.5) / (defined + 1))

    def quantile(self, share: Array) -> Array:
        """Quantiles `[...]` of the resamples, one share per data set; undefined resamples are left out."""
        ordered = np.sort(self.resampled, axis=0)  # NaN last
        defined = np.isfinite(self.resampled).sum(0)
        last = np.maximum(defined - 1, 0)
        place = np.clip((defined + 1) * share - 1, 0, last)
        below = np.floor(place).astype(np.int64)
        above = np.minimum(below + 1, last)
        low, high = (np.take_along_axis(ordered, at[None], axis=0)[0] for at in (below, above))
        return np.where(self.defined(), low + (place - below) * (high - low), np.nan)

    def defined(self) -> NDArray[np.bool_]:
        """Whether there is a statistic, in the sample and in nearly all resamples; one cluster cannot vary."""
        share = np.isfinite(self.resampled).mean(0)
        varies = all(len(left) > 1 for left in self.left_out)
        return np.asarray(np.isfinite(self.estimate) & (share >= 1 - UNDEFINED) & varies)


@dataclass(frozen=True)
class Limits:
    """How far a bootstrapped statistic may be from the truth: interval ends, and the p-values that agree with them.

    All limits are widened for few clusters: the t quantile instead of the normal, n - 1 instead of n (Hesterberg 2015, What
    Teachers Should Know About the Bootstrap, section 5.3).

    Attributes:
        drawn: the resamples.
        bias: `[...]`, bias correction, in standard errors; 0 for percentile limits.
        skew: `[...]`, acceleration; 0 for percentile limits.
        freedom: `[...]`, degrees of freedom of the standard error.
    """

    drawn: Bootstrap
    bias: Array
    skew: Array
    freedom: Array

    def interval(self, level: float = 0.95) -> tuple[Array, Array]:
        """Low and high end, `[...]`; NaN where there is no statistic."""
        from scipy.special import ndtr, stdtrit

        reach = stdtrit(self.freedom, (1 + level) / 2) * np.sqrt((self.freedom + 1) / self.freedom)
        shifts = (self.bias - reach, self.bias + reach)
        low, high = (ndtr(self.bias + shift / (1 - self.skew * shift)) for shift in shifts)
        return self.drawn.quantile(low), self.drawn.quantile(high)

    def p_above(self, value: float = 0.0) -> Array:
        """One-sided p `[...]` of "the statistic is at most `value`": the level at which an interval ends there."""
        return self._p(value, sign=1)

    def p_below(self, value: float = 0.0) -> Array:
        """One-sided p `[...]` of "the statistic is at least `value`"."""
        return self._p(value, sign=-1)

    def _p(self, value: float, sign: int) -> Array:
        from scipy.special import ndtri, stdtr

        gap = ndtri(self.drawn.share_below(value)) - self.bias
        z = gap / (1 + self.skew * gap) - self.bias
        p = stdtr(self.freedom, sign * z * np.sqrt(self.freedom / (self.freedom + 1)))
        return np.where(self.drawn.defined(), p, np.nan)


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
