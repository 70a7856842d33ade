"""Holm's correction by hand, and what it promises."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gnomon.stats import holm


def test_by_hand() -> None:
    # sorted 0.01 * 4, 0.02 * 3, 0.04 * 2 (raised to 0.08), 0.05 * 1 (raised to the one before it)
    assert holm([0.04, 0.01, 0.05, 0.02]) == pytest.approx([0.08, 0.04, 0.08, 0.06])


def test_missing_values_stay_missing_and_do_not_count() -> None:
    assert holm([0.02, np.nan, 0.03]) == pytest.approx([0.04, np.nan, 0.04], nan_ok=True)
    assert np.isnan(holm([np.nan])).all()
    assert len(holm([])) == 0


@given(st.lists(st.floats(0, 1), min_size=1, max_size=20), st.randoms())
def test_order_and_bounds(p, random) -> None:
    found = holm(p)
    assert (found >= np.array(p)).all()
    assert (found <= 1).all()
    assert (found <= np.minimum(1, len(p) * np.array(p)) + 1e-12).all()
    places = list(range(len(p)))
    random.shuffle(places)
    assert holm([p[i] for i in places]) == pytest.approx(found[places])


def test_false_alarms_in_a_table_of_nothing() -> None:
    random = np.random.default_rng(0)
    alarms = [holm(random.random(8)).min() < 0.05 for _ in range(4000)]
    assert 0.035 < np.mean(alarms) < 0.06
