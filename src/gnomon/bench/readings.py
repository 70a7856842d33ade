"""From measured answers to Readings: the tables, the figures, the words. Everything here follows from the run's cells."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from gnomon.bench.measure import Measured, Strength
from gnomon.bench.score import Rows, Score, Side, difference, score, yes_bias
from gnomon.bench.shift import shift
from gnomon.runs import Column, Reading
from gnomon.stats import holm

if TYPE_CHECKING:
    import pandas as pd

    from gnomon.contrast import PairStates

TITLES = {
    "matched": "Steering F1 at matched strength",
    "kl": "Steering F1 at equal KL",
    "native": "Steering F1 at native strength",
}
ABOUT = {
    "matched": "Every dial moves the residual stream, along the personas' gap, as far as the words themselves do.",
    "kl": "Every dial costs the same KL on neutral text.",
    "native": "Every dial at alpha = 1 as its method left it.",
}


@dataclass(frozen=True, eq=False)
class Scored:
    """One line of a table: a method at a strength, its answers and its score."""

    method: str
    strength: Strength | None
    rows: Rows
    score: Score
    refusal: tuple[float, float, float]


def rows_of(labels: pd.DataFrame, base: pd.DataFrame, answers: pd.DataFrame | None) -> Rows:
    """Answers at 0, +1, -1 as arrays; without `answers` the dial does nothing."""
    columns = (
        [base] * 3 if answers is None else [base, *(answers[answers.alpha == alpha] for alpha in (1.0, -1.0))]
    )
    return Rows(
        log_odds=np.stack([frame.log_odds.to_numpy() for frame in columns], axis=1),
        choice_mass=np.stack([frame.choice_mass.to_numpy() for frame in columns], axis=1),
        label=labels.label.to_numpy(),
        cluster=labels.cluster.to_numpy(dtype=str),
    )


def scored(
    method: str,
    strength: Strength | None,
    labels: pd.DataFrame,
    base: pd.DataFrame,
    resamples: int,
) -> Scored:
    """The line of a method at a strength; without a strength, of the model as it is."""
    answers = None if strength is None else strength.answers
    rows = rows_of(labels, base, answers)
    targets = (labels.label != 0).to_numpy()
    frames = [base] * 3 if answers is None else [base, *(answers[answers.alpha == a] for a in (1.0, -1.0))]
    refusal = [float(frame.refusal_mass.to_numpy()[targets].mean()) for frame in frames]
    return Scored(
        method, strength, rows, score(rows, resamples=resamples), (refusal[0], refusal[1], refusal[2])
    )


def at_strength(measured: Sequence[Measured], key: str) -> list[tuple[Measured, Strength]]:
    """Every method with its dial at a table's strength; a prompt stands in every table as it is."""
    pairs = ((one, one.strengths.get(key) or one.strengths.get("prompt")) for one in measured)
    return [(one, strength) for one, strength in pairs if strength is not None]


def table_of(lines: Sequence[Scored], bias: Scored, resamples: int) -> pd.DataFrame:
    """The tidy table of the lines: score, sides, what flipped, difference to the yes-bias control, shift, KL, masses."""
    import pandas as pd

    comparisons = [difference(line.rows, bias.rows, resamples=resamples) for line in lines]
    adjusted = holm([comparison.p_greater for comparison in comparisons])
    records = []
    for line, comparison, p in zip(lines, comparisons, adjusted, strict=True):
        up, down = shift(line.rows, resamples=resamples)
        strength = line.strength
        over = comparison.f1
        records.append(
            {
                "method": line.method,
                "f1": line.score.f1.estimate,
                "f1_low": line.score.f1.low,
                "f1_high": line.score.f1.high,
                **_side("toward", line.score.toward),
                **_side("away", line.score.away),
                "over_yes_bias": over.estimate,
                "over_yes_bias_low": over.low,
                "over_yes_bias_high": over.high,
                "p_over_yes_bias": p,
                "toward_nats": up.estimate,
                "toward_nats_low": up.low,
                "toward_nats_high": up.high,
                "away_nats": down.estimate,
                "away_nats_low": down.low,
                "away_nats_high": down.high,
                "kl": 0.0 if strength is None else strength.kl,
                "factor": 0.0 if strength is None else _factor(strength),
                "reached": "" if strength is None else ("yes" if _reached(strength) else "no"),
                "choice_mass": min(line.score.choice_mass),
                "refusal_toward": line.refusal[1],
                "refusal_away": line.refusal[2],
                "n": line.score.f1.n,
            }
        )
    return pd.DataFrame(records)


COLUMNS = (
    Column("method"),
    Column(
        "f1",
        "Steering F1",
        "%",
        0,
        "100: every answer flips as asked on both sides; 0: nothing; below 0: harm",
    ),
    Column("toward_f1", "toward", "%", 0, "the side at +1"),
    Column("away_f1", "away", "%", 0, "the side at -1"),
    Column(
        "toward_counts", "toward C/W/U/A", "%", None, "correct, wrong, unanswered flips; controls changed"
    ),
    Column("away_counts", "away C/W/U/A", "%", None, "correct, wrong, unanswered flips; controls changed"),
    Column("over_yes_bias", "over yes-bias", "", 0, "paired difference to the control that only says yes"),
    Column("toward_nats", "shift at +1", "nats", 2, "mean log-odds shift, positive as asked"),
    Column("away_nats", "shift at −1", "nats", 2, "mean log-odds shift, positive as asked"),
    Column("kl", "KL", "nats", 3, "mean next-token KL on neutral text"),
    Column("factor", "x native", "", 2, "how often the native scale"),
    Column("reached", "reached", "", None, "whether the strength was reached"),
    Column(
        "choice_mass",
        "choice mass",
        "",
        3,
        "lowest of the three positions: mean probability of an answer at all",
    ),
    Column("refusal_toward", "refusal +1", "", 3, "mean probability of a refusal"),
    Column("refusal_away", "refusal −1", "", 3, "mean probability of a refusal"),
    Column("n", "clusters", "", None, "how many clusters of target questions were sampled"),
)


