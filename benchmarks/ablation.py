"""What each part of `shift` is worth: every part off in turn, ten seeds, on the touchstones (docs/experiments.md).

    python benchmarks/ablation.py [--seeds 10] [--workers 2] [--models honesty guarded] [--folder runs/ablation]

Scores are Steering F1 at the dial's native alpha = 1. A killed run goes on where it was. Hours on two cores.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["GNOMON_QUIET"] = "1"

import numpy as np

from gnomon.methods import Shift
from gnomon.stats import t_interval


@contextmanager
def last_token_only():
    """Targets at the last token of a text and nowhere else."""
    from gnomon.training import texts

    whole = texts._text
    texts._text = lambda *given: replace(whole(*given), tail=1)
    try:
        yield
    finally:
        texts._text = whole


@contextmanager
def equal_mirror():
    """A mirror as long as the persona's shift that it mirrors."""
    from gnomon.training.texts import PersonaStates

    ratio = PersonaStates.away_over_toward
    PersonaStates.away_over_toward = lambda self, place: 1.0
    try:
        yield
    finally:
        PersonaStates.away_over_toward = ratio


@contextmanager
def nothing_changed():
    yield


def suffixes_of(model: str, kinds: str) -> tuple[str, ...] | None:
    """The touchstone's suffixes, without its bare situations where these are left out."""
    from gnomon import touchstones

    every = touchstones.contrast(model)["suffixes"]
    if kinds == "all":
        return None
    return tuple(line for line in every if not (line.startswith("you ") and line.endswith(".")))


VARIANTS: dict[str, tuple[dict[str, Any], Callable[[], Any], str]] = {
    "shift": ({}, nothing_changed, "all"),
    "no continuations": ({"continued": 0}, nothing_changed, "all"),
    "no bare situations among the suffixes": ({}, nothing_changed, "facts"),
    "the last token only": ({}, last_token_only, "all"),
    "one matched block": ({"targets": (1,)}, nothing_changed, "all"),
    "edits up to the reading block": ({"edited": (0, 1)}, nothing_changed, "all"),
    "late: blocks 2 to 3 edited, 4 matched": ({"edited": (2, 3), "targets": (4,)}, nothing_changed, "all"),
    "both personas imitated, refusal or not": ({"sides": "both"}, nothing_changed, "all"),
    "half the personas' difference": ({"sides": "half the difference"}, nothing_changed, "all"),
    "mirror at the toward side's length": ({}, equal_mirror, "all"),
    "rank 32": ({"rank": 32}, nothing_changed, "all"),
    "best of 3 restarts": ({"restarts": 3}, nothing_changed, "all"),
}
SAME_ON = {
    "mirror at the toward side's length": ("guarded",),
    "both personas imitated, refusal or not": ("guarded",),
}
"""Variants that change something on these models only."""


def measured(model: str, variant: str, seed: int, folder: str) -> dict[str, float]:
    import torch

    torch.set_num_threads(1)
    from gnomon.bench import Settings, ask
    from gnomon.bench.asking import labels
    from gnomon.bench.measure import Strength
    from gnomon.bench.opening import open_model, open_questions
    from gnomon.bench.readings import scored
    from gnomon.contrast import Contrast
    from gnomon.runs import Run

    fields, changed, kinds = VARIANTS[variant]
    name = f"{model} {variant} {seed}".replace(" ", "-").replace(",", "").replace("'", "").replace(":", "")
    with Run.resume_or_create({"model": model, "variant": variant, "seed": seed}, Path(folder) / name) as run:

        def work() -> dict[str, float]:
            settings = Settings(model=f"touchstone:{model}")
            lm = open_model(settings)
            questions = open_questions(settings, lm)
            contrast = Contrast("honest", "dishonest", suffixes=suffixes_of(model, kinds))
            with changed():
                dial = Shift(**fields).fit(lm, contrast, seed=seed)
            base, answers = ask(lm, questions), ask(lm, questions, dial, (1.0, -1.0))
            line = scored(variant, [Strength("native", dial, 0.0, answers)], labels(questions), base, 200)
            score = line.seeds.scores[0]
            return {"f1": score.f1, "toward": score.toward.f1, "away": score.away.f1}

        found: dict[str, float] = run.once("score", work)
        return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--models", nargs="+", default=["honesty", "guarded"])
    parser.add_argument("--variants", nargs="+", default=list(VARIANTS))
    parser.add_argument("--folder", default="runs/ablation")
    given = parser.parse_args()
    jobs = [
        (model, variant, seed)
        for seed in range(given.seeds)
        for variant in given.variants
        for model in given.models
        if model in SAME_ON.get(variant, given.models)
    ]
    with ProcessPoolExecutor(given.workers) as pool:
        waiting = {job: pool.submit(measured, *job, given.folder) for job in jobs}
        scores = {job: future.result() for job, future in waiting.items()}
    for model in given.models:
        print(f"\n### touchstone:{model}, {given.seeds} seeds\n")
        print(
            "| | Steering F1 | ± seeds | +1 | −1 | against `shift`, paired by seed |\n|---|---|---|---|---|---|"
        )
        full = np.array([scores[model, "shift", seed]["f1"] for seed in range(given.seeds)])
        for variant in given.variants:
            if (model, variant, 0) not in scores:
                continue
            rows = [scores[model, variant, seed] for seed in range(given.seeds)]
            f1 = np.array([row["f1"] for row in rows])
            against = "" if variant == "shift" else str(t_interval(f1 - full))
            sides = " | ".join(f"{np.mean([row[side] for row in rows]):.0f}" for side in ("toward", "away"))
            print(f"| {variant} | {t_interval(f1)} | {f1.std(ddof=1):.1f} | {sides} | {against} |")


if __name__ == "__main__":
    main()
