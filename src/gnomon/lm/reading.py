"""Reading the residual stream at each prompt's last real token.

A read stops after the last block that was asked for, so the language-model head never runs; prompts that begin
alike share the computation of that beginning (their KV cache is expanded over the rest).
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from gnomon.errors import UsageError
from gnomon.lm.batches import Progress, alike, in_batches, pad
from gnomon.lm.prefixes import Group, share
from gnomon.lm.prompts import Prompt

if TYPE_CHECKING:
    from gnomon.lm.model import LM


class _Read(Exception):
    """Raised by the hook on the last block that is read."""


@torch.no_grad()
def residuals(
    lm: LM, prompts: Sequence[Prompt], blocks: Sequence[int] | None, progress: Progress | None
) -> Float[Tensor, "prompt block d_model"]:
    """The output of each block at each prompt's last real token; see `LM.residuals`."""
    wanted = list(range(lm.n_blocks)) if blocks is None else list(blocks)
    for block in wanted:
        if not 0 <= block < lm.n_blocks:
            raise UsageError(f"There is no block {block}: the model has blocks 0 to {lm.n_blocks - 1}.")
    if not wanted:
        raise UsageError("The list of blocks to read is empty: name at least one block.")
    ids = lm.encode(prompts)
    result = torch.empty(len(ids), len(wanted), lm.d_model)
    done = 0
    for group in _groups(lm, ids):
        lengths = [len(ids[row]) - group.shared for row in range(len(ids))]
        order = sorted(group.rows, key=lambda row: (lm.alphas_of(row), lengths[row]))
        cache = _shared_cache(lm, ids[order[0]][: group.shared], order[0], wanted) if group.shared else None
        read = partial(_read, lm, ids, wanted, cache, group.shared)
        for part in alike(lengths, order, _overhead(lm)):
            for rows, states in in_batches(lm, lengths, part, len(part), read):
                result[rows] = states
                done += len(rows)
                if progress is not None:
                    progress(done, len(ids))
    return result


def _overhead(lm: LM) -> int:
    """What one more forward pass costs beside its tokens, in tokens."""
    return lm.tokens_per_batch // 32


def _groups(lm: LM, ids: Sequence[Sequence[int]]) -> list[Group]:
    # A shared beginning is computed once, so it must be the same forward for every row that shares it.
    if not lm.caches_expand or any(not editing.uniform for editing in lm.active):
        return [Group(0, list(range(len(ids))))] if ids else []
    return share(ids, _overhead(lm))


def _shared_cache(lm: LM, beginning: Sequence[int], row: int, wanted: Sequence[int]) -> Any:
    cache = lm.new_cache()
    with _reading(lm, wanted, None):
        lm.forward(pad([beginning], lm.device, side="right"), [row], cache=cache)
    return cache


def _read(
    lm: LM, ids: Sequence[Sequence[int]], wanted: Sequence[int], cache: Any, shared: int, rows: list[int]
) -> Tensor:
    rests = [ids[row][shared:] for row in rows]
    last = torch.tensor([len(rest) - 1 for rest in rests], device=lm.device)
    tokens = pad(rests, lm.device, side="right", past=shared)
    expanded = expand(cache, len(rows)) if cache is not None else None
    with _reading(lm, wanted, last) as states:
        lm.forward(tokens, rows, cache=expanded)
    stacked = torch.stack([states[block].to(lm.device) for block in wanted], dim=1)
    return stacked.float().cpu()


@contextmanager
def _reading(lm: LM, wanted: Sequence[int], last: Tensor | None) -> Iterator[dict[int, Tensor]]:
    """Hooks that keep `[batch, d_model]` at `last` per block (nothing where it is None) and end the forward."""
    states: dict[int, Tensor] = {}
    end = max(wanted)

    def keep(block: int, hidden: Tensor) -> None:
        if last is not None:
            at = last.to(hidden.device)
            states[block] = hidden[torch.arange(len(at), device=hidden.device), at]
        if block == end:
            raise _Read

    def hook(block: int) -> Any:
        def read(module: nn.Module, args: Any, output: Any) -> None:
            keep(block, output if isinstance(output, Tensor) else output[0])

        return read

    handles = [lm.blocks[block].register_forward_hook(hook(block)) for block in set(wanted)]
    try:
        with suppress(_Read):
            yield states
    finally:
        for handle in handles:
            handle.remove()


def expand(cache: Any, rows: int) -> Any:
    """A one-row KV cache seen as `rows` equal rows; the next forward's concatenation makes the copy."""
    expanded = copy.copy(cache)
    expanded.layers = [copy.copy(layer) for layer in cache.layers]
    for layer in expanded.layers:
        if layer.is_initialized:
            layer.keys = layer.keys.expand(rows, -1, -1, -1)
            layer.values = layer.values.expand(rows, -1, -1, -1)
    return expanded


def select(cache: Any, rows: Tensor) -> Any:
    """The given rows of a cache, as a cache of its own; a row may be taken several times."""
    selected = copy.copy(cache)
    selected.layers = [copy.copy(layer) for layer in cache.layers]
    for layer in selected.layers:
        # Linear-attention layers keep their states in dicts, which a shallow copy would share.
        vars(layer).update({name: dict(held) for name, held in vars(layer).items() if isinstance(held, dict)})
    selected.reorder_cache(rows)
    return selected
