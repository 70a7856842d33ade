"""Two-sided bars hold the numbers that went in, compare with each other, and let no markup through."""

import math

import plotly.graph_objects as go
import pytest

from gnomon.errors import UsageError
from gnomon.report.figures import ACCENT, GREY, two_sided

nan = math.nan


def bars(**changes):
    given = {
        "labels": ["−1", "0", "+1"],
        "values": [-2.5, 0.5, 9.0],
        "title": "Log-odds",
        "ends": ("← no", "yes →"),
        "columns": {"log-odds": [-2.5, 0.5, 9.0], "refusal": [0.0, 0.126, 1.0]},
        "accent": [False, True, True],
        "hollow": [False, False, True],
        "reach": 4.0,
    }
    figure = two_sided(**{**given, **changes})
    go.Figure(figure)  # plotly's own check of every property
    return figure


def test_bars_go_to_the_side_of_their_sign_and_end_where_all_figures_end() -> None:
    first, *_ = bars()["data"]
    assert (first["x"], first["y"]) == ([-2.5, 0.5, 4.0], ["−1", "0", "+1"])
    layout = bars()["layout"]
    low, high = layout["xaxis"]["range"]
    assert low == -high
    assert 4.0 < high < 4.5
    assert layout["yaxis"]["categoryarray"] == ["+1", "0", "−1"]  # the first label is on top


def test_numbers_stand_behind_the_bars_under_their_headings_unclipped() -> None:
    figure = bars()
    _, log_odds, refusal = figure["data"]
    assert (log_odds["text"], refusal["text"]) == (["−2.50", "0.50", "9.00"], ["0.00", "0.13", "1.00"])
    assert {log_odds["xaxis"], refusal["xaxis"]} == {"x2"}
    axis = figure["layout"]["xaxis2"]
    assert dict(zip(axis["tickvals"], axis["ticktext"], strict=True)) == {
        log_odds["x"][0]: "log-odds",
        refusal["x"][0]: "refusal",
    }
    assert axis["domain"][0] > figure["layout"]["xaxis"]["domain"][1]


def test_what_was_not_measured_has_no_bar_and_no_column() -> None:
    figure = bars(values=[nan, 1.0, 2.0], columns={"log-odds": [nan, 1.0, 2.0], "refusal": [nan, nan, nan]})
    assert figure["data"][0]["x"] == [None, 1.0, 2.0]
    assert figure["layout"]["xaxis2"]["ticktext"] == ["log-odds"]
    assert figure["data"][1]["text"][0] == "not measured"


def test_accent_colours_and_hollow_empties_a_bar() -> None:
    marker = bars()["data"][0]["marker"]
    assert marker["color"] == [f"rgba({GREY},1)", f"rgba({ACCENT},1)", f"rgba({ACCENT},0)"]
    assert marker["line"]["color"] == [f"rgb({GREY})", f"rgb({ACCENT})", f"rgb({ACCENT})"]


def test_the_description_says_every_number() -> None:
    assert bars()["layout"]["meta"]["description"] == (
        "Log-odds. −1: log-odds −2.50, refusal 0.00; 0: log-odds 0.50, refusal 0.13; +1: log-odds 9.00, refusal 1.00."
    )


def test_words_of_users_are_no_markup_in_the_drawing() -> None:
    figure = bars(ends=("<a href='http://x'>no</a>", "<b>yes</b>"), labels=["<i>1", "2", "3"])
    drawn = [note["text"] for note in figure["layout"]["annotations"]] + figure["data"][0]["y"]
    assert not [text for text in drawn if "<" in text]


def test_wrong_lengths_and_no_reach_are_refused() -> None:
    with pytest.raises(UsageError, match="give equal lengths"):
        bars(values=[1.0])
    with pytest.raises(UsageError, match="positive number"):
        bars(reach=0.0)
