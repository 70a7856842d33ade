"""Mean difference: half of the mean of toward minus away (Marks & Tegmark 2023; Rimsky et al. 2024, CAA)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from gnomon.contrast import Contrast, PairStates
from gnomon.dials import Dial
from gnomon.methods.direction import oriented_dial, states_of

if TYPE_CHECKING:
    from gnomon.lm import LM


@dataclass(frozen=True)
class MeanDifference:
    """The mean of the pairs' differences at one block; `block` None takes the pairs' most consistent one."""

    block: int | None = None
    name = "mean difference"

    def fit(self, lm: LM, contrast: Contrast, *, seed: int = 0, states: PairStates | None = None) -> Dial:
        """A dial at native scale; `states` are the pairs' residual states where they were read already."""
        states = states_of(lm, contrast, states, seed)
        block = states.reading_block if self.block is None else self.block
        gap = states.half_gap(block)
        return oriented_dial(lm, contrast, states, gap, block, self.name)
