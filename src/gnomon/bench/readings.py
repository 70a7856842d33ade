"""From measured answers to Readings: the tables, the figures, the words. Everything here follows from the run's cells."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from gnomon.bench.measure import Measured, Strength
from gnomon.bench.rows import Rows
from gnomon.bench.score import Score, Seeds, Side, difference, over_seeds, yes_bias
from gnomon.bench.shift import shift
from gnomon.dials.strength import LIMIT
from gnomon.methods import Supervised
from gnomon.runs import Column, Reading, number
from gnomon.stats import Interval, holm

if TYPE_CHECKING:
    import pandas as pd


UNIT = "dilemmas"
"""What a cluster of target questions is called."""
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
    """One line of a table: a method at a strength, its answers and scores, one per seed.

    `strengths` is empty for a control that has no dial.
    """

    method: str
    strengths: tuple[Strength, ...]
    rows: tuple[Rows, ...]
    seeds: Seeds

    @property
    def interval(self) -> Interval:
        """Steering F1, the mean over seeds."""
        return self.seeds.interval

    def mean(self, value: Callable[[Score], float]) -> float:
        """A number of the scores, averaged over seeds."""
        return float(np.mean([value(score) for score in self.seeds.scores]))


def rows_of(labels: pd.DataFrame, base: pd.DataFrame, answers: pd.DataFrame | None) -> Rows:
    """Answers at 0, +1 and -1; without `answers` the dial does nothing."""
    import pandas as pd

    moved = [base.assign(alpha=alpha) for alpha in (1.0, -1.0)] if answers is None else [answers]
    return Rows.from_tables(labels, pd.concat([base, *moved], ignore_index=True))


def scored(
    method: str, strengths: Sequence[Strength], labels: pd.DataFrame, base: pd.DataFrame, resamples: int
) -> Scored:
    """The line of a method at a strength, one per seed; without strengths, of the model as it is."""
    answers = [strength.answers for strength in strengths] or [None]
    rows = tuple(rows_of(labels, base, frame) for frame in answers)
    return Scored(method, tuple(strengths), rows, over_seeds(rows, unit=UNIT, resamples=resamples))


def at_strength(measured: Sequence[Sequence[Measured]], key: str) -> dict[str, list[Strength]]:
    """Every method with its dials of all seeds at a table's strength, and turned down where it brings about refusals."""
    found: dict[str, list[Strength]] = {}
    for seeds in zip(*measured, strict=True):  # one method at all seeds
        found[seeds[0].method] = [one.strength(key) for one in seeds]
        if key == "matched" and any(one.turned_down for one in seeds):
            found[line_of(seeds[0].method, True)] = [one.usable(key) for one in seeds]
    return found


def line_of(method: str, turned_down: bool) -> str:
    """What a table calls a method, or the same turned down."""
    return f"{method}, turned down" if turned_down else method


def table_of(lines: Sequence[Scored], bias: Scored, resamples: int) -> pd.DataFrame:
    """The tidy table of the lines: score, sides, what flipped, difference to the yes-bias control, shift, KL, masses."""
    import pandas as pd

    comparisons = [difference(line.rows, bias.rows, resamples=resamples) for line in lines]
    adjusted = holm([comparison.p_greater for comparison in comparisons])
    records = []
    for line, comparison, p in zip(lines, comparisons, adjusted, strict=True):
        up, down = shift(line.rows, resamples=resamples)
        strengths = line.strengths
        records.append(
            {
                "method": line.method,
                **_ends("f1", line.interval),
                "seed_deviation": line.seeds.deviation,
                **_side("toward", [one.toward for one in line.seeds.scores]),
                **_side("away", [one.away for one in line.seeds.scores]),
                **_ends("over_yes_bias", comparison.interval),
                "p_over_yes_bias": p,
                **_ends("toward_nats", up),
                **_ends("away_nats", down),
                "kl": float(np.mean([one.kl for one in strengths])) if strengths else 0.0,
                "factor": float(np.mean([_factor(one) for one in strengths])) if strengths else 0.0,
                "reached": "" if not strengths else ("yes" if all(map(_reached, strengths)) else "no"),
                "choice_mass": line.mean(lambda one: min(one.choice_mass.values())),
                "refusal_toward": line.mean(lambda one: one.refusal_mass["+1"]),
                "refusal_away": line.mean(lambda one: one.refusal_mass["-1"]),
                "n": line.interval.n,
            }
        )
    return pd.DataFrame(records)


NOTES = (
    "Steering F1: 100 where every answer flips as asked on both sides and nothing else does; 0 where nothing moves; below "
    "0 where more is broken than mended.",
    "C: flipped as asked, U: destroyed or refused, both in percent of the answers that could flip; W: flipped the wrong "
    "way or destroyed, in percent of the others; A: controls that changed, in percent.",
    "A dial that makes the model refuse on validation suffixes is shown turned down as well, to where it does not.",
    "The yes-bias control adds a constant to the log-odds of yes, at its best strength on these very answers.",
)


