"""How a batch is laid out for replaying: what a group of rows has in common once, then the rest of every row.

Arithmetic on token ids and indices. Of the model it knows where token ids go in, and whether its keys and values can be
shared; blocks, edits and losses are others' business.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from gnomon.errors import UsageError
from gnomon.lm.batches import Tokens, pad

if TYPE_CHECKING:
    from gnomon.lm.model import LM


@dataclass(frozen=True, eq=False)
class Part:
    """What goes through the blocks at once: the beginnings of all groups, or the rests of all rows; all copies stacked.

    Attributes:
        tokens: Token ids, positions, and the mask, which covers the beginning that stands before a rest.
        copy: Which copy each row belongs to.
        group: Which group each row belongs to.
        real: Where there is a token and not padding.
    """

    tokens: Tokens
    copy: Int[Tensor, "row"]
    group: Int[Tensor, "row"]
    real: Bool[Tensor, "row position"]

    def coefficients(
        self, alphas: Float[Tensor, "copy"], *, first_token: bool
    ) -> Float[Tensor, "row position 1"]:
        """What an edit is multiplied by, in the dtype of `alphas`: its copy's alpha at real positions, 0 at padding.

        Without `first_token` it is 0 at every sequence's first token too.
        """
        acts = self.real if first_token else self.real & (self.tokens.position_ids > 0)
        return (alphas.to(acts.device)[self.copy].unsqueeze(1) * acts).unsqueeze(2)


@dataclass(frozen=True, eq=False)
class Places:
    """Some tokens of a batch, by row and position, at which the states of a run are read.

    Attributes:
        mask: False where a row has no such token; what is read there belongs to another token of the row.
        index: Where the tokens are among the positions of `parts`, one copy's parts in a line.
        parts: The parts that hold them.
    """

    mask: Bool[Tensor, "row position"]
    index: Int[Tensor, "token"]
    parts: tuple[int, ...]

    def read(
        self, states: Sequence[Float[Tensor, "_ _ d_model"]], copies: int
    ) -> Float[Tensor, "copy row position d_model"]:
        """The states of these tokens, from the states of all parts."""
        width = states[0].shape[-1]
        lines = [states[part].reshape(copies, -1, width) for part in self.parts]
        line = lines[0] if len(lines) == 1 else torch.cat(lines, dim=1)
        return line.index_select(1, self.index.to(line.device)).view(copies, *self.mask.shape, width)


class Layout:
    """A batch of token sequences in `copies` equal copies, as one part or two.

    Where a beginning is shared, the first part has it once per copy and group, padded on the left, and the last part has
    the rest of every row once per copy, padded on the right: side by side they are a row without a gap. Otherwise there
    is one part, the whole rows.

    Attributes:
        rows: The token ids.
        groups: The rows of each group.
        copies: How many copies; copy c of row r is row `c * len(rows) + r` of the last part.
        shared: How many tokens of each group are in a first part; 0 for all where there is none.
        parts: The parts, in the order that they run in.
        beginning_of: For every row of the last part, the row of the first part that it goes on from.
    """

    def __init__(
        self,
        rows: Sequence[list[int]],
        groups: Sequence[Sequence[int]],
        copies: int,
        shared: Sequence[int],
        device: torch.device,
    ) -> None:
        self._describe(rows, groups, copies, shared, device)
        rests = [row[n:] for row, n in zip(rows, self._shared.tolist(), strict=True)]
        rest = pad(rests * copies, device, side="right")
        copy = torch.arange(copies, device=device)
        own_copy, own_group = copy.repeat_interleave(len(rows)), self._group.repeat(copies).to(device)
        self.beginning_of: Int[Tensor, "row"] = own_copy * len(groups) + own_group
        self.parts: tuple[Part, ...]
        if not any(shared):
            self.parts = (Part(rest, own_copy, own_group, rest.attention_mask.bool()),)
            return
        beginnings = [rows[members[0]][:n] for members, n in zip(groups, shared, strict=True)]
        first = pad(beginnings * copies, device, side="left")
        last = Tokens(
            input_ids=rest.input_ids,
            attention_mask=torch.cat([first.attention_mask[self.beginning_of], rest.attention_mask], dim=1),
            position_ids=rest.position_ids + self._shared.repeat(copies).unsqueeze(1).to(device),
        )
        group = torch.arange(len(groups), device=device)
        self.parts = (
            Part(
                first, copy.repeat_interleave(len(group)), group.repeat(copies), first.attention_mask.bool()
            ),
            Part(last, own_copy, own_group, rest.attention_mask.bool()),
        )

    def _describe(
        self,
        rows: Sequence[list[int]],
        groups: Sequence[Sequence[int]],
        copies: int,
        shared: Sequence[int],
        device: torch.device,
    ) -> None:
        """Everything but the parts."""
        self.rows = rows
        self.groups = groups
        self.copies = copies
        self.shared = tuple(shared)
        self._device = device
        group_of = {row: group for group, members in enumerate(groups) for row in members}
        self._group = torch.tensor([group_of[row] for row in range(len(rows))])
        self._shared = torch.tensor(self.shared)[self._group]
        self._length = torch.tensor([len(row) for row in rows])

    def last(self, n: int) -> Places:
        """The last `n` tokens of every row: `[row, n]`, a row's last token in the last column."""
        tokens = self._length.unsqueeze(1) - n + torch.arange(n)
        return self._places(torch.arange(len(self.rows)), tokens.clamp(min=0), tokens >= 0)

    def since(self, first: int | Sequence[int]) -> Places:
        """All tokens from position `first` on, one for all rows or one per row: `[row, position]`, `first` in column 0."""
        begin = torch.as_tensor(first).expand(len(self.rows))
        tokens = begin.unsqueeze(1) + torch.arange(int((self._length - begin).clamp(min=0).max()))
        end = self._length.unsqueeze(1)
        return self._places(torch.arange(len(self.rows)), tokens.minimum(end - 1), tokens < end)

    def at(self, rows: Int[Tensor, "token"], tokens: Int[Tensor, "token"]) -> Places:
        """Any tokens, each by its row and its position in the row: `[token, 1]`."""
        chosen = tokens.unsqueeze(1)
        return self._places(rows, chosen, torch.ones_like(chosen, dtype=torch.bool))

    def beginnings(self) -> Places:
        """The tokens that are in a first part, each once: `[group, position]`, position 0 in column 0."""
        shared = torch.tensor(self.shared).unsqueeze(1)
        tokens = torch.arange(max(self.shared)).expand(len(self.groups), -1)
        first_rows = torch.tensor([members[0] for members in self.groups])
        return self._places(first_rows, tokens.minimum((shared - 1).clamp(min=0)), tokens < shared)

    def rests(self) -> Places:
        """The tokens that are in the last part, `[row, position]`: with `beginnings`, every token that runs, once."""
        return self.since(self._shared.tolist())

    def _places(self, rows: Tensor, tokens: Tensor, mask: Tensor) -> Places:
        group, shared, row = self._group[rows, None], self._shared[rows, None], rows.unsqueeze(1)
        widest, widest_rest = int(self._shared.max()), int((self._length - self._shared).max())
        in_first = group * widest + widest - shared + tokens
        in_last = row * widest_rest + tokens - shared
        is_first, last = tokens < shared, len(self.parts) - 1
        parts: tuple[int, ...]
        # Only the parts that are needed, so that a run copies no more than it must.
        if not is_first.any():
            index, parts = in_last, (last,)
        elif is_first.all():
            index, parts = in_first, (0,)
        else:
            index, parts = torch.where(is_first, in_first, len(self.groups) * widest + in_last), (0, last)
        return Places(mask.to(self._device), index.flatten().to(self._device), parts)


