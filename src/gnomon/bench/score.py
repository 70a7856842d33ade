"""Steering F1: what a dial is worth on signed questions, with an interval that resamples what was sampled.

Pure arrays in, numbers out: knows nothing of models, dials or files. The definition is in docs/steering.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Bool, Float, Int

from gnomon.errors import UsageError
from gnomon.stats import Interval, bootstrap_interval, multinomial_weights, paired_p_values

TIE = 1e-6
"""Log-odds (nats) within this of zero are ties, which are no flips: batch sizes change sums by less."""
ROOM = 20
"""A side with fewer rows than this to flip has no room to measure."""

SIDES = (1, -1)
_CAN, _CORRECT, _UNANSWERED, _WRONG = range(4)


@dataclass(frozen=True, eq=False)
class Rows:
    """Answers to the same questions at alpha = 0, +1 and -1.

    `log_odds` and `choice_mass`: `[question, 3]` in the order 0, +1, -1 (nats; probability). `label`: `[question]`, +1 or
    -1 for targets, 0 for controls. `cluster`: `[question]`, what was sampled.
    """

    log_odds: Float[np.ndarray, "question 3"]
    choice_mass: Float[np.ndarray, "question 3"]
    label: Int[np.ndarray, "question"]
    cluster: np.ndarray

    def __post_init__(self) -> None:
        n = len(self.label)
        shapes = {self.log_odds.shape, self.choice_mass.shape}
        if shapes != {(n, 3)} or len(self.cluster) != n:
            raise UsageError(f"{n} labels need log-odds and choice mass of shape [{n}, 3] and {n} clusters")
        if not set(np.unique(self.label)) <= {-1, 0, 1}:
            raise UsageError("a label is +1, -1, or 0 for a control")

    @property
    def target(self) -> Bool[np.ndarray, "question"]:
        """Which rows are targets."""
        return np.asarray(self.label != 0)

    @cached_property
    def answered(self) -> Bool[np.ndarray, "question 3"]:
        """Whether a row kept at least half of its own choice mass at alpha = 0."""
        return np.asarray(self.choice_mass >= 0.5 * self.choice_mass[:, :1])

    @cached_property
    def target_counts(self) -> Float[np.ndarray, "cluster 8"]:
        """Per cluster of targets: can, C, U, W of the toward side, then of the away side."""
        rows = self.target
        indicators = np.hstack([self._side(side)[rows] for side in SIDES]).astype(float)
        return _by_cluster(indicators, self.cluster[rows])

    @cached_property
    def control_counts(self) -> Float[np.ndarray, "cluster 3"]:
        """Per cluster of controls: rows, changed or unanswered at +1, the same at -1."""
        rows = ~self.target
        sign = np.sign(np.where(np.abs(self.log_odds) < TIE, 0.0, self.log_odds))[rows]
        # A tie is no side: leaving it or landing on it flips nothing.
        moved = (sign[:, 1:] * sign[:, :1] < 0) | ~self.answered[rows][:, 1:]
        return _by_cluster(np.hstack([np.ones((len(moved), 1)), moved]).astype(float), self.cluster[rows])

    def _side(self, side: int) -> Bool[np.ndarray, "question 4"]:
        column = 1 if side == 1 else 2
        before = side * self.label * self.log_odds[:, 0]
        after = side * self.label * self.log_odds[:, column]
        answered = self.answered[:, column]
        can, had = before <= -TIE, before >= TIE
        flipped_back = (after <= -TIE) | ~answered
        return np.stack([can, can & answered & (after >= TIE), can & ~answered, had & flipped_back], axis=1)


@dataclass(frozen=True)
class Side:
    """One side of the score: rows that could flip, and what happened, in percent of all target rows."""

    f1: float
    precision: float
    recall: float
    n_can: int
    correct: float
    wrong: float
    unanswered: float
    arbitrary: float


@dataclass(frozen=True)
class Score:
    """Steering F1 in percent with its interval, its two sides, and the choice mass (mean probability) at 0, +1, -1."""

    f1: Interval
    toward: Side
    away: Side
    choice_mass: tuple[float, float, float]
    n_rows: int
    n_controls: int


def score(rows: Rows, *, resamples: int = 2000, seed: int = 0) -> Score:
    """Steering F1 of the answers: 2 net / (C + W + U + A + n_can) per side, net = C - 2 W - U, mean of the sides.

    A side with fewer than `ROOM` rows to flip is missing (NaN), and so is then the headline. The interval resamples
    clusters of targets and clusters of controls.
    """
    targets, controls = rows.target_counts, rows.control_counts
    estimate = float(_headline(targets.sum(0), controls.sum(0)))
    roomy = bool((targets.sum(0)[[_CAN, 4 + _CAN]] >= ROOM).all())
    n = len(targets)
    if not roomy or not np.isfinite(estimate):
        interval = Interval(float("nan"), float("nan"), float("nan"), n, "clusters")
    else:
        weights, control_weights = _weights(rows, resamples, seed)
        draws = _headline(weights @ targets, control_weights @ controls)
        jackknife = _headline(targets.sum(0) - targets, controls.sum(0))
        low, high = bootstrap_interval(draws, estimate, jackknife)
        interval = Interval(estimate, low, high, n, "clusters")
    n_rows = int(rows.target.sum())
    toward, away = (_side_of(targets.sum(0)[4 * i : 4 * i + 4], controls.sum(0), i, n_rows) for i in (0, 1))
    mass = rows.choice_mass[rows.target].mean(0)
    masses = (float(mass[0]), float(mass[1]), float(mass[2]))
    return Score(interval, toward, away, masses, n_rows, len(rows.label) - n_rows)


@dataclass(frozen=True)
class Difference:
    """Score of one method minus that of another on the same questions: interval, two-sided and one-sided p values."""

    f1: Interval
    p_two_sided: float
    p_greater: float


def difference(first: Rows, second: Rows, *, resamples: int = 2000, seed: int = 0) -> Difference:
    """First minus second, paired: every resample draws the same clusters for both."""
    if not np.array_equal(first.cluster, second.cluster) or not np.array_equal(first.label, second.label):
        raise UsageError("two results can be paired only on the same questions in the same order")
    weights, control_weights = _weights(first, resamples, seed)

    def headline(rows: Rows) -> tuple[float, Float[np.ndarray, "draw"], Float[np.ndarray, "cluster"]]:
        targets, controls = rows.target_counts, rows.control_counts
        return (
            float(_headline(targets.sum(0), controls.sum(0))),
            _headline(weights @ targets, control_weights @ controls),
            _headline(targets.sum(0) - targets, controls.sum(0)),
        )

    (a, draws_a, jack_a), (b, draws_b, jack_b) = headline(first), headline(second)
    draws = draws_a - draws_b
    low, high = bootstrap_interval(draws, a - b, jack_a - jack_b)
    two_sided, greater = paired_p_values(draws)
    n = len(first.target_counts)
    return Difference(Interval(a - b, low, high, n, "clusters"), two_sided, greater)


def yes_bias(rows: Rows, constants: Sequence[float] | None = None) -> Rows:
    """The control that only says yes: a constant added to the log-odds at +1 and taken at -1, at its best strength.

    Best over both signs and all constants that change an answer; choice mass and refusals are left as they are.
    """
    base = rows.log_odds[:, 0]
    if constants is None:
        # Half-way between neighbouring log-odds is every constant that makes a difference.
        sizes = np.unique(np.abs(base))
        steps = (
            np.concatenate([(sizes[1:] + sizes[:-1]) / 2, [sizes[-1] + 1.0]])
            if len(sizes)
            else np.array([1.0])
        )
        constants = np.concatenate([steps, -steps]).tolist()
    best, best_score = rows, -np.inf
    for constant in constants:
        shifted = np.stack([base, base + constant, base - constant], axis=1)
        candidate = Rows(shifted, np.repeat(rows.choice_mass[:, :1], 3, axis=1), rows.label, rows.cluster)
        value = float(_headline(candidate.target_counts.sum(0), candidate.control_counts.sum(0)))
        if value > best_score:
            best, best_score = candidate, value
    return best


def _weights(
    rows: Rows, resamples: int, seed: int
) -> tuple[Float[np.ndarray, "draw cluster"], Float[np.ndarray, "draw cluster"]]:
    random = np.random.default_rng(seed)
    return (
        multinomial_weights(len(rows.target_counts), resamples, random),
        multinomial_weights(len(rows.control_counts), resamples, random),
    )


def _headline(
    targets: Float[np.ndarray, "*draw 8"], controls: Float[np.ndarray, "*draw 3"]
) -> Float[np.ndarray, "*draw"]:
    """Mean of the sides' F1 in percent, from summed counts; 0/0 is NaN."""
    return np.asarray((_f1(targets, controls, 0) + _f1(targets, controls, 1)) / 2)


