"""Batches packed into lines: a group's common beginning once, and the rest of all its rows behind it, in one pass.

A mask keeps the rests from seeing each other. Whether a model follows such a mask is not listed per family: it is tried.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from jaxtyping import Bool
from torch import Tensor

from gnomon.lm.batches import Tokens
from gnomon.lm.blocks import text_config
from gnomon.lm.head import close
from gnomon.lm.layout import Layout, Part, Places, common, lay_out
from gnomon.lm.replay import read_states

if TYPE_CHECKING:
    from gnomon.lm.model import LM


class Packed(Layout):
    """A layout of one part, whose rows are lines: one per copy and group, padded on the right.

    In a line the group's beginning is followed by the rest of every row of the group, which goes on from the beginning.
    """

    def __init__(
        self,
        rows: Sequence[list[int]],
        groups: Sequence[Sequence[int]],
        copies: int,
        shared: Sequence[int],
        device: torch.device,
        dtype: torch.dtype,
    ) -> None:
        self._describe(rows, groups, copies, shared, device)
        self._offset = torch.zeros(len(rows), dtype=torch.long)
        lines = []
        for members, n in zip(groups, shared, strict=True):
            # Token, position, and which rest it belongs to; -1 is the beginning.
            line = [(token, place, -1) for place, token in enumerate(rows[members[0]][:n])]
            for row in members:
                self._offset[row] = len(line)
                line += [(token, n + place, row) for place, token in enumerate(rows[row][n:])]
            lines.append(line)
        self._width = max(map(len, lines))
        blank = (0, 0, -2)
        table = torch.tensor([line + [blank] * (self._width - len(line)) for line in lines])
        ids, positions, rest = table.repeat(copies, 1, 1).to(device).unbind(2)
        lowest = torch.finfo(dtype).min
        mask = torch.zeros(*ids.shape, self._width, dtype=dtype, device=device)
        tokens = Tokens(ids, mask.masked_fill(~_sees(rest), lowest).unsqueeze(1), positions)
        index = torch.arange(len(groups), device=device)
        copy = torch.arange(copies, device=device).repeat_interleave(len(groups))
        self.beginning_of = torch.arange(copies * len(groups), device=device)
        self.parts = (Part(tokens, copy, index.repeat(copies), rest != -2),)

    def _places(self, rows: Tensor, tokens: Tensor, mask: Tensor) -> Places:
        shared = self._shared[rows, None]
        in_line = torch.where(tokens < shared, tokens, self._offset[rows, None] + tokens - shared)
        index = self._group[rows, None] * self._width + in_line
        return Places(mask.to(self._device), index.flatten().to(self._device), (0,))


def _sees(rest: Tensor) -> Bool[Tensor, "line position position"]:
    """Where a token (second dimension) sees another (third): before it or itself, in its own rest or in the beginning."""
    own = (rest.unsqueeze(2) == rest.unsqueeze(1)) | (rest == -1).unsqueeze(1)
    return own.tril()


def pack(lm: LM, rows: Sequence[list[int]], *, groups: Sequence[Sequence[int]], copies: int = 2) -> Layout:
    """A packed layout where that is less work and the model computes the same with it; else that of `lay_out`.

    Raises:
        UsageError: See `lay_out`.
    """
    plain = lay_out(lm, rows, groups=groups, copies=copies)
    if text_config(lm.model)._attn_implementation not in ("eager", "sdpa"):
        return plain  # others do not take a mask
    shared = [common([rows[row] for row in members]) for members in groups]
    packed = Packed(rows, groups, copies, shared, lm.device, lm.dtype)
    if _work(lm, packed) >= _work(lm, plain):
        return plain
    states = [
        read_states(lm, layout, {lm.n_blocks - 1: layout.since(0)})[lm.n_blocks - 1]
        for layout in (
            lay_out(lm, rows, groups=groups, copies=1),
            Packed(rows, groups, 1, shared, lm.device, lm.dtype),
        )
    ]
    real = plain.since(0).mask
    return packed if close(states[1][:, real], states[0][:, real]) else plain


def _work(lm: LM, layout: Layout) -> float:
    """What one pass through a block costs, in tokens that see nothing else.

    A block's Linears have about 12 d^2 weights, so a token that sees n positions costs `1 + n / (6 d)`.
    """
    tokens = sum(
        part.tokens.input_ids.numel() * (1 + part.tokens.attention_mask.shape[-1] / (6 * lm.d_model))
        for part in layout.parts
    )
    return tokens + (len(layout.parts) - 1) * (lm.tokens_per_batch // 32)
