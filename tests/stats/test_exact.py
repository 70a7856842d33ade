"""Shares, seeds and answer pairs against published tables and second derivations."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats as oracle

from gnomon.errors import UsageError
from gnomon.stats import clopper_pearson, coverage, jeffreys, mcnemar, t_interval, wilson

COUNTS = [(0, 10), (1, 10), (5, 10), (10, 10), (7, 263), (81, 263)]


@pytest.mark.parametrize(("successes", "n"), COUNTS)
@pytest.mark.parametrize("level", [0.9, 0.95])
def test_shares_against_scipy(successes, n, level) -> None:
    test = oracle.binomtest(successes, n)
    for ours, method in ((clopper_pearson, "exact"), (wilson, "wilson")):
        found, expected = ours(successes, n, level=level), test.proportion_ci(level, method=method)
        assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=1e-12)
        assert found.estimate == successes / n
    found = jeffreys(successes, n, level=level)
    low, high = oracle.beta(successes + 0.5, n - successes + 0.5).interval(level)
    assert found.low == pytest.approx(low if successes else 0.0)
    assert found.high == pytest.approx(high if successes < n else 1.0)


def test_nothing_in_ten_may_still_be_three_in_ten() -> None:
    found = clopper_pearson(0, 10)
    assert (found.low, round(found.high, 4)) == (0.0, 0.3085)  # 1 - 0.025 ** (1 / 10)


@pytest.mark.parametrize("share", [0.02, 0.1, 0.37, 0.5])
def test_clopper_pearson_covers_at_least_its_level(share) -> None:
    n = 30
    weights = oracle.binom(n, share).pmf(np.arange(n + 1))
    found = [clopper_pearson(k, n) for k in range(n + 1)]
    assert sum(w for w, one in zip(weights, found, strict=True) if one.low <= share <= one.high) >= 0.95


@pytest.mark.parametrize("interval", [clopper_pearson, jeffreys, wilson])
def test_no_trials_and_impossible_counts(interval) -> None:
    assert interval(0, 0).missing
    for successes, n in ((3, 2), (-1, 2)):
        with pytest.raises(UsageError, match="successes in 2 trials"):
            interval(successes, n)


def test_t_interval_over_seeds() -> None:
    found = t_interval([30.0, 34.0, 41.0])
    # mean 35, standard deviation 5.568, t(2, 0.975) = 4.303
    assert (found.estimate, found.n, found.unit) == (35.0, 3, "seeds")
    assert (found.low, found.high) == pytest.approx((21.169, 48.831), abs=1e-3)
    one = t_interval([30.0, math.nan])
    assert (one.estimate, one.n) == (30.0, 1)
    assert math.isnan(one.low)
    assert t_interval([]).missing


def test_mcnemar_by_hand() -> None:
    assert mcnemar(5, 0) == pytest.approx(2 / 32)
    assert mcnemar(1, 3) == pytest.approx(2 * 5 / 16)
    assert mcnemar(4, 4) == 1
    assert mcnemar(0, 0) == 1
    with pytest.raises(UsageError, match="negative"):
        mcnemar(-1, 2)


@given(st.integers(0, 60), st.integers(0, 60))
def test_mcnemar_against_the_binomial_test(first, second) -> None:
    expected = oracle.binomtest(first, first + second).pvalue if first + second else 1.0
    assert mcnemar(first, second) == mcnemar(second, first) == pytest.approx(expected)


def test_coverage_counts_intervals_that_contain_the_truth() -> None:
    low, high = np.array([0.0, 1.0, 1.2, np.nan]), np.array([0.9, 2.0, 2.0, np.nan])
    found = coverage(low, high, 1.0)
    assert (found.estimate, found.n, found.unit) == (0.25, 4, "simulations")
