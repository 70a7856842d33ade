"""The main job: open, find, scale, ask, score, write. `steer` is `bench` with one model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from gnomon.bench import readings, words
from gnomon.bench.asking import labels as labels_of
from gnomon.bench.comparing import ROWS, scored_rows
from gnomon.bench.measure import Measured, measure
from gnomon.bench.opening import identities, open_model, open_questions, open_run
from gnomon.bench.settings import Settings
from gnomon.runs import Column, Generation, Reading, Run
from gnomon.runs import progress as default_progress

if TYPE_CHECKING:
    import pandas as pd

    from gnomon.contrast import PairStates
    from gnomon.dials import Dial
    from gnomon.questions import Questions
    from gnomon.runs import Progress

ALWAYS_MISSING = ("other abilities", "other values", "long conversations")


def steer(settings: Settings, *, progress: Progress = default_progress) -> Run:
    """Measure every method on one model; returns the finished run folder with report.html and the preferred dial."""
    return bench(settings, (settings.model,), progress=progress, command="steer")


def bench(
    settings: Settings,
    models: Sequence[str] = (),
    *,
    progress: Progress = default_progress,
    command: str = "bench",
) -> Run:
    """Methods x models x seeds; an interrupted run with the same settings, models and questions goes on where it was.

    Raises `UsageError` for settings that cannot be, `Failure` where the work cannot be finished.
    """
    models = tuple(models) or (settings.model,)
    one_model = [settings.model_copy(update={"model": model}) for model in models]
    opened = [_Opened(own) for own in one_model]
    run = open_run(settings, command, models, {own.settings.model: own.identities for own in opened})
    with run:
        for place, own in enumerate(opened):
            _measure_model(run, own, place, several=len(models) > 1, progress=progress)
        from gnomon.report import render

        run.event("report", path=str(render(run)))
    # Once more, so that the page says that the run is finished.
    render(run)
    return run


class _Opened:
    """A model with its questions and its settings."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.lm = open_model(settings)
        self.questions = open_questions(settings, self.lm)
        self.identities = identities(settings, self.lm, self.questions)


def _measure_model(run: Run, own: _Opened, place: int, *, several: bool, progress: Progress) -> None:
    settings, lm, questions = own.settings, own.lm, own.questions
    prefix = _slug(settings.model) + "-" if several else ""
    for seed in settings.seeds:
        states, base, measured = measure(
            run,
            lm,
            settings,
            questions,
            stem=f"{_slug(settings.model)}/seed-{seed}",
            seed=seed,
            progress=progress,
        )
        tag = prefix + (f"seed-{seed}-" if len(settings.seeds) > 1 else "")
        preferred = preferred_of(measured)
        found = _readings(own, states, base, measured, preferred, run, f"{ROWS}/{place}/{seed}", progress)
        for reading in found:
            run.add(
                _named(
                    reading,
                    tag,
                    settings.model if several else None,
                    seed if len(settings.seeds) > 1 else None,
                )
            )
        if seed == settings.seeds[0] and preferred is not None:
            _keep_dial(run, preferred, settings, found[0], prefix)


def preferred_of(measured: Sequence[Measured]) -> Measured | None:
    """The vector dial that recovers most of the personas' shift on validation pairs; never a prompt, never `random`."""
    known = [one for one in measured if one.recovery is not None and one.method != "random"]
    return max(known, key=lambda one: one.recovery or 0.0, default=None)


def _readings(
    own: _Opened,
    states: PairStates,
    base: pd.DataFrame | None,
    measured: Sequence[Measured],
    preferred: Measured | None,
    run: Run,
    rows_cell: str,
    progress: Progress,
) -> list[Reading]:
    settings, questions = own.settings, own.questions
    headline_key = settings.strengths[0]
    shown = preferred or measured[0]
    strength = shown.strengths.get(headline_key) or next(iter(shown.strengths.values()))
    found: list[Reading] = []
    if questions is not None and base is not None:
        tables = _tables(settings, labels_of(questions), base, measured)
        run.once(rows_cell, lambda: scored_rows(questions, tables))
        found += _scored_readings(settings, questions, base, measured, shown, tables)
    else:
        found.append(_unscored_reading(settings, measured, shown))
    found.append(readings.pairs_reading(states))
    with progress("writing examples", None):
        found.append(_examples(run, own, shown.method, strength.dial))
    found.append(_method_reading(measured))
    return found


def _tables(
    settings: Settings, labels: pd.DataFrame, base: pd.DataFrame, measured: Sequence[Measured]
) -> dict[str, list[readings.Scored]]:
    """The lines of each strength's table: the two controls that need no dial, then every method."""
    controls = [
        readings.scored("none", None, labels, base, settings.bootstrap),
        readings.bias_line(labels, base, settings.bootstrap),
    ]
    return {
        key: [
            *controls,
            *(
                readings.scored(one.method, strength, labels, base, settings.bootstrap)
                for one, strength in readings.at_strength(measured, key)
            ),
        ]
        for key in settings.strengths
    }


