"""Batches: padded tensors, how many tokens go through the model at once, and what to do when memory runs out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeVar

import torch
from torch import Tensor

from gnomon.errors import Failure

if TYPE_CHECKING:
    from gnomon.lm.model import LM

Progress = Callable[[int, int], None]
"""Called with how many prompts are done, and of how many."""

Result = TypeVar("Result")


@dataclass(frozen=True)
class Tokens:
    """Padded token ids with what tells the padding: all `[batch, position]`, on the model's device.

    `attention_mask` covers the cached positions too, so it may be longer than `input_ids`.
    """

    input_ids: Tensor
    attention_mask: Tensor
    position_ids: Tensor


def pad(
    ids: Sequence[Sequence[int]], device: torch.device, *, side: Literal["left", "right"], past: int = 0
) -> Tokens:
    """Token ids of several lengths as one batch, behind `past` cached positions that are real in every row."""
    width = max(len(row) for row in ids)
    left = side == "left"
    # Any id will do for padding: the mask keeps it from being seen.
    tokens = [
        [0] * (width - len(row)) + list(row) if left else list(row) + [0] * (width - len(row)) for row in ids
    ]
    real = [
        [0] * (width - len(row)) + [1] * len(row) if left else [1] * len(row) + [0] * (width - len(row))
        for row in ids
    ]
    mask = torch.tensor(real)
    return Tokens(
        input_ids=torch.tensor(tokens).to(device),
        attention_mask=torch.cat([torch.ones(len(ids), past, dtype=torch.long), mask], dim=1).to(device),
        position_ids=((mask.cumsum(dim=1) - 1).clamp(min=0) + past).to(device),
    )


def cut(costs: Sequence[int], order: Sequence[int], budget: int, rows: int) -> Iterator[list[int]]:
    """Split `order` into runs whose padded size (longest cost x rows) stays within the budget and row limit."""
    run: list[int] = []
    longest = 0
    for index in order:
        longest = max(longest, costs[index])
        if run and (longest * (len(run) + 1) > budget or len(run) == rows):
            yield run
            run, longest = [], costs[index]
        run.append(index)
    if run:
        yield run


def alike(costs: Sequence[int], order: Sequence[int], padding: int) -> Iterator[list[int]]:
    """Split `order` into the longest runs that need no more than `padding` to bring all to the run's longest cost."""
    run: list[int] = []
    longest = total = 0
    for index in order:
        longest, total = max(longest, costs[index]), total + costs[index]
        if run and longest * (len(run) + 1) - total > padding:
            yield run
            run, longest, total = [], costs[index], costs[index]
        run.append(index)
    if run:
        yield run


def in_batches(
    lm: LM, costs: Sequence[int], order: Sequence[int], rows: int, run: Callable[[list[int]], Result]
) -> Iterator[tuple[list[int], Result]]:
    """Run the rows in batches of `lm.tokens_per_batch`, at most `rows` at once; yields each batch with its result.

    Where memory runs out, the LM's budget is halved for good (and `lm.settings` says so), and the batch is run again
    in smaller ones. A smaller batch changes sums in their last bit.

    Raises:
        Failure: One row alone does not fit.
    """
    waiting = list(cut(costs, order, lm.tokens_per_batch, rows))
    while waiting:
        batch = waiting.pop(0)
        try:
            result = run(batch)
        except RuntimeError as error:
            if not _out_of_memory(error):
                raise
            if len(batch) == 1:
                raise Failure(
                    "One prompt alone does not fit into memory: use a smaller model or dtype."
                ) from None
        else:
            yield batch, result
            continue
        # Outside the except clause, whose traceback would hold on to the failed forward's memory.
        lm.tokens_per_batch = max(1, lm.tokens_per_batch // 2)
        lm.settings["tokens_per_batch"] = lm.tokens_per_batch
        left = [row for part in (batch, *waiting) for row in part]
        waiting = list(cut(costs, left, lm.tokens_per_batch, max(1, len(batch) // 2)))


def _out_of_memory(error: RuntimeError) -> bool:
    text = str(error).lower()
    return isinstance(error, torch.OutOfMemoryError) or "out of memory" in text or "not enough memory" in text