def _f1(targets: np.ndarray, controls: np.ndarray, side: int) -> Float[np.ndarray, "*draw"]:
    can, correct, unanswered, wrong = np.moveaxis(targets[..., 4 * side : 4 * side + 4], -1, 0)
    arbitrary = _share(controls, side) * can
    net = correct - 2 * wrong - unanswered
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(100 * 2 * net / (correct + wrong + unanswered + arbitrary + can))


def _share(controls: np.ndarray, side: int) -> Float[np.ndarray, "*draw"]:
    """Share of controls that changed; 0 where there are none to ask."""
    total = controls[..., 0]
    return np.asarray(np.where(total > 0, controls[..., 1 + side] / np.maximum(total, 1), 0.0))


def _side_of(counts: np.ndarray, controls: np.ndarray, side: int, n_rows: int) -> Side:
    can, correct, unanswered, wrong = (float(count) for count in counts)
    share = float(_share(controls, side))
    net, spent = correct - 2 * wrong - unanswered, correct + wrong + unanswered + share * can
    missing = can < ROOM
    percent = 100 / n_rows if n_rows else float("nan")
    return Side(
        f1=float("nan") if missing else 200 * net / (spent + can),
        precision=float("nan") if missing or spent == 0 else net / spent,
        recall=float("nan") if missing else net / can,
        n_can=int(can),
        correct=correct * percent,
        wrong=wrong * percent,
        unanswered=unanswered * percent,
        arbitrary=100 * share,
    )


def _by_cluster(
    indicators: Float[np.ndarray, "row k"], cluster: np.ndarray
) -> Float[np.ndarray, "cluster k"]:
    names, index = np.unique(cluster, return_inverse=True)
    sums = np.zeros((len(names), indicators.shape[1]))
    np.add.at(sums, index, indicators)
    return sums
