"""From a direction in one block's residual stream to an oriented dial at its native scale: what vector methods share.

Native scale: the dial at +1 shifts the residual stream along the direction by as much as half the personas' gap does.
The block and the orientation come from the contrast pairs, never from a question's label.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from jaxtyping import Float
from torch import Tensor

from gnomon.contrast import Contrast, PairStates, read_pairs
from gnomon.dials import AddVector, Dial
from gnomon.errors import Failure

if TYPE_CHECKING:
    from gnomon.lm import LM


def states_of(lm: LM, contrast: Contrast, states: PairStates | None, seed: int) -> PairStates:
    """The states that were read already, or read now."""
    return states if states is not None else read_pairs(lm, contrast.resolve(lm, seed=seed))


def oriented_dial(
    lm: LM,
    contrast: Contrast,
    states: PairStates,
    direction: Float[Tensor, "d_model"],
    block: int,
    name: str,
    *,
    norm: float | None = None,
) -> Dial:
    """A dial along `direction` (`[d_model]`, any length) at `block`, oriented by the validation pairs.

    Its length is the half gap's length along the direction, or `norm` where the method has a length of its own.
    """
    length = direction.norm()
    if not bool(length.isfinite()) or float(length) == 0.0:
        raise Failure(f"{name} found no direction at block {block}: the contrast pairs do not differ there")
    unit = direction / length
    towards = states.differences(block, validation=True) @ unit
    if float(towards.mean()) < 0:
        unit, towards = -unit, -towards
    size = norm if norm is not None else float((states.half_gap(block) @ unit).abs())
    notes = {
        "method": name,
        "block": block,
        "validation pairs that agree": round(float((towards > 0).float().mean()), 4),
    }
    dial = Dial(
        (AddVector(block, unit * size),), name=name, words=(contrast.toward, contrast.away), notes=notes
    )
    return dial.bound(lm)
