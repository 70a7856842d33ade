"""Linears under training: frozen bases, trained cores, and the hooks that put both into a replayed batch.

Knows an LM's Linears and how a replay is laid out; knows nothing of losses or of the optimiser. What is trained here is,
term for term, the `LowRank` edit that a dial applies later.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from gnomon.dials import LowRank
from gnomon.lm import Part, Replay, frozen
from gnomon.lm.replay import Reads
from gnomon.training.cores import Cores
from gnomon.training.svd import dense_weight, input_basis, output_basis

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
            base.V.to(lm.device_of(m), lm.dtype) for base, m in zip(bases, self._linears, strict=True)
        ]
        self._write = [
            base.U.mT.to(lm.device_of(m), lm.dtype) for base, m in zip(bases, self._linears, strict=True)
        ]
        self._alphas = torch.tensor(ALPHAS, device=lm.device)
        self._replay: Replay | None = None
        self._matrices: Tensor | None = None
        self._acting: dict[Part, Tensor] = {}

    @contextmanager
    def attached(self) -> Iterator[None]:
        """Within the block, the Linears carry their edits in replays that are run by `run`; the weights are frozen."""
        with ExitStack() as stack:
            stack.enter_context(frozen(self.lm))
            for index, linear in enumerate(self._linears):
                handle = linear.register_forward_hook(self._hook(index))
                stack.callback(handle.remove)
            yield

    def run(self, replay: Replay, reads: Reads) -> dict[int, Float[Tensor, "copy row position d_model"]]:
        """The blocks' outputs of a batch at +1 (copy 0) and -1 (copy 1); differentiable in the cores' parameters."""
        with computing(self.lm):
            # Solved in float32 whatever the model computes in, [module, copy, r, r].
            with torch.autocast(self.lm.device.type, enabled=False):
                matrices = self.cores.matrices(self._alphas)
            self._matrices = matrices.transpose(0, 1).mT.to(self.lm.dtype)
            self._replay = replay
            try:
                return replay.run(reads)
            finally:
                self._replay = self._matrices = None

    def edits(self) -> tuple[LowRank, ...]:
        """The edits as they stand now, for a dial."""
        return tuple(
            LowRank(base.module, base.U.float().cpu(), base.V.float().cpu(), self.cores.core(index))
            for index, base in enumerate(self.bases)
        )

    def _hook(self, index: int) -> Callable[[nn.Module, tuple[Any, ...], Tensor], Tensor | None]:
        read, write = self._read[index], self._write[index]

        def hook(module: nn.Module, args: tuple[Any, ...], output: Tensor) -> Tensor | None:
            part = None if self._replay is None else self._replay.running
            if part is None or self._matrices is None:
                return None
            inner = args[0].to(read.dtype) @ read
            # All copies are stacked along the rows, so each copy's M is one matrix of a batched product.
            matrices = self._matrices[index].to(inner.device)
            moved = torch.bmm(inner.reshape(len(matrices), -1, inner.shape[-1]), matrices).reshape(
                inner.shape
            )
            return output + (moved * self._acts(part, inner)) @ write

        return hook

    def _acts(self, part: Part, like: Tensor) -> Tensor:
        """1 where an edit acts on the part's positions, else 0; broadcasts over the rank."""
        if part not in self._acting:
            ones = torch.ones(len(ALPHAS), device=like.device, dtype=self.lm.dtype)
            self._acting[part] = part.coefficients(ones, first_token=self.first_token)
        # Behind a router the positions of all rows are one long dimension.
        return self._acting[part].to(like.device).reshape(*like.shape[:-1], 1)


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
