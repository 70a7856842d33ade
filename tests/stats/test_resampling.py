"""The clustered bootstrap against scipy, formulas, and the truth of simulated samples."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats as oracle

from gnomon.errors import UsageError
from gnomon.stats import bootstrap, cluster_mean, cluster_sums, coverage, holm, mean_of, paired_difference


def ratio(sums):
    return sums[..., 0] / sums[..., 1]


def pairs(values) -> np.ndarray:
    """Counts of one-row clusters: `[..., cluster, (value, 1)]`."""
    return np.stack([values, np.ones_like(values)], axis=-1)


def test_sums_by_cluster() -> None:
    found = cluster_sums(np.array([[1, 10], [2, 20], [3, 30]]), ["b", "a", "b"])
    assert found.tolist() == [[2, 20], [4, 40]]
    with pytest.raises(UsageError, match="one per row"):
        cluster_sums(np.ones((3, 1)), ["a", "b"])


def test_every_resample_draws_as_many_clusters_as_there_are() -> None:
    counts = np.column_stack([np.arange(7.0), np.ones(7)])
    drawn = bootstrap([counts], lambda sums: sums[..., 1], resamples=50)
    assert (drawn.resampled == 7).all()
    drawn = bootstrap([counts], lambda sums: sums[..., 0], resamples=20_000)
    assert drawn.resampled.mean() == pytest.approx(21, abs=0.2)
    assert drawn.resampled.std() == pytest.approx(math.sqrt(7 * 4), rel=0.02)  # 7 draws of variance 4


def test_bca_against_scipy_on_a_skewed_sample() -> None:
    values = np.random.default_rng(1).lognormal(size=200)
    expected = oracle.bootstrap(
        (values,), np.mean, n_resamples=20_000, method="BCa", random_state=np.random.default_rng(2), batch=500
    ).confidence_interval
    found = cluster_mean(values, np.arange(200), resamples=20_000)
    assert found.low == pytest.approx(expected.low, abs=0.02)
    assert found.high == pytest.approx(expected.high, abs=0.03)
    assert found.high - found.estimate > 1.15 * (found.estimate - found.low)


def test_few_clusters_widen_the_limits_as_the_t_interval_does() -> None:
    values = oracle.norm.ppf((np.arange(12) + 0.5) / 12)
    low, high = bootstrap([pairs(values)], ratio, resamples=40_000).percentile.interval()
    half = oracle.t(11).ppf(0.975) * values.std(ddof=1) / math.sqrt(12)
    assert high == pytest.approx(half, rel=0.05)
    assert low == pytest.approx(-half, rel=0.05)


def test_rows_of_one_cluster_are_no_new_evidence() -> None:
    values = np.random.default_rng(0).normal(size=40)
    once = cluster_mean(values, np.arange(40))
    often = cluster_mean(np.repeat(values, 9), np.repeat(np.arange(40), 9))
    assert (often.low, often.high, often.n) == (
        pytest.approx(once.low),
        pytest.approx(once.high),
        40,
    )
    naive = cluster_mean(np.repeat(values, 9), np.arange(360))
    assert naive.high - naive.low < 0.4 * (once.high - once.low)


def test_strata_are_resampled_for_themselves() -> None:
    random = np.random.default_rng(0)
    first, second = random.normal(size=80), 2 * random.normal(size=30)
    drawn = bootstrap([pairs(first), pairs(second)], lambda a, b: ratio(a) - ratio(b), resamples=8000)
    assert drawn.standard_error == pytest.approx(math.sqrt(first.var() / 80 + second.var() / 30), rel=0.03)
    welch = oracle.ttest_ind(first, second, equal_var=False)
    assert drawn.percentile.freedom == pytest.approx(welch.df, rel=0.05)
    assert 2 * min(drawn.percentile.p_above(), drawn.percentile.p_below()) == pytest.approx(
        welch.pvalue, abs=0.03
    )


def test_the_same_seed_draws_the_same_clusters_so_differences_pair() -> None:
    random = np.random.default_rng(0)
    common = random.normal(size=100)
    first, second = pairs(common + 0.1 * random.normal(size=100)), pairs(common)
    a, b = bootstrap([first], ratio), bootstrap([second], ratio)
    gap = a - b
    assert gap.standard_error < 0.2 * a.standard_error
    assert (bootstrap([first], ratio).resampled == a.resampled).all()
    assert (bootstrap([first], ratio, seed=1).resampled != a.resampled).any()
    assert mean_of([a, b]).estimate == pytest.approx((a.estimate + b.estimate) / 2)


@pytest.mark.parametrize("shape", ["normal", "skewed"])
def test_coverage_of_both_limits_for_means(shape) -> None:
    random = np.random.default_rng(3)
    values = random.normal(size=(2000, 60)) if shape == "normal" else random.gamma(4, size=(2000, 60)) - 4
    drawn = bootstrap([pairs(values)], ratio, resamples=1000)
    for limits in (drawn.percentile, drawn.bca):
        assert 0.93 < coverage(*limits.interval(), 0.0).estimate < 0.97
    # p-values are those of the limits: an end beyond 0 and p < 0.025 are the same event
    low, high = drawn.bca.interval()
    assert ((low > 0) == (drawn.bca.p_above() < 0.025)).mean() > 0.99
    assert ((high < 0) == (drawn.bca.p_below() < 0.025)).mean() > 0.99
    assert 0.01 < np.mean(drawn.bca.p_above() < 0.025) < 0.04


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.floats(-100, 100), min_size=3, max_size=30),
    st.floats(0.01, 100),
    st.floats(-1000, 1000),
)
def test_limits_follow_scale_and_shift(values, scale, shift) -> None:
    base = np.array(values)
    one = bootstrap([pairs(base)], ratio, resamples=200)
    other = bootstrap([pairs(base * scale + shift)], ratio, resamples=200)
    slack = 1e-5 * (1 + scale * np.abs(base).max() + abs(shift))
    for end, moved in zip(one.percentile.interval(), other.percentile.interval(), strict=True):
        assert moved == pytest.approx(end * scale + shift, abs=slack)
    low, high = one.bca.interval()
    assert base.min() - 1e-9 <= low <= high <= base.max() + 1e-9


def test_a_constant_has_no_width_and_no_evidence() -> None:
    drawn = bootstrap([pairs(np.full(30, 2.0))], ratio)
    assert drawn.bca.interval() == (2.0, 2.0)
    assert drawn.bca.p_above(2.0) == pytest.approx(0.5)
    assert drawn.bca.p_above(1.0) < 0.001


def test_undefined_resamples_are_left_out_up_to_a_limit() -> None:
    def share(sums):
        return np.where(sums[..., 1] > 0, sums[..., 0] / np.maximum(sums[..., 1], 1), np.nan)

    rare = np.array([[1.0, 1.0]] + [[0.0, 0.0]] * 4)  # undefined in a third of the resamples
    assert np.isnan(bootstrap([rare], share).bca.interval()).all()
    enough = np.array([[1.0, 1.0], [0.0, 1.0]] * 4 + [[0.0, 0.0]] * 4)
    low, high = bootstrap([enough], share).bca.interval()
    assert 0 <= low < 0.5 < high <= 1


def test_one_cluster_has_no_interval_and_none_is_refused() -> None:
    one = cluster_mean([1.0, 2.0, 3.0], ["a", "a", "a"])
    assert (one.estimate, one.n) == (2.0, 1)
    assert math.isnan(one.low)
    with pytest.raises(UsageError, match="nothing to resample"):
        cluster_mean([], [])


def test_paired_difference_by_rows() -> None:
    random = np.random.default_rng(5)
    dilemma = np.repeat(np.arange(60), 2)
    hard = random.normal(size=60)[dilemma]
    first, second = hard + 0.3 + 0.3 * random.normal(size=120), hard + 0.3 * random.normal(size=120)
    found = paired_difference(first, second, dilemma, unit="dilemmas")
    assert found.interval.estimate == pytest.approx((first - second).mean())
    assert found.interval.low > 0
    assert found.p < 0.01
    assert found.p_greater == pytest.approx(found.p / 2)
    back = paired_difference(second, first, dilemma)
    assert back.p == pytest.approx(found.p, abs=0.002)
    assert back.p_greater > 0.99
    assert set(found.to_dict()) == {"interval", "p", "p_greater"}
    same = paired_difference(first, first, dilemma)
    assert (same.p, same.interval.low, same.interval.high) == (1.0, 0.0, 0.0)
    with pytest.raises(UsageError, match="same rows"):
        paired_difference(first, second[1:], dilemma)


def test_no_p_value_is_zero_so_a_table_of_twenty_can_still_be_corrected() -> None:
    values = np.random.default_rng(0).normal(size=50) + 9
    p = float(bootstrap([pairs(values)], ratio).bca.p_above())
    assert 0 < p < 0.05 / 20
    assert holm([p] * 20).max() < 0.05
