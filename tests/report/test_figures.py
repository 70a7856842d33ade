"""Figures are valid plotly, hold the numbers that went in, and describe themselves."""

import math
from typing import Any

import numpy as np
import plotly.graph_objects as go
import pytest

from gnomon.errors import UsageError
from gnomon.report import figures
from gnomon.report.figures import ACCENT, GREY, Series, against, dose_response, intervals, per_block

nan = math.nan


def valid(figure: dict[str, Any]) -> dict[str, Any]:
    """The figure, after plotly's own check of every property."""
    go.Figure(figure)
    return figure


def curves() -> list[Series]:
    xs = np.array([0.01, 0.1, 1.0])
    ys = np.array([10.0, 80.0, 60.0])
    return [Series("shift", xs, ys, ys - 5, [20.0, nan, 70.0]), Series("random", xs, [0.0, nan, -3.0])]


def test_dose_response_holds_the_numbers_with_gaps_for_missing_ones() -> None:
    figure = valid(dose_response(curves(), title="F1 against KL", x="KL", y="F1"))
    band, shift, random = figure["data"]
    assert (shift["x"], shift["y"]) == ([0.01, 0.1, 1.0], [10.0, 80.0, 60.0])
    assert random["y"] == [0.0, None, -3.0]
    assert band["x"] == [0.01, 1.0, 1.0, 0.01]  # the point without an upper end has no band
    assert band["y"] == [20.0, 70.0, 55.0, 5.0]
    assert figure["layout"]["xaxis"]["type"] == "log"
    assert figure["layout"]["xaxis"]["exponentformat"] == "none"  # 0.0001, and not 100µ
    assert figure["layout"]["xaxis"]["ticktext"] == ["0.01", "0.1", "1"]
    assert figure["layout"]["meta"]["description"] == (
        "F1 against KL. shift: from 10 at 0.01 to 60 at 1, highest 80 at 0.1; "
        "random: from 0 at 0.01 to −3 at 1, highest 0 at 0.01."
    )


def test_one_series_stands_out_and_the_others_differ_without_colour() -> None:
    lines = [Series(name, [1, 2], [1, 2]) for name in ("a", "b", "c", "d")]
    figure = valid(dose_response(lines, title="T", x="x", y="y", accent="b"))
    colors = [trace["line"]["color"] for trace in figure["data"]]
    assert colors == [f"rgb({GREY})", f"rgb({ACCENT})", f"rgb({GREY})", f"rgb({GREY})"]
    assert len({trace["marker"]["symbol"] for trace in figure["data"]}) == 4


def test_a_logarithmic_axis_refuses_zero_and_a_linear_one_takes_it() -> None:
    zero = [Series("none", [0.0, 1.0], [0.0, 1.0])]
    with pytest.raises(UsageError, match="none has KL of 0 or less"):
        dose_response(zero, title="T", x="KL", y="F1")
    assert "type" not in valid(dose_response(zero, title="T", x="KL", y="F1", log_x=False))["layout"]["xaxis"]


def test_intervals_put_the_first_label_on_top_and_bars_around_the_points() -> None:
    figure = valid(
        intervals(["a", "b", "c"], [1.0, 2.0, nan], [0.5, nan, nan], [3.0, nan, nan], title="T", x="F1")
    )
    first, second, third = figure["data"]
    assert (first["x"], first["y"]) == ([1.0], ["a"])
    assert (first["error_x"]["array"], first["error_x"]["arrayminus"]) == ([2.0], [0.5])
    assert second["error_x"]["array"] == [0.0]
    assert third["x"] == [None]
    assert figure["layout"]["yaxis"]["categoryarray"] == ["c", "b", "a"]
    assert figure["layout"]["meta"]["description"] == "T. a: 1 [0.5, 3]; b: 2; c: not measured."


