"""Which sign of a trained dial is toward, where its objective is satisfied by either.

Knows contrast pairs and residual states; knows no objective and no label.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from gnomon.contrast import Pairs, PairStates
from gnomon.dials import Dial

if TYPE_CHECKING:
    from gnomon.lm import LM


@torch.no_grad()
def oriented(lm: LM, dial: Dial, pairs: Pairs, states: PairStates, block: int) -> Dial:
    """The dial whose +1 moves validation prompts the way that the toward persona does.

    The objective is satisfied by either sign. What is compared, at the last token of the validation pairs' prompts (toward,
    away, and without a persona) at one block, is half the difference between +1 and -1 with the personas' mean gap. The
    public code decides this by labelled dilemmas.
    """
    kept = [index for index, held in enumerate(pairs.validation) if held]
    prompts = [side[index] for side in (pairs.toward, pairs.away, pairs.plain) for index in kept]
    with lm.steer(dial, [alpha for alpha in (1.0, -1.0) for _ in prompts]):
        moved = lm.residuals(prompts * 2, blocks=[block])[:, 0]
    along = (moved[: len(prompts)] - moved[len(prompts) :]) / 2 @ states.half_gap(block, validation=True)
    turned = bool(along.mean() < 0)
    agreeing = float(((along > 0) != turned).float().mean())
    notes = {
        **dial.notes,
        "orientation": f"the shift of the validation prompts along the personas' gap ({'turned' if turned else 'kept'})",
        "validation prompts that agree": round(agreeing, 4),
    }
    return replace(dial, edits=(dial * (-1.0 if turned else 1.0)).edits, notes=notes)
