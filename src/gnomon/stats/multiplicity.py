"""Many comparisons in one table."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down adjusted p values, in the order given; NaN stays NaN and is not counted (Holm 1979)."""
    p = np.asarray(p_values, dtype=float)
    adjusted = np.full(len(p), np.nan)
    order = [int(index) for index in np.argsort(p) if not np.isnan(p[index])]
    running = 0.0
    for place, index in enumerate(order):
        running = max(running, min(1.0, (len(order) - place) * p[index]))
        adjusted[index] = running
    return [float(value) for value in adjusted]
