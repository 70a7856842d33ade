"""The three primitive edits: a vector on the residual stream, a low-rank weight delta, a prompt.

Each says what it adds at one coefficient; where (which rows and positions) is the business of `gnomon.lm`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from jaxtyping import Float
from torch import Tensor, nn

from gnomon.dials.cores import Core
from gnomon.errors import UsageError

if TYPE_CHECKING:
    from gnomon.lm import LM
    from gnomon.lm.edits import Delta


@dataclass(frozen=True, eq=False)
class AddVector:
    """Adds alpha * `vector` (`[d_model]`) to the residual stream at the output of `block` (0-based)."""

    block: int
    vector: Float[Tensor, "d_model"]

    def __post_init__(self) -> None:
        if self.vector.dim() != 1 or not bool(self.vector.isfinite().all()):
            raise UsageError("the vector of a dial must have one dimension, [d_model], and finite numbers")
        object.__setattr__(self, "vector", self.vector.detach().float().cpu())

    def deltas(self, lm: LM, alpha: float) -> Iterable[tuple[nn.Module, Delta]]:
        """The block and the constant that is added to its output."""
        if not 0 <= self.block < lm.n_blocks:
            raise UsageError(
                f"the dial edits block {self.block} and {lm.name} has blocks 0 to {lm.n_blocks - 1}; fit it on this model"
            )
        if len(self.vector) != lm.d_model:
            raise UsageError(
                f"the dial's vector has {len(self.vector)} numbers and the residual stream of {lm.name} has {lm.d_model}; "
                "fit it on this model"
            )
        block = lm.blocks[self.block]
        constant = (alpha * self.vector).to(lm.device_of(block), lm.dtype)
        return [(block, lambda _: constant)]

    def prefix(self, alpha: float) -> None:
        """A vector puts no text before the prompt."""
        return None

    def scaled(self, factor: float) -> AddVector:
        """The edit whose alpha = 1 is this one's alpha = factor."""
        return AddVector(self.block, self.vector * factor)

    def __str__(self) -> str:
        return f"vector at block {self.block} (norm {float(self.vector.norm()):.3g})"


@dataclass(frozen=True, eq=False)
class LowRank:
    """Adds `(x V) M(alpha)^T U^T` to a Linear's output: a rank-r change of its weight, `U M(alpha) V^T`.

    `module` is the Linear's path, `U` `[d_out, r]` and `V` `[d_in, r]` have orthonormal columns, `core` gives M(alpha).
    The weight, the bias and the quantisation stay untouched; at a fixed alpha it is a LoRA with B = U, A = M V^T.
    """

    module: str
    U: Float[Tensor, "d_out r"]
    V: Float[Tensor, "d_in r"]
    core: Core

    def __post_init__(self) -> None:
        rank = self.core.rank
        if self.U.dim() != 2 or self.V.dim() != 2 or self.U.shape[1] != rank or self.V.shape[1] != rank:
            raise UsageError(
                f"the bases of a low-rank edit must be [d_out, {rank}] and [d_in, {rank}] for a core of rank {rank}, "
                f"not {list(self.U.shape)} and {list(self.V.shape)}"
            )

    def deltas(self, lm: LM, alpha: float) -> Iterable[tuple[nn.Module, Delta]]:
        """The Linear and the product that is added to its output, in the Linear's own dtype."""
        linears = lm.linears()
        if self.module not in linears:
            raise UsageError(
                f"the dial edits {self.module!r}, which is no Linear of {lm.name}; the model has for example "
                f"{next(iter(linears), 'none')!r}"
            )
        linear = linears[self.module]
        device = lm.device_of(linear)
        read = self.V.to(device, lm.dtype)
        write = (self.U @ self.core.matrix(alpha)).mT.to(device, lm.dtype)  # M^T U^T, [r, d_out]
        return [(linear, lambda x: (x.to(read.dtype) @ read) @ write)]

    def prefix(self, alpha: float) -> None:
        """A weight delta puts no text before the prompt."""
        return None

    def scaled(self, factor: float) -> LowRank:
        """The edit whose alpha = 1 is this one's alpha = factor."""
        return LowRank(self.module, self.U, self.V, self.core.scaled(factor))

    def __str__(self) -> str:
        return f"rank {self.core.rank} on {self.module}"


@dataclass(frozen=True)
class Prefix:
    """A prompt: `toward` is put before the prompt at +1, `away` at -1, nothing at 0; other coefficients are errors."""

    toward: str
    away: str

    def __post_init__(self) -> None:
        if not self.toward.strip() or not self.away.strip():
            raise UsageError("a prompt dial needs a text for both sides; give a toward and an away text")

    def deltas(self, lm: LM, alpha: float) -> Iterable[tuple[nn.Module, Delta]]:
        """A prompt changes no module."""
        return []

    def prefix(self, alpha: float) -> str | None:
        """The text at this coefficient; `UsageError` unless it is -1, 0 or +1."""
        texts = {1.0: self.toward, 0.0: None, -1.0: self.away}
        if alpha not in texts:
            raise UsageError(f"a prompt has no strength: its coefficient is -1, 0 or +1, not {alpha:g}")
        return texts[alpha]

    def scaled(self, factor: float) -> Prefix:
        """The same prompt for 1, the two texts swapped for -1; `UsageError` else."""
        if factor == 1:
            return self
        if factor == -1:
            return Prefix(self.away, self.toward)
        raise UsageError(f"a prompt has no strength: it cannot be scaled by {factor:g}, only turned by -1")

    def __str__(self) -> str:
        return f"prompt {self.toward!r} / {self.away!r}"


def in_words(edits: Sequence[AddVector | LowRank | Prefix]) -> str:
    """The edits in a line: more than two low-rank edits by their rank, their number, and the first and last Linear."""
    low_rank = [edit for edit in edits if isinstance(edit, LowRank)]
    if len(low_rank) <= 2:
        return "; ".join(map(str, edits))
    ranks = sorted({edit.core.rank for edit in low_rank})
    rank = str(ranks[0]) if len(ranks) == 1 else f"{ranks[0]} to {ranks[-1]}"
    together = f"rank {rank} on {len(low_rank)} Linears, {low_rank[0].module} to {low_rank[-1].module}"
    return "; ".join([*(str(edit) for edit in edits if not isinstance(edit, LowRank)), together])