def test_against_has_bars_both_ways_and_labels_with_room() -> None:
    figure = valid(
        against(
            ["a", "b", "c"],
            [1.0, 2.0, 9.0],
            [10.0, 20.0, nan],
            title="T",
            x="damage",
            y="effect",
            y_low=[9.0, 15.0, nan],
            y_high=[12.0, 30.0, nan],
            x_low=[0.5, 1.5, 8.0],
            x_high=[1.5, 2.5, 9.5],
            accent="b",
        )
    )
    first, second, third = figure["data"]
    assert (first["error_y"]["array"], first["error_y"]["arrayminus"]) == ([2.0], [1.0])
    assert (first["error_x"]["array"], first["error_x"]["arrayminus"]) == ([0.5], [0.5])
    assert second["marker"]["color"] == f"rgb({ACCENT})"
    assert [trace["textposition"] for trace in figure["data"]] == [
        "middle right",
        "middle right",
        "middle left",
    ]
    assert "c: effect not measured at damage 9" in figure["layout"]["meta"]["description"]
    assert third["y"] == [None]


def test_points_at_one_place_share_a_label_that_can_be_read() -> None:
    figure = valid(
        against(
            ["a", "b", "c", "d", "e"],
            [0.0, 100.0, 99.0, 100.0, nan],
            [50.0, -150.0, -149.0, 0.0, -150.0],
            title="T",
            x="damage",
            y="effect",
        )
    )
    assert [trace["text"][0].strip() for trace in figure["data"]] == ["a", "b, c", "", "d", "e"]
    assert [trace["name"] for trace in figure["data"]] == ["a", "b", "c", "d", "e"]
    lonely = valid(against(["a"], [nan], [nan], title="T", x="x", y="y"))
    assert lonely["data"][0]["text"] == ["  a  "]


def test_one_series_per_block_is_bars_with_the_chosen_block_marked() -> None:
    figure = valid(per_block({"consistency": [0.5, nan, 0.9]}, title="T", y="share", chosen=2))
    (bars,) = figure["data"]
    assert bars["type"] == "bar"
    assert (bars["x"], bars["y"]) == ([0, 1, 2], [0.5, None, 0.9])
    assert bars["marker"]["color"][2] == f"rgb({ACCENT})"
    assert ACCENT not in "".join(bars["marker"]["color"][:2])
    assert figure["layout"]["meta"]["description"].endswith("Block 2 is the one that was chosen.")


def test_several_series_per_block_are_lines_with_the_chosen_block_marked() -> None:
    figure = valid(per_block({"a": [1.0, 2.0], "b": [2.0, 1.0]}, title="T", y="y", chosen=1))
    assert [trace["type"] for trace in figure["data"]] == ["scatter", "scatter"]
    assert [shape["x0"] for shape in figure["layout"]["shapes"]] == [1]


def test_arrays_that_do_not_belong_together_are_refused() -> None:
    with pytest.raises(UsageError, match="give equal lengths"):
        dose_response([Series("a", [1.0, 2.0], [1.0])], title="T", x="x", y="y")
    with pytest.raises(UsageError, match="give equal lengths"):
        dose_response([Series("a", [1.0], [1.0], [1.0], [1.0, 2.0])], title="T", x="x", y="y")
    with pytest.raises(UsageError, match="give equal lengths"):
        intervals(["a"], [1.0, 2.0], [1.0, 2.0], [1.0, 2.0], title="T", x="x")
    with pytest.raises(UsageError, match="give equal lengths"):
        per_block({"a": [1.0], "b": [1.0, 2.0]}, title="T", y="y")


def test_an_accent_must_be_one_of_the_series() -> None:
    with pytest.raises(UsageError, match="no 'typo' to stand out: give one of shift, random"):
        dose_response(curves(), title="T", x="x", y="y", accent="typo")


@pytest.mark.parametrize("empty", [{}, {"a": []}, {"a": [nan, nan]}])
def test_nothing_measured_still_draws(empty: dict[str, list[float]]) -> None:
    valid(per_block(empty, title="T", y="y"))
    valid(dose_response([Series(name, ys, ys) for name, ys in empty.items()], title="T", x="x", y="y"))
    valid(against(list(empty), [nan] * len(empty), [nan] * len(empty), title="T", x="x", y="y"))
    valid(intervals([], [], [], [], title="T", x="x"))


def test_a_caption_travels_with_the_figure() -> None:
    assert (
        figures.per_block({"a": [1.0]}, title="T", y="y", caption="Why.")["layout"]["meta"]["caption"]
        == "Why."
    )
