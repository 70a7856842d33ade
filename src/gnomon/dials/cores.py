"""The cores of a low-rank edit: the small matrix M(alpha) between the two bases.

Pure functions of tensors; knows nothing of models or of where an edit is applied.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from gnomon.errors import UsageError


def cayley(skew: Float[Tensor, "*batch r r"]) -> Float[Tensor, "*batch r r"]:
    """Rotation `(I - A/2)^-1 (I + A/2)` of a skew-symmetric A (Cayley transform), solved in float32."""
    half = skew.float() / 2
    eye = torch.eye(half.shape[-1], device=half.device)
    rotation: Tensor = torch.linalg.solve(eye - half, eye + half)
    return rotation


@dataclass(frozen=True, eq=False)
class FreeCore:
    """M(alpha) = alpha * K: linear and odd in alpha. `K`: `[r, r]`, float32."""

    K: Float[Tensor, "r r"]

    def matrix(self, alpha: float) -> Float[Tensor, "r r"]:
        """M at one coefficient."""
        return alpha * self.K

    def scaled(self, factor: float) -> FreeCore:
        """The core whose alpha = 1 is this one's alpha = factor."""
        return FreeCore(self.K * factor)

    @property
    def rank(self) -> int:
        """The r of the edit."""
        return self.K.shape[0]


@dataclass(frozen=True, eq=False)
class RotationCore:
    """M(alpha) = diag(S + a dS) R(a)^T - diag(S), a = gain * alpha, R by Cayley of a skew A (AntiPaSTO, arXiv 2601.07473).

    `S`, `dS`: `[r]`, `A`: `[r, r]` skew-symmetric, float32. R(-a) is the inverse of R(a).
    """

    S: Float[Tensor, "r"]
    dS: Float[Tensor, "r"]
    A: Float[Tensor, "r r"]
    gain: float = 1.0

    def __post_init__(self) -> None:
        if not torch.allclose(self.A, -self.A.mT, atol=1e-5):
            raise UsageError("the A of a rotation core must be skew-symmetric; pass A - A^T")

    def matrix(self, alpha: float) -> Float[Tensor, "r r"]:
        """M at one coefficient."""
        a = self.gain * alpha
        stretched = torch.diag(self.S + a * self.dS)
        return stretched @ cayley(a * self.A).mT - torch.diag(self.S)

    def scaled(self, factor: float) -> RotationCore:
        """The core whose alpha = 1 is this one's alpha = factor."""
        return replace(self, gain=self.gain * factor)

    @property
    def rank(self) -> int:
        """The r of the edit."""
        return self.A.shape[0]


Core = FreeCore | RotationCore
