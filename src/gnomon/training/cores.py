"""The trained part of a low-rank edit: what is learnt between the two bases, for all modules at once.

Every class here holds its free parameters as stacked tensors, gives M(alpha) of all modules in one batched call, and ends
in the cores of `gnomon.dials`. Knows nothing of models, bases or losses.
"""

from __future__ import annotations

from typing import Protocol

import torch
from jaxtyping import Float
from torch import Tensor

from gnomon.dials.cores import Core, FreeCore, RotationCore, cayley
from gnomon.training.rotation import clamped, skew


class Cores(Protocol):
    """What an optimiser turns, and what comes out of it."""

    @property
    def parameters(self) -> dict[str, Tensor]:
        """The free parameters by name, float32 leaves."""
        ...

    def matrices(self, alphas: Float[Tensor, "copy"]) -> Float[Tensor, "copy module r r"]:
        """M(alpha) of every module at every coefficient; differentiable."""
        ...

    def core(self, module: int) -> Core:
        """One module's core as it stands now."""
        ...


class FreeCores:
    """M = alpha K with K free and zero at first: linear and odd in alpha."""

    def __init__(self, modules: int, rank: int, *, device: torch.device | None = None) -> None:
        self.K: Float[Tensor, "module r r"] = torch.zeros(
            modules, rank, rank, device=device, requires_grad=True
        )

    @property
    def parameters(self) -> dict[str, Tensor]:
        """K of all modules."""
        return {"K": self.K}

    def matrices(self, alphas: Float[Tensor, "copy"]) -> Float[Tensor, "copy module r r"]:
        """alpha K."""
        return alphas.view(-1, 1, 1, 1) * self.K

    def core(self, module: int) -> FreeCore:
        """One module's K."""
        return FreeCore(self.K[module].detach().cpu().clone())


class ScalingCores:
    """M = alpha diag(dS): singular values are stretched and nothing is rotated (an ablation of AntiPaSTO)."""

    def __init__(self, dS: Float[Tensor, "module r"]) -> None:
        self.dS = dS.detach().clone().requires_grad_()

    @property
    def parameters(self) -> dict[str, Tensor]:
        """dS of all modules."""
        return {"dS": self.dS}

    def matrices(self, alphas: Float[Tensor, "copy"]) -> Float[Tensor, "copy module r r"]:
        """alpha diag(dS)."""
        return alphas.view(-1, 1, 1, 1) * torch.diag_embed(self.dS)

    def core(self, module: int) -> FreeCore:
        """A diagonal K."""
        return FreeCore(torch.diag(self.dS[module].detach().cpu()))


class RotationCores:
    """M = diag(S + alpha dS) R(alpha)^T - diag(S), R by Cayley of a skew A that is softly clamped (AntiPaSTO).

    `free`: the `r (r - 1) / 2` entries of a skew P above the diagonal; `A = P - P^T = 2 P` before the clamp, as
    published, so that a learning rate means the same as there. `S`, `dS`: `[module, r]`.
    """

    def __init__(
        self,
        S: Float[Tensor, "module r"],
        free: Float[Tensor, "module pairs"],
        dS: Float[Tensor, "module r"],
    ) -> None:
        self.S = S.detach()
        self.free = free.detach().clone().requires_grad_()
        self.dS = dS.detach().clone().requires_grad_()

    @property
    def parameters(self) -> dict[str, Tensor]:
        """The rotations' free entries and dS of all modules."""
        return {"free": self.free, "dS": self.dS}

    def _skew(self) -> Float[Tensor, "module r r"]:
        return clamped(2 * skew(self.free, self.S.shape[1]))

    def matrices(self, alphas: Float[Tensor, "copy"]) -> Float[Tensor, "copy module r r"]:
        """All modules and coefficients in one batched solve."""
        rotations = cayley(alphas.view(-1, 1, 1, 1) * self._skew())
        stretched = self.S + alphas.view(-1, 1, 1) * self.dS
        return stretched.unsqueeze(-1) * rotations.mT - torch.diag_embed(self.S)

    def core(self, module: int) -> RotationCore:
        """One module's S, dS and clamped A."""
        with torch.no_grad():
            skew_ = self._skew()[module].cpu()
        return RotationCore(self.S[module].cpu(), self.dS[module].detach().cpu().clone(), skew_)
