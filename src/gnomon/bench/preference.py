"""Which dial the validation pairs prefer: how much of the way from plain to persona a dial goes. No label is used.

The judge is the residual stream after the last block, on validation suffixes: the dial at +1 and -1 without a persona
should leave the model where the toward and the away persona leave it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gnomon.contrast import PairStates
    from gnomon.dials import Dial
    from gnomon.lm import LM


def recovery(lm: LM, dial: Dial, states: PairStates) -> float:
    """Share of the personas' shift that the dial recovers at the last block, both sides together.

    1 - sum |steered - persona|^2 / sum |plain - persona|^2 over the validation suffixes, with the personas' states averaged
    over templates: 1 where the dial does what the words do, 0 for a dial that does nothing, below 0 for harm.
    """
    import torch

    plain = states.plain_validation
    n, last = len(plain), lm.n_blocks - 1
    with dial.at([alpha for alpha in (0.0, 1.0, -1.0) for _ in plain], lm):
        read = lm.residuals([*plain] * 3, blocks=[last])[:, 0]
    at_rest = read[:n]
    left = asked = 0.0
    for steered, persona in ((read[n : 2 * n], states.toward), (read[2 * n :], states.away)):
        wanted = torch.stack(
            [
                persona[[row for row in range(len(states.plain)) if states.plain[row] == prompt], last].mean(
                    0
                )
                for prompt in plain
            ]
        )
        left += float((steered - wanted).square().sum())
        asked += float((at_rest - wanted).square().sum())
    return 1 - left / asked
