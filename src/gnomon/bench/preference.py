"""Which dial the validation pairs prefer: how much of what the words do to the residual stream, the dial does.

No label and no question is used. Knows dials and contrast pairs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gnomon.contrast import PairStates
    from gnomon.dials import Dial
    from gnomon.lm import LM


def recovery(lm: LM, dial: Dial, states: PairStates) -> float:
    """Share of the personas' half gap, suffix by suffix, that half of the dial's swing from -1 to +1 reproduces.

    1 - sum |swing - gap|^2 / sum |gap|^2 at the reading block, over the validation suffixes without a persona, with the
    gaps averaged over templates: 1 for a dial that does what the words do on every suffix, 0 for one that does nothing,
    below 0 for one that moves the model elsewhere.
    """
    import torch

    block, plain = states.reading_block, states.plain_validation
    with dial.at([sign for sign in (1.0, -1.0) for _ in plain], lm):
        moved = lm.residuals([*plain, *plain], blocks=[block])[:, 0]
    swing = (moved[: len(plain)] - moved[len(plain) :]) / 2
    rows = [row for row, kept in enumerate(states.validation) if kept]
    place = torch.tensor([plain.index(states.plain[row]) for row in rows])
    gaps = torch.zeros_like(swing).index_add_(0, place, states.differences(block, validation=True) / 2)
    gaps /= torch.bincount(place, minlength=len(plain))[:, None]
    return float(1 - (swing - gaps).square().sum() / gaps.square().sum())
