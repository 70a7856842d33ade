"""The words of tables: intervals, true minus signs, and never "nan"."""

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gnomon.errors import UsageError
from gnomon.runs import Column, interval_text, number
from gnomon.runs.columns import empty, rows, shown
from gnomon.stats import Interval


@pytest.mark.parametrize(
    ("value", "decimals", "text"),
    [
        (81.24, 1, "81.2"),
        (-3.0, 1, "−3.0"),
        (-0.04, 1, "0.0"),
        (0.0, None, "0"),
        (12345, None, "12,345"),
        (-5, None, "−5"),
        (0.25, None, "0.25"),
        (0.0000012, None, "1.20e−06"),
        (1234.5, None, "1,234"),
        (True, None, "yes"),
        (np.bool_(False), None, "no"),
        (np.float32(0.5), 2, "0.50"),
        (math.nan, 1, "not measured"),
        (np.float64("nan"), None, "not measured"),
        (None, None, "not measured"),
        (math.inf, 1, "infinite"),
        ("shift", None, "shift"),
    ],
)
def test_numbers_in_words(value: object, decimals: int | None, text: str) -> None:
    assert number(value, decimals) == text


@given(st.floats(), st.none() | st.integers(0, 6))
def test_no_number_ever_reads_nan_or_inf_or_carries_a_hyphen(value: float, decimals: int | None) -> None:
    text = number(value, decimals)
    assert "nan" not in text
    assert "-" not in text


def test_an_interval_in_words() -> None:
    interval = Interval(estimate=81.24, low=76.0, high=85.91, n=120, unit="dilemmas", level=0.95)
    assert interval_text(interval, 1) == "81.2 [76.0, 85.9] (95 % interval, n = 120 dilemmas)"


def test_a_missing_interval_in_words() -> None:
    missing = Interval(estimate=math.nan, low=math.nan, high=math.nan, n=0, unit="dilemmas", level=0.95)
    assert interval_text(missing) == "not measured"


TABLE = pd.DataFrame(
    {
        "method": ["shift", "none", None],
        "f1": [81.24, math.nan, 3.0],
        "f1_low": [76.0, math.nan, math.nan],
        "f1_high": [85.9, math.nan, 9.0],
        "rows_low": [1, 2, 3],
        "refusal": [math.nan] * 3,
    }
)


def test_the_ends_of_an_interval_are_no_columns_of_their_own() -> None:
    assert [column.name for column in shown(TABLE, ())] == ["method", "f1", "rows_low", "refusal"]


def test_cells_carry_words_and_numbers() -> None:
    first, second, third = rows(TABLE, (Column("method"), Column("f1", decimals=1)))
    assert first[1].text == "81.2 [76.0, 85.9]"
    assert (first[1].number, first[1].low, first[1].high) == (81.24, 76.0, 85.9)
    assert second[1].text == "not measured"
    assert (third[1].text, third[1].number, third[1].low) == ("3.0", 3.0, None)
    assert third[0].text == "not measured"


def test_a_column_that_is_not_there_is_named() -> None:
    with pytest.raises(UsageError, match="no column 'kl'"):
        shown(TABLE, (Column("kl"),))


def test_empty_cells_become_sentences() -> None:
    assert empty(TABLE.head(2), shown(TABLE, ())) == [
        "f1: not measured for none.",
        "refusal: not measured for every row.",
    ]


def test_headings_carry_units() -> None:
    assert Column("choice_mass").heading == "choice mass"
    assert Column("kl", label="KL", unit="nats").heading == "KL, nats"


def test_missing_values_of_every_pandas_kind() -> None:
    table = pd.DataFrame({"a": pd.array([1, None], dtype="Int64"), "b": pd.to_datetime(["2026-01-01", None])})
    assert [[cell.text for cell in row] for row in rows(table, shown(table, ()))] == [
        ["1", "2026-01-01 00:00:00"],
        ["not measured", "not measured"],
    ]
