"""PCA of the pairs' differences (Zou et al. 2023, representation engineering), uncentred: the mean direction is kept.

Each difference enters with both signs, which is what centring every pair at its own mean does.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor

from gnomon.contrast import Contrast, PairStates
from gnomon.dials import Dial
from gnomon.methods.direction import oriented_dial, states_of

if TYPE_CHECKING:
    from gnomon.lm import LM


def first_component(differences: Float[Tensor, "pair d_model"]) -> Float[Tensor, "d_model"]:
    """Leading right singular vector of the uncentred differences, unit length, in float64; its sign is arbitrary."""
    rows = differences.double()
    if rows.shape[0] < rows.shape[1]:  # the smaller Gram matrix has the same spectrum
        _, vectors = torch.linalg.eigh(rows @ rows.mT)
        component = rows.mT @ vectors[:, -1]
    else:
        _, vectors = torch.linalg.eigh(rows.mT @ rows)
        component = vectors[:, -1]
    unit: Tensor = component / component.norm().clamp_min(1e-300)
    return unit.to(differences.dtype)


@dataclass(frozen=True)
class PCA:
    """First principal component of the training pairs' differences; `block` None takes the most consistent one."""

    block: int | None = None
    name = "PCA"

    def fit(self, lm: LM, contrast: Contrast, *, seed: int = 0, states: PairStates | None = None) -> Dial:
        """A dial at native scale, oriented by the validation pairs."""
        states = states_of(lm, contrast, states, seed)
        block = states.reading_block if self.block is None else self.block
        component = first_component(states.differences(block, validation=False))
        return oriented_dial(lm, contrast, states, component, block, self.name)