def lay_out(
    lm: LM, rows: Sequence[list[int]], *, groups: Sequence[Sequence[int]] | None = None, copies: int = 2
) -> Layout:
    """Lay out a batch. Groups share their longest common beginning, where that saves more than one more pass costs.

    Args:
        lm: The model that the batch is for.
        rows: Token ids, from `lm.encode`. At least the last token of every row stays its own.
        groups: Rows that are expected to begin alike (all rows of one persona); by default all rows are one group.
        copies: How often the batch is there: copy 0, 1, ..., each to be run at a coefficient of its own.

    Raises:
        UsageError: A row is empty, or a row is not in exactly one group.
    """
    if not rows or not all(rows):
        raise UsageError("A batch needs at least one row, and every row at least one token.")
    groups = [list(range(len(rows)))] if groups is None else groups
    if sorted(row for members in groups for row in members) != list(range(len(rows))) or not all(groups):
        raise UsageError(
            f"Every one of the {len(rows)} rows must be in exactly one group, and no group empty."
        )
    shared = [common([rows[row] for row in members]) for members in groups]
    longest = max(map(len, rows))
    longest_rest = max(
        len(rows[row]) - n for members, n in zip(groups, shared, strict=True) for row in members
    )
    saved = copies * (len(rows) * (longest - longest_rest) - len(groups) * max(shared))
    # What one more pass through the blocks costs, in tokens.
    if not lm.caches_expand or saved <= lm.tokens_per_batch // 32:
        shared = [0] * len(groups)
    return Layout(rows, groups, copies, shared, lm.device)


def common(rows: Sequence[list[int]]) -> int:
    """How many first tokens all rows share, the last of each left out."""
    limit = min(map(len, rows)) - 1
    # What the first and the last in alphabetical order share, all between them share.
    first, last = min(rows), max(rows)
    return next((i for i in range(limit) if first[i] != last[i]), limit)
