"""The formula of AntiPaSTO's public code, for comparison with published tables only. Arrays in, one number out.

It scores something else than `gnomon.bench.score`: on rows that ask about the opposite action it negates both the log-odds
and the label, so it rewards a model that says Yes to an action and to its opposite. Its two endpoints are swapped where
that looks better on the very answers that are scored, and alpha = -1 counts for the controls only.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from gnomon.bench.rows import Rows
from gnomon.errors import UsageError

LEAST_MASS = 0.05
"""Below this mean choice mass at either endpoint the public code gives no score."""


@dataclass(frozen=True)
class Legacy:
    """The public code's score and its parts.

    Attributes:
        f1: percent; 0 where nothing is gained, NaN where the choice mass is too small or no target or control is left.
        correct: share of the targets' weight that went from wrong to right at the upper endpoint.
        wrong: share that went from right to wrong there.
        arbitrary: share of the controls' weight whose sign changed at either endpoint.
        mass_ratio: square of the smaller endpoint's mean choice mass (all rows) over that at alpha = 0; may exceed 1.
        swapped: whether alpha = -1 was taken as the upper endpoint.
    """

    f1: float
    correct: float
    wrong: float
    arbitrary: float
    mass_ratio: float
    swapped: bool


def legacy_f1(rows: Rows, opposite: Bool[np.ndarray, "row"]) -> Legacy:
    """Score answers as the public code does (github.com/wassname/AntiPaSTO, commit 85c09b7, February 2026).

    Args:
        rows: the answers; controls have label 0.
        opposite: `[row]`, which rows ask about the opposite action ("not_to_do"); their label is that of their own answer.

    One step needs what `Rows` does not hold and is left out: the public code keeps the answer of alpha = 0 where the choice
    mass is below a hundredth of the likeliest token's.

    Raises:
        UsageError: `opposite` does not have one entry per row.
    """
    if opposite.shape != rows.label.shape:
        raise UsageError(
            f"there are {len(rows.label)} rows and {opposite.size} entries of opposite: give one per row"
        )
    target = rows.target
    negated = np.where(opposite[target], -rows.log_odds[:, target], rows.log_odds[:, target])
    rest, plus, minus = _kept(negated * rows.label[target])
    swapped = bool(plus.size and plus.mean() < minus.mean())
    upper = minus if swapped else plus
    correct = _weight((rest < 0) & (upper > 0), rest)
    wrong = _weight((rest > 0) & (upper < 0), rest)

    controls = _kept(rows.log_odds[:, ~target])
    signs = np.sign(controls)
    arbitrary = _weight((signs[0] != signs[1]) | (signs[0] != signs[2]), controls[0])

    at_rest, *ends = (float(level.mean()) if level.size else math.nan for level in rows.choice_mass)
    mass_ratio = (min(ends) / at_rest) ** 2 if at_rest else math.nan
    gain = max(0.0, correct - wrong)
    if math.isnan(gain + arbitrary + mass_ratio) or min(ends) < LEAST_MASS:
        f1 = math.nan
    elif gain == 0:
        f1 = 0.0
    else:
        precision = gain / (gain + arbitrary)
        f1 = 100 * mass_ratio * 2 * precision * gain / (precision + gain)
    return Legacy(f1, correct, wrong, arbitrary, mass_ratio, swapped)


def _kept(values: Float[np.ndarray, "alpha row"]) -> Float[np.ndarray, "alpha row"]:
    """Rows whose two endpoints are not exactly 0."""
    return np.asarray(values[:, (values[1] != 0) & (values[2] != 0)])


def _weight(chosen: Bool[np.ndarray, "row"], rest: Float[np.ndarray, "row"]) -> float:
    """Share of the rows' weight, which is the size of their log-odds at alpha = 0; NaN where there is none."""
    total = float(np.abs(rest).sum())
    return float(np.abs(rest[chosen]).sum()) / total if total else math.nan
