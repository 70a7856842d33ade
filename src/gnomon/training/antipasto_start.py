"""How AntiPaSTO begins: the singular directions that are turned, the first rotations, and the subspace of its loss.

Everything comes from the model's weights and from its states on contrast pairs. Source: AntiPaSTO (Clark, arXiv
2601.07473) and its public code. Knows nothing of the loss or of the training.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from gnomon.errors import UsageError
from gnomon.lm.batches import cut, pad
from gnomon.lm.head import hidden_of
from gnomon.training import subspaces
from gnomon.training.cores import RotationCores
from gnomon.training.edited import Bases
from gnomon.training.subspaces import Subspace
from gnomon.training.svd import adapter_dimensions, dense_weight, input_basis, output_basis
from gnomon.training.writers import residual_writers

if TYPE_CHECKING:
    from gnomon.lm import LM, Head

TASK_SUPPRESSED_WRITE = "task, suppressed, write"
TASK_WRITE_NOT_HEAD = "task, write, not lm_head"
SUBSPACES = (TASK_SUPPRESSED_WRITE, TASK_WRITE_NOT_HEAD)
"""The default of the later code, and the paper's words."""


@dataclass(frozen=True, eq=False)
class Stream:
    """The residual stream at one token of every pair: what enters each of the L blocks, then what leaves the last.

    `toward`, `away`: `[pair, L + 1, d_model]`, float32, on the CPU.
    """

    toward: Float[Tensor, "pair place d_model"]
    away: Float[Tensor, "pair place d_model"]

    @property
    def both(self) -> Float[Tensor, "row place d_model"]:
        """Toward rows, then away rows."""
        return torch.cat([self.toward, self.away])

    @classmethod
    def read(cls, lm: LM, toward: Sequence[list[int]], away: Sequence[list[int]]) -> Stream:
        """At the last token of every row."""
        states = _last_tokens(lm, [*toward, *away])
        return cls(states[: len(toward)], states[len(toward) :])


def published_rows(rows: Sequence[list[int]], per_batch: int) -> list[list[int]]:
    """Rows cut behind the token that the public code reads instead of the last one.

    It counts the real tokens of a row and goes that far from the left, although its batches are padded on the left: in a
    row that is shorter than its batch's longest by m, it reads the token m before the last, or padding (here the first
    token).
    """
    found = []
    for first in range(0, len(rows), per_batch):
        batch = rows[first : first + per_batch]
        longest = max(map(len, batch))
        found += [row[: max(1, 2 * len(row) - longest)] for row in batch]
    return found


