"""Which number says beforehand that suffixes are too much alike: small trainings on 34 lists of suffixes of the touchstone.

    python benchmarks/suffix_diversity.py

Each list is of one to five kinds (facts, abilities, arithmetic, preferences, situations) or drawn from all of them. A dial
is trained on it by state distillation, and read on the same 30 held-out suffixes, 6 of each kind: the loss that is left,
as a share of the untrained loss. No question and no answer is used. A few minutes on one core.
"""

from __future__ import annotations

import itertools
import os
import random
from dataclasses import replace

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["GNOMON_QUIET"] = "1"

import numpy as np
import torch
from scipy.stats import spearmanr

from gnomon.contrast import Contrast, read_pairs
from gnomon.contrast.diversity import LOW, effective_words
from gnomon.lm import LM
from gnomon.training.cores import FreeCores
from gnomon.training.distillation import DISTIL, StateDistillation
from gnomon.training.edited import Edited, singular_bases
from gnomon.training.loop import Schedule, train
from gnomon.training.texts import PersonaStates, persona_states, texts_of
from gnomon.training.writers import residual_writers

KINDS = ("situations", "facts", "abilities", "arithmetic", "preferences")
SIZES = (5, 8, 12, 16, 24, 35, 50, 80)
HELD_OUT = 6
BLOCKS = (1, 2)
RANK = 64


def kind_of(suffix: str) -> str:
    if suffix.startswith("you "):
        return "situations"
    if "plus" in suffix:
        return "arithmetic"
    if suffix.startswith(("the ", "is the ", "what colour ")):
        return "facts"
    return "abilities" if suffix.startswith(("a ", "can ")) else "preferences"


def participation_ratio(states: torch.Tensor) -> float:
    """Effective number of dimensions of centred states `[suffix, d_model]`."""
    values = torch.linalg.svdvals((states - states.mean(0)).double()).square()
    return float(values.sum() ** 2 / values.square().sum())


def lists(kinds: dict[str, list[int]]) -> list[tuple[str, list[int]]]:
    """Every combination of one kind, four and five, some of two and three, and draws from all."""
    draw = random.Random(0)
    found = []
    for count in range(1, 6):
        combinations = list(itertools.combinations(KINDS, count))
        for chosen in (
            combinations if count in (1, 4, 5) else draw.sample(combinations, 7 if count == 2 else 8)
        ):
            found.append((", ".join(chosen), [index for kind in chosen for index in kinds[kind]]))
    pool = [index for own in kinds.values() for index in own]
    return [*found, *((f"{size} drawn from all", draw.sample(pool, size)) for size in SIZES)]


def main() -> None:
    torch.set_num_threads(1)
    lm = LM.load("touchstone:honesty")
    contrast = Contrast("honest", "dishonest")
    pairs = contrast.resolve(lm)
    pair_states = read_pairs(lm, pairs)
    _, suffixes = contrast.lists(lm)
    draw = random.Random(1)
    kinds = {kind: [i for i, suffix in enumerate(suffixes) if kind_of(suffix) == kind] for kind in KINDS}
    held_out = {index for own in kinds.values() for index in draw.sample(own, HELD_OUT)}
    kinds = {kind: [index for index in own if index not in held_out] for kind, own in kinds.items()}
    texts = texts_of(lm, pairs, continued=0, max_new_tokens=1, seed=0, most=len(suffixes))
    states = persona_states(lm, texts, BLOCKS)
    bases = singular_bases(lm, residual_writers(lm, 0, 0), RANK)

    def left(chosen: list[int]) -> float:
        """The share of the untrained loss on the held-out suffixes that is left after training on the chosen ones."""
        places = [i for i, text in enumerate(texts) if text.suffix in held_out or text.suffix in chosen]
        own = [replace(texts[i], validation=texts[i].suffix in held_out) for i in places]
        sides = PersonaStates(
            *([side[i] for i in places] for side in (states.toward, states.away, states.plain))
        )
        edited = Edited(lm, bases, FreeCores(len(bases), RANK))
        objective = StateDistillation(lm, edited, own, sides, BLOCKS, start=0, sides=DISTIL, rows=24, seed=0)
        with edited.attached():
            with torch.no_grad():
                untrained = float(objective.validation())
            return train(objective, Schedule(steps=100, validate_every=20), seed=0).best / untrained

    block = pair_states.reading_block
    both = (pair_states.toward + pair_states.away)[:, block] / 2
    means = {i: both[np.flatnonzero(pair_states.suffix == i)].mean(0) for i in set(pairs.suffix)}
    print("| suffixes | how many | effective words | dimensions of their states | left on others |")
    print("|---|---|---|---|---|")
    rows = []
    for name, chosen in lists(kinds):
        words = effective_words([suffixes[index] for index in sorted(chosen)])
        dimensions = participation_ratio(torch.stack([means[index] for index in chosen]))
        rows.append((len(chosen), words, dimensions, left(chosen)))
        print("| {} | {} | {:.1f} | {:.1f} | {:.2f} |".format(name, *rows[-1]), flush=True)
    table = np.array(rows)
    print("\nRank correlation with what is left:")
    for column, name in enumerate(("how many", "effective words", "dimensions of their states")):
        print(f"- {name}: {spearmanr(table[:, column], table[:, 3])[0]:.2f}")
    for name, few in ((f"below {LOW:.0f}", table[:, 1] < LOW), (f"from {LOW:.0f} on", table[:, 1] >= LOW)):
        own = table[few, 3]
        spread = f"{own.min():.2f} to {own.max():.2f}, median {np.median(own):.2f}"
        print(f"- {name} effective words, {few.sum()} lists: left {spread}")


if __name__ == "__main__":
    main()