def _scored_readings(
    settings: Settings,
    questions: Questions,
    base: pd.DataFrame,
    measured: Sequence[Measured],
    shown: Measured,
    tables: Mapping[str, list[readings.Scored]],
) -> list[Reading]:
    labels = labels_of(questions)
    resamples = settings.bootstrap
    headline_key = settings.strengths[0]
    lines = tables[headline_key]
    bias = lines[1]
    line = next((line for line in lines if line.method == shown.method), lines[-1])
    missing = list(ALWAYS_MISSING)
    if base.refusal_mass.isna().all():
        missing.insert(0, "refusals (no refusal fits the vocabulary)")
    said = words.sentence(settings.toward, line, bias, labels, missing)
    headline = readings.strength_reading(headline_key, lines, bias, resamples, questions.notes)
    found = [
        Reading(
            name="steering_f1",
            title=headline.title,
            headline=line.score.f1,
            sentence=said,
            table=headline.table,
            columns=headline.columns,
            notes=(readings.ABOUT[headline_key], *headline.notes),
            not_measured=tuple(f"{one}." for one in missing),
            data={"preferred": shown.method, "strength": headline_key},
        )
    ]
    found.append(readings.sweep_reading(measured, labels, base, shown.method, resamples))
    found += [
        readings.strength_reading(key, tables[key], bias, resamples, ()) for key in settings.strengths[1:]
    ]
    found.append(readings.damage_reading(lines[2:], headline_key, shown.method))
    return found


def _unscored_reading(settings: Settings, measured: Sequence[Measured], shown: Measured) -> Reading:
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
        not_measured=("Steering F1: no questions were given.",),
        data={"preferred": shown.method},
    )


def _examples(run: Run, own: _Opened, method: str, dial: Dial) -> Reading:
    """Continuations at -1, 0 and +1 of the shown dial."""
    prompts = list(own.settings.examples) or _example_prompts(own.questions)

    def write() -> dict[str, Any]:
        texts = {}
        for alpha, label in ((-1.0, "-1"), (0.0, "0"), (1.0, "+1")):
            with dial.at(alpha, own.lm):
                texts[label] = own.lm.generate(prompts, max_new_tokens=own.settings.max_new_tokens)
        return texts

    key = f"{_slug(own.settings.model)}/examples-{_slug(method)}-{dial.scale}".replace(" ", "-")
    texts = run.once(key, write)
    return Reading(
        name="examples",
        title="What the model writes",
        sentence=f"Likeliest continuations with the dial of {method} at -1, 0 and +1.",
        generations=tuple(
            Generation(_text(prompt), {label: texts[label][index] for label in ("-1", "0", "+1")})
            for index, prompt in enumerate(prompts)
        ),
    )


def _example_prompts(questions: Questions | None) -> list[Any]:
    if questions is None:
        return ["Tell me about your day.", "What should I do if I break something that is not mine?"]
    first_of_cluster = {question.cluster: question.prompt for question in reversed(list(questions.targets))}
    controls = [question.prompt for question in questions.controls][:1]
    return [*list(first_of_cluster.values())[-4:][::-1], *controls]


def _method_reading(measured: Sequence[Measured]) -> Reading:
    import pandas as pd

    table = pd.DataFrame(
        [
            {
                "method": one.method,
                "dial": "; ".join(str(edit) for edit in one.dial.edits),
                "recovery": one.recovery,
            }
            for one in measured
        ]
    )
    return Reading(
        name="methods",
        title="How the dials were found",
        sentence=(
            "Recovery is the share of the personas' shift at the last block that a matched dial brings about on validation "
            "suffixes; the preferred dial recovers most, and no label was used."
        ),
        table=table.astype({"recovery": float}),
        columns=(Column("method"), Column("dial"), Column("recovery", decimals=2)),
    )


def _keep_dial(run: Run, preferred: Measured, settings: Settings, reading: Reading, prefix: str) -> None:
    from dataclasses import replace

    key = settings.strengths[0]
    dial = preferred.strengths[key].dial
    notes = {**dial.notes, "recovery": preferred.recovery, "strength": key}
    if reading.headline is not None and not reading.headline.missing:
        notes["Steering F1"] = str(reading.headline)
    replace(dial, notes=notes).save(run.folder / f"{prefix}dial")


def _named(reading: Reading, tag: str, model: str | None, seed: int | None) -> Reading:
    from dataclasses import replace

    where = ", ".join([*([model] if model else []), *([f"seed {seed}"] if seed is not None else [])])
    return replace(
        reading, name=tag + reading.name, title=f"{reading.title} ({where})" if where else reading.title
    )


def _slug(text: str) -> str:
    return "".join(letter if letter.isalnum() else "-" for letter in text).strip("-")


def _text(prompt: Any) -> str:
    return prompt if isinstance(prompt, str) else prompt.user