def strength_reading(
    key: str, lines: Sequence[Scored], bias: Scored, resamples: int, notes: Sequence[str]
) -> Reading:
    """The table of one strength."""
    return Reading(
        name=f"steering_f1-{key}",
        title=TITLES[key],
        sentence=ABOUT[key],
        table=table_of(lines, bias, resamples),
        columns=COLUMNS,
        notes=tuple(notes),
    )


def bias_line(labels: pd.DataFrame, base: pd.DataFrame, resamples: int) -> Scored:
    """The control that only says yes, at its best strength."""
    rows = yes_bias(rows_of(labels, base, None))
    refusal = float(base.refusal_mass.to_numpy()[(labels.label != 0).to_numpy()].mean())
    return Scored("yes-bias (control)", None, rows, score(rows, resamples=resamples), (refusal,) * 3)


def sweep_reading(
    measured: Sequence[Measured], labels: pd.DataFrame, base: pd.DataFrame, accent: str | None, resamples: int
) -> Reading:
    """Steering F1 against the KL that it costs: the figure that no single budget decides."""
    import pandas as pd

    from gnomon.report import figures

    records = []
    for one in measured:
        for strength in one.sweep:
            value = scored(one.method, strength, labels, base, resamples).score.f1
            records.append(
                {
                    "method": one.method,
                    "kl": strength.kl,
                    "f1": value.estimate,
                    "f1_low": value.low,
                    "f1_high": value.high,
                }
            )
    table = pd.DataFrame(records).query("kl > 0").sort_values(["method", "kl"], ignore_index=True)
    series = [
        figures.Series(str(name), *(group[c].to_numpy() for c in ("kl", "f1", "f1_low", "f1_high")))
        for name, group in table.groupby("method", sort=False)
    ]
    figure = figures.dose_response(
        series,
        title="Steering F1 against KL",
        x="mean next-token KL on neutral text (nats)",
        y="Steering F1 (%)",
        accent=accent,
        caption="Each point is a dial at one strength, with its 95 % interval; a prompt has one strength.",
    )
    return Reading(
        name="f1_against_kl",
        title="Effect against cost",
        sentence="The strength decides the table: here is every strength.",
        table=table,
        columns=(Column("method"), Column("kl", "KL", "nats", 3), Column("f1", "Steering F1", "%", 0)),
        figures={"f1_against_kl": figure},
    )


def pairs_reading(states: PairStates) -> Reading:
    """How consistently the validation pairs are separated, block by block."""
    import pandas as pd

    from gnomon.report import figures

    consistency = states.consistency()
    block = states.reading_block
    table = pd.DataFrame({"block": range(len(consistency)), "consistency": consistency})
    figure = figures.per_block(
        {"consistency": consistency},
        title="Consistency of the contrast pairs",
        y="mean cosine with the mean difference",
        chosen=block,
        caption="Validation pairs; 1: all pairs differ along one direction. The marked block is read and edited.",
    )
    n = int(states.validation.sum())
    return Reading(
        name="pairs",
        title="The contrast pairs",
        sentence=(
            f"{len(states.validation)} pairs, {n} of them kept for validation; they agree most at block {block} "
            f"(mean cosine {consistency[block]:.2f})."
        ),
        table=table,
        columns=(Column("block"), Column("consistency", decimals=3)),
        figures={"consistency": figure},
    )


def damage_reading(lines: Sequence[Scored], key: str, accent: str | None) -> Reading:
    """Effect beside damage: Steering F1 against the share of controls that changed."""
    from gnomon.report import figures

    kept = [line for line in lines if not np.isnan(line.score.f1.estimate)]
    figure = figures.against(
        [line.method for line in kept],
        [max(line.score.toward.arbitrary, line.score.away.arbitrary) for line in kept],
        [line.score.f1.estimate for line in kept],
        title="Effect against damage",
        x="controls that changed or broke (%, worse side)",
        y="Steering F1 (%)",
        y_low=[line.score.f1.low for line in kept],
        y_high=[line.score.f1.high for line in kept],
        accent=accent if accent in [line.method for line in kept] else None,
        caption=f"{TITLES[key]}. Upper left is best: much effect, nothing else moved.",
    )
    return Reading(
        name="effect_against_damage",
        title="Effect against damage",
        sentence="What each method moved that it was asked to move, and what it was not.",
        figures={"effect_against_damage": figure},
    )


def _side(name: str, side: Side) -> dict[str, Any]:
    shares = (side.correct, side.wrong, side.unanswered, side.arbitrary)
    return {
        f"{name}_f1": side.f1,
        f"{name}_counts": " / ".join(f"{share:.0f}" for share in shares),
        f"{name}_correct": side.correct,
        f"{name}_wrong": side.wrong,
        f"{name}_unanswered": side.unanswered,
        f"{name}_arbitrary": side.arbitrary,
        f"{name}_can": side.n_can,
    }


def _factor(strength: Strength) -> float:
    return 1.0 if strength.dial.scale is None else strength.dial.scale.factor


def _reached(strength: Strength) -> bool:
    return strength.dial.scale is None or strength.dial.scale.reached
