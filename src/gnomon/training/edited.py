"""Linears under training: frozen bases, trained cores, and the hooks that put both into a replayed batch.

Knows an LM's Linears and how a replay is laid out; knows nothing of losses or of the optimiser. What is trained here is,
term for term, the `LowRank` edit that a dial applies later.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from gnomon.dials import LowRank
from gnomon.lm import Part, Replay
from gnomon.lm.replay import Reads
from gnomon.training.cores import Cores
from gnomon.training.svd import dense_weight, input_basis, output_basis
from gnomon.training.trainable import Hook, hooked

if TYPE_CHECKING:
    from gnomon.lm import LM

ALPHAS = (1.0, -1.0)
"""Both signs go through one forward: copy 0 of a batch is at +1 and copy 1 at -1."""


@dataclass(frozen=True, eq=False)
class Bases:
    """The two bases of one Linear's edit: `U` `[d_out, r]`, `V` `[d_in, r]`, orthonormal, and their singular values `S`."""

    module: str
    U: Float[Tensor, "d_out r"]
    V: Float[Tensor, "d_in r"]
    S: Float[Tensor, "r"]


class Edited:
    """Some Linears of a model with an edit of the same rank each, whose cores are trained."""

    def __init__(self, lm: LM, bases: Sequence[Bases], cores: Cores, *, first_token: bool = True) -> None:
        self.lm = lm
        self.bases = tuple(bases)
        self.cores = cores
        self.first_token = first_token
        linears = lm.linears()
        self._linears = [linears[base.module] for base in bases]
        self._read = [
            base.V.to(lm.device_of(linear), lm.dtype)
            for base, linear in zip(bases, self._linears, strict=True)
        ]
        self._outputs = _by_width([base.U.mT.to(lm.device) for base in bases])
        self._alphas = torch.tensor(ALPHAS, device=lm.device)
        self._replay: Replay | None = None
        self._write: dict[int, Float[Tensor, "copy r d_out"]] = {}
        self._acting: dict[Part, Tensor] = {}

    @property
    def modules(self) -> tuple[str, ...]:
        """The edited Linears' paths."""
        return tuple(base.module for base in self.bases)

    @property
    def parameters(self) -> dict[str, Tensor]:
        """The cores'."""
        return self.cores.parameters

    def attached(self) -> AbstractContextManager[None]:
        """Within the block, the Linears carry their edits in replays that are run by `run`; the weights are frozen."""
        return hooked(self.lm, self._linears, [self._hook(index) for index in range(len(self.bases))])

    def run(self, replay: Replay, reads: Reads) -> dict[int, Float[Tensor, "copy row position d_model"]]:
        """The blocks' outputs of a batch at +1 (copy 0) and -1 (copy 1); differentiable in the cores' parameters."""
        with computing(self.lm):
            # In float32 whatever the model computes in.
            with torch.autocast(self.lm.device.type, enabled=False):
                matrices = self.cores.matrices(self._alphas)
                for members, outputs in self._outputs:
                    # M(alpha)^T U^T of all modules of one width at once.
                    written = matrices[:, members].transpose(0, 1).mT @ outputs.unsqueeze(1)
                    for index, own in zip(members, written.to(self.lm.dtype), strict=True):
                        self._write[index] = own.to(self._read[index].device)
            self._replay = replay
            try:
                return replay.run(reads)
            finally:
                self._replay = None
                self._write = {}

    def edits(self) -> tuple[LowRank, ...]:
        """The edits as they stand now, for a dial."""
        return tuple(
            LowRank(base.module, base.U.float().cpu(), base.V.float().cpu(), self.cores.core(index))
            for index, base in enumerate(self.bases)
        )

    def _hook(self, index: int) -> Hook:
        read = self._read[index]

        def hook(module: nn.Module, args: tuple[Any, ...], output: Tensor) -> Tensor | None:
            part = None if self._replay is None else self._replay.running
            if part is None:
                return None
            inner = args[0].to(read.dtype) @ read
            if not self.first_token:
                inner = inner * self._acts(part, inner)
            # All copies are stacked along the rows, so each copy's product is one of a batch.
            added = torch.bmm(inner.reshape(len(ALPHAS), -1, inner.shape[-1]), self._write[index])
            return output + added.view(output.shape)

        return hook

    def _acts(self, part: Part, like: Tensor) -> Tensor:
        """0 at sequences' first tokens (and at padding, which nobody sees), else 1; broadcasts over the rank."""
        if part not in self._acting:
            ones = torch.ones(len(ALPHAS), device=like.device, dtype=self.lm.dtype)
            self._acting[part] = part.coefficients(ones, first_token=False)
        # Behind a router the positions of all rows are one long dimension.
        return self._acting[part].to(like.device).reshape(*like.shape[:-1], 1)


def _by_width(
    outputs: Sequence[Float[Tensor, "r _"]],
) -> list[tuple[list[int], Float[Tensor, "module r d_out"]]]:
    """Output bases of equal width, stacked, and whose they are."""
    members: dict[int, list[int]] = {}
    for index, basis in enumerate(outputs):
        members.setdefault(basis.shape[1], []).append(index)
    return [(own, torch.stack([outputs[index] for index in own])) for own in members.values()]


def computing(lm: LM) -> AbstractContextManager[Any]:
    """How a float32 model computes in training: bfloat16 where a CUDA device is good at it, else as it is."""
    if lm.device.type == "cuda" and lm.dtype == torch.float32 and torch.cuda.is_bf16_supported():
        return torch.autocast("cuda", dtype=torch.bfloat16)
    return nullcontext()


def singular_bases(lm: LM, modules: Sequence[str], rank: int) -> list[Bases]:
    """The leading singular directions of each Linear, one rank for all: the lowest that any of them allows."""
    linears = lm.linears()
    weights = {module: dense_weight(linears[module]) for module in modules}
    rank = min(rank, *(min(weight.shape) for weight in weights.values()))
    bases = []
    for module, weight in weights.items():
        left, values = output_basis(weight)
        bases.append(
            Bases(
                module,
                left[:, :rank].float(),
                input_basis(weight, left[:, :rank]).float(),
                values[:rank].float(),
            )
        )
    return bases
