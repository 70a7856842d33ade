"""Plotly figures from plain arrays, as dicts: dose-response, intervals, effect against damage, per block, two-sided.

Knows numbers and labels only. One series stands out in the accent colour, the others are grey and told apart by
dash and marker, so a figure survives a grey printer and a colour-blind reader.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from gnomon.errors import UsageError
from gnomon.report.bars import two_sided
from gnomon.report.frame import (
    ACCENT,
    GREY,
    MARKERS,
    Array,
    Figure,
    accented,
    arrays,
    error_bars,
    frame,
    listed,
)
from gnomon.report.points import against
from gnomon.runs import number

__all__ = [
    "ACCENT",
    "GREY",
    "Figure",
    "Series",
    "against",
    "dose_response",
    "intervals",
    "per_block",
    "two_sided",
]

_MOST_TICKS = 8
_DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot")


@dataclass(frozen=True)
class Series:
    """One curve: `y` at `x`, and the ends of its interval at each point where they were measured.

    All arrays have the shape `[point]`; NaN is a gap.
    """

    name: str
    x: ArrayLike
    y: ArrayLike
    low: ArrayLike | None = None
    high: ArrayLike | None = None


def dose_response(
    series: Sequence[Series],
    *,
    title: str,
    x: str,
    y: str,
    log_x: bool = True,
    accent: str | None = None,
    caption: str = "",
) -> Figure:
    """Curves with interval bands, such as Steering F1 against KL; `accent` names the curve that stands out.

    Raises:
        UsageError: arrays of one series differ in length, or a logarithmic axis gets a value that is not positive.
    """
    accent = accented([one.name for one in series], accent)
    bands: list[Figure] = []
    lines: list[Figure] = []
    words = []
    for index, one in enumerate(series):
        xs, ys = arrays(one.name, one.x, one.y)
        if log_x and np.any(xs <= 0):
            raise UsageError(
                f"{title}: {one.name} has {x} of 0 or less, which a logarithmic axis cannot show."
            )
        color = ACCENT if one.name == accent else GREY
        if one.low is not None and one.high is not None:
            xs, lows, highs = arrays(one.name, xs, one.low, one.high)
            bands.append(_band(one.name, xs, lows, highs, color))
        line: Figure = {"color": f"rgb({color})", "width": 2.5 if color == ACCENT else 1.5}
        lines.append(
            {
                "type": "scatter",
                "mode": "lines+markers",
                "name": one.name,
                "x": listed(xs),
                "y": listed(ys),
                "line": {**line, "dash": _DASHES[0 if color == ACCENT else index % len(_DASHES)]},
                "marker": {"symbol": MARKERS[index % len(MARKERS)], "size": 7, "color": f"rgb({color})"},
            }
        )
        words.append(_course(one.name, xs, ys))
    figure = frame(bands + lines, title, caption, words, x, y)
    if log_x:
        figure["layout"]["xaxis"].update(type="log", dtick=1, exponentformat="none")
        doses = sorted({dose for line in lines for dose in line["x"] if dose is not None})
        if 0 < len(doses) <= _MOST_TICKS:
            figure["layout"]["xaxis"].update(tickvals=doses, ticktext=[number(dose) for dose in doses])
    return figure


def intervals(
    labels: Sequence[str],
    estimates: ArrayLike,
    low: ArrayLike,
    high: ArrayLike,
    *,
    title: str,
    x: str,
    accent: str | None = None,
    caption: str = "",
) -> Figure:
    """One row per label: a point with its interval, and a line at zero.

    Raises:
        UsageError: the arrays differ in length.
    """
    centres, lows, highs = arrays(title, estimates, low, high, length=len(labels))
    accent = accented(labels, accent)
    colors = [f"rgb({ACCENT if label == accent else GREY})" for label in labels]
    traces = [
        {
            "type": "scatter",
            "mode": "markers",
            "x": listed(centres[[row]]),
            "y": [label],
            "error_x": error_bars(centres[[row]], lows[[row]], highs[[row]], color),
            "marker": {"size": 9, "color": color},
            "showlegend": False,
            "name": label,
        }
        for row, (label, color) in enumerate(zip(labels, colors, strict=True))
    ]
    words = [
        f"{label}: {_ends(*values)}" for label, *values in zip(labels, centres, lows, highs, strict=True)
    ]
    figure = frame(traces, title, caption, words, x, "")
    figure["layout"]["yaxis"].update(
        type="category", categoryorder="array", categoryarray=list(reversed(labels)), showgrid=False
    )
    figure["layout"]["xaxis"].update(zeroline=True)
    figure["layout"]["height"] = 90 + 34 * len(labels)
    return figure


def per_block(
    series: Mapping[str, ArrayLike],
    *,
    title: str,
    y: str,
    chosen: int | None = None,
    caption: str = "",
) -> Figure:
    """Values per residual block (index 0-based, shape `[block]`): bars for one series, lines for several.

    `chosen` marks a block: its bar takes the accent colour, or a line is drawn through it.

    Raises:
        UsageError: the series differ in length.
    """
    names = list(series)
    values = arrays(title, *series.values())
    blocks = list(range(len(values[0]))) if values else []
    if len(names) == 1:
        colors = [f"rgb({ACCENT})" if block == chosen else f"rgba({GREY},0.55)" for block in blocks]
        traces: list[Figure] = [
            {
                "type": "bar",
                "name": names[0],
                "x": blocks,
                "y": listed(values[0]),
                "marker": {"color": colors},
            }
        ]
    else:
        lines = [Series(name, blocks, ys) for name, ys in zip(names, values, strict=True)]
        traces = dose_response(lines, title=title, x="block", y=y, log_x=False)["data"]
    words = [
        _course(name, np.asarray(blocks, dtype=float), ys) for name, ys in zip(names, values, strict=True)
    ]
    if chosen is not None:
        words.append(f"Block {chosen} is the one that was chosen")
    figure = frame(traces, title, caption, words, "block", y)
    figure["layout"]["xaxis"].update(dtick=max(1, len(blocks) // 12))
    if chosen is not None and len(names) > 1:
        figure["layout"]["shapes"] = [
            {"type": "line", "x0": chosen, "x1": chosen, "yref": "paper", "y0": 0, "y1": 1, "layer": "below"}
            | {"line": {"color": f"rgb({ACCENT})", "width": 1, "dash": "dot"}}
        ]
    return figure


def _band(name: str, xs: Array, lows: Array, highs: Array, color: str) -> Figure:
    there = np.isfinite(xs) & np.isfinite(lows) & np.isfinite(highs)
    across, bottom, top = xs[there], lows[there], highs[there]
    return {
        "type": "scatter",
        "mode": "lines",
        "x": [*across.tolist(), *across[::-1].tolist()],
        "y": [*top.tolist(), *bottom[::-1].tolist()],
        "fill": "toself",
        "fillcolor": f"rgba({color},{0.18 if color == ACCENT else 0.10})",
        "line": {"width": 0},
        "hoverinfo": "skip",
        "showlegend": False,
        "name": f"{name}, interval",
    }


def _course(name: str, xs: Array, ys: Array) -> str:
    there = np.flatnonzero(np.isfinite(xs) & np.isfinite(ys))
    if len(there) == 0:
        return f"{name}: not measured"
    first, best, last = there[0], there[np.argmax(ys[there])], there[-1]
    points = [f"{number(ys[at])} at {number(xs[at])}" for at in (first, best, last)]
    return f"{name}: from {points[0]} to {points[2]}, highest {points[1]}"


def _ends(centre: float, low: float, high: float) -> str:
    if not (math.isfinite(low) and math.isfinite(high)):
        return number(centre)
    return f"{number(centre)} [{number(low)}, {number(high)}]"
