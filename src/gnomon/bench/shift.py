"""How far the log-odds of the answers move, in nats: the continuous companion of the score.

Pure arrays in, intervals out; knows nothing of models or dials.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from gnomon.bench.score import Rows
from gnomon.stats import Interval, bootstrap_interval, multinomial_weights


def shifts(rows: Rows) -> Float[np.ndarray, "target 2"]:
    """Per target row, how far its log-odds (nats) moved as asked: at +1 towards its label, at -1 away from it."""
    moved = rows.log_odds[:, 1:] - rows.log_odds[:, :1]
    return np.asarray((moved * rows.label[:, None] * np.array([1, -1]))[rows.target])


def shift(
    rows: Rows, other: Rows | None = None, *, resamples: int = 2000, seed: int = 0
) -> tuple[Interval, Interval]:
    """Mean shift at +1 and at -1 (nats, positive as asked) with clustered intervals.

    With `other`, the paired difference to that dial's shift on the same questions.
    """
    values = shifts(rows) if other is None else shifts(rows) - shifts(other)
    names, index = np.unique(rows.cluster[rows.target], return_inverse=True)
    counts = np.bincount(index, minlength=len(names)).astype(float)
    weights = multinomial_weights(len(names), resamples, np.random.default_rng(seed))
    intervals = []
    for column in (0, 1):
        sums = np.bincount(index, weights=values[:, column], minlength=len(names))
        total, n = sums.sum(), counts.sum()
        draws = (weights @ sums) / (weights @ counts)
        jackknife = (total - sums) / np.maximum(n - counts, 1)
        estimate = float(total / n) if n else float("nan")
        low, high = bootstrap_interval(draws, estimate, jackknife)
        intervals.append(Interval(estimate, low, high, len(names), "clusters"))
    return intervals[0], intervals[1]
