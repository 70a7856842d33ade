"""Steering F1: what a dial's answers are worth, with its interval. Knows no model.

A dial should move every target question to the answer that is asked for, in both directions, and move nothing else. Rows
flipped the wrong way count twice, destroyed answers once, and changed controls as false positives.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

from gnomon.bench.rows import TIE, Rows, control_marks, counts, target_marks
from gnomon.bench.uncertainty import Drawn, compared, steering_f1, unseen
from gnomon.errors import UsageError
from gnomon.stats import Interval, Paired, bootstrap, mean_of, paired, t_interval

ROOM = 20
"""A side with fewer rows to flip is not measured."""

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Side:
    """One direction of a dial: +1 toward the first word, -1 away from it.

    Attributes:
        can: target rows that do not yet answer as asked.
        right: target rows that already do.
        flipped: of `can`, those flipped as asked (C).
        wrong: of `right`, those flipped the wrong way or destroyed (W).
        unanswered: of `can`, those destroyed or refused (U).
        changed: share of the controls whose answer changed or that are unanswered; NaN without controls.
    """

    can: int
    right: int
    flipped: int
    wrong: int
    unanswered: int
    changed: float

    @property
    def arbitrary(self) -> float:
        """Changed controls, as many as they would be among `can` rows (A)."""
        return self.changed * self.can

    @property
    def net(self) -> int:
        """C - 2 W - U."""
        return self.flipped - 2 * self.wrong - self.unanswered

    @property
    def precision(self) -> float:
        """Net flips per changed row; NaN where nothing changed."""
        moved = self.flipped + self.wrong + self.unanswered + self.arbitrary
        return self.net / moved if moved else math.nan

    @property
    def recall(self) -> float:
        """Net flips per row that could flip."""
        return self.net / self.can if self.can else math.nan

    @property
    def f1(self) -> float:
        """2 net / (C + W + U + A + can) in percent, -400 to 100; NaN with too few rows to flip, or no controls."""
        if self.can < ROOM:
            return math.nan
        moved = self.flipped + self.wrong + self.unanswered + self.arbitrary
        return 200 * self.net / (moved + self.can)

    @property
    def percentages(self) -> dict[str, float]:
        """C and U in percent of `can`, W of `right`, A of the controls; NaN where there are no such rows."""
        parts = (
            ("C", self.flipped, self.can),
            ("W", self.wrong, self.right),
            ("U", self.unanswered, self.can),
        )
        shares = {name: 100 * count / of if of else math.nan for name, count, of in parts}
        return {**shares, "A": 100 * self.changed}


@dataclass(frozen=True)
class Score:
    """Steering F1 with what it is made of.

    Attributes:
        interval: the mean of the two sides' F1; n counts the clusters of target rows.
        toward: the side of alpha = +1.
        away: the side of alpha = -1.
        choice_mass: mean over all rows at alpha -1, 0, +1, by "-1", "0", "+1".
        refusal_mass: likewise; NaN where it is not measured.
        targets: target rows.
        controls: control rows.
        p_above_zero: one-sided p of "the score is at most 0"; NaN where it is not measured.
    """

    interval: Interval
    toward: Side
    away: Side
    choice_mass: dict[str, float]
    refusal_mass: dict[str, float]
    targets: int
    controls: int
    p_above_zero: float

    @property
    def f1(self) -> float:
        """The headline in percent; NaN where a side has too few rows to flip."""
        return self.interval.estimate

    def to_dict(self) -> dict[str, Any]:
        """Everything as strict JSON; a missing number is null."""
        sides = {
            name: {
                **vars(side),
                **side.percentages,
                "f1": side.f1,
                "precision": side.precision,
                "recall": side.recall,
            }
            for name, side in (("toward", self.toward), ("away", self.away))
        }
        fields: dict[str, Any] = _strict({**vars(self), **sides, "f1": self.f1})
        return {**fields, "interval": self.interval.to_dict()}


@dataclass(frozen=True)
class Seeds:
    """Steering F1 over seeds: the mean with its interval over dilemmas, and how far the seeds lie apart.

    Attributes:
        interval: of the mean over seeds; resamples dilemmas, the seeds are those that were run.
        over_seeds: t interval of the same mean, over seeds.
        deviation: standard deviation of the seeds; NaN for one.
        scores: one per seed.
    """

    interval: Interval
    over_seeds: Interval
    deviation: float
    scores: tuple[Score, ...]


def score(
    rows: Rows, *, unit: str = "dilemmas", level: float = 0.95, resamples: int = 2000, seed: int = 0
) -> Score:
    """Score a dial. Missing (NaN) where a side has fewer than 20 rows to flip or there are no controls, never 0."""
    toward, away = sides(rows)
    drawn = _drawn([rows], level, resamples, seed)
    interval = drawn.interval(unit) if drawn else Interval.nothing(_clusters(rows), unit, level)
    p = float(drawn.bootstrap.bca.p_above(0.0)) if drawn else math.nan
    mass, refused = (_means(values) for values in (rows.choice_mass, rows.refusal_mass))
    n_targets = int(rows.target.sum())
    return Score(interval, toward, away, mass, refused, n_targets, len(rows.label) - n_targets, p)


def sides(rows: Rows) -> tuple[Side, Side]:
    """The counts of the side of alpha = +1 and of the side of alpha = -1."""
    targets, controls = target_marks(rows).sum(0), control_marks(rows).sum(0)
    can = (int(targets[0]), int(targets[4]))
    found = []
    for at in (0, 1):
        _, flipped, unanswered, wrong = (int(count) for count in targets[4 * at : 4 * at + 4])
        changed = float(controls[at] / controls[2]) if controls[2] else math.nan
        found.append(Side(can[at], can[1 - at], flipped, wrong, unanswered, changed))
    return found[0], found[1]


def over_seeds(
    seeds: Sequence[Rows],
    *,
    unit: str = "dilemmas",
    level: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> Seeds:
    """Score the same questions asked with a method's dial of several seeds.

    Raises:
        UsageError: the seeds were asked different questions.
    """
    scores = tuple(score(rows, unit=unit, level=level, resamples=resamples, seed=seed) for rows in seeds)
    drawn = _drawn(seeds, level, resamples, seed)
    interval = drawn.interval(unit) if drawn else Interval.nothing(_clusters(seeds[0]), unit, level)
    values = [one.f1 for one in scores]
    deviation = float(np.std(values, ddof=1)) if len(values) > 1 else math.nan
    return Seeds(interval, t_interval(values, level=level), deviation, scores)


def difference(
    first: Rows | Sequence[Rows],
    second: Rows | Sequence[Rows],
    *,
    unit: str = "dilemmas",
    level: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> Paired:
    """Steering F1 of the first dial minus that of the second, paired by cluster; a sequence holds one Rows per seed.

    Missing where one of the scores is.

    Raises:
        UsageError: the dials were asked different questions.
    """
    seeds = [[rows] if isinstance(rows, Rows) else list(rows) for rows in (first, second)]
    _check_same_questions([rows for side in seeds for rows in side])
    a, b = (_drawn(side, level, resamples, seed) for side in seeds)
    n = _clusters(seeds[0][0])
    if a is None or b is None:
        return Paired(Interval.nothing(n, unit, level), math.nan, math.nan)
    (low, high), (greater, less) = compared(a, b)
    found = float(a.bootstrap.estimate - b.bootstrap.estimate)
    interval = Interval(found, float(low), float(high), n, unit, level)
    return paired(interval, greater, less)


def yes_bias(rows: Rows) -> Rows:
    """A control: the answers at alpha = 0 with a constant added to every log-odds, c at +1 and -c at -1.

    c (nats, any sign, 0 too) is the one with the best score on these very rows: no honest dial gets to choose so.
    Choice and refusal mass stay as they are.
    """
    size = np.abs(rows.log_odds[0])
    order = np.argsort(size, kind="stable")
    ends = np.append(size[order], np.inf)
    starts = np.append(0.0, size[order])
    between = np.where(np.isinf(ends), starts + 1.0, (starts + ends) / 2)
    apart = (ends - starts > 4 * TIE) | (np.arange(len(ends)) == 0)
    best, chosen = -math.inf, 0.0
    for sign in (1, -1):
        reached = _at_constants(rows, sign, order.astype(np.int64))
        f1 = np.where(apart, np.nan_to_num(steering_f1(*reached), nan=-math.inf), -math.inf)
        if f1.max() > best:
            best, chosen = float(f1.max()), sign * float(between[f1.argmax()])
    return _shifted(rows, chosen)


def _drawn(seeds: Sequence[Rows], level: float, resamples: int, seed: int) -> Drawn | None:
    """None where the score is missing."""
    _check_same_questions(seeds)
    if any(math.isnan(side.f1) for rows in seeds for side in sides(rows)):
        return None
    counted = [counts(rows) for rows in seeds]
    drawn = mean_of([bootstrap(both, steering_f1, resamples=resamples, seed=seed) for both in counted])
    fall = float(np.mean([unseen(*both, level=level) for both in counted]))
    return Drawn(drawn, fall, level, len(counted[0][0]))


def _check_same_questions(seeds: Sequence[Rows]) -> None:
    first = seeds[0]
    for rows in seeds[1:]:
        if not (np.array_equal(rows.label, first.label) and np.array_equal(rows.cluster, first.cluster)):
            raise UsageError("a paired comparison needs the same questions, in the same order, on both sides")


def _clusters(rows: Rows) -> int:
    return len(np.unique(rows.cluster[rows.target]))


def _shifted(rows: Rows, constant: float) -> Rows:
    """The answers at alpha = 0 with `constant` added at +1 and taken away at -1."""
    z = rows.log_odds[0]
    at_rest = {name: np.stack([getattr(rows, name)[0]] * 3) for name in ("choice_mass", "refusal_mass")}
    return replace(rows, log_odds=np.stack([z, z + constant, z - constant]), **at_rest)


def _at_constants(rows: Rows, sign: int, order: NDArray[np.int64]) -> tuple[Array, Array]:
    """Summed marks of targets and controls with constants of one sign that pass one row more each, in `order`."""
    found = []
    for marks, which in ((target_marks, rows.target), (control_marks, ~rows.target)):
        passed = np.zeros((len(rows.label) + 1, marks(rows).shape[-1]))
        before, after = marks(_shifted(rows, 0.0)), marks(_shifted(rows, sign * math.inf))
        passed[0] = before.sum(0)
        step = np.zeros_like(passed[1:])
        step[which] = after - before
        passed[1:] = passed[0] + np.cumsum(step[order], axis=0)
        found.append(passed)
    return found[0], found[1]


def _means(values: Float[np.ndarray, "alpha row"]) -> dict[str, float]:
    """Mean over rows by "-1", "0", "+1"; NaN where it is not measured."""
    at_rest, toward, away = (float(level.mean()) if level.size else math.nan for level in values)
    return {"-1": away, "0": at_rest, "+1": toward}


def _strict(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _strict(inner) for name, inner in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value
