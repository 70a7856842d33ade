"""Labelled points in a plane, such as effect against damage. Knows numbers and labels only."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

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
from gnomon.runs import number

# Of the range of an axis: closer points have labels that cannot be read apart.
_SAME_PLACE = 0.03


def against(
    labels: Sequence[str],
    x_values: ArrayLike,
    y_values: ArrayLike,
    *,
    title: str,
    x: str,
    y: str,
    x_low: ArrayLike | None = None,
    x_high: ArrayLike | None = None,
    y_low: ArrayLike | None = None,
    y_high: ArrayLike | None = None,
    accent: str | None = None,
    caption: str = "",
) -> Figure:
    """One labelled point per row, such as effect against damage, with interval bars in either direction.

    Points that lie at one place share a label, which names them all.

    Raises:
        UsageError: the arrays differ in length.
    """
    missing = np.full(len(labels), math.nan)
    xs, ys, left, right, bottom, top = arrays(
        title,
        x_values,
        y_values,
        *(missing if end is None else end for end in (x_low, x_high, y_low, y_high)),
        length=len(labels),
    )
    accent = accented(labels, accent)
    shared = _labels(labels, xs, ys)
    traces = []
    for row, label in enumerate(labels):
        color = f"rgb({ACCENT if label == accent else GREY})"
        at = [row]
        traces.append(
            {
                "type": "scatter",
                "mode": "markers+text",
                "name": label,
                "x": listed(xs[at]),
                "y": listed(ys[at]),
                "text": [f"  {shared[row]}  "],
                "textposition": f"middle {_side(xs, row)}",
                "error_x": error_bars(xs[at], left[at], right[at], color),
                "error_y": error_bars(ys[at], bottom[at], top[at], color),
                "marker": {"size": 10, "color": color, "symbol": MARKERS[row % len(MARKERS)]},
                "cliponaxis": False,
                "showlegend": False,
            }
        )
    words = [
        f"{label}: {y} {number(up)} at {x} {number(across)}"
        for label, across, up in zip(labels, xs, ys, strict=True)
    ]
    return frame(traces, title, caption, words, x, y)


def _labels(labels: Sequence[str], xs: Array, ys: Array) -> list[str]:
    """What stands beside each point: its label; at a place of several, the first has all of theirs."""
    there = np.isfinite(xs) & np.isfinite(ys)
    near = [_SAME_PLACE * (np.ptp(values[there]) if there.any() else 0.0) for values in (xs, ys)]
    places: list[list[int]] = []
    for row in range(len(labels)):
        for place in places:
            # A comparison with NaN is false, so a missing point is alone.
            if abs(xs[row] - xs[place[0]]) <= near[0] and abs(ys[row] - ys[place[0]]) <= near[1]:
                place.append(row)
                break
        else:
            places.append([row])
    found = [""] * len(labels)
    for place in places:
        found[place[0]] = ", ".join(labels[row] for row in place)
    return found


def _side(xs: Array, row: int) -> str:
    """Where a label has room: to the left for points in the right third, else to the right."""
    there = [float(value) for value in xs if math.isfinite(value)]
    return "left" if there and xs[row] > min(there) + (max(there) - min(there)) * 2 / 3 else "right"
