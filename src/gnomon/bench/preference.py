"""Which dial the validation pairs prefer: how much of what the words do, the dial does. No label is used.

The judge is what the model would say next, on validation suffixes: with the dial at +1 and -1 and no persona it should be
what it is with the toward and with the away persona.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

    from gnomon.contrast import Pairs
    from gnomon.dials import Dial
    from gnomon.lm import LM


def recovery(lm: LM, dial: Dial, pairs: Pairs) -> float:
    """Share of the personas' effect on the next token that the dial brings about, both sides together.

    1 - sum KL(persona || steered) / sum KL(persona || plain) over the validation suffixes, the personas' distributions
    averaged over templates: 1 where the dial does what the words do, 0 for a dial that does nothing, below 0 for harm.
    """
    rows = [row for row, kept in enumerate(pairs.validation) if kept]
    plain = tuple(dict.fromkeys(pairs.plain[row] for row in rows))
    place = [plain.index(pairs.plain[row]) for row in rows]
    at_rest = lm.following(plain)
    with dial.at([sign for sign in (1.0, -1.0) for _ in plain], lm):
        steered = lm.following([*plain, *plain])
    left = asked = 0.0
    for side, moved in ((pairs.toward, steered[: len(plain)]), (pairs.away, steered[len(plain) :])):
        persona = _mean_by_place(lm.following([side[row] for row in rows]).exp(), place, len(plain))
        left += _divergence(persona, moved)
        asked += _divergence(persona, at_rest)
    return 1 - left / asked if asked > 0 else float("nan")


def _mean_by_place(
    rows: Float[Tensor, "row vocabulary"], place: list[int], n: int
) -> Float[Tensor, "n vocabulary"]:
    import torch

    index = torch.tensor(place)
    sums = torch.zeros(n, rows.shape[1]).index_add_(0, index, rows)
    return sums / torch.bincount(index, minlength=n)[:, None]


def _divergence(p: Float[Tensor, "n vocabulary"], log_q: Float[Tensor, "n vocabulary"]) -> float:
    """Sum over rows of KL(p || q), nats."""
    from torch.nn.functional import kl_div

    return float(kl_div(log_q, p, reduction="sum"))
