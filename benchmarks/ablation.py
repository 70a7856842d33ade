"""What each part of `shift` is worth: every part off in turn, ten seeds, on the touchstones (docs/experiments.md).

    python benchmarks/ablation.py [--seeds 10] [--workers 2] [--models honesty guarded] [--folder runs/ablation]

Scores are Steering F1 at the dial's native alpha = 1. A killed run goes on where it was. Hours on two cores.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["GNOMON_QUIET"] = "1"

import numpy as np

from gnomon.methods import Shift
from gnomon.stats import t_interval

if TYPE_CHECKING:
    from gnomon import LM, Contrast, Dial

Fit = Callable[["LM", "Contrast", int], "Dial"]


def shift(changed: Callable[[], AbstractContextManager[None]] = nullcontext, **fields: Any) -> Fit:
    """Shift with other settings, or while something in it is changed."""

    def fit(lm: LM, contrast: Contrast, seed: int) -> Dial:
        with changed():
            return Shift(**fields).fit(lm, contrast, seed=seed)

    return fit


def continued_mean_difference(lm: LM, contrast: Contrast, seed: int) -> Dial:
    """Half of what the personas differ by at the reading block, over all that shift is trained on."""
    import torch

    from gnomon.contrast import read_pairs
    from gnomon.dials import Dial
    from gnomon.training.texts import persona_states, texts_of

    own, pairs = Shift(), contrast.resolve(lm, seed=seed)
    block = read_pairs(lm, pairs).reading_block
    given = {"continued": own.continued, "max_new_tokens": own.max_new_tokens, "most": own.max_texts}
    texts = [text for text in texts_of(lm, pairs, seed=seed, **given) if not text.validation]
    states = persona_states(lm, texts, [block])
    gaps = [(toward - away)[0].float() for toward, away in zip(states.toward, states.away, strict=True)]
    return Dial.from_vector(torch.cat(gaps).mean(0) / 2, block, lm=lm)


@contextmanager
def last_token_only() -> Iterator[None]:
    """Targets at the last token of a text and nowhere else."""
    from gnomon.training import texts

    whole = texts._text
    texts._text = lambda *given: replace(whole(*given), tail=1)
    try:
        yield
    finally:
        texts._text = whole


@contextmanager
def equal_mirror() -> Iterator[None]:
    """A mirror as long as the persona's shift that it mirrors."""
    from gnomon.training.texts import PersonaStates

    ratio = PersonaStates.away_over_toward
    PersonaStates.away_over_toward = lambda self, place: 1.0
    try:
        yield
    finally:
        PersonaStates.away_over_toward = ratio


@contextmanager
def last_weights() -> Iterator[None]:
    """The weights of the last step, not those of the best validation."""
    from functools import partial

    from gnomon.methods import shift as method

    whole = method.train
    method.train = partial(whole, keep_best=False)
    try:
        yield
    finally:
        method.train = whole


@contextmanager
def coherent() -> Iterator[None]:
    """With AntiPaSTO's coherence barrier (weight 10, limit 0.9 sqrt(H)) at both signs, on every position of every text."""
    import torch

    from gnomon.lm import Head, Replay
    from gnomon.methods import shift as method
    from gnomon.training.barriers import coherence_barrier, variation_limit
    from gnomon.training.distillation import StateDistillation
    from gnomon.training.losses import mean_square
    from gnomon.training.vocabulary import IGNORED, next_token_entropy, next_token_terms

    class Coherent(StateDistillation):
        def __init__(self, lm: LM, *given: Any, **named: Any) -> None:
            self.head = Head.find(lm)
            self.last = lm.n_blocks - 1
            self.coherence: dict[int, tuple[Any, Any]] = {}
            super().__init__(lm, *given, **named)

        @torch.no_grad()
        def _record(self, lm: LM, texts: Any, states: Any, chosen: list[int], *given: Any) -> Any:
            batch = super()._record(lm, texts, states, chosen, *given)
            # Recorded once more, to the last block.
            reads = dict.fromkeys((*self._blocks, self.last), batch.places)
            batch = replace(
                batch, replay=Replay.record(lm, batch.replay.layout, start=batch.replay.start, reads=reads)
            )
            hidden = self.head.norm(batch.replay.reference[self.last]).flatten(0, 1)
            self.coherence[id(batch.places)] = hidden, variation_limit(next_token_entropy(self.head, hidden))
            return batch

        def _distances(self, batch: Any) -> dict[str, Any]:
            reads = dict.fromkeys((*self._blocks, self.last), batch.places)
            states = self._edited.run(batch.replay, reads)
            found = {
                f"block {block}": 2
                * mean_square((states[block] - batch.wanted[block]).flatten(0, 1).float(), batch.mask)
                / gap
                for block, gap in zip(self._blocks, self._gaps, strict=True)
            }
            reference, limit = self.coherence[id(batch.places)]
            hidden = self.head.norm(states[self.last]).flatten(0, 2)
            moved = next_token_terms(
                self.head,
                hidden,
                torch.full((len(hidden),), IGNORED),
                reference=reference.repeat(2, 1),
                compared=batch.mask.flatten(),
            ).total_variation
            rows = batch.mask.shape
            penalty = coherence_barrier(moved.view(rows), limit.repeat(2).view(rows), batch.mask, weight=10.0)
            return {**found, "coherence": 2 * penalty.mean()}

    own = method.StateDistillation
    method.StateDistillation = Coherent
    try:
        yield
    finally:
        method.StateDistillation = own


def suffixes_of(model: str, variant: str) -> tuple[str, ...] | None:
    """The touchstone's suffixes, without its bare situations where these are left out."""
    from gnomon import touchstones

    if variant != FACTS_ONLY:
        return None
    every = touchstones.contrast(model)["suffixes"]
    return tuple(line for line in every if not (line.startswith("you ") and line.endswith(".")))


FACTS_ONLY = "no bare situations among the suffixes"
VARIANTS: dict[str, Fit] = {
    "shift": shift(),
    "no continuations": shift(continued=0),
    FACTS_ONLY: shift(),
    "the last token only": shift(last_token_only),
    "one matched block": shift(targets=(1,)),
    "edits up to the reading block": shift(edited=(0, 1)),
    "late: blocks 2 to 3 edited, 4 matched": shift(edited=(2, 3), targets=(4,)),
    "both personas imitated, refusal or not": shift(sides="both"),
    "half the personas' difference": shift(sides="half the difference"),
    "mirror at the toward side's length": shift(equal_mirror),
    "with a coherence barrier": shift(coherent),
    "rotations for a free core": shift(adapter="rotation"),
    "the last weights, not the best": shift(last_weights),
    "rank 32": shift(rank=32),
    "best of 3 restarts": shift(restarts=3),
    "mean difference on the same continued texts": continued_mean_difference,
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

    name = f"{model} {variant} {seed}".replace(" ", "-").replace(",", "").replace("'", "").replace(":", "")
    with Run.resume_or_create({"model": model, "variant": variant, "seed": seed}, Path(folder) / name) as run:

        def work() -> dict[str, float]:
            settings = Settings(model=f"touchstone:{model}")
            lm = open_model(settings)
            questions = open_questions(settings)
            contrast = Contrast("honest", "dishonest", suffixes=suffixes_of(model, variant))
            dial = VARIANTS[variant](lm, contrast, seed)
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
