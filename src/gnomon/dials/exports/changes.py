"""A dial at one fixed coefficient: the change of every weight as two factors, and what every block's output gains."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor

from gnomon.dials.edits import AddVector, LowRank

if TYPE_CHECKING:
    from gnomon.dials.dial import Dial

Factors = Mapping[str, tuple[Float[Tensor, "rank d_in"], Float[Tensor, "d_out rank"]]]
"""A and B of every Linear, by its path; the change of its weight is B A."""
Vectors = Mapping[int, Float[Tensor, "d_model"]]
"""What is added to the output of each block, by block."""


def factors_at(dial: Dial, alpha: float) -> Factors:
    """A and B of every edited Linear at one coefficient, float32; edits on the same Linear stand side by side."""
    by_module: dict[str, list[LowRank]] = {}
    for edit in dial.edits:
        if isinstance(edit, LowRank):
            by_module.setdefault(edit.module, []).append(edit)
    return {
        module: (
            torch.cat([edit.core.matrix(alpha).float() @ edit.V.float().mT for edit in edits]).cpu(),
            torch.cat([edit.U.float() for edit in edits], dim=1).cpu(),
        )
        for module, edits in sorted(by_module.items())
    }


def vectors_at(dial: Dial, alpha: float) -> Vectors:
    """What the dial adds to each block's output at one coefficient, float32; vectors at one block are summed."""
    vectors: dict[int, Tensor] = {}
    for edit in dial.edits:
        if isinstance(edit, AddVector):
            vectors[edit.block] = vectors.get(edit.block, torch.zeros_like(edit.vector)) + alpha * edit.vector
    return dict(sorted(vectors.items()))
