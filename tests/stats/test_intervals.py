"""The form of every headline number."""

import json
import math

import pytest

from gnomon.stats import Interval


@pytest.mark.parametrize(
    ("numbers", "words"),
    [
        ((38, 29, 46), "+38 [29, 46], n = 200 dilemmas"),
        ((38.4, 35.1, 41.7), "+38.4 [35.1, 41.7], n = 200 dilemmas"),
        ((-3.2, -10.4, 4.4), "−3 [−10, 4], n = 200 dilemmas"),
        ((0.251, 0.21, 0.29), "+0.251 [0.210, 0.290], n = 200 dilemmas"),
        ((0.2, -20, 20), "0 [−20, 20], n = 200 dilemmas"),
        ((0, 0, 0), "0.0 [0.0, 0.0], n = 200 dilemmas"),
        ((12, math.nan, math.nan), "+12.0 (no interval), n = 200 dilemmas"),
        ((math.nan,) * 3, "not measured, n = 200 dilemmas"),
    ],
)
def test_in_words(numbers, words) -> None:
    assert str(Interval(*numbers, n=200, unit="dilemmas")) == words


def test_large_samples_are_counted_in_thousands() -> None:
    assert str(Interval(1, 0, 20, n=12_345, unit="rows")).endswith("n = 12,345 rows")


@pytest.mark.parametrize("numbers", [(38.5, 29.0, 46.0), (1.0, math.nan, math.nan), (math.nan,) * 3])
def test_json_and_back(numbers) -> None:
    interval = Interval(*numbers, n=7, unit="seeds", level=0.9)
    again = Interval.from_dict(json.loads(json.dumps(interval.to_dict(), allow_nan=False)))
    assert str(again) == str(interval)
    assert (again.n, again.unit, again.level) == (7, "seeds", 0.9)
    assert again.missing == interval.missing


def test_what_is_missing_is_not_zero() -> None:
    nothing = Interval.nothing(12, "dilemmas")
    assert nothing.missing
    assert math.isnan(nothing.estimate)
    assert nothing.n == 12
