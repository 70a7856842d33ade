"""What an objective asks of the Linears under training, whatever is trained in them.

Knows an LM and a replay; knows no kind of edit, no loss and no optimiser.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import TYPE_CHECKING, Any, Protocol

import torch
from jaxtyping import Float
from torch import Tensor, nn

from gnomon.dials import LowRank
from gnomon.lm import Replay, frozen
from gnomon.lm.replay import Reads

if TYPE_CHECKING:
    from gnomon.lm import LM

Hook = Callable[[nn.Module, tuple[Any, ...], Tensor], Tensor | None]


class Trainable(Protocol):
    """Some Linears of a model whose edits are trained."""

    @property
    def modules(self) -> tuple[str, ...]:
        """The edited Linears' paths."""
        ...

    @property
    def first_token(self) -> bool:
        """Whether sequences' first tokens are edited too."""
        ...

    @property
    def parameters(self) -> Mapping[str, Tensor]:
        """What is trained, by name: float32 leaves, always the same ones."""
        ...

    def attached(self) -> AbstractContextManager[None]:
        """Within the block, the Linears carry their edits in replays that are run by `run`; the weights are frozen."""
        ...

    def run(self, replay: Replay, reads: Reads) -> dict[int, Float[Tensor, "copy row position d_model"]]:
        """The blocks' outputs of a batch at +1 (copy 0) and -1 (copy 1); differentiable in the parameters."""
        ...

    def edits(self) -> tuple[LowRank, ...]:
        """The edits as they stand now, for a dial."""
        ...


@contextmanager
def hooked(lm: LM, linears: Sequence[nn.Module], hooks: Sequence[Hook]) -> Iterator[None]:
    """Within the block, each Linear has its hook, and the model's weights are frozen."""
    with ExitStack() as stack:
        stack.enter_context(frozen(lm))
        for linear, hook in zip(linears, hooks, strict=True):
            stack.callback(linear.register_forward_hook(hook).remove)
        yield


def shake(parameters: Mapping[str, Tensor], width: float, seed: int) -> None:
    """Add to every parameter, in place, a truncated normal of this width, drawn on the CPU; nothing at width 0."""
    if not width:
        return
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for tensor in parameters.values():
            noise = nn.init.trunc_normal_(torch.empty(tensor.shape), std=width, generator=generator)
            tensor.add_(noise.to(tensor))