@torch.no_grad()
def _last_tokens(lm: LM, rows: Sequence[list[int]]) -> Float[Tensor, "row place d_model"]:
    found = torch.empty(len(rows), lm.n_blocks + 1, lm.d_model)
    lengths = [len(row) for row in rows]
    last = torch.tensor(lengths) - 1
    chosen: list[int] = []

    def keep(place: int, hidden: Tensor) -> None:
        at = last[chosen].to(hidden.device)
        found[chosen, place] = hidden[torch.arange(len(at), device=hidden.device), at].float().cpu()

    def entering(place: int) -> Any:
        def hook(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            keep(place, args[0] if args else kwargs["hidden_states"])

        return hook

    def leaving(module: nn.Module, args: Any, output: Any) -> None:
        keep(lm.n_blocks, hidden_of(output))
        raise _Read

    handles = [
        block.register_forward_pre_hook(entering(place), with_kwargs=True)
        for place, block in enumerate(lm.blocks)
    ]
    handles.append(lm.blocks[-1].register_forward_hook(leaving))
    order = sorted(range(len(rows)), key=lengths.__getitem__)
    try:
        for chosen in cut(lengths, order, lm.tokens_per_batch, len(rows)):
            tokens = pad([rows[row] for row in chosen], lm.device, side="right")
            with suppress(_Read):
                lm.forward(tokens, ())
    finally:
        for handle in handles:
            handle.remove()
    return found


class _Read(Exception):
    """Raised behind the last block, so that the head does not run."""


# -- the edits ---------------------------------------------------------------------------------------------------------


def turned_bases(lm: LM, stream: Stream, first: int, last: int, rank: int) -> list[Bases]:
    """The singular directions that each residual writer of blocks `first` to `last` is turned in.

    One rank for all, at most what the narrowest allows. A writer's directions are chosen by what the stream has along its
    output directions where it enters the writer's block.
    """
    linears = lm.linears()
    block_of = {module: place for place, block in enumerate(lm.blocks) for module in block.modules()}
    weights = {path: dense_weight(linears[path]) for path in residual_writers(lm, first, last)}
    rank = min(rank, *(min(weight.shape) for weight in weights.values()))
    found = []
    for path, weight in weights.items():
        left, values = output_basis(weight)
        block, directions = block_of[linears[path]], left.float().cpu()
        chosen = adapter_dimensions(
            values.float().cpu(),
            stream.toward[:, block] @ directions,
            stream.away[:, block] @ directions,
            rank,
        ).to(left.device)
        turned = left[:, chosen]
        right = input_basis(weight, turned)
        found.append(Bases(path, turned.float(), right.float(), values[chosen].float()))
    return found


def first_cores(bases: Sequence[Bases], seed: int, device: torch.device) -> RotationCores:
    """Small random rotations and stretches, because a gradient through `p(+1) p(-1)` is 0 at none.

    `P = X - X^T` with X from a truncated normal of width 0.003, and dS from one around 4e-4 of width 4e-4.
    """
    generator = torch.Generator().manual_seed(seed)
    modules, rank = len(bases), len(bases[0].S)
    x = torch.empty(modules, rank, rank)
    nn.init.trunc_normal_(x, std=0.003, generator=generator)
    rows, columns = torch.triu_indices(rank, rank, offset=1)
    dS = torch.empty(modules, rank)
    nn.init.trunc_normal_(dS, mean=4e-4, std=4e-4, generator=generator)
    S = torch.stack([base.S.cpu() for base in bases])
    return RotationCores(S.to(device), (x - x.mT)[:, rows, columns].to(device), dS.to(device))


# -- the subspace of the loss --------------------------------------------------------------------------------------------


def loss_subspace(
    lm: LM, head: Head, stream: Stream, *, kind: str, block: int, rank: int, centred: bool
) -> Subspace:
    """The directions in which the gap between the personas is to change, at the output of `block`.

    "task, suppressed, write" is the weighted intersection of what tells the personas apart with what the blocks change
    outside the head's reach, cut with what the model writes; "task, write, not lm_head" leaves out what the head reads.

    Args:
        lm: The model.
        head: Its head.
        stream: The stream of the training pairs.
        kind: One of `SUBSPACES`.
        block: The loss block.
        rank: How many directions.
        centred: Take the mean difference out first, as the public code does.
    """
    k = columns(lm.d_model)
    differences = stream.toward[:, block + 1] - stream.away[:, block + 1]
    task = (subspaces.centred_task if centred else subspaces.task)(differences, k)
    linears = lm.linears()
    written = subspaces.write(
        [
            output_basis(dense_weight(linears[path]))[0][:, :k]
            for path in residual_writers(lm, 0, lm.n_blocks - 1)
        ],
        k,
    )
    read = subspaces.lm_head(dense_weight(head.embeddings), k)
    if len(read.basis) != lm.d_model:
        raise UsageError(
            f"the output embeddings of {lm.name} are not as wide as its residual stream, so antipasto cannot take out what "
            "they read; choose another method"
        )
    if kind == TASK_WRITE_NOT_HEAD:
        return subspaces.intersection(task, subspaces.minus(written, read)).leading(rank)
    start, last = stream.both[:, int(0.1 * lm.n_blocks)], stream.both[:, lm.n_blocks]
    with torch.no_grad():
        normed = head.norm(last.to(lm.device, lm.dtype)).float().cpu()
    changed = subspaces.suppressed(start, normed, read, k)
    return subspaces.intersection(subspaces.weighted_intersection(task, changed), written).leading(rank)


def columns(width: int) -> int:
    """How many directions a space has before it is combined: 256, or two fifths of a narrower stream.

    The published 256 are two fifths of the narrowest published model; in a stream of 256 or less they would be all there
    is, and nothing would be left outside of what the head reads.
    """
    return max(1, min(subspaces.MANY, 2 * width // 5))
