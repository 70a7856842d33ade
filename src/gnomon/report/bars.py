"""Small bars to both sides of zero with columns of numbers beside them: a row per label, such as a dial's coefficients.

Knows numbers and labels only. Made to stand side by side, so it has no ticks: figures with the same `reach` compare.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

import numpy as np
from numpy.typing import ArrayLike

from gnomon.errors import UsageError
from gnomon.report.frame import ACCENT, GREY, Figure, arrays, frame, listed
from gnomon.runs import number

_ROW, _HEAD = 27, 30
_BARS_END, _NUMBERS_BEGIN = 0.51, 0.54


def two_sided(
    labels: Sequence[str],
    values: ArrayLike,
    *,
    title: str,
    ends: tuple[str, str],
    columns: Mapping[str, ArrayLike],
    accent: Sequence[bool],
    hollow: Sequence[bool],
    reach: float,
) -> Figure:
    """One bar per label (`[label]`), from zero to the left where negative and to the right where positive.

    `ends` says what left and right mean, and `columns` (heading -> numbers, `[label]`) stand behind the bars with two
    digits; a column that was not measured at all is left out.
    Bars with `accent` are coloured, the others grey; `hollow` ones are only an outline. A bar ends at `reach`.

    Raises:
        UsageError: the arrays differ in length, or `reach` is not positive.
    """
    if not reach > 0:
        raise UsageError(f"{title}: bars that reach to {reach:g} cannot be drawn; give a positive number.")
    lengths, *numbers = arrays(title, values, *columns.values(), length=len(labels))
    measured = {
        name: column for name, column in zip(columns, numbers, strict=True) if not np.isnan(column).all()
    }
    rows = [escape(label) for label in labels]
    colors = [ACCENT if marked else GREY for marked in accent]
    bars = {
        "type": "bar",
        "orientation": "h",
        "x": listed(np.clip(lengths, -reach, reach)),
        "y": rows,
        "marker": {
            "color": [
                f"rgba({color},{0 if empty else 1})" for color, empty in zip(colors, hollow, strict=True)
            ],
            "line": {"color": [f"rgb({color})" for color in colors], "width": 1.5},
        },
        "hoverinfo": "skip",
        "showlegend": False,
    }
    texts = [
        {
            "type": "scatter",
            "mode": "text",
            "xaxis": "x2",
            "x": [place] * len(rows),
            "y": rows,
            "text": [number(value, 2) for value in column],
            "hoverinfo": "skip",
            "showlegend": False,
        }
        for place, column in enumerate(measured.values())
    ]
    words = [
        f"{label}: " + ", ".join(f"{name} {number(column[row], 2)}" for name, column in measured.items())
        for row, label in enumerate(labels)
    ]
    figure = frame([bars, *texts], title, "", words, "", "")
    layout = figure["layout"]
    hidden = {
        "showgrid": False,
        "showticklabels": False,
        "ticks": "",
        "fixedrange": True,
        "automargin": False,
    }
    layout["xaxis"].update(
        hidden, zeroline=True, domain=[0, _BARS_END], range=[-1.04 * reach, 1.04 * reach], title={"text": ""}
    )
    layout["xaxis2"] = {
        **hidden,
        "zeroline": False,
        "domain": [_NUMBERS_BEGIN, 1],
        "range": [-0.5, len(measured) - 0.5],
        "showticklabels": True,
        "side": "top",
        "tickvals": list(range(len(measured))),
        "ticktext": [escape(name) for name in measured],
        "tickfont": {"size": 11},
    }
    layout["yaxis"].update(
        type="category",
        categoryorder="array",
        categoryarray=rows[::-1],
        range=[-0.5, len(rows) - 0.5],
        showgrid=False,
        fixedrange=True,
        title={"text": ""},
    )
    layout["annotations"] = [
        {"text": escape(text), "x": x, "xanchor": side, "y": 1, "yref": "paper", "yanchor": "bottom"}
        | {"xref": "paper", "showarrow": False, "font": {"size": 11}}
        for text, x, side in ((ends[0], 0, "left"), (ends[1], _BARS_END, "right"))
    ]
    layout.update(
        height=_HEAD + _ROW * len(rows), bargap=0.35, margin={"l": 8, "r": 4, "t": _HEAD - 6, "b": 6}
    )
    return figure
