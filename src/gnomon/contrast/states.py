"""What the model's residual stream makes of the contrast pairs: read once, used by every method and by the strength.

Knows pairs and residual states; knows nothing of dials, questions or labels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from gnomon.errors import Failure, UsageError

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int
    from torch import Tensor

    from gnomon.contrast.pairs import Pairs
    from gnomon.lm import LM, Progress, Prompt


@dataclass(frozen=True, eq=False)
class PairStates:
    """Residual states of contrast pairs at the last token, all blocks, float32 on the CPU.

    `toward`, `away`: `[pair, block, d_model]`; `validation`: `[pair]`, split by suffix; `suffix`: `[pair]`, the unit that
    was sampled; `plain`: each pair's suffix without a persona.
    """

    toward: Float[Tensor, "pair block d_model"]
    away: Float[Tensor, "pair block d_model"]
    validation: Bool[np.ndarray, "pair"]
    suffix: Int[np.ndarray, "pair"]
    plain: tuple[Prompt, ...]

    @property
    def n_blocks(self) -> int:
        """How many blocks were read."""
        return int(self.toward.shape[1])

    def differences(self, block: int, *, validation: bool) -> Float[Tensor, "pair d_model"]:
        """Toward minus away at one block, of the training or of the validation pairs."""
        rows = np.flatnonzero(self.validation == validation)
        return self.toward[rows, block] - self.away[rows, block]

    def half_gap(self, block: int, *, validation: bool = False) -> Float[Tensor, "d_model"]:
        """Half of the mean difference between the two personas at one block: the persona's own size."""
        return self.differences(block, validation=validation).mean(0) / 2

    def agreement(self, block: int) -> Float[np.ndarray, "pair"]:
        """Cosine of each validation pair's difference with the training pairs' mean difference, at one block."""
        mean = self.half_gap(block)
        differences = self.differences(block, validation=True)
        norms = differences.norm(dim=1) * mean.norm()
        return np.asarray((differences @ mean) / norms.clamp_min(1e-12))

    def consistency(self) -> Float[np.ndarray, "block"]:
        """Mean agreement of the validation pairs, block by block: 1 where every pair differs along one direction."""
        return np.array([self.agreement(block).mean() for block in range(self.n_blocks)])

    @property
    def plain_validation(self) -> tuple[Prompt, ...]:
        """The validation suffixes without a persona, each once."""
        rows = zip(self.plain, self.validation, strict=True)
        return tuple(dict.fromkeys(prompt for prompt, kept in rows if kept))

    @property
    def reading_block(self) -> int:
        """The block where the validation pairs are separated most consistently; no label is used."""
        return int(self.consistency().argmax())


def read_pairs(lm: LM, pairs: Pairs, *, progress: Progress | None = None) -> PairStates:
    """Read the residual stream of every pair at the last token.

    Raises `UsageError` where a split is empty and `Failure` where the model's states are not finite.
    """
    validation = np.array(pairs.validation, dtype=bool)
    if validation.all() or not validation.any():
        raise UsageError(
            f"the {len(validation)} contrast pairs leave an empty training or validation split; give more suffixes"
        )
    states = lm.residuals([*pairs.toward, *pairs.away], progress=progress)
    if not bool(states.isfinite().all()):
        raise Failure(
            f"{lm.name} gives residual states that are not finite on the contrast pairs; open it in float32 (dtype)"
        )
    return PairStates(
        toward=states[: len(pairs)],
        away=states[len(pairs) :],
        validation=validation,
        suffix=np.array(pairs.suffix),
        plain=pairs.plain,
    )