def columns(n_seeds: int) -> tuple[Column, ...]:
    """The shown columns of a table; the seeds' deviation only where there are several."""
    deviation = (Column("seed_deviation", "± seeds", "%", 1, "standard deviation over seeds"),)
    return (
        Column("method"),
        Column("f1", "Steering F1", "%", 0),
        *(deviation if n_seeds > 1 else ()),
        Column("toward_f1", "at +1", "%", 0, "the toward side's F1"),
        Column("away_f1", "at −1", "%", 0, "the away side's F1"),
        Column("toward_counts", "C/W/U/A at +1", "%"),
        Column("away_counts", "C/W/U/A at −1", "%"),
        Column(
            "over_yes_bias", "over yes-bias", "", 0, "paired difference to the control that only says yes"
        ),
        Column("toward_nats", "shift at +1", "nats", 2, "mean log-odds shift, positive as asked"),
        Column("away_nats", "shift at −1", "nats", 2, "mean log-odds shift, positive as asked"),
        Column("kl", "KL", "nats", 3, "mean next-token KL on neutral text"),
        Column("factor", "× native", "", 2, "times the native scale"),
        Column("reached", about="whether the strength was reached"),
        Column(
            "choice_mass", "choice mass", "", 3, "lowest of the three positions: probability of any answer"
        ),
        Column("refusal_toward", "refusal at +1", "", 3, "mean probability of a refusal"),
        Column("refusal_away", "refusal at −1", "", 3, "mean probability of a refusal"),
        Column("n", UNIT),
    )


def strength_reading(
    key: str, lines: Sequence[Scored], bias: Scored, resamples: int, n_seeds: int
) -> Reading:
    """The table of one strength."""
    return Reading(
        name=f"steering_f1-{key}",
        title=TITLES[key],
        sentence=ABOUT[key],
        table=table_of(lines, bias, resamples),
        columns=columns(n_seeds),
        notes=caveats(key, lines),
    )


def caveats(key: str, lines: Sequence[Scored]) -> tuple[str, ...]:
    """What keeps lines of a table from being compared at its strength: a strength out of reach, labels."""
    short = [line.method for line in lines if not all(map(_reached, line.strengths))]
    labelled = key != "native" and any(line.method == Supervised.name for line in lines)
    reach = (
        f"Not reached within {number(LIMIT)} times the native scale: {', '.join(short)}. The line shows where the dial got "
        "and is no comparison at this strength."
    )
    ceiling = f"{Supervised.name} is a ceiling, no fair competitor; read it at native strength, where it was trained."
    return (*((reach,) if short else ()), *((ceiling,) if labelled else ()))


def bias_line(labels: pd.DataFrame, base: pd.DataFrame, resamples: int) -> Scored:
    """The control that only says yes, at its best strength."""
    rows = yes_bias(rows_of(labels, base, None))
    return Scored("yes-bias (control)", (), (rows,), over_seeds([rows], unit=UNIT, resamples=resamples))


def sweep_reading(
    measured: Sequence[Measured], labels: pd.DataFrame, base: pd.DataFrame, accent: str | None, resamples: int
) -> Reading:
    """Steering F1 against the KL that it costs, of one seed: the figure that no single budget decides."""
    import pandas as pd

    from gnomon.report import figures

    records = []
    for one in measured:
        for strength in one.sweep:
            value = scored(one.method, [strength], labels, base, resamples).interval
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


def damage_reading(lines: Sequence[Scored], key: str, accent: str | None) -> Reading:
    """Effect beside damage: Steering F1 against the share of controls that changed."""
    from gnomon.report import figures

    kept = [line for line in lines if not line.interval.missing]
    figure = figures.against(
        [line.method for line in kept],
        [100 * line.mean(lambda one: max(one.toward.changed, one.away.changed)) for line in kept],
        [line.interval.estimate for line in kept],
        title="Effect against damage",
        x="controls that changed or broke (%, worse side)",
        y="Steering F1 (%)",
        y_low=[line.interval.low for line in kept],
        y_high=[line.interval.high for line in kept],
        accent=accent if accent in [line.method for line in kept] else None,
        caption=f"{TITLES[key]}. Upper left is best: much effect, nothing else moved.",
    )
    return Reading(
        name="effect_against_damage",
        title="Effect against damage",
        sentence="What each method moved that it was asked to move, and what it was not.",
        figures={"effect_against_damage": figure},
    )


def _ends(name: str, interval: Interval) -> dict[str, float]:
    return {name: interval.estimate, f"{name}_low": interval.low, f"{name}_high": interval.high}


def _side(name: str, seeds: Sequence[Side]) -> dict[str, Any]:
    shares = {letter: float(np.mean([one.percentages[letter] for one in seeds])) for letter in "CWUA"}
    return {
        f"{name}_f1": float(np.mean([one.f1 for one in seeds])),
        f"{name}_counts": "/".join(number(share, 0) for share in shares.values()),
        **{f"{name}_{letter}": share for letter, share in shares.items()},
        f"{name}_can": seeds[0].can,
    }


def _factor(strength: Strength) -> float:
    return 1.0 if strength.dial.scale is None else strength.dial.scale.factor


def _reached(strength: Strength) -> bool:
    return strength.dial.scale is None or strength.dial.scale.reached
