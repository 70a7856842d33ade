"""The main job: open, find, scale, ask, score, write. `steer` is `bench` with one model."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from gnomon.bench import turning
from gnomon.bench.asking import labels as labels_of
from gnomon.bench.comparing import ROWS, scored_rows
from gnomon.bench.composing import Seed, compose, tables_of
from gnomon.bench.measure import Measured, measure
from gnomon.bench.opening import (
    check_identity,
    check_labels,
    check_packages,
    open_model,
    open_questions,
    open_run,
)
from gnomon.bench.settings import Settings
from gnomon.methods import Supervised
from gnomon.runs import Reading, Run
from gnomon.runs import progress as default_progress

if TYPE_CHECKING:
    from gnomon.lm import LM
    from gnomon.runs import Progress


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
    """Methods x models x seeds; an interrupted run with the same settings goes on where it was.

    Raises `UsageError` for settings that cannot be, `Failure` where the work cannot be finished.
    """
    from gnomon.report import render

    models = tuple(models) or (settings.model,)
    check_packages(settings)
    check_labels(settings, models)
    # The first model is opened before the folder is made: a model that cannot be opened leaves no run behind.
    first = open_model(settings.model_copy(update={"model": models[0]}))
    run = open_run(settings, command, models)
    with run:
        for place, model in enumerate(models):
            own = settings.model_copy(update={"model": model})
            lm = first if place == 0 else open_model(own)
            _measure_model(run, own, lm, place, several=len(models) > 1, progress=progress)
        render(run)
    # Once more, so that the page says that the run is finished.
    render(run)
    return run


def preferred_of(measured: Sequence[Measured]) -> Measured | None:
    """The dial that recovers most of the personas' gap on validation pairs; never a prompt, `random`, or one with labels.

    One that need not be turned down goes before all that bring about refusals: part of what these recover is a refusal.
    """
    known = [
        one for one in measured if one.recovery is not None and one.method not in ("random", Supervised.name)
    ]
    return max(known, key=lambda one: (not one.turned_down, one.recovery or 0.0), default=None)


def _measure_model(
    run: Run, settings: Settings, lm: LM, place: int, *, several: bool, progress: Progress
) -> None:
    questions = open_questions(settings)
    stem = f"{place}-{_slug(settings.model)}"
    check_identity(run, stem, settings, lm, questions)
    seeds = [
        Seed(*measure(run, lm, settings, questions, stem=f"{stem}/seed-{seed}", seed=seed, progress=progress))
        for seed in settings.seeds
    ]
    tables = None
    if questions is not None:
        tables = tables_of(settings, labels_of(questions), seeds)
        for index, seed in enumerate(settings.seeds):
            run.once(f"{ROWS}/{place}/{seed}", partial(scored_rows, questions, tables, index))
    preferred = preferred_of(seeds[0].measured)
    shown = preferred or seeds[0].measured[0]
    key = settings.strengths[0]
    strength = shown.usable(key)
    folder = run.folder / ("dial" if not several else f"dial-{stem}")
    asked = turning.choose(settings, questions, lm)
    with progress("turning the dial", None):
        answers = run.once(
            f"{stem}/turning", lambda: turning.turned(lm, strength.dial, asked, settings.max_new_tokens)
        )
    chat = f"gnomon chat --model {shlex.quote(settings.model)} --dial {shlex.quote(str(folder))}"
    scale = "" if strength.dial.is_prompt else f" ({strength.dial.scale})"
    examples = turning.reading(
        asked,
        answers,
        f"{shown.method}{scale}",
        (settings.toward, settings.away),
        command="" if preferred is None else chat,
    )
    found = compose(settings, questions, seeds, shown, tables, examples)
    for reading in found:
        run.add(_of_model(reading, settings.model, place) if several else reading)
    if preferred is not None:
        notes = {**preferred.dial.notes, "recovery": preferred.recovery, "strength": key}
        if found[0].headline is not None:
            notes["Steering F1"] = str(found[0].headline)
        replace(strength.dial, notes=notes).save(folder)


def _of_model(reading: Reading, model: str, place: int) -> Reading:
    return replace(reading, name=f"{reading.name}-{place}", title=f"{reading.title}: {model}")


def _slug(text: str) -> str:
    return "".join(letter if letter.isalnum() else "-" for letter in text).strip("-")
