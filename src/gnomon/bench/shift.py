"""How far the log-odds of the answers move, in nats: the continuous companion of the score.

Pure arrays in, intervals out; knows nothing of models or dials.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from gnomon.bench.rows import Rows
from gnomon.stats import Interval, cluster_mean


def shifts(rows: Rows) -> Float[np.ndarray, "side target"]:
    """How far each target row's log-odds moved as asked (nats): at +1 towards its label, at -1 away from it."""
    moved = rows.log_odds[1:] - rows.log_odds[0]
    return np.asarray((moved * rows.label * np.array([[1], [-1]]))[:, rows.target])


def shift(
    seeds: Sequence[Rows], others: Sequence[Rows] = (), *, unit: str = "dilemmas", resamples: int = 2000
) -> tuple[Interval, Interval]:
    """Mean shift at +1 and at -1 (nats, positive as asked), averaged over seeds, with clustered intervals.

    With `others`, the paired difference to another dial's shift on the same questions.
    """
    values = np.mean([shifts(rows) for rows in seeds], axis=0)
    if others:
        values = values - np.mean([shifts(rows) for rows in others], axis=0)
    clusters = seeds[0].cluster[seeds[0].target]
    toward, away = (cluster_mean(side, clusters, unit=unit, resamples=resamples) for side in values)
    return toward, away
