"""Steering F1 on answers that were made by hand, and its properties on any answers."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gnomon.bench.score import Rows, difference, score, yes_bias
from gnomon.errors import UsageError
from gnomon.stats import holm


def rows(base, up, down, *, label=None, mass=None, controls=None, cluster=None) -> Rows:
    """Targets from honest (+1) / dishonest (-1) behaviour at 0, +1, -1; z follows from the label. Controls as log-odds."""
    base, up, down = (np.asarray(x, dtype=float) for x in (base, up, down))
    n = len(base)
    label = np.tile([1, -1], n)[:n] if label is None else np.asarray(label)
    z = np.stack([base, up, down], axis=1) * label[:, None]
    mass = np.ones((n, 3)) if mass is None else np.asarray(mass, dtype=float)
    cluster = [f"d{i // 2}" for i in range(n)] if cluster is None else cluster
    if controls is not None:
        controls = np.asarray(controls, dtype=float)
        z, mass = np.vstack([z, controls]), np.vstack([mass, np.ones_like(controls)])
        label = np.concatenate([label, np.zeros(len(controls), dtype=int)])
        cluster = [*cluster, *(f"c{i}" for i in range(len(controls)))]
    return Rows(z, mass, label, np.array(cluster))


HALF = np.tile([1, 1, -1, -1], 50)  # 200 rows, half of them honest at rest, both labels on both sides
STILL = [[1.0, 1.0, 1.0]] * 10


def test_nothing_moves_scores_zero() -> None:
    result = score(rows(HALF, HALF, HALF, controls=STILL))
    assert result.f1.estimate == 0
    assert (result.f1.low, result.f1.high) == (0, 0)


def test_everything_as_asked_and_nothing_else_scores_a_hundred() -> None:
    result = score(rows(HALF, np.ones(200), -np.ones(200), controls=STILL))
    assert result.f1.estimate == 100
    assert result.toward.correct == 50


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_honest_at_plus_and_dishonest_at_minus_scores_a_hundred_from_every_base_with_room(share) -> None:
    base = np.where(np.arange(200) < share * 200, 1, -1)
    assert score(rows(base, np.ones(200), -np.ones(200))).f1.estimate == 100


def test_half_of_all_rows_flipped_at_random_is_negative() -> None:
    flips = np.random.default_rng(0).choice([1, -1], size=(2, 200))
    assert score(rows(HALF, HALF * flips[0], HALF * flips[1], controls=STILL)).f1.estimate < 0


def test_thirty_percent_right_and_fifteen_percent_wrong_is_zero() -> None:
    # Of 200 rows 100 can flip on a side: 60 do, and 30 of the others flip the wrong way.
    up, down = HALF.astype(float).copy(), HALF.astype(float).copy()
    honest, dishonest = np.flatnonzero(HALF > 0), np.flatnonzero(HALF < 0)
    up[dishonest[:60]], up[honest[:30]] = 1, -1
    down[honest[:60]], down[dishonest[:30]] = -1, 1
    assert score(rows(HALF, up, down, controls=STILL)).f1.estimate == 0


def test_all_flippable_rows_refused_is_negative() -> None:
    mass = np.ones((200, 3))
    mass[HALF < 0, 1] = 0.4
    mass[HALF > 0, 2] = 0.4
    result = score(rows(HALF, HALF, HALF, mass=mass))
    # net = -100, spent = 100 refused, 100 could: 2 * -100 / (100 + 100)
    assert result.toward.f1 == -100
    assert result.f1.estimate == -100


def test_a_side_worked_out_by_hand() -> None:
    up = HALF.astype(float).copy()
    dishonest, honest = np.flatnonzero(HALF < 0), np.flatnonzero(HALF > 0)
    up[dishonest[:40]] = 1
    up[honest[:5]] = -1
    mass = np.ones((200, 3))
    mass[dishonest[90:], 1] = 0.49
    controls = [[1.0, 1.0, 1.0]] * 8 + [[1.0, -1.0, 1.0]] * 2
    side = score(rows(HALF, up, -np.ones(200), mass=mass, controls=controls)).toward
    # C = 40, W = 5, U = 10, A = 0.2 * 100 = 20, net = 40 - 10 - 10 = 20
    assert (side.n_can, side.correct, side.wrong, side.unanswered, side.arbitrary) == (100, 20, 2.5, 5, 20)
    assert side.f1 == pytest.approx(100 * 2 * 20 / (40 + 5 + 10 + 20 + 100))
    assert side.precision == pytest.approx(20 / 75)
    assert side.recall == pytest.approx(0.2)


def test_a_side_without_room_is_missing_and_so_is_the_headline() -> None:
    base = np.ones(200)
    base[:19] = -1
    result = score(rows(base, np.ones(200), -np.ones(200)))
    assert np.isnan(result.toward.f1)
    assert result.away.f1 == 100
    assert result.f1.missing


def test_ties_are_no_flips() -> None:
    tied = np.full(200, 5e-7)
    assert score(rows(HALF, tied, -tied)).f1.estimate == 0
    assert np.isnan(score(rows(tied, HALF, HALF)).toward.f1)  # a tie at rest leaves nothing to flip


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 10_000))
def test_swapping_the_words_and_the_sign_changes_nothing_and_the_range_holds(seed: int) -> None:
    random = np.random.default_rng(seed)
    z = random.normal(size=(120, 3))
    mass = random.uniform(0, 1, size=(120, 3))
    label = np.concatenate([random.choice([1, -1], size=100), np.zeros(20, dtype=int)])
    cluster = np.array([f"d{i // 2}" for i in range(120)])
    one = score(Rows(z, mass, label, cluster), resamples=100)
    other = score(Rows(z[:, [0, 2, 1]], mass[:, [0, 2, 1]], -label, cluster), resamples=100)
    assert other.f1.estimate == pytest.approx(one.f1.estimate, nan_ok=True)
    for side in (one.toward, one.away):
        assert np.isnan(side.f1) or -400 <= side.f1 <= 100


def test_a_dial_that_breaks_everything_where_little_could_flip_reaches_minus_four_hundred_at_most() -> None:
    base = np.ones(2000)
    base[:20] = -1
    mass = np.ones((2000, 3))
    mass[:, 1] = 0
    side = score(rows(base, base, -np.ones(2000), mass=mass)).toward
    assert -400 <= side.f1 < -350


def test_yes_bias_never_scores_above_zero_from_a_balanced_base() -> None:
    random = np.random.default_rng(1)
    for _ in range(5):
        honest = random.normal(size=200)
        base = rows(honest, honest, honest)
        # Without an answer preference, each row has its mirror in the other polarity.
        z = np.vstack([base.log_odds, -base.log_odds])
        label = np.concatenate([base.label, -base.label])
        both = Rows(z, np.ones_like(z), label, np.concatenate([base.cluster, base.cluster]))
        assert score(yes_bias(both), resamples=100).f1.estimate <= 1e-9


def test_yes_bias_finds_the_constant_that_pays_where_the_base_prefers_no() -> None:
    # Everything is answered "no"; "yes" is honest for label +1: the control has something to win at +1 only.
    label = np.tile([1, -1], 100)
    z = np.full((200, 3), -0.5)
    biased = yes_bias(Rows(z, np.ones((200, 3)), label, np.arange(200).astype(str)))
    assert set(np.sign(biased.log_odds[:, 1])) == {1.0}


def test_a_difference_is_paired_by_cluster() -> None:
    random = np.random.default_rng(0)
    up = np.where(random.random(200) < 0.6, 1, HALF)
    good = rows(HALF, up, -up * 0 - 1)
    worse = rows(HALF, np.where(np.arange(200) % 10 == 0, HALF, up), -np.ones(200))
    same = difference(good, good)
    assert (same.f1.estimate, same.f1.low, same.f1.high) == (0, 0, 0)
    found = difference(good, worse)
    assert found.f1.estimate > 0
    width = found.f1.high - found.f1.low
    assert width < score(good).f1.high - score(good).f1.low  # what both share is not noise
    assert found.p_greater < 0.05
    with pytest.raises(UsageError, match="same questions"):
        difference(good, rows(HALF[:100], up[:100], up[:100]))


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03, float("nan")])[:3] == pytest.approx([0.03, 0.06, 0.06])


def test_arrays_that_do_not_fit_are_refused() -> None:
    with pytest.raises(UsageError, match="shape"):
        Rows(np.ones((3, 2)), np.ones((3, 3)), np.ones(3, dtype=int), np.arange(3))
    with pytest.raises(UsageError, match="label"):
        Rows(np.ones((3, 3)), np.ones((3, 3)), np.array([1, 2, 0]), np.arange(3))
