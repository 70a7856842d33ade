"""Which sign of a trained dial is toward, where its objective is satisfied by either.

Knows a dial and how it moves preferences; knows no model, no objective and no label.
"""

from __future__ import annotations

from dataclasses import replace

from jaxtyping import Float
from torch import Tensor

from gnomon.dials import Dial


def oriented(dial: Dial, leaning: Float[Tensor, "pair"]) -> Dial:
    """The dial whose +1 makes the toward row's own tokens more likely beside the away row's, averaged over pairs.

    `leaning` is how much more the given dial's +1 does so than its -1, for every validation pair. The states are no guide:
    the objective turns the gap between the personas, and what both rows have in common may move either way. The public
    code decides this by labelled dilemmas.
    """
    turned = bool(leaning.mean() < 0)
    agreeing = float(((leaning > 0) != turned).float().mean())
    notes = {
        **dial.notes,
        "orientation": f"the validation pairs' preference for their own tokens ({'turned' if turned else 'kept'})",
        "validation pairs that agree": round(agreeing, 4),
    }
    return replace(dial, edits=(dial * (-1.0 if turned else 1.0)).edits, notes=notes)
