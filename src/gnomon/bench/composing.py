"""Which Readings a measurement ends in, and in which order: the headline first, then what it rests on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from gnomon.bench import readings, words
from gnomon.bench.asking import labels as labels_of
from gnomon.bench.measure import Measured
from gnomon.bench.pairs import pairs_reading
from gnomon.bench.settings import Settings
from gnomon.methods import Supervised
from gnomon.runs import Column, Reading, number

if TYPE_CHECKING:
    import pandas as pd

    from gnomon.contrast import PairStates
    from gnomon.questions import Questions

ALWAYS_MISSING = ("other abilities", "other values", "long conversations")


class Seed(NamedTuple):
    """What was measured at one seed: the pairs' states, the answers without a dial, every method."""

    states: PairStates
    base: pd.DataFrame | None
    measured: list[Measured]


Tables = Mapping[str, list[readings.Scored]]
"""Strength -> the lines of its table: the model as it is, the yes-bias control, every method."""


def tables_of(settings: Settings, labels: pd.DataFrame, seeds: Sequence[Seed]) -> Tables:
    """The lines of each strength's table; the questions were asked without a dial at every seed alike."""
    base = _base(seeds)
    resamples = settings.bootstrap
    controls = [
        readings.scored("none", [], labels, base, resamples),
        readings.bias_line(labels, base, resamples),
    ]
    return {
        key: [
            *controls,
            *(
                readings.scored(method, strengths, labels, base, resamples)
                for method, strengths in readings.at_strength([seed.measured for seed in seeds], key).items()
            ),
        ]
        for key in settings.strengths
    }


def compose(
    settings: Settings,
    questions: Questions | None,
    seeds: Sequence[Seed],
    shown: Measured,
    tables: Tables | None,
    examples: Reading,
) -> list[Reading]:
    """The Readings of one model; `shown` is the method that the sentence and the examples are about."""
    if questions is None or tables is None:
        first = [_unscored(settings, seeds[0].measured, shown)]
    else:
        first = _scored(settings, questions, seeds, shown, tables)
    return [*first, examples, pairs_reading(seeds[0].states), _methods(seeds[0].measured)]


def _scored(
    settings: Settings, questions: Questions, seeds: Sequence[Seed], shown: Measured, tables: Tables
) -> list[Reading]:
    labels, base, resamples = labels_of(questions), _base(seeds), settings.bootstrap
    key, *others = settings.strengths
    lines = tables[key]
    bias = lines[1]
    name = readings.line_of(
        shown.method, key == "matched" and any(seed_of(seed, shown).turned_down for seed in seeds)
    )
    line = next(line for line in lines if line.method == name)
    missing = list(ALWAYS_MISSING)
    if base.refusal_mass.isna().all():
        missing.insert(0, "refusals (no refusal opening fits the vocabulary)")
    headline = Reading(
        name="steering_f1",
        title=readings.TITLES[key],
        headline=line.interval,
        sentence=words.sentence(settings.toward, line, bias, labels, missing),
        table=readings.table_of(lines, bias, resamples),
        columns=readings.columns(len(settings.seeds)),
        notes=(readings.ABOUT[key], *readings.caveats(key, lines), *readings.NOTES, *questions.notes),
        not_measured=tuple(f"{one[0].upper()}{one[1:]}." for one in missing),
        data={"preferred": shown.method, "strength": key},
    )
    return [
        headline,
        readings.sweep_reading(seeds[0].measured, labels, base, shown.method, resamples),
        readings.damage_reading(lines[2:], key, name),
        *(
            readings.strength_reading(other, tables[other], bias, resamples, len(settings.seeds))
            for other in others
        ),
    ]


def seed_of(seed: Seed, shown: Measured) -> Measured:
    """The shown method as it was measured at a seed."""
    return next(one for one in seed.measured if one.method == shown.method)


def _unscored(settings: Settings, measured: Sequence[Measured], shown: Measured) -> Reading:
    """What can be said where there is no question to ask: strengths and their KL."""
    import pandas as pd

    table = pd.DataFrame(
        [
            {"method": one.method, "strength": key, "kl": strength.kl, "factor": strength.dial.scale.factor}
            for one in measured
            for key, strength in one.strengths.items()
            if strength.dial.scale is not None
        ]
    )
    return Reading(
        name="steering_f1",
        title="The dials",
        sentence=(
            f"more {settings.toward}: not measured, because no questions were given for this model "
            f"(gnomon questions template shows how); a dial was found by {shown.method}"
        ),
        table=table,
        columns=(
            Column("method"),
            Column("strength"),
            Column("kl", "KL", "nats", 3),
            Column("factor", "x native", "", 2),
        ),
        not_measured=("Steering F1: no questions were given.",),
        data={"preferred": shown.method},
    )


def _methods(measured: Sequence[Measured]) -> Reading:
    import pandas as pd

    table = pd.DataFrame(
        [
            {
                "method": one.method,
                "dial": one.dial.in_words,
                "recovery": one.recovery,
                "turned_down": "" if one.dial.is_prompt else ("yes" if one.turned_down else "no"),
                "notes": "; ".join(
                    f"{key} {number(value) if isinstance(value, float) else value}"
                    for key, value in one.dial.notes.items()
                    if key != "method"
                ),
            }
            for one in measured
        ]
    )
    return Reading(
        name="methods",
        title="How the dials were found",
        sentence=(
            "Recovery is the share of the personas' gap at the reading block that a matched dial reproduces on validation "
            "suffixes; the preferred dial recovers most, and dials that had to be turned down (they bring about refusals) "
            "come behind all others. " + _labels_in_words(measured)
        ),
        table=table.astype({"recovery": float}),
        columns=(
            Column("method"),
            Column("dial"),
            Column("recovery", decimals=2),
            Column("turned_down"),
            Column("notes"),
        ),
    )


def _labels_in_words(measured: Sequence[Measured]) -> str:
    """Who saw a label."""
    if all(one.method != Supervised.name for one in measured):
        return "No label was used."
    return f"No label was used, except by {Supervised.name}: a ceiling, and no fair competitor."


def _base(seeds: Sequence[Seed]) -> pd.DataFrame:
    base = seeds[0].base
    if base is None:
        raise TypeError("the questions were asked before they are scored")
    return base
