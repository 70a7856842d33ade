"""Activation addition: the difference of a single contrast pair (Turner et al. 2023, ActAdd)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from gnomon.contrast import Contrast, PairStates
from gnomon.dials import Dial
from gnomon.methods.direction import oriented_dial, states_of

if TYPE_CHECKING:
    from gnomon.lm import LM


@dataclass(frozen=True)
class ActAdd:
    """Half the difference of one training pair, drawn by the seed, added at every position."""

    block: int | None = None
    name = "ActAdd"

    def fit(self, lm: LM, contrast: Contrast, *, seed: int = 0, states: PairStates | None = None) -> Dial:
        """A dial at native scale: the pair's own half gap."""
        states = states_of(lm, contrast, states, seed)
        block = states.reading_block if self.block is None else self.block
        differences = states.differences(block, validation=False)
        pair = int(np.random.default_rng(seed).integers(len(differences)))
        half = differences[pair] / 2
        return oriented_dial(lm, contrast, states, half, block, self.name, norm=float(half.norm()))
