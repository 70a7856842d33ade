"""What all figures share: two colours, the layout that the page expects, arrays that are checked once.

The page exchanges the two colours for those of its theme, so a figure uses them and no other. The title, a caption and a
description in words travel in the layout.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gnomon.errors import UsageError

ACCENT = "180,72,30"
GREY = "125,133,144"
MARKERS = ("circle", "square", "diamond", "triangle-up", "cross", "x", "triangle-down", "star")

Figure = dict[str, Any]
Array = NDArray[np.float64]


def frame(traces: list[Figure], title: str, caption: str, words: list[str], x: str, y: str) -> Figure:
    """A figure of these traces, described in `words`, one entry per series; `x` and `y` are the axes' titles."""
    description = f"{title}. {'; '.join(words)}."
    named = sum(trace.get("showlegend", True) for trace in traces)
    axis = {"gridcolor": f"rgba({GREY},0.2)", "zerolinecolor": f"rgba({GREY},0.6)", "automargin": True}
    return {
        "data": traces,
        "layout": {
            "title": {"text": title},
            "meta": {"caption": caption, "description": description},
            "xaxis": {**axis, "title": {"text": x}, "showgrid": False, "zeroline": False, "ticks": "outside"},
            "yaxis": {**axis, "title": {"text": y}},
            "showlegend": named > 1,
            "legend": {"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0},
            "hovermode": "closest",
            "paper_bgcolor": "rgba(0,0,0,0)",
            "plot_bgcolor": "rgba(0,0,0,0)",
            "margin": {"l": 8, "r": 16, "t": 8, "b": 8},
            "height": 380,
            "bargap": 0.25,
        },
    }


def arrays(name: str, *values: ArrayLike, length: int | None = None) -> list[Array]:
    """The values as float arrays of one shape; `UsageError` names the figure where they differ."""
    found = [np.asarray(value, dtype=np.float64) for value in values]
    lengths = {array.shape for array in found} | ({(length,)} if length is not None else set())
    if len(lengths) > 1:
        raise UsageError(
            f"{name}: arrays of shapes {sorted(lengths)} do not belong together: give equal lengths."
        )
    return found


def listed(values: Array) -> list[float | None]:
    """The values as JSON has them: None for what is missing."""
    return [float(value) if math.isfinite(value) else None for value in values]


def accented(names: Sequence[str], accent: str | None) -> str | None:
    """The name that stands out: the one that was given, else the first; `UsageError` for an unknown one."""
    if accent is not None and accent not in names:
        raise UsageError(f"There is no {accent!r} to stand out: give one of {', '.join(names)}.")
    return accent if accent is not None else next(iter(names), None)


def error_bars(
    centre: Array,
    low: Array,
    high: Array,
    color: str,
) -> Figure:
    """Plotly's error bars from a centre to the ends of its interval; no length where an end is missing."""
    above, below = listed(high - centre), listed(centre - low)
    return {
        "type": "data",
        "symmetric": False,
        "array": [0.0 if value is None else value for value in above],
        "arrayminus": [0.0 if value is None else value for value in below],
        "thickness": 1.8,
        "width": 0,
        "color": color,
    }
