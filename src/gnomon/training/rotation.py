"""From free parameters to the skew-symmetric matrices that `dials.cores.cayley` turns into rotations.

Batched: the leading dimensions are the modules, so that all of them are one call. Knows no model.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

MAX_ANGLE = math.pi / 4
"""The published angle of the clamp; it bounds entries and not the rotation itself."""


def skew(free: Float[Tensor, "*module pairs"], rank: int) -> Float[Tensor, "*module rank rank"]:
    """The skew-symmetric matrix whose entries above the diagonal, row by row, are the `rank (rank - 1) / 2` parameters."""
    rows, columns = torch.triu_indices(rank, rank, offset=1, device=free.device)
    upper = free.new_zeros(*free.shape[:-1], rank, rank)
    upper[..., rows, columns] = free
    return upper - upper.mT


def clamped(
    matrix: Float[Tensor, "*module rank rank"], max_angle: float = MAX_ANGLE
) -> Float[Tensor, "*module rank rank"]:
    """Soft clamp of the entries, `a tanh(A / a)` with `a = 2 tan(max_angle / 2)` (AntiPaSTO, arXiv 2601.07473); odd.

    In a plane (rank 2) the rotation then stays below `max_angle`; at a higher rank its largest angle may exceed it.
    """
    bound = 2 * math.tan(max_angle / 2)
    return bound * torch.tanh(matrix / bound)
