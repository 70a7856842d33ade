"""Whether `shift` holds in situations without a common word.

    python benchmarks/transfer.py [--seeds 10] [--methods mean-difference shift] [--folder runs/transfer]

Prints Steering F1 at native strength (and matched, for the others' sake) on touchstone:honesty with suffixes and questions
that share no person, thing or harm. A killed run goes on where it was.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["GNOMON_QUIET"] = "1"

import numpy as np

from gnomon import touchstones
from gnomon.bench import ask
from gnomon.bench.asking import labels
from gnomon.bench.measure import Strength
from gnomon.bench.readings import scored
from gnomon.contrast import Contrast, read_pairs
from gnomon.dials import scaled_to_match, turned_down
from gnomon.lm import LM
from gnomon.methods import named
from gnomon.questions import Questions, dilemmas
from gnomon.runs import Run
from gnomon.stats import t_interval


def disjoint() -> tuple[Contrast, Questions]:
    """Suffixes and questions that share no person, thing or harm."""
    from gnomon.worlds.disjoint import disjoint_split
    from gnomon.worlds.honesty import HONESTY

    brought = touchstones.contrast("honesty")
    suffixes, kept = disjoint_split(HONESTY, brought["suffixes"], list(dilemmas("touchstone:honesty")))
    return Contrast("honest", "dishonest", suffixes=tuple(suffixes)), Questions(kept, name="disjoint")


@contextmanager
def only_words_of_the_suffixes(lm: LM, contrast: Contrast, questions: Questions) -> Iterator[None]:
    """Continuations that name a person, thing or harm of the questions are left out of the training texts."""
    from gnomon.methods import shift

    every = shift.texts_of
    given = {word for line in contrast.lists(lm)[1] for word in line.split()}
    asked = {word for question in questions for word in str(question.prompt).partition(" . ")[0].split()}
    forbidden = {lm.tokenizer.convert_tokens_to_ids(word) for word in asked - given}

    def allowed(*arguments: Any, **options: Any) -> list[Any]:
        return [text for text in every(*arguments, **options) if forbidden.isdisjoint(text.plain)]

    shift.texts_of = allowed
    try:
        yield
    finally:
        shift.texts_of = every


def scores(method: str, seed: int, folder: str) -> dict[str, list[float]]:
    config = {"method": method, "seed": seed}
    with Run.resume_or_create(config, Path(folder) / f"{method}-{seed}") as run:

        def work() -> dict[str, list[float]]:
            contrast, questions = disjoint()
            lm = LM.load("touchstone:honesty")
            states = read_pairs(lm, contrast.resolve(lm, seed=seed))
            with only_words_of_the_suffixes(lm, contrast, questions):
                dial = named(method).fit(lm, contrast, seed=seed, states=states)
            matched = turned_down(scaled_to_match(dial, lm, states), lm, states)
            base = ask(lm, questions)
            found = {}
            for strength, scaled in (("native", dial), ("matched", matched)):
                answers = ask(lm, questions, scaled, (1.0, -1.0))
                line = scored(
                    method, [Strength(strength, scaled, 0.0, answers)], labels(questions), base, 200
                )
                one = line.seeds.scores[0]
                found[strength] = [one.f1, one.toward.f1, one.away.f1]
            return found

        result: dict[str, list[float]] = run.once("scores", work)
        return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--methods", nargs="+", default=["mean-difference", "shift"])
    parser.add_argument("--folder", default="runs/transfer")
    given = parser.parse_args()
    print("| | strength | Steering F1 | ± seeds | +1 | −1 |\n|---|---|---|---|---|---|")
    for method in given.methods:
        rows = [scores(method, seed, given.folder) for seed in range(given.seeds)]
        for strength in ("native", "matched"):
            f1, toward, away = np.array([row[strength] for row in rows]).T
            sides = f"{np.mean(toward):.0f} | {np.mean(away):.0f}"
            spread = f1.std(ddof=1) if len(f1) > 1 else float("nan")
            print(f"| {method} | {strength} | {t_interval(f1)} | {spread:.1f} | {sides} |")


if __name__ == "__main__":
    main()
