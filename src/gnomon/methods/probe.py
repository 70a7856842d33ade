"""A probe's direction: the normal of a logistic classifier of toward against away states (Alain & Bengio 2016)."""

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
class LogisticProbe:
    """Normal of an L2-regularised logistic regression on states of unit mean variance."""

    block: int | None = None
    penalty: float = 1.0
    name = "probe"

    def fit(self, lm: LM, contrast: Contrast, *, seed: int = 0, states: PairStates | None = None) -> Dial:
        """A dial at native scale, oriented by the validation pairs."""
        from sklearn.linear_model import LogisticRegression

        states = states_of(lm, contrast, states, seed)
        block = states.reading_block if self.block is None else self.block
        rows = torch.from_numpy(~states.validation)
        examples = torch.cat([states.toward[rows, block], states.away[rows, block]]).double()
        labels = torch.cat([torch.ones(int(rows.sum())), torch.zeros(int(rows.sum()))])
        # One scale for all coordinates: the penalty then means the same on every model and tilts no direction.
        spread = examples.std(0).square().mean().sqrt().clamp_min(1e-12)
        classifier = LogisticRegression(C=1 / self.penalty, max_iter=1000)
        classifier.fit(((examples - examples.mean(0)) / spread).numpy(), labels.numpy())
        normal = torch.from_numpy(classifier.coef_[0]) / spread
        return oriented_dial(lm, contrast, states, normal.float(), block, self.name)
