"""The Reading of the contrast pairs: where the model tells them apart, and whether their suffixes are diverse.

Knows pairs' states; knows nothing of dials or answers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gnomon.contrast import suffix_diversity
from gnomon.runs import Column, Reading

if TYPE_CHECKING:
    from gnomon.contrast import PairStates


def pairs_reading(states: PairStates) -> Reading:
    """How consistently the validation pairs are separated, block by block, and how diverse their suffixes are."""
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
        caption=(
            "Validation pairs; 1: all pairs differ along one direction. The marked block is read; vectors are put there."
        ),
    )
    n = int(states.validation.sum())
    diversity = suffix_diversity(states.plain)
    warning = diversity.warning
    return Reading(
        name="pairs",
        title="The contrast pairs",
        sentence=(
            f"{len(states.validation)} pairs, {n} of them kept for validation; they agree most at block {block} "
            f"(mean cosine {consistency[block]:.2f}). The {diversity.suffixes} suffixes amount to {diversity.words:.0f} "
            "different words."
        ),
        table=table,
        columns=(Column("block"), Column("consistency", decimals=3)),
        figures={"consistency": figure},
        notes=() if warning is None else (f"{warning[0].upper()}{warning[1:]}.",),
    )
