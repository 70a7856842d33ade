"""Intervals and tests that need no resampling: shares, seeds, answer pairs, coverage. Knows nothing of models."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from gnomon.errors import UsageError
from gnomon.stats.intervals import Interval


def clopper_pearson(successes: int, n: int, *, unit: str = "trials", level: float = 0.95) -> Interval:
    """The exact interval of a share (Clopper & Pearson 1934): covers at least `level`, whatever the share.

    Raises:
        UsageError: there are not between 0 and `n` successes.
    """
    from scipy.special import betaincinv

    if _empty(successes, n):
        return Interval.nothing(n, unit, level)
    tail = (1 - level) / 2
    low = betaincinv(successes, n - successes + 1, tail) if successes > 0 else 0.0
    high = betaincinv(successes + 1, n - successes, 1 - tail) if successes < n else 1.0
    return Interval(successes / n, float(low), float(high), n, unit, level)


def jeffreys(successes: int, n: int, *, unit: str = "trials", level: float = 0.95) -> Interval:
    """The Jeffreys interval of a share, Beta(s + 1/2, f + 1/2): covers `level` on average, not at every share.

    Its end is 0 without successes and 1 without failures (Brown, Cai & DasGupta 2001).

    Raises:
        UsageError: there are not between 0 and `n` successes.
    """
    from scipy.special import betaincinv

    if _empty(successes, n):
        return Interval.nothing(n, unit, level)
    tail, a, b = (1 - level) / 2, successes + 0.5, n - successes + 0.5
    low = betaincinv(a, b, tail) if successes > 0 else 0.0
    high = betaincinv(a, b, 1 - tail) if successes < n else 1.0
    return Interval(successes / n, float(low), float(high), n, unit, level)


def wilson(successes: int, n: int, *, unit: str = "trials", level: float = 0.95) -> Interval:
    """The score interval of a share (Wilson 1927).

    Raises:
        UsageError: there are not between 0 and `n` successes.
    """
    from scipy.special import ndtri

    if _empty(successes, n):
        return Interval.nothing(n, unit, level)
    z, share = float(ndtri((1 + level) / 2)), successes / n
    middle = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return Interval(share, max(0.0, middle - half), min(1.0, middle + half), n, unit, level)


def t_interval(values: Sequence[float], *, unit: str = "seeds", level: float = 0.95) -> Interval:
    """Mean and t interval of independent values, such as one score per seed; missing values are left out.

    One value has no interval; a bootstrap of five would be far too narrow.
    """
    from scipy.special import stdtrit

    seen = np.asarray([value for value in values if not math.isnan(value)], dtype=float)
    n = len(seen)
    if n == 0:
        return Interval.nothing(0, unit, level)
    mean = float(seen.mean())
    if n == 1:
        return Interval(mean, math.nan, math.nan, 1, unit, level)
    half = float(stdtrit(n - 1, (1 + level) / 2) * seen.std(ddof=1) / math.sqrt(n))
    return Interval(mean, mean - half, mean + half, n, unit, level)


def mcnemar(first_only: int, second_only: int) -> float:
    """Exact two-sided p that two answers to the same questions are right equally often (McNemar 1947).

    Args:
        first_only: questions that only the first answered rightly.
        second_only: questions that only the second answered rightly.

    Raises:
        UsageError: a count is negative.
    """
    from scipy.special import bdtr

    if min(first_only, second_only) < 0:
        raise UsageError("McNemar's test counts questions: give two numbers that are not negative")
    n = first_only + second_only
    return 1.0 if n == 0 else min(1.0, 2 * float(bdtr(min(first_only, second_only), n, 0.5)))


def coverage(
    low: Float[np.ndarray, "simulation"], high: Float[np.ndarray, "simulation"], truth: float
) -> Interval:
    """The share of simulated intervals that contain the truth, with its own exact interval.

    A missing interval (NaN) contains nothing. The truth may miss an end by rounding (one part in a billion).
    """
    slack = 1e-9 * (1 + abs(truth))
    inside = (low - slack <= truth) & (truth <= high + slack)
    return clopper_pearson(int(inside.sum()), len(inside), unit="simulations")


def _empty(successes: int, n: int) -> bool:
    if not 0 <= successes <= n:
        raise UsageError(f"there cannot be {successes} successes in {n} trials")
    return n == 0
