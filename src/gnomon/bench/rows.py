"""The answers behind a score, and what is counted in them. Arrays in, counts out; knows no model and no interval."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy.typing import ArrayLike, NDArray

from gnomon.errors import Failure, UsageError
from gnomon.stats import cluster_sums

if TYPE_CHECKING:
    import pandas as pd

ALPHAS = (0.0, 1.0, -1.0)
"""The coefficients of a score, in the order of the arrays' first axis."""
SIDES = (1, -1)
"""The coefficients of the two sides, toward first."""
TIE = 1e-6
"""Log-odds nearer to 0 than this (nats) are a tie: they say neither answer."""
ANSWERED = 0.5
"""A row is answered if its choice mass is at least this share of its own at alpha = 0."""


@dataclass(frozen=True, eq=False)
class Rows:
    """The answers to target and control questions at alpha = 0, +1 and -1.

    Attributes:
        label: `[row]`, +1: the first class is the toward word's answer, -1: the second, 0: a control.
        cluster: `[row]`, name of what was sampled (the dilemma); the rows of one cluster are resampled together.
        log_odds: `[alpha, row]`, log P(first class) - log P(second class), nats; alpha in the order of `ALPHAS`.
        choice_mass: `[alpha, row]`, P(first class) + P(second class).
        refusal_mass: `[alpha, row]`; NaN where it is not measured.

    Raises:
        UsageError: shapes or labels do not fit.
        Failure: a log-odds or a choice mass is not a number.
    """

    label: Int[np.ndarray, "row"]
    cluster: NDArray[Any]
    log_odds: Float[np.ndarray, "alpha row"]
    choice_mass: Float[np.ndarray, "alpha row"]
    refusal_mass: Float[np.ndarray, "alpha row"]

    def __post_init__(self) -> None:
        n = len(self.label)
        for name in ("log_odds", "choice_mass", "refusal_mass"):
            if getattr(self, name).shape != (3, n):
                raise UsageError(f"{name} needs one line for each alpha of 0, +1, -1 and one column per row")
        if self.cluster.shape != (n,):
            raise UsageError(f"there are {n} rows and {self.cluster.size} cluster names: give one per row")
        if not np.isin(self.label, (-1, 0, 1)).all():
            raise UsageError("a label is +1 or -1, or 0 for a control")
        for name in ("log_odds", "choice_mass"):
            if (bad := np.isnan(getattr(self, name)).sum()) > 0:
                raise Failure(
                    f"{bad} values of {name} are not numbers: the dial is too strong for this model"
                )

    @classmethod
    def of(
        cls,
        label: ArrayLike,
        cluster: ArrayLike,
        log_odds: ArrayLike,
        choice_mass: ArrayLike | None = None,
        refusal_mass: ArrayLike | None = None,
    ) -> Rows:
        """Rows from anything that numpy reads; without masses every row is answered."""
        z = np.asarray(log_odds, dtype=float)
        mass = np.ones_like(z) if choice_mass is None else np.asarray(choice_mass, dtype=float)
        refused = np.full_like(z, np.nan) if refusal_mass is None else np.asarray(refusal_mass, dtype=float)
        return cls(np.asarray(label, dtype=np.int64), np.asarray(cluster), z, mass, refused)

    @classmethod
    def from_tables(cls, labels: pd.DataFrame, answers: pd.DataFrame) -> Rows:
        """Rows from the tables of `bench.ask`: `labels(questions)`, and the answers at alpha 0, +1 and -1 together.

        Raises:
            UsageError: a question was not asked exactly once at each alpha.
        """
        questions = labels["question"].to_numpy()
        levels = [answers[answers["alpha"] == alpha].set_index("question") for alpha in ALPHAS]
        for alpha, level in zip(ALPHAS, levels, strict=True):
            if not (level.index.is_unique and set(level.index) == set(questions)):
                raise UsageError(f"the answers at alpha = {alpha:g} are not one for each of the questions")
        arrays = {
            name: np.stack([level.loc[questions, name].to_numpy(dtype=float) for level in levels])
            for name in ("log_odds", "choice_mass", "refusal_mass")
        }
        return cls(labels["label"].to_numpy(dtype=np.int64), labels["cluster"].to_numpy(dtype=str), **arrays)

    @property
    def target(self) -> Bool[np.ndarray, "row"]:
        """Which rows are targets."""
        return np.asarray(self.label != 0)


def target_marks(rows: Rows) -> Int[np.ndarray, "row 8"]:
    """What each target row counts: can, flipped (C), unanswered (U), wrong (W), at alpha = +1, then the same at -1.

    A row whose log-odds at alpha = 0 are a tie can neither flip nor be flipped; one that ends in a tie has not flipped.
    """
    targets = rows.target
    answer = rows.label[targets] * _answer(rows.log_odds[:, targets])
    answered = _answered(rows.choice_mass[:, targets])
    marks = []
    for at, side in enumerate(SIDES, start=1):
        can, right = side * answer[0] < 0, side * answer[0] > 0
        flipped = can & answered[at] & (side * answer[at] > 0)
        wrong = right & ((side * answer[at] < 0) | ~answered[at])
        marks += [can, flipped, can & ~answered[at], wrong]
    return np.stack(marks, axis=-1).astype(np.int64)


def control_marks(rows: Rows) -> Int[np.ndarray, "row 3"]:
    """What each control row counts: changed or unanswered at alpha = +1, the same at -1, and 1."""
    controls = ~rows.target
    answer = _answer(rows.log_odds[:, controls])
    answered = _answered(rows.choice_mass[:, controls])
    changed = [(answer[0] * answer[at] < 0) | ~answered[at] for at in (1, 2)]
    return np.stack([*changed, np.ones(int(controls.sum()), dtype=bool)], axis=-1).astype(np.int64)


def counts(rows: Rows) -> tuple[Float[np.ndarray, "cluster 8"], Float[np.ndarray, "cluster 3"]]:
    """The marks of the targets and of the controls, summed by cluster."""
    targets = rows.target
    return (
        cluster_sums(target_marks(rows), rows.cluster[targets]),
        cluster_sums(control_marks(rows), rows.cluster[~targets]),
    )


def _answer(log_odds: Float[np.ndarray, "alpha row"]) -> Int[np.ndarray, "alpha row"]:
    """+1 first class, -1 second class, 0 tie."""
    return np.asarray(np.where(np.abs(log_odds) < TIE, 0, np.sign(log_odds)).astype(np.int64))


def _answered(choice_mass: Float[np.ndarray, "alpha row"]) -> Bool[np.ndarray, "alpha row"]:
    return np.asarray(choice_mass >= ANSWERED * choice_mass[0])
