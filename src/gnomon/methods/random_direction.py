"""A random direction: the control that every table carries."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from gnomon.contrast import Contrast, PairStates
from gnomon.dials import Dial
from gnomon.methods.direction import oriented_dial, states_of

if TYPE_CHECKING:
    from gnomon.lm import LM


@dataclass(frozen=True)
class RandomDirection:
    """An isotropic direction with the length of the personas' half gap; oriented like every other method."""

    block: int | None = None
    name = "random"

    def fit(self, lm: LM, contrast: Contrast, *, seed: int = 0, states: PairStates | None = None) -> Dial:
        """A dial at native scale: as long as the half gap, in a direction that means nothing."""
        states = states_of(lm, contrast, states, seed)
        block = states.reading_block if self.block is None else self.block
        generator = torch.Generator().manual_seed(seed)
        direction = torch.randn(states.toward.shape[-1], generator=generator)
        size = float(states.half_gap(block).norm())
        return oriented_dial(lm, contrast, states, direction, block, self.name, norm=size)
