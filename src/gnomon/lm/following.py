"""What the model would say next after a prompt: its whole next-token distribution, at the last real token."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor

from gnomon.lm.batches import in_batches, pad
from gnomon.lm.prompts import Prompt

if TYPE_CHECKING:
    from gnomon.lm.model import LM


@torch.no_grad()
def following(lm: LM, prompts: Sequence[Prompt]) -> Float[Tensor, "prompt vocabulary"]:
    """Natural-log probabilities of every next token, float32 on the CPU; see `LM.following`."""
    ids = lm.encode(prompts)
    lengths = [len(row) for row in ids]
    order = sorted(range(len(ids)), key=lambda row: (lm.alphas_of(row), lengths[row]))

    def run(rows: list[int]) -> Tensor:
        tokens = pad([ids[row] for row in rows], lm.device, side="left")
        return lm.forward(tokens, rows)[:, -1].float().log_softmax(dim=-1).cpu()

    result = torch.empty(len(ids), lm.vocabulary)
    for rows, log_probs in in_batches(lm, lengths, order, lm.rows_per_batch, run):
        result[rows] = log_probs
    return result
